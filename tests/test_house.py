"""The rules of the house: who imports whom, how long files are, whether the README is true."""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyddpm

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "tinyddpm").rglob("*.py"))

# The plan of the house: what the files of a room may import besides each other.
GROUND_FLOOR = {
    "checkpoint", "config", "device", "doors", "files", "pickles", "progress", "randomness",
    "ranks", "safetensors", "shared", "worker", "workers",
}  # fmt: skip
MAY_IMPORT = {
    "nn": set(),
    "nn/fast": {"nn"},
    "diffusion": {"nn/tape"},
    "data": set(),
    "evaluation": {"nn", "diffusion", "data", "interop/torch_file"},
    "pictures": {"diffusion", "data", "evaluation"},
    "interop": {"nn", "diffusion"},
    "training": {"nn", "diffusion", "data", "evaluation", "pictures", "interop"},
}
CHOOSES = "nn/layers"  # the one plain file that knows the fast ones


def place(path):
    """A file of the package without its ending: nn/conv."""
    return path.relative_to(ROOT / "tinyddpm").with_suffix("").as_posix()


def room(path):
    """The folder of a file, or "" for one of the ground floor."""
    return place(path).rpartition("/")[0]


def imported(path):
    """What a file imports: places in the package (nn/conv), and others as "/NAME"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            start = path.parents[node.level - 1] / (node.module or "").replace(".", "/")
            files = [start] if start.with_suffix(".py").exists() else [
                found if (found := start / alias.name).with_suffix(".py").exists() else start
                for alias in node.names
            ]  # fmt: skip
            yield from (file.relative_to(ROOT / "tinyddpm").as_posix() for file in files)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"/{name.split('.')[0]}" for name in names)


VISITORS = {"__init__", "__main__"}  # see the whole house, as users do
INSIDE = [path for path in PACKAGE if place(path) not in VISITORS]


@pytest.mark.parametrize("path", INSIDE, ids=place)
def test_imports_run_one_way(path):
    here, names = room(path), {name for name in imported(path) if name[0] != "/"}
    assert "/tinyddpm" not in imported(path), "inside the package, imports are relative"
    if not here:
        assert names <= GROUND_FLOOR
    for name in names - GROUND_FLOOR:
        there = name.rpartition("/")[0] or name
        allowed = (
            {here}
            | MAY_IMPORT.get(here, set())
            | ({"nn/fast"} if place(path) == CHOOSES else set())
        )
        assert there in allowed or name in allowed, f"{place(path)} may not import {name}"


def test_no_file_imports_itself_by_a_detour():
    graph = {place(path): {n for n in imported(path) if n[0] != "/"} for path in INSIDE}
    for name in ("nn/fast", "data", "interop"):  # a folder is what its __init__ imports
        graph[name] = graph.get(f"{name}/__init__", set())
    done = set()
    while len(done) < len(graph):
        ready = {name for name, uses in graph.items() if uses & graph.keys() <= done} - done
        assert ready, f"a circle among {sorted(set(graph) - done)}"
        done |= ready


def test_plain_layers_know_nothing_of_fast_ones():
    layers = {"activation", "attention", "broadcast", "concat", "conv", "dropout", "embedding"}
    layers |= {"linear", "norm", "resample"}
    for path in (ROOT / "tinyddpm/nn").glob("*.py"):
        if place(path) != CHOOSES:
            assert not re.search("fast|winograd", path.read_text(encoding="utf-8").lower()), path
        if path.stem in layers:
            assert not {f"nn/{name}" for name in layers} & set(imported(path)), path


def test_only_numpy_and_pillow_are_imported_and_cupy_when_needed():
    allowed = {"numpy", "PIL", "tinyddpm", *sys.stdlib_module_names}
    ours = {"pytest", "conftest", "published"} | {
        path.stem for path in (ROOT / "tests").glob("*.py")
    }
    optional = {
        "device.py": {"cupy"}, "kernels.py": {"cupy", "cupy_backends"},
        "benchmark.py": {"torch"}, "benchmark_torch.py": {"torch"},
        "benchmark_onnx.py": {"onnxruntime", "torch"},
        "make_reference.py": {"diffusers", "safetensors", "torch"},
        "make_torch_files.py": {"torch"}, "ranks.py": {"mpi4py"},
        "real.py": {"diffusers", "torch"},
    }  # fmt: skip
    ours |= {path.stem for path in (ROOT / "examples").glob("*.py")} | {"learning"}
    for path in PACKAGE + [*ROOT.glob("examples/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        outside = {name[1:] for name in imported(path) if name[0] == "/"} - allowed
        if path not in PACKAGE:
            outside -= ours
        assert outside == optional.get(path.name, set()), path
        if path in PACKAGE and "cupy" not in optional.get(path.name, ()):
            assert "cupy" not in path.read_text(encoding="utf-8").lower(), path
    assert not sys.modules.get("cupy")


NO_LAYERS = {"__init__", "blocks", "condition", "gradcheck", "layers", "optim", "tape", "unet"}
NO_LAYERS |= {"unet_config", "watch"}
LAYERS = [path for path in (ROOT / "tinyddpm/nn").glob("*.py") if path.stem not in NO_LAYERS]


def test_layers_keep_the_input_s_precision_and_any_device():
    for path in LAYERS:
        text = path.read_text(encoding="utf-8")
        for word in ("import numpy", "np.", "float32)", ".var(", "abs(", "sliding_window_view"):
            assert word not in text, f"{path.name}: {word}"


APART = {"nn/fast", "interop", "evaluation"}  # no reading for everybody


def code_lines(path):
    """Lines that are neither blank nor in a docstring."""
    text = path.read_text(encoding="utf-8")
    docs = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(i not in docs and bool(line.strip()) for i, line in enumerate(text.splitlines(), 1))


def test_files_and_functions_are_short():
    assert sum(code_lines(path) for path in PACKAGE if room(path) not in APART) <= 4260
    assert sum(code_lines(path) for path in PACKAGE if room(path) == "nn/fast") <= 1000
    for path in PACKAGE:
        assert path.read_text(encoding="utf-8").count("\n") <= 200, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                size = node.end_lineno - node.lineno + 1
                assert size <= 40, f"{path.name}: {node.name} has {size} lines"


def test_every_public_name_says_what_it_is():
    """Backward and forward of a layer are described by their class; one-line properties by name."""
    for path in PACKAGE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for scope in (tree, *classes):
            if getattr(scope, "name", "")[:1] == "_":
                continue
            for node in scope.body:
                public = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_"
                if public and node.name not in {"forward", "backward", "update"}:
                    assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_every_layer_with_weights_states_its_backward_and_what_it_keeps():
    for path in LAYERS:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name != "Identity":
                text = ast.get_docstring(node)
                assert "Backward" in text, node.name
                assert "Keeps" in text or node.name == "Sinusoid", node.name


def test_names_that_others_rely_on_are_exported():
    for name in ("UNet", "UNetConfig", "Tape", "Layout", "Param", "Schedule", "ancestral", "train"):
        assert name in tinyddpm.__all__
    assert all(hasattr(tinyddpm, name) for name in tinyddpm.__all__)
    for path in ROOT.glob("examples/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("tinyddpm"):
                assert node.module == "tinyddpm", f"{path.name} imports from {node.module}"
                assert {alias.name for alias in node.names} <= set(tinyddpm.__all__)


READMES = [ROOT / "README.md", *sorted(ROOT.glob("tinyddpm/**/README.md"))]
READMES += [ROOT / "examples/README.md", ROOT / "tests/README.md"]


def test_every_room_has_a_sign_and_names_its_files():
    """A file that nobody is told about is in the wrong room, or its sign is old."""
    rooms = {path.parent for path in PACKAGE} - {ROOT / "tinyddpm"} | {ROOT / "tests"}
    for folder in rooms:
        sign = (folder / "README.md").read_text(encoding="utf-8")
        for path in folder.glob("*.py"):
            assert path.name == "__init__.py" or f"]({path.name})" in sign, path
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_of_a_readme_exist(readme):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", readme.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (readme.parent / target).exists(), target


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_a_readme_runs(readme, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {"np": np}
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for block in re.findall(
            r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL
        ):
            exec(compile(block, str(readme), "exec"), names)
