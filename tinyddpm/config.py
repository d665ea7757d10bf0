"""Settings are frozen dataclasses; their fields become flags and JSON without a second list."""

import argparse
import dataclasses
import difflib


def setting(default, help):
    """A dataclass field with a default and the sentence that `--help` says about it."""
    return dataclasses.field(default=default, metadata={"help": help})


def from_dict(cls, values):
    """The settings `cls` from a dictionary, as read from JSON.

    Raises     ValueError for a name that `cls` does not have, with the nearest that it has
    """
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
        many = isinstance(default, tuple)
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=int if many else type(default),
            nargs="*" if many else None,
            metavar="N",
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
