"""Where a published network lies: its config.json, its weights, its scheduler_config.json.

FOLDER/config.json, diffusion_pytorch_model.*                    a network
FOLDER/unet/..., FOLDER/scheduler/scheduler_config.json          a pipeline with one
models--OWNER--NAME/snapshots/COMMIT/...                         either, as the hub's cache has it
"""

from contextlib import contextmanager
from pathlib import Path

from ..doors import brief
from ..safetensors import read_json, read_safetensors
from .torch_file import read_torch

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler_config.json"
KINDS = [  # of weights, the best first: whole and averaged, in half precision, not averaged
    f"diffusion_pytorch_model{name}"
    for variant in ("", ".fp16", ".non_ema")
    for ending in ("safetensors", "bin")
    for name in (f"{variant}.{ending}", f".{ending}.index{variant}.json")
]


def network_folder(path):
    """The folder of config.json.

    Raises     FileNotFoundError if there is none at `path`
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the folder of a published network")
    folder = path.parent if path.is_file() else _snapshot(path)
    if path.is_dir() and (folder / "unet").is_dir():
        folder = folder / "unet"
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"there is no {CONFIG} in {folder}: name the folder of a published network"
        )
    return folder


def name_of(path):
    """What a published network is called: the name of its repository, or of its folder."""
    path = Path(path).absolute()
    for folder in (path, *path.parents):
        if folder.name.startswith("models--"):
            return folder.name.split("--")[-1]
    return path.parent.name if path.is_file() else path.name


def draws_latents(path):
    """Whether an autoencoder lies beside a network, to make images of what it draws."""
    folder = network_folder(path)
    beside = [folder.parent / name for name in ("vae", "vqvae")]
    return folder.name.startswith("unet") and any(map(Path.is_dir, beside))


def scheduler_file(path):
    """The scheduler_config.json of a network; FileNotFoundError if there is none.

    Where one lies beside scheduler/, the one in there counts, as it does for diffusers.
    """
    folder = network_folder(path)
    homes = [folder, folder.parent] if folder.name.startswith("unet") else [folder]
    for home in homes:
        for place in (home / "scheduler", home):
            if (place / SCHEDULER).exists():
                return place / SCHEDULER
    raise FileNotFoundError(
        f"{folder} has no {SCHEDULER}, so nobody knows which process the network was trained for: "
        "say it (--schedule, --predicts, --T), or bring the file"
    )


def read_weights(path):
    """The arrays {name: array} of a network's weights, and the file that names them.

    path       the file itself, or where the network lies
    Raises     OSError or ValueError if there are no such files, or damaged ones
    """
    file = Path(path)
    if not file.is_file():
        folder = network_folder(path)
        found = [folder / name for name in KINDS if (folder / name).exists()]
        if not found:
            raise FileNotFoundError(f"there is no {WEIGHTS} in {folder}, nor a .bin in its place")
        file = found[0]
    if file.suffix != ".json":
        return _arrays(file), file
    arrays = {}
    for part in _parts(file):
        for name, array in _arrays(file.parent / part).items():
            if name in arrays:
                raise ValueError(f"{file}: {brief(name)} is in two of its parts")
            arrays[name] = array
    return arrays, file


def read_settings(file):
    """The JSON object in a file; ValueError that names it if there is none."""
    _check_kind(file)
    with naming(file):
        return read_json(file.read_bytes(), float)


@contextmanager
def naming(file):
    """What is wrong inside is said with the name of the file in front."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {brief(error)}") from None


def _snapshot(path):
    """The files behind a folder of the hub's cache; `path` itself if it is none."""
    folder, main = path / "snapshots", path / "refs" / "main"
    if not folder.is_dir():
        return path
    names = [version.name for version in folder.iterdir()]
    wanted = main.read_text("utf-8", "replace").strip() if main.exists() else None
    found = [name for name in names if wanted in (None, name)]
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(names)} versions: name the folder of one of them")
    return folder / found[0]


def _parts(index):
    """The names of the files that an index of weights speaks of."""
    places = read_settings(index).get("weight_map")
    names = sorted(set(map(str, places.values()))) if type(places) is dict else []
    if not names or any(Path(name).name != name or brief(name) != name for name in names):
        raise ValueError(f"{index}: its weight_map should name files beside it")
    return names


def _arrays(file):
    head = _check_kind(file)
    if head[8:9] == b"{" or file.suffix == ".safetensors":
        return read_safetensors(file)[0]
    return read_torch(file)


def _check_kind(file):
    """The first bytes of a file; ValueError if they are those of something put in its place."""
    with open(file, "rb") as opened:
        head = opened.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{file} is a Git LFS pointer, not the file itself: run git lfs pull")
    if head.lstrip().startswith(b"<"):
        raise ValueError(f"{file} is a web page, not the file itself: download it again")
    return head
