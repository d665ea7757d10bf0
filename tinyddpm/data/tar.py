"""Tar archives, read from one end to the other; nothing is extracted, and names lead nowhere."""

import gzip
import zlib

BLOCK = 512  # bytes


def tar_files(stream, wants, largest, most):
    """(path, content) of the files in a tar archive, gzipped or not, whose path `wants` takes.

    Format     for each file a block: its path at 0, its size in octal digits at 124, the sum of the
               block's bytes at 148, its kind at 156 (0: a file); then its content in whole blocks
    Raises     ValueError if it is damaged, has a file of more than `largest` bytes, or more than
               `most` bytes in all
    """
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=stream)
    try:
        yield from _files(stream, wants, largest, most)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"its gzip is damaged: {error}") from None


def _files(stream, wants, largest, most):
    """The same of a stream that is unpacked."""
    while block := stream.read(BLOCK):
        most -= len(block)
        if any(block):  # at the end there are empty ones
            size = _size(block)
            if size > largest:
                raise ValueError(f"a file of {size:,} bytes is in it, too large for this data set")
            content = stream.read(-(-size // BLOCK) * BLOCK)
            most -= len(content)
            if len(content) < size:
                raise ValueError("it ends in the middle of a file")
            path = block[:100].partition(b"\0")[0].decode("latin-1")
            if block[156:157] in b"0\0" and wants(path):
                yield path, content[:size]
        if most < 0:
            raise ValueError("it is far too large for this data set")


def _size(block):
    """How many bytes follow the block of a file; ValueError unless its checksum is right."""
    try:
        size, checksum = (int(block[a:b].strip(b" \0"), 8) for a, b in ((124, 136), (148, 156)))
    except ValueError:
        size = checksum = -1
    if size < 0 or sum(block) - sum(block[148:156]) + 8 * ord(" ") != checksum:
        raise ValueError("it is no tar archive, or damaged")
    return size
