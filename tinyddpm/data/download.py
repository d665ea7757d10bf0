"""Files from the network: whole and verified, or not at all, and no long wait for either."""

import queue
import threading
import urllib.parse
import urllib.request

from ..doors import brief
from ..progress import Progress

PATIENCE = 6.0  # seconds for the first byte, over all mirrors, before a download is given up
STALL = 30.0  # seconds between one byte and the next


class DataUnavailable(Exception):
    """A data set could not be had; the message says why and what to do."""


def fetch(name, urls, size, parse):
    """A file from the first of `urls` where `parse(content)` raises nothing.

    Returns (content, parse(content)).

    size       about how many bytes to expect; twice as many are refused
    Raises     DataUnavailable if no mirror has it, or none answers for PATIENCE seconds
    """
    reason = "no mirror is known"
    with Progress(f"fetching {name}", size) as progress:
        for url in urls:
            try:
                content = _read(url, 2 * size, PATIENCE / len(urls), progress)
                return content, parse(content)
            except Exception as error:  # of the network, or of a reader of damaged files
                reason = f"{urllib.parse.urlsplit(url).netloc}: {brief(error)}"
    raise DataUnavailable(f"{name} could not be downloaded ({reason})")


def _read(url, most, patience, progress):
    """What is at a URL, if the first byte comes within `patience` seconds; or OSError.

    A thread asks, because looking up a name knows no time limit: if it hangs, it is left behind.
    """
    news = queue.Queue()
    threading.Thread(target=_download, args=(url, most, news), daemon=True).start()
    while True:
        try:
            kind, value = news.get(timeout=patience)
        except queue.Empty:
            raise TimeoutError(f"no answer for {patience:.0f} seconds") from None
        if kind == "failure":
            raise OSError(value)
        if kind == "file":
            return value
        progress.show(value)
        patience = STALL


def _download(url, most, news):
    """Puts ("bytes", count) again and again, then ("file", its content) or ("failure", why)."""
    try:
        with urllib.request.urlopen(url, timeout=STALL) as answer:
            content = bytearray()
            while piece := answer.read1(1 << 16):
                content += piece
                if len(content) > most:
                    raise ValueError("far more bytes than the file has")
                news.put(("bytes", len(content)))
        news.put(("file", content))
    except Exception as error:  # a network can fail in more ways than OSError names
        news.put(("failure", str(getattr(error, "reason", error))))
