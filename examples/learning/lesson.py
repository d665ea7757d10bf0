"""What a lesson is."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Mistake(NamedTuple):
    """What people write in place of a piece of the project's code, and what to tell them then.

    `old` and `new` may be tuples of the same length: all of them are replaced at once.
    """

    old: str | tuple
    new: str | tuple
    hint: str
    convention: bool = False  # right somewhere else


@dataclass(frozen=True)
class Lesson:
    """A class or function of the package with one piece to write.

    name       of the lesson and of its file
    target     the class or function in `module`; `hole` is the function in it that is emptied
    given      what the answer uses of the same file of the package without writing it
    hides      how the docstring's lines begin that are the answer
    question   what the reader is asked; rules says which of the five rules apply
    hints      two of three steps of help; the third one is what the docstring says
    trial      the case that hides nothing: trial.run(names) makes {result: array} with the code in
               the dictionary `names`, trial.right(names) what is right
    special    {words: trial} of cases that hide some mistakes, which tells these from others
    mistakes   what people write
    constants  {name: value} of numbers that a result is wrong by; no two are equal
    chained    whether each result is made from the one before, so that the first wrong one counts
    """

    name: str
    module: str
    target: str
    hole: str
    question: str
    hints: tuple
    trial: object
    rules: tuple = ()
    given: tuple = ()
    hides: tuple = ("Backward",)
    special: dict = field(default_factory=dict)
    mistakes: tuple = ()
    constants: dict = field(default_factory=dict)
    chained: bool = False
