"""Run a reader's code: what goes wrong in it becomes a few lines that help."""

import _thread
import ast
import threading
import traceback
from itertools import product

import numpy as np

from learning import source

SECONDS = 2  # for code that answers in milliseconds


class Trouble(Exception):
    """What stopped the reader's code, in lines; `kind` tells two troubles apart."""

    def __init__(self, lines, kind=None):
        super().__init__("\n".join(lines))
        self.lines, self.kind = lines, kind


def load(path, lesson):
    """The names that a reader's file defines. Trouble if it has nothing to check."""
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        where = f"{path}, line {error.lineno}: {line.strip()}"
        raise Trouble([where, f"    {error.msg}"]) from None
    hole = source.find(tree, lesson.hole)
    if hole is None:
        raise Trouble([f"{path} has no {lesson.hole}: put it back, or delete the file"])
    if source.is_empty(hole):
        raise Trouble([f"{path}, line {hole.lineno}: {lesson.hole} is still empty: write it"])
    return watched(lambda: execute(compile(text, str(path), "exec"), lesson), path)


def execute(code, lesson):
    """The names that code defines, with relative imports as in the lesson's file of the package."""
    names = {"__name__": f"lesson.{lesson.name}", "__package__": lesson.module.rpartition(".")[0]}
    exec(code, names)
    return names


def watched(run, path):
    """run(), but Trouble for an exception in it, or if the file at `path` does not come to an "
    "end."""
    timer = threading.Timer(SECONDS, _thread.interrupt_main)
    timer.start()
    try:
        with np.errstate(all="ignore"):
            return run()
    except KeyboardInterrupt as error:
        if timer.is_alive():
            raise  # somebody did press Ctrl-C
        lines = _place(error, path) + [f"    stopped after {SECONDS} seconds: it does not end"]
        raise Trouble(lines) from None
    except Exception as error:
        raise _explained(error, path) from None
    finally:
        timer.cancel()


def _place(error, path):
    """Where in the reader's file it happened, as a line; nothing if it was not there."""
    _, number = _own_frame(error, path)
    return [f"{path}, line {number}: {_line(path, number)}"] if number else [f"{path}:"]


def in_words(error):
    return f"{type(error).__name__}: {error}"


def _explained(error, path):
    said = in_words(error)
    frame, number = _own_frame(error, path)
    if frame is None:
        return Trouble([f"{path}: what it returns cannot be used", f"    {said}"], said)
    statement = _statement(path, number)
    operands = _operands(statement, frame) if statement else {}
    lines = _place(error, path)
    if operands:
        lines += ["    " + ", ".join(f"{name} {a.shape}" for name, a in operands.items())]
    lines += [f"    {said}", *(f"  hint    {hint}" for hint in _advice(statement, operands, error))]
    return Trouble(lines, said)


def _own_frame(error, path):
    """The innermost frame of the reader's file in an exception's trace, and its line."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(f, number) for f, number in frames if f.f_code.co_filename == str(path)]
    return own[-1] if own else (None, None)


def _line(path, number):
    return path.read_text(encoding="utf-8").splitlines()[number - 1].strip()


def _statement(path, number):
    """The smallest statement that has this line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= number <= node.end_lineno
    ]
    return min(found, key=lambda node: node.end_lineno - node.lineno, default=None)


def _operands(statement, frame):
    """{source: array} of all that the statement computes with and that can be looked at again."""
    found = {}
    for node in ast.walk(statement):
        parts = []
        if isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        elif isinstance(node, ast.AugAssign):
            parts = [node.target, node.value]
        elif isinstance(node, ast.Call):
            parts = [*node.args, getattr(node.func, "value", node.func)]
        elif isinstance(node, (ast.Assign, ast.Return)):
            parts = [node.value]
        for part in parts:
            value = _look(part, frame)
            if isinstance(value, np.ndarray):
                found[ast.unparse(part)] = value
    return found


def _look(node, frame):
    """What an expression is worth in a frame, or None if it could change something, or fails."""
    changes = {"pop", "push", "forward", "backward", "standard_normal", "random", "append", "next"}
    words = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    words |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    if words & changes:
        return None
    text = ast.unparse(node)
    try:
        with np.errstate(all="ignore"):
            return eval(text, frame.f_globals, frame.f_locals)
    except Exception:
        return None


def _advice(statement, operands, error):
    """What usually helps, from the shapes."""
    if isinstance(error, RuntimeError) and "tape" in str(error):
        yield (
            "what forward pushed, backward pops: everything once, the last one first (rule 5). "
            "Is a "
            "layer left out, asked twice, or in the wrong place?"
        )
    if "math domain" in str(error):
        yield "this is the root of a negative number: is what you take off a variance, and its own?"
    if "read-only" in str(error):
        yield "dy, x and the weights belong to others: never write into them, make a new array"
    for node in ast.walk(statement) if statement else ():
        if isinstance(node, ast.BinOp):
            by_shape = _fitting_order if isinstance(node.op, ast.MatMult) else _lost_axis
            yield from by_shape(node, operands)
        if isinstance(node, ast.AugAssign):
            target, value = (operands.get(ast.unparse(n)) for n in (node.target, node.value))
            if target is not None and value is not None and value.ndim >= target.ndim:
                if value.shape != target.shape:
                    name = ast.unparse(node.target)
                    yield (
                        f"a gradient has its variable's shape, {name} has {target.shape} (rule 1): "
                        "what forward copied along other axes, backward sums over them (rule 3)"
                    )


def _lost_axis(node, operands):
    """Why two operands do not fit number by number, if an axis was lost or @ would fit."""
    names = [ast.unparse(node.left), ast.unparse(node.right)]
    a, b = (operands.get(name) for name in names)
    if a is None or b is None or _broadcast(a, b):
        return
    if isinstance(node.op, ast.Mult) and min(a.ndim, b.ndim) > 1 and a.shape[-1] == b.shape[-2]:
        yield "* multiplies number by number; a product of matrices is @, which fits here"
        return
    for small, large, name in ((a, b, names[0]), (b, a, names[1])):
        for axis in range(large.ndim):
            if np.delete(large.shape, axis).tolist() == list(small.shape):
                yield f"{name} has lost axis {axis}: keepdims=True, or None in its place, keeps it"
                return
    yield (
        f"{a.shape} and {b.shape} do not fit number by number: write beside each name what its "
        "axes are. Is one transposed, summed too early, or from another place?"
    )


def _broadcast(a, b):
    try:
        np.broadcast_shapes(a.shape, b.shape)
        return True
    except ValueError:
        return False


def _fitting_order(node, operands):
    """Which transposes of the two operands of @ fit: often only one way."""
    names = [ast.unparse(node.left), ast.unparse(node.right)]
    a, b = (operands.get(name) for name in names)
    if a is None or b is None or min(a.ndim, b.ndim) < 2 or a.shape[-1] == b.shape[-2]:
        return
    fitting = []
    for order in ((0, 1), (1, 0)):
        for turned in product((False, True), repeat=2):
            left, right = (
                (operands[names[i]].swapaxes(-1, -2) if turned[i] else operands[names[i]])
                for i in order
            )
            if left.shape[-1] == right.shape[-2]:
                words = [names[i] + ("ᵀ" if turned[i] else "") for i in order]
                fitting.append(f"{words[0]} @ {words[1]} {left.shape[:-1] + right.shape[-1:]}")
    if fitting:
        yield "a transpose is missing, or one too many; these fit: " + ", ".join(fitting)
