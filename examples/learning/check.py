"""The answer to "is it right?", line by line: what is right first, then what is not, and why."""

from typing import NamedTuple

import numpy as np

from learning import compare, source
from learning.hints import explain
from learning.trouble import Trouble, execute, load, watched


class Answer(NamedTuple):
    solved: bool
    lines: list


def package_names(lesson):
    """The project's own code of a lesson, as the names that it defines."""
    return execute(compile(source.solution(lesson), lesson.module, "exec"), lesson)


def check(lesson, path, hints=True):
    """The `Answer` about the file at `path`, with hints or without."""
    ours = package_names(lesson)
    with np.errstate(all="ignore"):
        right = lesson.trial.right(ours)
    names, got, trouble = {}, {}, None
    try:
        names = load(path, lesson)
        watched(lambda: lesson.trial.run(names, got), path)
    except Trouble as error:
        trouble = error
    wrong = [n for n in compare.wrong(got, right) if n in got or not trouble]
    if not (wrong or trouble or got.keys() - right.keys()):
        return Answer(True, [f"  right   {', '.join(_shown(right))}"])
    lines = _results(got, right, wrong)
    lines += trouble.lines if trouble else []
    if names and hints:
        found = explain(lesson, got, trouble and trouble.kind, right)
        lines += _hints(found, wrong)
        lines += _right_elsewhere(lesson, names, ours, path)
    return Answer(False, lines)


def _results(got, right, wrong):
    correct = [name for name in _shown(got) if name in right and name not in wrong]
    lines = [f"  right   {', '.join(correct)}"] if correct else []
    for name in wrong:
        lines.append(f"  wrong   {name}: {compare.difference(name, got.get(name), right[name])}")
    return lines + [f"  wrong   {name}: nobody asked for it" for name in got.keys() - right.keys()]


def _hints(hints, wrong):
    lines = []
    for hint in hints:
        about = f"{', '.join(hint.about)}: " if len(hint.about) < len(wrong) else ""
        lines.append(f"  {'note' if hint.convention else 'hint'}    {about}{hint.words}")
    return lines


def _right_elsewhere(lesson, names, ours, path):
    """The special cases in which nothing is wrong: what hides the mistake may name it."""
    hiding = []
    for words, trial in lesson.special.items():
        got, right = {}, {}
        try:
            watched(lambda trial=trial, got=got: trial.run(names, got), path)
        except Trouble:
            continue
        trial.run(ours, right)
        if not compare.wrong(got, right):
            hiding.append(words)
    if hiding:
        yield f"  note    right with {', and with '.join(hiding)}: that alone would have hidden it"


def _shown(results):
    """All results but the tape, which is only spoken of if something is left on it."""
    return [name for name in results if not name.endswith("tape")]
