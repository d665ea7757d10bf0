"""The answer to "is it right?", line by line: what is right first, then what is not, and why."""

from typing import NamedTuple

import numpy as np

from learning import compare, source
from learning.hints import explain
from learning.trouble import Trouble, execute, load, watched

MOST = 4  # wrong results that are spoken of


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
        return Answer(True, [f"  right   {_shortly(right, right)}"])
    lines = _results(got, right, wrong)
    lines += trouble.lines if trouble else []
    if names and hints:
        found = explain(lesson, got, trouble and trouble.kind, right)
        lines += _hints(found, wrong)
        lines += _right_elsewhere(lesson, names, ours, path)
    return Answer(False, lines)


def _results(got, right, wrong):
    correct = [name for name in got if name in right and name not in wrong]
    lines = [f"  right   {_shortly(correct, right)}"] if correct else []
    for name in wrong[:MOST]:
        lines.append(f"  wrong   {name}: {compare.difference(name, got.get(name), right[name])}")
    if len(wrong) > MOST:
        lines.append(f"  wrong   and {len(wrong) - MOST} more, which may follow from these")
    return lines + [f"  wrong   {name}: nobody asked for it" for name in got.keys() - right.keys()]


def _shortly(names, right):
    """Names of results; where all steps of a walk are among them, the walk alone.

    The tape is only spoken of if something is left on it.
    """
    steps = {name: name.partition(", step")[0] for name in right}
    missing = {steps[name] for name in right if name not in names}
    said = [name if steps[name] in missing else steps[name] for name in names]
    return ", ".join(dict.fromkeys(name for name in said if not name.endswith("tape")))


def _hints(hints, wrong):
    lines = []
    for hint in hints:
        about = f"{', '.join(hint.about)}: " if 0 < len(hint.about) < len(wrong) else ""
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
