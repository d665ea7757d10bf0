"""What a reader gets on paper: a lesson's file, three steps of help, the solution."""

import json
import textwrap

from learning import source

RULES = {
    1: "A gradient has the shape of its variable.",
    2: "A variable that is used twice gets two gradients, and they add.",
    3: "What forward copies (broadcasts), backward sums.",
    4: "A linear map goes back through its transpose.",
    5: "Backward runs in reverse order, and remembers only what it needs.",
}
LAYER = """
In this project a layer does not own its weights: a Param such as self.W is an address in flat
vectors. self.W.of(tape.theta) is the weight array, self.W.of(tape.grad) its gradient: a view, to
which backward adds. What forward gives to tape.push, backward gets from tape.pop(self), once.
A gradient is called d + the name of its variable: dx is the gradient of the loss by x."""


def page(lesson, number, count):
    """The text of a lesson's file: the questions, and the project's code without the answer."""
    parts = [f"Lesson {number} of {count}: write {lesson.hole}."]
    parts.append(textwrap.dedent(lesson.question).strip())
    if "." in lesson.hole and lesson.rules:
        parts.append(LAYER.strip())
    if lesson.rules:
        parts.append("\n".join(f"Rule {i}: {RULES[i]}" for i in lesson.rules))
    parts.append(
        f"Is it right?   python examples/learn.py check {lesson.name}\n"
        f"Stuck?         python examples/learn.py {lesson.name} --hint"
    )
    return '"""' + "\n\n".join(parts) + '\n"""\n\n' + source.blank(lesson)


def hint(lesson, folder):
    """The next step of help; a file in the folder counts how many were given."""
    words = textwrap.dedent("\n".join(source.answer_in_words(lesson)))
    steps = [textwrap.fill(step, 96) for step in lesson.hints] + [words] * bool(words)
    counter = folder / ".hints.json"
    given = json.loads(counter.read_text()) if counter.exists() else {}
    step = min(given.get(lesson.name, 0), len(steps) - 1)
    folder.mkdir(exist_ok=True)
    counter.write_text(json.dumps(given | {lesson.name: step + 1}))
    last = "\nAfter this only --solution is left." if step == len(steps) - 1 else ""
    return f"{lesson.name}, hint {step + 1} of {len(steps)}:\n{steps[step]}{last}"


def solution(lesson):
    """The project's own code of a lesson, where it stands, and its place in the papers."""
    file = lesson.module.replace(".", "/") + ".py"
    paper = source.place_in_the_papers(lesson)
    lines = [f"{lesson.hole} in {file}" + (f"; {paper}" if paper else ""), ""]
    return "\n".join(lines) + source.solution(lesson)
