"""Your own pictures, in whatever form they are."""

from pathlib import Path

from .arrays import load_arrays
from .download import DataUnavailable
from .folder import load_folder, sha256


def load_own(path, image_size=None, background="white", wanted=None, folder=None):
    """The Dataset at a path: a folder of pictures (`load_folder`) or arrays (`load_arrays`).

    Its `source` holds the first four arguments with which the same data set comes again.
    image_size pixels a side of pictures, 32 unless given; arrays have their own
    wanted     the SHA-256 of its images and labels
    folder     where data sets are kept
    Raises     DataUnavailable if it is not there, or another one; ValueError for what cannot be
    """
    path = Path(path).expanduser().resolve()
    files = [path] if path.is_file() else sorted(path.glob("*train*images*idx3*"))
    if len(files) > 1:
        raise ValueError(f"{path} has {', '.join(file.name for file in files)}: name one of them")
    if files:
        data = load_arrays(files[0])
    else:
        data = load_folder(path, image_size or 32, background=background, cache=folder)
    size, found = data.images.shape[1], sha256(data.images, data.labels)
    if wanted not in (None, found):
        raise DataUnavailable(f"{path} does not hold what the run began with: put that back")
    source = {"path": str(path), "image_size": size, "background": background, "wanted": found}
    return data._replace(source=source)
