"""Learn backpropagation and diffusion by writing them: lessons that are cut out of this project.

    python examples/learn.py                     all lessons, and what is solved
    python examples/learn.py groupnorm           writes lessons/groupnorm.py: the layer without its
                                                 backward, and questions that lead to it
    python examples/learn.py check groupnorm     is it right? If not: where, and why
    python examples/learn.py check               the same for all lessons that are begun
    python examples/learn.py groupnorm --hint    the next of three steps of help
    python examples/learn.py groupnorm --solution   the project's own code, and the paper
    python examples/learn.py train               trains a network with what you have written

A lesson that is begun is never overwritten: delete its file to begin anew.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import difflib
import re
import sys
import textwrap
from pathlib import Path

from learning.check import check
from learning.course import LESSONS
from learning.page import hint, page, solution
from learning.play import train

FOLDER = Path("lessons")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="NAME", help="a lesson, or check, or train")
    parser.add_argument("--hint", action="store_true", help="the next of three steps of help")
    parser.add_argument("--solution", action="store_true", help="the project's own code")
    arguments = parser.parse_args()
    words = arguments.words
    checks = words[:1] == ["check"]
    if words == ["train"]:
        return train(solved_lessons(), FOLDER)
    lessons = [find(word) for word in words[checks:]]
    if arguments.hint or arguments.solution:
        for lesson in lessons:
            print(hint(lesson, FOLDER) if arguments.hint else solution(lesson))
    elif checks:
        lessons = lessons or [lesson for lesson in LESSONS if path_of(lesson).exists()]
        return 0 if all([report(lesson) for lesson in lessons]) else 1
    elif lessons:
        for lesson in lessons:
            write(lesson)
    else:
        show_all()
    return 0


def show_all():
    """The list of lessons with what is solved."""
    solved = solved_lessons()
    for number, lesson in enumerate(LESSONS, 1):
        begun = "begun" if path_of(lesson).exists() else ""
        state = "solved" if lesson in solved else begun
        print(f"{number:3}  {lesson.name:12} {state:7} {lesson.hole}".rstrip())
    print(f"\n{len(solved)} of {len(LESSONS)} solved. Begin one: python examples/learn.py NAME")


def write(lesson):
    """Make a lesson's file, unless there is one."""
    path = path_of(lesson)
    if path.exists():
        return print(f"{path} is begun and stays as it is; delete it to begin anew")
    FOLDER.mkdir(exist_ok=True)
    path.write_text(page(lesson, LESSONS.index(lesson) + 1, len(LESSONS)), encoding="utf-8")
    print(
        f"{path} is yours. Write {lesson.hole}; then python examples/learn.py check {lesson.name}"
    )


def report(lesson):
    """Check a lesson and say what comes out; returns whether it is solved."""
    path = path_of(lesson)
    if not path.exists():
        sys.exit(f"error: no {path} yet: python examples/learn.py {lesson.name} begins it")
    answer = check(lesson, path)
    print(f"{lesson.name}: {'solved' if answer.solved else 'not yet'}")
    for line in answer.lines:
        print(textwrap.fill(line, 100, subsequent_indent=" " * 10, break_long_words=False))
    return answer.solved


def solved_lessons():
    begun = [lesson for lesson in LESSONS if path_of(lesson).exists()]
    return [lesson for lesson in begun if check(lesson, path_of(lesson), hints=False).solved]


def path_of(lesson):
    return FOLDER / f"{lesson.name}.py"


def find(word):
    """The lesson of this name; GroupNorm, simple-loss and posterior_mean are understood, too."""
    names = {plain(name): x for x in LESSONS for name in (x.name, x.target)}
    if plain(word) not in names:
        near = difflib.get_close_matches(plain(word), names, n=1, cutoff=0)[0]
        sys.exit(f"error: no lesson is called {word}; the nearest is {names[near].name}")
    return names[plain(word)]


def plain(name):
    return re.sub("[^a-z0-9]", "", Path(name).name.removesuffix(".py").lower())


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
