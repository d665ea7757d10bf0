"""What the mistake is: a change of the project's code, or a repair, that fits exactly."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from learning import compare
from learning.variants import variants


class Hint(NamedTuple):
    """Words about some results; a convention is right somewhere else."""

    about: tuple
    words: str
    convention: bool = False


def explain(lesson, got, error, right):
    """Hints for the results `got` that a reader's code came to, and for its error, if any."""
    seen, names = [], compare.wrong(got, right)
    for variant in variants(lesson):
        if variant.error == error and _agree(got, variant.results, right):
            if variant.known or not error:
                return [Hint(tuple(names), variant.words, variant.convention)]
        seen.append(variant)
        if error and not variant.known:
            break  # where an error comes from is said by its own line
    names = [name for name in names if name in got or not error]
    return _one_by_one(lesson, names, seen, got, right)


def _one_by_one(lesson, names, seen, got, right):
    """A hint for each wrong result by itself, if there is one; the same words are said once."""
    found = {}
    for name in names[:1] if lesson.chained else names:
        for words, detail, convention in _for_one(lesson, name, seen, got, right):
            found.setdefault((words, convention), {})[name] = detail
            break
    hints = [Hint(tuple(of), _with(words, of), con) for (words, con), of in found.items()]
    return hints + _first_wrong_layer(names, right)


def _with(words, details):
    """The words with their details: once if they agree, else result by result."""
    if len(set(details.values())) == 1:
        return words + next(iter(details.values()))
    return words + " (" + "; ".join(f"{name}:{said}" for name, said in details.items()) + ")"


def _for_one(lesson, name, seen, got, right):
    """Yield (words, detail, convention) for what may be wrong with one result, likely things "
    "first."""
    a, wanted = got.get(name), right[name]
    if name.endswith("tape"):
        yield "what forward has pushed must be popped: tape.pop(self), once", "", False
    if a is None:
        yield "return it, too", "", False
        return
    for variant in seen:
        if name in variant.results and compare.same(a, variant.results[name]):
            yield variant.words, "", variant.convention
    c = compare.factor(a, wanted)
    if c:
        yield (
            "it has a factor too many, everywhere: it is",
            f" {_multiple_in_words(c, lesson)}",
            False,
        )
    for words in compare.repairs(name, a, right):
        yield words, "", False
    yield from _multiple_of_a_term(name, seen, a, wanted, lesson)
    for words in (compare.per_axis(a, wanted), compare.only_where(a, wanted)):
        if words:
            yield words, "", False


def _number(c, lesson):
    return compare.factor_in_words(c, lesson.constants)


def _multiple_in_words(c, lesson):
    return "the negative" if abs(c + 1) < 1e-9 else f"{_number(c, lesson)} times the right one"


def _multiple_of_a_term(name, seen, got, wanted, lesson):
    """Some summands of the project's code count another number of times."""
    got, terms, columns = np.asarray(got), [], []
    if got.shape != wanted.shape or got.dtype == object or got.size > 5000:
        return
    for variant in seen:
        without = np.asarray(variant.results.get(name)) if variant.term else None
        if without is not None and without.shape == wanted.shape and not variant.error:
            column = (wanted - without).ravel()
            if column.any() and not any(compare.same(column, other) for other in columns):
                terms.append(variant.term)
                columns.append(column)
    for count in (1, 2):
        for chosen in combinations(range(len(terms)), count):
            matrix = np.stack([columns[i] for i in chosen], axis=1)
            if not np.isfinite(matrix).all() or not np.isfinite(got).all():
                continue
            extra = np.linalg.lstsq(matrix, (got - wanted).ravel(), rcond=None)[0]
            if compare.same(wanted.ravel() + matrix @ extra, got.ravel()):
                said = " and ".join(terms[i] for i in chosen)
                times = " and ".join(_times(1 + c, lesson) for c in extra)
                verb = "does" if count == 1 else "do"
                yield f"{said} {verb} not count once, as it should, but", f" {times}", False


def _times(c, lesson):
    if abs(c) < 1e-9:
        return "not at all: it is missing"
    return "with the wrong sign" if abs(c + 1) < 1e-9 else f"{_number(c, lesson)} times"


def _first_wrong_layer(names, right):
    """Where a block goes wrong on its way back: at the last of its layers with a wrong gradient."""
    layer = {name: name.rpartition(".d")[0] for name in right if ".d" in name}
    wrong = [layer[name] for name in names if name in layer]
    if not wrong:
        return []
    worst = [name for name in layer.values() if name in wrong][-1]
    words = f"backward comes to {worst} before all other layers that are wrong: what does it get?"
    return [Hint((), words)]


def _agree(got, results, right):
    return got.keys() == results.keys() and all(
        compare.same(got[name], results[name], _size(right)) for name in got
    )


def _size(right):
    return 1e-3 * max(np.abs(a).max(initial=0) for a in right.values())
