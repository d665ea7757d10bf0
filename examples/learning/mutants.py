"""The project's code with one thing changed: every slip that a hand can make in it, in words.

Nobody has to foresee a mistake for it to be recognised. Whoever forgets a factor, a term, a root or
a transpose gets the numbers that the project's code gives when just that is taken out of it.
"""

import ast
import copy
from contextlib import contextmanager


def mutants(functions):
    """Yield (function, words, term or None) while the function has one change in it.

    term is the words for a summand that is left out: any multiple of it is then a known mistake.
    """
    for changes in (LOST_OR_TURNED, MIXED_UP):
        for function in functions:
            names = _local_names(function)
            for parent, field, i, node in list(_places(function)):
                found = changes.get(type(node), lambda node, names: ())
                for new, words, *term in found(node, names):
                    ast.fix_missing_locations(ast.copy_location(new, node))
                    with _changed(parent, field, i, new):
                        yield function, words, *(term or [None])


def _places(function):
    """(parent, field, index in it or None, node) of all nodes in a function, but its parameters."""
    given = set(ast.walk(function.args))
    for parent in (node for node in ast.walk(function) if node not in given):
        for field, value in ast.iter_fields(parent):
            for i, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    yield parent, field, i, node


@contextmanager
def _changed(parent, field, i, new):
    holder = getattr(parent, field)
    old = holder if i is None else holder[i]
    try:
        _put(parent, field, i, new)
        yield
    finally:
        _put(parent, field, i, old)


def _put(parent, field, i, node):
    if i is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[i] = node


def _operation(node, names):
    left, right, op = node.left, node.right, node.op
    a, b = f"`{ast.unparse(left)}`", f"`{ast.unparse(right)}`"

    def joined(left, op, right):
        return ast.BinOp(left, op, right)

    if isinstance(op, (ast.Add, ast.Sub)):
        yield left, f"without the term {b}", b
        yield right, f"without the term {a}", a
        yield joined(left, ast.Mult(), right), f"with the product of {a} and {b} in place of a sum"
        if isinstance(op, ast.Sub):
            yield joined(right, op, left), f"with {a} and {b} in the opposite order"
    elif isinstance(op, ast.Mult):
        yield left, f"without the factor {b}"
        yield right, f"without the factor {a}"
        yield joined(node, ast.Mult(), right), f"with the factor {b} twice"
        yield joined(node, ast.Mult(), left), f"with the factor {a} twice"
        yield joined(left, ast.Div(), right), f"divided by {b} where it should be multiplied"
        yield joined(left, ast.Add(), right), f"with the sum of {a} and {b} for their product"
    elif isinstance(op, ast.Div):
        yield left, f"without the division by {b}"
        yield joined(left, ast.Mult(), right), f"multiplied by {b} where it should be divided"
        yield joined(node, ast.Div(), right), f"divided by {b} twice"
        yield joined(left, ast.Div(), _root(right)), f"divided by the root of {b} in its place"
    elif isinstance(op, ast.MatMult):
        yield joined(right, op, left), f"with {a} and {b} in the opposite order"
        yield joined(left, ast.Mult(), right), "with * (number by number) in place of @"
        yield joined(_swapped(left), op, right), f"with {a} transposed"
        yield joined(left, op, _swapped(right)), f"with {b} transposed"
    elif isinstance(op, ast.Pow):
        half = ast.unparse(right).strip("-()") == "0.5"
        yield left, f"without the root of {a}" if half else f"without the power {b} of {a}"
        if half and ast.unparse(right).strip("()").startswith("-"):
            yield joined(left, op, ast.Constant(-1)), f"with 1 / {a} in place of 1 / its root"
            yield joined(left, op, ast.Constant(0.5)), f"with the root of {a}, not 1 by it"
        yield joined(left, op, joined(right, ast.Mult(), ast.Constant(2))), f"with {a} squared more"


def _call(node, names):
    words = f"`{ast.unparse(node)}`"
    f, arguments = node.func, node.args
    if isinstance(f, ast.Attribute):
        inner, method = f.value, f.attr
        if method in ("sum", "mean"):
            other = {"sum": "mean", "mean": "sum"}[method]
            new = ast.Call(ast.Attribute(inner, other, ast.Load()), arguments, node.keywords)
            yield new, f"with a {other} where a {method} belongs: {words}"
            for axis in (0, 1, -1, (0, 1), (1, 2), (0, 1, 2)):
                keywords = [k for k in node.keywords if k.arg != "axis"]
                keywords.append(ast.keyword("axis", ast.parse(repr(axis)).body[0].value))
                words_axis = f"with the {method} over axis {axis} in place of {words}"
                yield ast.Call(f, arguments, keywords), words_axis
        if method in ("sum", "mean", "clip", "repeat", "swapaxes", "copy"):
            yield inner, f"without the {method} in {words}"
    if len(arguments) == 1 and not node.keywords:
        name = f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")
        yield arguments[0], f"without `{name}` in {words}"
        yield _root(node), f"with a root too much, of {words}"
        yield ast.BinOp(node, ast.Pow(), ast.Constant(2)), f"with the square of {words}"


def _subscript(node, names):
    index, words = node.slice, f"`{ast.unparse(node)}`"
    for change, said in ((-1, "one step too early"), (1, "one step too late")):
        if not isinstance(index, (ast.Slice, ast.Tuple)):
            new = ast.BinOp(index, ast.Add(), ast.Constant(change))
            yield ast.Subscript(node.value, new, node.ctx), f"with {words} taken {said}"
    if isinstance(index, ast.Tuple) and isinstance(node.ctx, ast.Load):
        yield node.value, f"with all of it in place of {words}"


def _name(node, names):
    if isinstance(node.ctx, ast.Load):
        for name in names - {ast.unparse(node)}:
            new = ast.parse(name, mode="eval").body
            yield new, f"with `{name}` where `{ast.unparse(node)}` belongs"


def _attribute(node, names):
    words = f"`{ast.unparse(node)}`"
    if node.attr == "T":
        yield node.value, f"without the transpose in {words}"
    elif words in ("`tape.theta`", "`tape.grad`"):
        other = {"theta": "grad", "grad": "theta"}[node.attr]
        yield ast.Attribute(node.value, other, node.ctx), f"with tape.{other} in place of {words}"
    elif ast.unparse(node.value) in ("schedule", "self") and isinstance(node.ctx, ast.Load):
        yield from _name(node, {n for n in names if "." in n})


def _augmented(node, names):
    target, value = node.target, node.value
    words = f"`{ast.unparse(target)}`"
    if isinstance(node.op, ast.Add):
        stored = ast.parse(f"{ast.unparse(target)}[...] = 0").body[0]
        stored.value = value
        yield stored, f"with = in place of += for {words}, which throws away what was there before"
        if isinstance(target, ast.Attribute):
            return
        bound = ast.parse(f"{ast.unparse(target)} = 0").body[0]
        bound.value = value
        yield bound, f"with the name {words} given to a new array: nothing reaches the old one"
    flipped = ast.AugAssign(target, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), value)
    yield flipped, f"with the wrong sign of what {words} gets"
    yield ast.Pass(), f"without the line that changes {words}"


def _value(node, names):
    """One thing more in what a statement computes."""
    if node.value is None or isinstance(node.value, ast.Tuple) or "pop(" in ast.unparse(node.value):
        return
    words = f"`{ast.unparse(node.value)}`"
    for name in names:
        other = ast.parse(name, mode="eval").body
        for op, said in (
            (ast.Mult(), f"with {words} multiplied by `{name}`, which is too much"),
            (ast.Div(), f"with {words} divided by `{name}`, which is too much"),
            (ast.Add(), f"with `{name}` added to {words}"),
        ):
            new = copy.copy(node)
            new.value = ast.BinOp(node.value, op, other)
            yield new, said


def _constant(node, names):
    if type(node.value) in (int, float):
        for value in {0, 1, 2, -node.value, node.value / 2, node.value + 1} - {node.value}:
            yield ast.Constant(value), f"with {value} in place of {node.value}"


def _condition(node, names):
    for test, words in ((True, "always"), (False, "never")):
        yield (
            ast.If(ast.Constant(test), node.body, node.orelse),
            f"with what stands under `if {ast.unparse(node.test)}` done {words}",
        )


def _expression(node, names):
    if isinstance(node.value, ast.Call):
        yield ast.Pass(), f"without the line `{ast.unparse(node)}`"


def _negated(node, names):
    if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node.operand, f"without the minus in `{ast.unparse(node)}`"


LOST_OR_TURNED = {
    ast.BinOp: _operation,
    ast.Call: _call,
    ast.Subscript: _subscript,
    ast.AugAssign: _augmented,
    ast.If: _condition,
    ast.Expr: _expression,
    ast.UnaryOp: _negated,
}
MIXED_UP = {
    ast.Attribute: _attribute,
    ast.Name: _name,
    ast.Constant: _constant,
    ast.AugAssign: _value,
    ast.Assign: _value,
    ast.Return: _value,
}


def _local_names(function):
    """The names that a slip of the pen can take for each other: local ones, and tables."""
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and n.id not in _HELPERS}
    names |= {a.arg for a in function.args.args}
    attributes = [n for n in ast.walk(function) if isinstance(n, ast.Attribute)]
    if any(ast.unparse(n.value) == "schedule" for n in attributes):
        names |= {f"schedule.{table}" for table in _TABLES}
    names |= {ast.unparse(n) for n in attributes if ast.unparse(n.value) == "self"}
    return names - {"self", "tape", "xp", "schedule", "clip", "clipped"}


_HELPERS = {"range", "sum", "zip", "len", "math", "np", "enumerate", "ValueError"}
_TABLES = ("beta", "alpha", "alpha_bar", "posterior_variance")


def _root(node):
    return ast.BinOp(node, ast.Pow(), ast.Constant(0.5))


def _swapped(node):
    return ast.Call(
        ast.Attribute(node, "swapaxes", ast.Load()), [ast.Constant(-1), ast.Constant(-2)], []
    )
