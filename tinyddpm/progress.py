"""The line that says how far the work is, and streams that take it whatever happens to them."""

import os
import shutil
import sys
import time
from contextlib import suppress

REDRAW_S = 0.1  # a terminal's line is drawn again at most this often
PLAIN_S = 20.0  # a log file gets a line this often


class SafeStream:
    """A text stream that can always be written to: work never ends because of what it says.

    A character that the encoding lacks becomes "?". If nobody reads any more (the other end of a
    pipe has died, the disk is full, there never was a stream: `None`), there is silence.
    """

    def __init__(self, stream):
        gone = stream is None or getattr(stream, "closed", False)
        self.stream = open(os.devnull, "w", encoding="utf-8") if gone else stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        """Write a text, at once."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.write(text.encode("ascii", "replace").decode())
        except (OSError, ValueError):
            self._fall_silent()
        self.flush()

    def flush(self):
        """Write what is waiting; `write` does that, too."""
        try:
            self.stream.flush()
        except (OSError, ValueError):
            self._fall_silent()

    def _fall_silent(self):
        """Python writes what is left in its buffer when it ends, which must not fail either."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


class Progress:
    """A line such as `mnist  1,200/2,800   43%  loss 0.0301  108 images/s  6:10, 8:13 left`.

    On a terminal it is one line, drawn again and again; elsewhere (a pipe, a file, CI, TERM=dumb)
    it is plain lines, the first of them soon. Leaving it as a context manager ends the line.

    total      how much there is to do; `start` how much of it was done before
    unit, per  what the rate counts: `per` units for each step; without a unit no rate is shown
    """

    def __init__(self, title, total, start=0, unit="", per=1, stream=None):
        self.title, self.total, self.start = title, total, start
        self.unit, self.per = unit, per
        self.stream = SafeStream(stream or sys.stderr)
        dumb = os.environ.get("CI") or os.environ.get("TERM") == "dumb"
        self.redraws = self.stream.isatty() and not dumb
        self.began = time.monotonic()
        self.next = self.began + (0 if self.redraws else 2)
        self.width = 0  # of the line on the screen

    def show(self, done, note=""):
        """Say that `done` of the total are done; `note` stands in the middle of the line."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (REDRAW_S if self.redraws else PLAIN_S)
        self._write(self._line(done, note, now - self.began))

    def clear(self):
        """Take the line off the screen, so that something else can be printed."""
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.width = 0

    def _line(self, done, note, elapsed):
        rate = (done - self.start) / elapsed if elapsed else 0
        fields = [self.title, f"{done:,}/{self.total:,}", f"{done / self.total:4.0%}", note]
        if self.unit:
            fields.append(f"{rate * self.per:,.0f} {self.unit}/s")
        fields.append(clock(elapsed))
        if rate:
            fields[-1] += f", {clock((self.total - done) / rate)} left"
        return "  ".join(field for field in fields if field)

    def _write(self, line):
        if self.redraws:
            line = line[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + line.ljust(self.width))
            self.width = len(line)
        else:
            self.stream.write(line + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.width:
            self.stream.write("\n")
            self.width = 0


def with_progress(steps, title, total):
    """Yield what `steps` yields, `total` things, with a progress line."""
    with Progress(title, total) as progress:
        for done, step in enumerate(steps, 1):
            progress.show(done)
            yield step
        progress.clear()


def in_words(seconds):
    """How long that is: "about 12 minutes", "about 3.5 hours", "less than two minutes"."""
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"about {round(seconds / size, 1):.3g} {unit}"
    return "less than two minutes"


def clock(seconds):
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
