"""Digits as text, and `python -m tinyddpm`, which draws them."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyddpm import load_pretrained, terminal_text
from tinyddpm.pictures import terminal


class Screen(io.StringIO):
    """A stream with the encoding that it is said to have; a terminal if told so."""

    def __init__(self, encoding="utf-8", terminal=True):
        super().__init__()
        self.name, self.terminal = encoding, terminal

    encoding = property(lambda self: self.name)

    def isatty(self):
        return self.terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WT_SESSION", "a terminal with colours, on Windows, too")
    monkeypatch.setenv("COLUMNS", "80")


def half_white():
    """An image whose upper quarter is white, then grey, then black."""
    image = np.full((1, 28, 28, 1), -1.0, np.float32)
    image[:, :7], image[:, 7:14] = 1, 0
    return image


def test_colours_are_greys_of_two_pixels_each():
    lines = terminal_text(half_white(), Screen()).splitlines()
    assert len(lines) == 14
    assert lines[0] == "\x1b[38;5;255;48;5;255m▀" * 28 + "\x1b[0m"
    assert lines[3].startswith("\x1b[38;5;255;48;5;244m▀")  # row 6 is white, row 7 grey
    assert lines[-1] == "\x1b[38;5;232;48;5;232m▀" * 28 + "\x1b[0m"


@pytest.mark.parametrize("stream, light, grey", [
    (Screen(terminal=False), "█", "▒"), (Screen("ascii"), "#", ":"),
    (Screen("latin-1", terminal=False), "#", ":"), (Screen(None, terminal=False), "#", ":"),
])  # fmt: skip
def test_without_colours_there_are_shades(stream, light, grey):
    lines = terminal_text(half_white(), stream).splitlines()
    assert lines[0] == light * 28 and lines[5] == grey * 28 and lines[-1] == ""


def test_shades_have_about_as_many_of_the_256_greys_each():
    line = terminal._shaded(np.tile(np.arange(256), (1, 2, 1)), blocks=False)
    assert [line.count(shade) for shade in " .:+#"] == [52, 51, 51, 51, 51]


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nobody_who_asks_for_no_colours_gets_them(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert "\x1b" not in terminal_text(half_white(), Screen())


@pytest.mark.parametrize("count, columns, across, rows", [
    (1, 80, 28, 14), (4, 80, 80, 10), (5, 80, 80, 8), (7, 80, 80, 16), (3, 10, 10, 15),
])  # fmt: skip
def test_it_fits_the_terminal(count, columns, across, rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = terminal_text(half_white().repeat(count, axis=0), Screen()).splitlines()
    assert [len(re.findall("▀", line)) for line in lines] == [across] * rows


def run(*arguments, folder, **environment):
    command = [sys.executable, "-m", "tinyddpm", *arguments]
    known = {"PATH", "SYSTEMROOT", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH"}
    environment |= {name: os.environ[name] for name in known & os.environ.keys()}
    environment.setdefault("PYTHONIOENCODING", "utf-8")
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60
    )


def test_it_draws_in_an_empty_folder(tmp_path):
    first = run("20", folder=tmp_path)
    assert first.returncode == 0 and first.stderr == ""
    assert "█" in first.stdout and first.stdout.splitlines()[-1].startswith("20.png: drawn from")
    again = run("20", folder=tmp_path, PYTHONIOENCODING="ascii")
    assert "#" in again.stdout and "20-2.png" in again.stdout
    assert (tmp_path / "20.png").read_bytes() == (tmp_path / "20-2.png").read_bytes()
    with Image.open(tmp_path / "20.png") as picture:
        assert picture.size == (248, 128)


@pytest.mark.parametrize("word", ["12a", "-3", "", "٣", "1" * 51])
def test_what_is_no_digit_is_a_sentence(word, tmp_path):
    failed = run("--", word, folder=tmp_path)
    assert failed.returncode == 1 and failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1 and "such as 2026" in failed.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="wants a folder where nobody may write")
def test_where_nothing_can_be_written_it_says_what_to_do():
    failed = run("7", folder="/sys")
    assert failed.returncode == 1 and "█" in failed.stdout
    assert failed.stderr.startswith("error: ") and failed.stderr.endswith("may write\n")
    assert failed.stderr.count("\n") == 1


def test_the_pretrained_model_is_small_and_knows_ten_digits():
    trained = load_pretrained("mnist")
    assert trained.theta.dtype == np.float32 and 2 * trained.theta.size < 2_000_000
    assert trained.labels == tuple(range(10)) and trained.can_guide
    with pytest.raises(ValueError, match="'cats': choose from mnist"):
        load_pretrained("cats")
