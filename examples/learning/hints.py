"""What the mistake is: the hint is a change of the project's code, or a repair, that fits exactly."""

import ast
import time
from itertools import combinations
from typing import NamedTuple

import numpy as np

from . import compare, source
from .mutants import mutants
from .trouble import execute, in_words

SECONDS = 1.2  # for the search, so that an answer comes in two


class Hint(NamedTuple):
    """Words about some results; a convention is right somewhere else."""

    about: tuple
    words: str
    convention: bool = False


class Variant(NamedTuple):
    """The project's code with a mistake: the results that it comes to, and its error, if any."""

    words: str
    results: dict
    error: str | None
    convention: bool = False
    term: str | None = None


def explain(lesson, got, error, right):
    """Hints for the results `got` that a reader's code came to, and for its error, if any."""
    seen, names = [], compare.wrong(got, right)
    for variant in _variants(lesson):
        if variant.error == error and _agree(got, variant.results, right):
            return [Hint(tuple(names), variant.words, variant.convention)]
        seen.append(variant)
    return _one_by_one(lesson, [name for name in names if name in got or not error], seen, got, right)


def _one_by_one(lesson, names, seen, got, right):
    """A hint for each wrong result by itself, if there is one; the same words are said once."""
    found = {}
    for name in names:
        words = _for_one(lesson, name, seen, got, right)
        if words:
            found.setdefault(words, []).append(name)
    return [Hint(tuple(about), *words) for words, about in found.items()]


def _for_one(lesson, name, seen, got, right):
    """(words, convention) for the result `name`, or None."""
    if name not in got or got[name] is None:
        return f"return {name}, too", False
    a, wanted = got[name], right[name]
    for variant in seen:
        if name in variant.results and compare.same(a, variant.results[name]):
            return variant.words, variant.convention
    for words in compare.repairs(name, a, right):
        return words, False
    c = compare.factor(a, wanted)
    if c:
        return _scaled(name, c, lesson), False
    words = _multiple_of_a_term(name, seen, a, wanted, lesson)
    words = words or compare.per_axis(a, wanted) or compare.only_where(a, wanted)
    return (words, False) if words else None


def _scaled(name, c, lesson):
    value = compare.factor_in_words(c, lesson.constants)
    if abs(c + 1) < 1e-9:
        return f"{name} has the wrong sign"
    return f"{name} is {value} times what it should be, everywhere: look for this factor"


def _multiple_of_a_term(name, seen, got, wanted, lesson):
    """Some summands of the project's code count another number of times."""
    terms, columns = [], []
    for variant in seen:
        without = variant.results.get(name)
        if variant.term and np.shape(without) == wanted.shape and np.shape(got) == wanted.shape:
            column = (wanted - without).ravel()
            if not any(compare.same(column, other) for other in columns) and column.any():
                terms.append(variant.term)
                columns.append(column)
    for count in (1, 2):
        for chosen in combinations(range(len(terms)), count):
            matrix = np.stack([columns[i] for i in chosen], axis=1)
            extra = np.linalg.lstsq(matrix, (got - wanted).ravel(), rcond=None)[0]
            if compare.same(wanted.ravel() + matrix @ extra, got.ravel()):
                said = [
                    f"{terms[i]} counts {_times(1 + c, lesson)}" for i, c in zip(chosen, extra)
                ]
                return f"in {name}, " + " and ".join(said)
    return None


def _times(c, lesson):
    if abs(c) < 1e-9:
        return "not at all: it is missing"
    if abs(c + 1) < 1e-9:
        return "with the wrong sign"
    return f"{compare.factor_in_words(c, lesson.constants)} times in place of once"


def _agree(got, results, right):
    return got.keys() == results.keys() and all(
        compare.same(got[name], results[name], _size(right)) for name in got
    )


def _size(right):
    return 1e-3 * max(np.abs(a).max(initial=0) for a in right.values())


def _variants(lesson):
    """The known mistakes, then every slip of the pen, then two known mistakes at a time."""
    end = time.monotonic() + SECONDS
    text = source.solution(lesson)
    for mistake in lesson.mistakes:
        changed = edited(text, [mistake])
        if changed is not None:
            yield _try(changed, mistake.hint, lesson, mistake.convention)
    tree = ast.parse(text)
    for words, term in mutants(tree, source.answers(tree, lesson)):
        if time.monotonic() > end:
            return
        yield _try(tree, f"it is what comes out {words}", lesson, term=term)
    for pair in combinations(lesson.mistakes, 2):
        if time.monotonic() > end:
            return
        changed = edited(text, pair)
        if changed is not None:
            yield _try(changed, "two things: " + "; and: ".join(m.hint for m in pair), lesson)


def edited(text, mistakes):
    """Source text with mistakes in it, or None if there is no place for one of them."""
    for mistake in mistakes:
        olds, news = mistake.old, mistake.new
        pairs = [(olds, news)] if isinstance(olds, str) else list(zip(olds, news))
        for old, new in pairs:
            if old not in text:
                return None
            text = text.replace(old, new)
    return text


def _try(code, words, lesson, convention=False, term=None):
    results, said = {}, None
    try:
        with np.errstate(all="ignore"):
            lesson.trial.run(execute(compile(code, "variant", "exec"), lesson), results)
    except Exception as error:
        said = in_words(error)
    return Variant(words, results, said, convention, term)
