"""The rules of the house: who imports whom, how long files are, whether the README is true."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import tinyddpm

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "tinyddpm").rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Who may import whom: a room may use the rooms named here, and nothing else of the package.
MAY_IMPORT = {
    "device": "", "progress": "", "config": "", "randomness": "", "workers": "", "checkpoint": "",
    "tape": "", "schedule": "device", "optim": "device", "layers": "device tape",
    "blocks": "device layers tape", "unet": "blocks config layers tape",
    "diffusion": "schedule", "samplers": "device diffusion tape", "gradcheck": "tape",
    "download": "progress", "data": "checkpoint download randomness", "digits": "data randomness",
    "pictures": "checkpoint device",
    "gallery": "pictures data diffusion progress randomness samplers",
    "run": "checkpoint config optim randomness schedule unet",
    "train": "gallery data diffusion optim progress randomness run schedule tape unet workers",
}  # fmt: skip


def room(path):
    return path.relative_to(ROOT / "tinyddpm").parts[0].removesuffix(".py")


def imported(path):
    """The rooms of the package that a file imports, and the top names of everything else."""
    depth = len(path.relative_to(ROOT / "tinyddpm").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"layers.{node.module}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"/{name.split('.')[0]}" for name in names)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if path.name == "__init__.py":
        return
    inside = {name for name in imported(path) if not name.startswith("/")}
    assert inside <= set(MAY_IMPORT[room(path)].split())


def test_the_plan_of_imports_has_no_circle():
    done = set()
    while len(done) < len(MAY_IMPORT):
        ready = {r for r, uses in MAY_IMPORT.items() if set(uses.split()) <= done} - done
        assert ready, f"a circle among {set(MAY_IMPORT) - done}"
        done |= ready


def test_only_numpy_and_pillow_are_imported_and_cupy_by_one_file_when_needed():
    import sys

    for path in PACKAGE + sorted((ROOT / "examples").glob("*.py")):
        if path.parent.name == "examples":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            outside = {node.module.split(".")[0] for node in nodes}
        else:
            outside = {name[1:] for name in imported(path) if name.startswith("/")}
        allowed = {"numpy", "PIL", "tinyddpm"} | ({"cupy"} if path.name == "device.py" else set())
        assert outside <= allowed | set(sys.stdlib_module_names), path
        if path.name != "device.py":
            assert "cupy" not in path.read_text(encoding="utf-8").lower(), path
    assert "cupy" not in sys.modules


def test_layers_keep_the_input_s_precision_and_any_device():
    for path in (ROOT / "tinyddpm/layers").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("import numpy", "np.", "float32)", ".var(", "abs(", "sliding_window_view"):
            assert word not in text, f"{path.name}: {word}"


def test_files_and_functions_are_short():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in PACKAGE}
    assert sum(lines.values()) <= 3000
    for path, count in lines.items():
        assert count <= 200, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                size = node.end_lineno - node.lineno + 1
                assert size <= 45, f"{path.name}: {node.name} has {size} lines"


def test_every_public_name_says_what_it_is():
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            public = isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name[0] != "_"
            if public and node.name not in {"forward", "backward", "init"}:
                inner = [child for child in ast.walk(node) if isinstance(child, ast.Return)]
                trivial = node.end_lineno - node.lineno < 4 and inner
                assert ast.get_docstring(node) or trivial, f"{path.name}: {node.name}"


def test_every_layer_with_weights_states_its_backward_and_what_it_keeps():
    for path in (ROOT / "tinyddpm/layers").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name != "Identity":
                text = ast.get_docstring(node)
                assert "Backward" in text, node.name
                assert "Keeps" in text or node.name == "Sinusoid", node.name


def test_names_that_others_rely_on_are_exported():
    for name in ("UNet", "UNetConfig", "Tape", "Layout", "Param", "Schedule", "ancestral", "train"):
        assert hasattr(tinyddpm, name)


def test_line_counts_in_the_readme_are_right():
    rows = re.findall(r"\| \[`([\w/.]+)`\]\(tinyddpm/[\w/.]+\) \| (\d+) \|", README)
    assert len(rows) == 11
    for name, count in rows:
        lines = (ROOT / "tinyddpm" / name).read_text(encoding="utf-8").count("\n")
        assert lines == int(count), f"{name} has {lines} lines"


def test_links_and_pictures_of_the_readme_exist():
    targets = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = {a or b for a, b in targets if not (a or b).startswith("http")}
    assert len(local) > 12
    for target in local:
        assert (ROOT / target).exists(), target


def test_python_in_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    with np.errstate(all="raise"):
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
