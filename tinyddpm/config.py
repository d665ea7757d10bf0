"""Settings are frozen dataclasses; their fields become flags and JSON without a second list."""

import argparse
import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable
from typing import NamedTuple


class Range(NamedTuple):
    """The numbers that a setting may have: a sentence about them, and a test."""

    words: str
    holds: Callable


COUNT = Range("1 or more", lambda x: x >= 1)
FROM_2 = Range("2 or more", lambda x: x >= 2)
FROM_0 = Range("0 or more", lambda x: 0 <= x < math.inf)
ABOVE_0 = Range("a number above 0", lambda x: 0 < x < math.inf)
SHARE = Range("a number from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_1 = Range("a share from 0 to below 1", lambda x: 0 <= x < 1)


def setting(default, help, allowed):
    """`dataclasses.field` with a default, what `--help` says, and the values that it may have.

    allowed    a tuple of words, or a `Range`: of the number, or of every number of a tuple
    """
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


def check(settings):
    """Make the numbers of a settings object plain int and float (of lists, tuples).

    Raises     ValueError with the setting, its value and what is allowed if one cannot be
    """
    for field in dataclasses.fields(settings):
        allowed, value = field.metadata["allowed"], getattr(settings, field.name)
        if not isinstance(allowed, Range):
            if value not in allowed:
                raise ValueError(
                    f"{field.name} of {value!r}: choose from {', '.join(map(str, allowed))}"
                )
        elif isinstance(field.default, tuple):
            if not isinstance(value, (tuple, list)):
                raise ValueError(f"{field.name} of {value!r}: give a tuple of whole numbers")
            value = tuple(_number(field.name, number, int, allowed) for number in value)
        else:
            value = _number(field.name, value, type(field.default), allowed)
        object.__setattr__(settings, field.name, value)


def _number(name, value, kind, allowed):
    """`value` as an int or a float; ValueError unless it is one, and allowed."""
    suits = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, suits):
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} of {value!r}: use {wanted}")
    if not allowed.holds(value):
        raise ValueError(f"{name} of {value}: use {allowed.words}")
    return kind(value)


def from_dict(cls, values):
    """The settings `cls` from a dictionary, as read from JSON.

    Raises     ValueError for a name that `cls` does not have, with the nearest that it has
    """
    if type(values) is not dict:
        raise ValueError(f"{cls.__name__} of a {type(values).__name__}: give a dictionary")
    names = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0)[0]
            raise ValueError(f"{cls.__name__} has no setting {name!r}; the nearest is {near!r}")
    return cls(**values)


def add_flags(parser, defaults):
    """Add a flag for every field of the settings object `defaults` to an argparse parser.

    Of them, only those that the user typed appear in the arguments: see `given_flags`.
    """
    group = parser.add_argument_group(type(defaults).__doc__.split(".")[0].lower())
    for field in dataclasses.fields(defaults):
        default = getattr(defaults, field.name)
        many, allowed = isinstance(default, tuple), field.metadata["allowed"]
        choices = None if isinstance(allowed, Range) else allowed
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=int if many else type(default),
            nargs="*" if many else None,
            choices=choices,
            metavar=None if choices else "N",
            default=argparse.SUPPRESS,
            help=f"{field.metadata['help']} ({' '.join(map(str, default)) if many else default})",
        )


def given_flags(settings, arguments):
    """The flags of `add_flags` that the user typed: {field: value}."""
    names = [field.name for field in dataclasses.fields(settings)]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def with_flags(defaults, arguments):
    """The settings object `defaults`, changed by the flags that the user typed."""
    return dataclasses.replace(defaults, **given_flags(defaults, arguments))
