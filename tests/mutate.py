"""Would the tests notice? Plant mistakes in the package, one at a time, and see which tests fail.

    python tests/mutate.py                          300 mistakes over all rooms; takes hours
    python tests/mutate.py --only nn diffusion      in these rooms (or files) alone
    python tests/mutate.py --count 40 --seed 1      forty others

Each mistake is planted in a copy of the project, and the tests that name most of what the file
defines run first: the first failure kills it. What no test has noticed is printed with its line.
Some changes change nothing that anybody could see; they stand in tests/equivalent_mutants.txt,
each with the reason, and are left out. Layers for a GPU are tried only where CuPy is.
"""

import argparse
import ast
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.txt"
PATIENCE = 1200  # seconds for the tests of one mistake; one that hangs is noticed, too

SWAPS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.MatMult: "*",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip


class Mutant(NamedTuple):
    """A mistake: in `file`, the bytes from `start` to `stop` become `text`."""

    file: Path
    start: int
    stop: int
    text: str
    kind: str
    line: int
    before: str

    def __str__(self):
        name = self.file.relative_to(ROOT).as_posix()
        return f"{name}:{self.line}: {self.kind}: {self.before} -> {self.text or 'nothing'}"

    @property
    def key(self):
        """The same without the number of the line, which changes."""
        return re.sub(r":\d+:", ":", str(self), count=1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300, help="mistakes in all (300)")
    parser.add_argument("--seed", type=int, default=0, help="which of them (0)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="ROOM", help="rooms or files")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time (1)")
    parser.add_argument("--list", action="store_true", help="only say which")
    arguments = parser.parse_args()
    mutants = chosen(arguments)
    if arguments.list:
        print(*mutants, sep="\n")
        return
    killed, made = Counter(), Counter()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number, (mutant, by) in enumerate(zip(mutants, pool.map(fate, mutants)), 1):
            room = mutant.file.relative_to(ROOT).parent.as_posix()
            made[room] += 1
            killed[room] += bool(by)
            print(f"{number}/{len(mutants)} {by or 'SURVIVED'}  {mutant}", flush=True)
    print("\n| room | mistakes | noticed |\n|---|---|---|")
    for room in sorted(made):
        print(f"| {room} | {made[room]} | {killed[room]} |")
    sys.exit(sum(killed.values()) != sum(made.values()))


def chosen(arguments):
    """The mutants to try: from each kind about as many, in any file of the rooms asked for."""
    known = set()
    if EQUIVALENT.exists():
        lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
        known = {line for line in lines if line and not line.startswith("#")}
    files = sorted((ROOT / "tinyddpm").rglob("*.py"))
    if not importlib.util.find_spec("cupy"):
        files = [f for f in files if f.name != "kernels.py" and not f.name.startswith("gpu_")]
    wanted = [f for f in files if any(f"/{only}" in f.as_posix() for only in arguments.only)]
    kinds = {}
    for mutant in (m for file in wanted for m in mutants_of(file) if m.key not in known):
        kinds.setdefault(mutant.kind, []).append(mutant)
    rng, some = random.Random(arguments.seed), []
    for of_a_kind in kinds.values():
        rng.shuffle(of_a_kind)
    while len(some) < arguments.count and any(kinds.values()):
        some += [of_a_kind.pop() for of_a_kind in kinds.values() if of_a_kind]
    return sorted(some[: arguments.count])


def mutants_of(file):
    """Every mutant of a file that this program knows how to make."""
    source = file.read_text(encoding="utf-8")
    starts = [0]  # of the lines, in bytes, as the syntax tree counts
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in code(ast.parse(source)):
        for kind, part, text in mistakes(node):
            start = starts[part.lineno - 1] + part.col_offset
            stop = starts[part.end_lineno - 1] + part.end_col_offset
            before = " ".join(ast.unparse(part).split())
            if text != before:
                found.append(Mutant(file, start, stop, text, kind, part.lineno, before))
    return found


def code(node):
    """All nodes of a tree but those that only say something: raise, f-strings, annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.Raise, ast.JoinedStr)):
                yield from code(child)


def mistakes(node):
    """(kind, the node that is replaced, by which text) for every mistake that fits a node."""
    say = ast.unparse
    if isinstance(node, ast.BinOp):
        left, right = f"({say(node.left)})", f"({say(node.right)})"
        if type(node.op) in SWAPS:
            yield "another sign", node, f"({left} {SWAPS[type(node.op)]} {right})"
        if isinstance(node.op, (ast.Add, ast.Sub)):
            yield "a term less", node, left
        if isinstance(node.op, (ast.Mult, ast.Div)):
            yield "a factor less", node, left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield "no minus, no not", node, f"({say(node.operand)})"
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        left, others = say(node.left), node.comparators
        text = f"({left} {SWAPS[type(node.ops[0])]} {say(others[0])})"
        if len(others) == 1:
            yield "another comparison", node, text
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        yield "and for or", node, f"({word.join(f'({say(value)})' for value in node.values)})"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        value = node.value
        other = not value if type(value) is bool else value + 1 if type(value) is int else value * 2
        yield "another constant", node, repr(other or 1.0 if type(value) is float else other)
    elif isinstance(node, ast.Call):
        yield from swapped(node)
    elif isinstance(node, ast.AugAssign):
        yield "statement removed", node, "pass"
        yield "set, not added", node, f"{say(node.target)} = {say(node.value)}"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "statement removed", node, "pass"
    elif isinstance(node, ast.Assign) and isinstance(
        node.targets[0], (ast.Attribute, ast.Subscript)
    ):
        yield "statement removed", node, "pass"


def swapped(call):
    """Calls whose first two arguments have changed places, axes of a transpose among them."""
    if len(call.args) > 1 and not any(isinstance(arg, ast.Starred) for arg in call.args):
        first, second, *rest = call.args
        others = [*rest, *call.keywords]
        text = ", ".join(ast.unparse(arg) for arg in (second, first, *others))
        yield "swapped", call, f"{ast.unparse(call.func)}({text})"


def fate(mutant):
    """The test that notices a mutant, or "" if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs*", "__pycache__"))
        planted = copy / mutant.file.relative_to(ROOT)
        source = planted.read_bytes()
        planted.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.stop :])
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no"]
        try:
            done = subprocess.run(
                [*command, *most_relevant(mutant.file, copy)], cwd=copy, env=environment,
                capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "too slow"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else "the tests could not begin"


def most_relevant(file, copy):
    """All files of tests, those first that name most of what `file` defines."""
    names = set(re.findall(r"^(?:def|class) (\w+)|^(\w+) =", file.read_text("utf-8"), re.MULTILINE))
    names = {name for pair in names for name in pair if name}

    def share(test):
        return -len(names & set(re.findall(r"\w+", test.read_text(encoding="utf-8"))))

    tests = sorted((copy / "tests").glob("test_*.py"), key=lambda test: (share(test), test.name))
    house = [test for test in tests if test.stem == "test_house"]  # knows only how files look
    return [str(test) for test in tests if test not in house]


if __name__ == "__main__":
    main()
