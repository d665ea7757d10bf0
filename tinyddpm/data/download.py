"""Files from the network: whole and verified, or not at all, and no long wait for either."""

import queue
import threading
import urllib.parse
import urllib.request

from ..progress import Progress

PATIENCE = 6.0  # seconds without a byte, over all mirrors, before a download is given up


class DataUnavailable(Exception):
    """A data set could not be had; the message says why and what to do."""


def fetch(name, urls, size, parse):
    """A file from the first of `urls` where `parse(content)` raises no ValueError.

    Returns (content, parse(content)).

    size       about how many bytes to expect; twice as many are refused
    Raises     DataUnavailable if no mirror has it, or after PATIENCE seconds of silence

    A thread asks, because looking up a name knows no time limit: if it hangs, it is left behind.
    """
    news = queue.Queue()
    arguments = (urls, size, parse, news)
    threading.Thread(target=_ask_mirrors, args=arguments, daemon=True).start()
    kind = "bytes"
    with Progress(f"fetching {name}", size) as progress:
        while True:
            try:
                kind, value = news.get(timeout=None if kind == "whole" else PATIENCE)
            except queue.Empty:
                kind, value = "failure", f"no answer for {PATIENCE:.0f} seconds"
            if kind == "failure":
                raise DataUnavailable(f"{name} could not be downloaded ({value})")
            if kind == "file":
                return value
            progress.show(value)


def _ask_mirrors(urls, size, parse, news):
    """Puts ("bytes", count) again and again, then ("file", its result) or ("failure", why).

    Before it checks a file, which takes as long as it takes, it puts ("whole", count).
    """
    reason = "no mirror is known"
    for url in urls:
        news.put(("bytes", 0))
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE / len(urls)) as answer:
                content = bytearray()
                while piece := answer.read1(1 << 16):
                    content += piece
                    if len(content) > 2 * size:
                        raise ValueError("far more bytes than the file has")
                    news.put(("bytes", len(content)))
            news.put(("whole", len(content)))
            return news.put(("file", (content, parse(content))))
        except Exception as error:  # a network can fail in more ways than OSError names
            reason = f"{urllib.parse.urlsplit(url).netloc}: {getattr(error, 'reason', error)}"
    news.put(("failure", reason))
