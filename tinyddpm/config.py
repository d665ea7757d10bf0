"""Settings are frozen dataclasses; their fields become flags and JSON without a second list."""

import argparse
import dataclasses
import difflib


def setting(default, help, choices=None):
    """`dataclasses.field` with a default, what `--help` says, and the values that it may have."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def check_choices(settings):
    """ValueError that lists the choices if a field of a settings object has none of them."""
    for field in dataclasses.fields(settings):
        choices, value = field.metadata["choices"], getattr(settings, field.name)
        if choices and value not in choices:
            raise ValueError(f"{field.name} of {value!r}: choose from {', '.join(choices)}")


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
            choices=field.metadata["choices"],
            metavar=None if field.metadata["choices"] else "N",
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
