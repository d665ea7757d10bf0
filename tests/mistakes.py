"""The mistakes that mutate.py can plant in a file: a sign, a constant, a line that is missing."""

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

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
    function: int  # the line in which the outermost function around it begins, 0 outside
    was: str  # the line, and what becomes of it
    becomes: str

    @property
    def key(self):
        """The mistake without the line's number, which changes."""
        return f"{self.file.relative_to(ROOT).as_posix()}: {self.was} => {self.becomes}"

    def __str__(self):
        return f"{self.key}  (line {self.line}, {self.kind})"


def mutants_of(file):
    """Every mutant of a file that this program knows how to make."""
    source = file.read_bytes()
    starts = [0]  # of the lines, in bytes, as the syntax tree counts
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, function in code(ast.parse(source)):
        for kind, part, text in mistakes(node):
            start = starts[part.lineno - 1] + part.col_offset
            stop = starts[part.end_lineno - 1] + part.end_col_offset
            first, last = starts[part.lineno - 1], starts[part.end_lineno]
            was = source[first:last].decode()
            becomes = (source[first:start] + text.encode() + source[stop:last]).decode()
            was, becomes = (" ".join(lines.split()) for lines in (was, becomes))
            if text != ast.unparse(part):
                found.append(
                    Mutant(file, start, stop, text, kind, part.lineno, function, was, becomes)
                )
    return found


def code(node, function=0):
    """All nodes of a tree but those that only say something: raise, f-strings, annotations.

    Each comes with the line in which the outermost function around it begins, decorators included.
    """
    if isinstance(node, ast.FunctionDef) and not function:
        function = min(part.lineno for part in (node, *node.decorator_list))
    yield node, function
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.Raise, ast.JoinedStr)):
                yield from code(child, function)


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
