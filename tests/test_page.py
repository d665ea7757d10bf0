"""The page of a run: what it says at the start, on the way and at the end."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from tinyddpm import TrainConfig, UNetConfig
from tinyddpm.pictures import page as pages
from tinyddpm.pictures.page import page_text, write_page
from tinyddpm.training.log import Log


class Page(HTMLParser):
    """The tags that are open, and the sources of pictures, of a page that is well formed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
        if tag not in ("img", "meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path):
    """As far as a page looks at one; its data set has a name that is no name for a page."""
    unet = SimpleNamespace(config=UNetConfig(classes=10))
    dataset = SimpleNamespace(name="<b>a&b", images=np.zeros((1200, 1)))
    log = Log()
    (tmp_path / "samples").mkdir()
    return SimpleNamespace(
        config=TrainConfig(steps=900), unet=unet, theta=np.zeros(4321), dataset=dataset, log=log,
        step=0, folder=tmp_path,
    )  # fmt: skip


def test_a_run_that_begins(run):
    text = page_text(run, seconds_left=600)
    assert Page(text).sources == [] and "<b>" not in text
    for words in (
        "4,321 parameters", "1,200 grey images", "with 10 labels", "Step 0 of 900",
        "about 10 minutes left", "first samples will appear", 'http-equiv="refresh"',
    ):  # fmt: skip
        assert words in text
    assert f"<td>lr</td><td>{run.config.lr}</td><td>learning rate after the warm-up</td>" in text


def test_a_run_on_its_way_and_at_its_end(run):
    run.step, losses = 400, [9.0] * 50 + [1.0] * 50 + [3.0] * 50
    run.log.rows = [f"{step},{loss},0,0" for step, loss in enumerate(losses, 1)]
    for name in ("000200", "000400"):
        (run.folder / "samples" / f"{run.dataset.name}-{name}.png").touch()
    (run.folder / f"{run.dataset.name}-loss.png").touch()
    write_page(run, seconds_left=60)
    text = (run.folder / "index.html").read_text(encoding="utf-8")
    last, loss = Page(text).sources
    assert last == f"samples/{run.dataset.name}-000400.png" and loss.endswith("-loss.png?step=400")
    assert "Step 400 of 900; mean loss of the last 100 steps 2.0000; less than two" in text
    assert 'max="1"' in text
    assert "\\u003cb>a&b-000200.png" in text, "a name ends no script"

    (run.folder / "samples" / f"{run.dataset.name}-final.png").touch()
    run.step = 900
    text = page_text(run)
    assert Page(text).sources[0].endswith("-final.png")
    assert "refresh" not in text and "minutes left" not in text


def test_nothing_comes_from_elsewhere(run):
    assert not re.search(r"(src|href)=.?(http|//)|@import|url\(", page_text(run, 60))


def test_it_is_written_now_and_then_with_the_time_that_is_left(run, monkeypatch):
    now, told = [1000.0], []
    monkeypatch.setattr(pages, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(pages, "write_page", lambda run, seconds: told.append(seconds))
    run.step = 100
    page = pages.Page(run, step_s=2.0)
    assert told == [1600]  # as expected; then as it was since then
    run.step, now[0] = 120, 1009.0
    page.show()
    assert told == [1600]
    now[0] = 1010.0
    page.show()
    assert told == [1600, 780 / 2]
