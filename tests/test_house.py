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
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Who may import whom: a room may use the rooms named here, and nothing else of the package.
MAY_IMPORT = {
    "device": "", "progress": "", "config": "", "files": "", "tape": "",
    "randomness": "device", "workers": "device", "log": "device",
    "schedule": "device", "optim": "device", "fast": "device",
    "layers": "device fast tape",
    "blocks": "device fast layers tape", "condition": "device layers",
    "unet": "blocks condition config layers tape",
    "diffusion": "device schedule", "variational": "device diffusion schedule",
    "samplers": "device diffusion tape", "sampling": "config diffusion samplers",
    "likelihood": "device diffusion samplers variational", "timesteps": "", "metrics": "",
    "gradcheck": "device tape",
    "checkpoint": "files", "interop": "files schedule unet",
    "data": "files progress randomness", "pictures": "device files",
    "plots": "pictures",
    "gallery": "data device diffusion metrics pictures plots progress randomness samplers sampling",
    "run": "checkpoint config data device diffusion files log optim randomness schedule timesteps "
    "unet variational",
    "learner": "data device diffusion randomness run schedule tape unet variational",
    "trained": "config device interop learner run schedule unet workers",
    "train": "gallery data device learner optim progress randomness workers",
}  # fmt: skip


def room(path):
    return path.relative_to(ROOT / "tinyddpm").parts[0].removesuffix(".py")


def imported(path):
    """What a file imports: rooms of the package, neighbours as "FOLDER.NAME", others as "/NAME"."""
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"{path.parent.name}.{node.module or 'switch'}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"/{name.split('.')[0]}" for name in names)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if path.name == "__init__.py":
        return
    names = set(imported(path))
    names -= {"fast.switch", "fast.memory", "fast.arithmetic"}  # what speed paths have in common
    names = {name for name in names if not name.startswith(("data.", "interop."))}
    assert {name for name in names if name[0] != "/"} <= set(MAY_IMPORT[room(path)].split())
    assert "/tinyddpm" not in names, "inside the package, imports are relative"


def test_the_plan_of_imports_has_no_circle():
    done = set()
    while len(done) < len(MAY_IMPORT):
        ready = {r for r, uses in MAY_IMPORT.items() if set(uses.split()) <= done} - done
        assert ready, f"a circle among {set(MAY_IMPORT) - done}"
        done |= ready


def test_only_numpy_and_pillow_are_imported_and_cupy_by_one_file_when_needed():
    allowed = {"numpy", "PIL", "tinyddpm", *sys.stdlib_module_names}
    ours = {"pytest", "conftest"} | {path.stem for path in (ROOT / "tests").glob("*.py")}
    optional = {
        "device.py": {"cupy"}, "benchmark.py": {"torch"}, "benchmark_torch.py": {"torch"},
        "make_reference.py": {"diffusers", "safetensors", "torch"},
    }  # fmt: skip
    ours |= {path.stem for path in (ROOT / "examples").glob("*.py")}
    for path in PACKAGE + [*ROOT.glob("examples/*.py"), *ROOT.glob("tests/**/*.py")]:
        outside = {name[1:] for name in imported(path) if name[0] == "/"} - allowed
        if path not in PACKAGE:
            outside -= ours
        assert outside == optional.get(path.name, set()), path
        if path in PACKAGE and path.name != "device.py":
            assert "cupy" not in path.read_text(encoding="utf-8").lower(), path
    assert not sys.modules.get("cupy")


def test_layers_keep_the_input_s_precision_and_any_device():
    for path in (ROOT / "tinyddpm/layers").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("import numpy", "np.", "float32)", ".var(", "abs(", "sliding_window_view"):
            assert word not in text, f"{path.name}: {word}"


def test_files_and_functions_are_short():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in PACKAGE}
    read = [count for path, count in lines.items() if room(path) != "fast"]  # no reading for all
    assert sum(read) <= 4450  # five papers, what runs them, and published weights
    for path, count in lines.items():
        assert count <= 200, path
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
    for path in (ROOT / "tinyddpm/layers").glob("*.py"):
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


def test_line_counts_in_the_readme_are_right():
    rows = re.findall(r"\| \[`([\w/.]+)`\]\(tinyddpm/[\w/.]+\) \| (\d+) \|", README)
    assert len(rows) == 12
    for name, count in rows:
        lines = (ROOT / "tinyddpm" / name).read_text(encoding="utf-8").count("\n")
        assert lines == int(count), f"{name} has {lines} lines"


def test_links_and_pictures_of_the_readme_exist():
    targets = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = {a or b for a, b in targets if not (a or b).startswith("http")}
    assert len(local) > 12
    for target in local:
        assert (ROOT / target).exists(), target


def test_python_in_the_readme_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
