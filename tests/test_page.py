"""The page of a run: what it says at the start, on the way and at the end."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from tinyddpm import TrainConfig, UNetConfig
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
    assert "mean loss of the last 100 steps 2.0000" in text and 'max="1"' in text
    assert "\\u003cb>a&b-000200.png" in text, "a name ends no script"

    (run.folder / "samples" / f"{run.dataset.name}-final.png").touch()
    run.step = 900
    text = page_text(run)
    assert Page(text).sources[0].endswith("-final.png")
    assert "refresh" not in text and "minutes left" not in text


def test_nothing_comes_from_elsewhere(run):
    assert not re.search(r"(src|href)=.?(http|//)|@import|url\(", page_text(run, 60))
