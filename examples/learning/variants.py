"""The project's code with mistakes in it, and what comes out: a reader's results are held to it."""

import ast
import time
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np

from learning import source
from learning.mutants import mutants
from learning.trouble import execute, in_words

SECONDS = 1.2  # for all of them, so that an answer comes in two


class Variant(NamedTuple):
    """A mistake in words, the results that the code comes to with it, and its error, if any.

    term       if a summand was left out: the summand, in words
    known      whether people are known to make it; convention: whether it is right elsewhere
    """

    words: str
    results: dict
    error: str | None
    term: str | None = None
    known: bool = False
    convention: bool = False


def variants(lesson):
    """Yield known mistakes, every slip of the pen, then two at a time, while there is time."""
    end = time.process_time() + SECONDS
    text = source.solution(lesson)
    yield from _known(lesson, text)
    for variant in _slips(lesson, ast.parse(text)):
        yield variant
        if time.process_time() > end:
            return


def edited(text, mistakes):
    """Source text with mistakes in it, or None if there is no place for one of them."""
    for mistake in mistakes:
        olds, news = mistake.old, mistake.new
        for old, new in [(olds, news)] if isinstance(olds, str) else zip(olds, news):
            if old not in text:
                return None
            text = text.replace(old, new)
    return text


def _known(lesson, text):
    for mistake in lesson.mistakes:
        changed = edited(text, [mistake])
        if changed is not None:
            results, error = _results(execute(changed, lesson), lesson)
            yield Variant(mistake.hint, results, error, None, True, mistake.convention)


def _slips(lesson, tree):
    functions = source.answers(tree, lesson)
    names = execute(compile(tree, "variant", "exec"), lesson)
    for function, words, term in mutants(functions):
        results = _with_changed([function], names, lesson)
        yield Variant(f"it is what comes out {words}", *results, term)
    for mistakes in combinations(lesson.mistakes, 2):
        changed = edited(source.solution(lesson), mistakes)
        if changed is not None and _compiles(changed):
            words = "two things: " + "; and: ".join(mistake.hint for mistake in mistakes)
            yield Variant(words, *_results(execute(changed, lesson), lesson))
    for first, words, _ in mutants(functions):
        for second, more, _ in mutants(functions):
            results = _with_changed([first, second], names, lesson)
            yield Variant(f"it is what comes out {words}, and {more}", *results)


def _compiles(text):
    """Whether two mistakes do not stand in each other's way."""
    try:
        return bool(compile(text, "variant", "exec"))
    except SyntaxError:
        return False


def _with_changed(functions, names, lesson):
    try:
        with _installed(functions, names, lesson):
            return _results(names, lesson)
    except (SyntaxError, TypeError, ValueError) as error:  # no Python any more
        return {}, in_words(error)


@contextmanager
def _installed(functions, names, lesson):
    """These functions or methods, changed, in place of those among the names of the solution."""
    before = []
    try:
        for function in functions:
            made = {}
            exec(compile(ast.Module([function], []), "variant", "exec"), names, made)
            owner = names[lesson.target]
            if function.name in vars(owner):
                before.append((partial(setattr, owner), function.name, vars(owner)[function.name]))
            else:
                before.append((names.__setitem__, function.name, names[function.name]))
            before[-1][0](function.name, made[function.name])
        yield
    finally:
        for put, name, old in reversed(before):
            put(name, old)


def _results(names, lesson):
    results, said = {}, None
    try:
        with np.errstate(all="ignore"):
            lesson.trial.run(names, results)
    except Exception as error:
        said = in_words(error)
    return results, said
