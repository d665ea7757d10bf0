"""Lessons are cut out of the package's own source whenever they are asked for."""

import ast
import importlib.util
import inspect
import re

YOURS = "...  # write this"


def solution(lesson):
    """The project's own code of a lesson: its class or function, and the helpers that it calls."""
    text = inspect.getsource(importlib.import_module(lesson.module))
    tree = ast.parse(text)
    defined = {node.name: node for node in tree.body if hasattr(node, "name")}
    wanted, new = set(), {lesson.target}
    while new:
        wanted |= new
        called = set().union(*(_names(defined[name]) for name in new))
        new = (called & defined.keys()) - wanted - set(lesson.given)
    kept = [node for name, node in defined.items() if name in wanted]
    used = set().union(*map(_names, kept)) - wanted
    parts = [_imports(tree, lesson, used), *(_cut(text, node) for node in kept)]
    return "\n\n\n".join(part for part in parts if part) + "\n"


def blank(lesson):
    """The solution without the body to write, the docstring's answers, and idle helpers."""
    lines = solution(lesson).splitlines()
    tree = ast.parse("\n".join(lines))
    hole, out = find(tree, lesson.hole), _answer_lines(tree, lesson)
    first = hole.body[bool(ast.get_docstring(hole))]
    lines[first.lineno - 1] = " " * first.col_offset + YOURS
    out |= set(range(first.lineno + 1, hole.end_lineno + 1))
    for helper in _idle_helpers(tree, lesson):
        start = helper.lineno - 1
        while start and not lines[start - 1].strip():
            start -= 1  # the blank lines in front go, too
        out |= set(range(start + 1, helper.end_lineno + 1))
    text = "\n".join(line for i, line in enumerate(lines, 1) if i not in out) + "\n"
    return re.sub(r"\n{3,}(?= )", "\n\n", text)  # where a formula stood


def answer_in_words(lesson):
    """The lines of the docstring that a blank lesson leaves out."""
    lines = solution(lesson).splitlines()
    return [lines[i - 1] for i in sorted(_answer_lines(ast.parse("\n".join(lines)), lesson))]


def place_in_the_papers(lesson):
    """What the docstring says of its source, or ""."""
    doc = ast.get_docstring(find(ast.parse(solution(lesson)), lesson.target))
    return doc.partition("\nSource")[2].strip()


def answers(tree, lesson):
    """Of a solution's tree: the function to write, and those that only it calls."""
    return [find(tree, lesson.hole), *_idle_helpers(tree, lesson)]


def find(tree, path):
    """The class, function or method (CLASS.METHOD) of this name, or None."""
    for name in path.split("."):
        tree = next((node for node in tree.body if getattr(node, "name", None) == name), None)
        if tree is None:
            break
    return tree


def is_empty(function):
    """Whether there is nothing in it but a docstring, `...` or `pass`."""
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )


def _idle_helpers(tree, lesson):
    """The functions and private methods that nobody calls once the answer is gone."""
    owner, hole = find(tree, lesson.target), find(tree, lesson.hole)
    scopes = [tree] if owner is hole else [tree, owner]
    functions = [n for scope in scopes for n in scope.body if isinstance(n, ast.FunctionDef)]
    functions.remove(hole)
    called = [n for n in functions if n in owner.body and (n.name[0] != "_" or n.name[:2] == "__")]
    for function in called:  # grows meanwhile
        names = _names(function)
        called += [n for n in functions if n.name in names and n not in called]
    return [n for n in functions if n not in called]


def _answer_lines(tree, lesson):
    """Numbers of the docstring's lines that begin with an answer, and of those that go on it."""
    doc, out, inside = find(tree, lesson.target).body[0], set(), None
    for number, line in enumerate(doc.value.value.splitlines(), doc.lineno):
        depth = len(line) - len(line.lstrip())
        if inside is not None and (not line.strip() or depth <= inside):
            inside = None
        if line.lstrip().startswith(lesson.hides):
            inside = depth
        if inside is not None:
            out.add(number)
    return out


def _names(node):
    """All names that are read in it."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def _cut(text, node):
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def _imports(tree, lesson, used):
    """The import lines for these names, with absolute names of modules."""
    room = lesson.module.rpartition(".")[0]
    lines = []
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = [a for a in node.names if (a.asname or a.name) in used]
        if not names:
            continue
        module = None
        if isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), room)
            module = module if node.level else node.module
        node = ast.Import(names) if module is None else ast.ImportFrom(module, names, 0)
        lines.append(ast.unparse(node))
    given = [ast.alias(name) for name in lesson.given]
    if given:
        lines.append(ast.unparse(ast.ImportFrom(lesson.module, given, 0)))
    return "\n".join(sorted(lines, key=lambda line: ("tinyddpm" in line, line)))
