"""Pickles that others made: their arrays, numbers and texts are read, and nothing in them runs.

A pickle is a program for a small machine with a stack. Python's own machine calls whatever function
the program names; this one calls those that its caller allows, and knows no way to others.
"""

import pickletools
import re

import numpy as np

from .doors import brief

MOST = 1_000_000  # instructions
FRESH = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip
GIVEN = re.compile("BININT[12]?|LONG1|BINFLOAT|(SHORT_)?BIN(UNICODE|BYTES)|BYTEARRAY8|BINBYTES8")


def read_pickle(content, makers, persistent=None):
    """The value in a pickle; what was a text in Python 2 comes as bytes.

    content       bytes, or a binary file, which is read up to the end of its next pickle
    makers        {"module name": function}: what the pickle may call, such as `ARRAY_MAKERS`. What
                  a maker gave, and has a `set_state`, is told its state; others do without
    persistent    function of what the pickle says about a thing that is stored beside it
    Raises        ValueError if it wants anything else, or is damaged
    """
    machine = _Machine(makers, persistent)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count == MOST:
                raise ValueError(f"it has more than {MOST:,} instructions")
            machine.do(operation.name, argument)
        (value,) = machine.stack
    except Exception as error:  # pickletools has a dozen ways to say "damaged"
        raise ValueError(f"no sound pickle of arrays: {brief(error)}") from None
    return value


class _Machine:
    """The stack of a pickle's machine, the stacks below its open marks, and what it remembers."""

    def __init__(self, makers, persistent):
        self.makers, self.persistent = makers, persistent
        self.stack, self.below, self.memory = [], [], {}

    def do(self, name, argument):
        """One instruction that puts a value on the stack, or remembers it; else see `_combine`."""
        if GIVEN.fullmatch(name):
            self.stack.append(argument)
        elif name in ("BINSTRING", "SHORT_BINSTRING"):
            self.stack.append(argument.encode("latin-1"))
        elif name in FRESH:
            self.stack.append(FRESH[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memory[len(self.memory) if argument is None else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memory[argument])
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._combine(name, argument)

    def _combine(self, name, argument):
        """One instruction that takes values from the stack and makes something of them."""
        match name:
            case "TUPLE":
                made = tuple(self._marked())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                made = tuple(self._taken(int(name[-1])))
            case "APPEND" | "APPENDS":
                values = self._marked() if name == "APPENDS" else self._taken(1)
                (made,) = self._taken(1)
                made.extend(values)
            case "SETITEM" | "SETITEMS":
                values = self._marked() if name == "SETITEMS" else self._taken(2)
                (made,) = self._taken(1)
                made.update(zip(map(_key, values[::2]), values[1::2], strict=True))
            case "GLOBAL" | "STACK_GLOBAL":
                wanted = argument or " ".join(self._taken(2))
                if wanted not in self.makers:
                    raise ValueError(f"it wants {wanted!r}")
                made = self.makers[wanted]
            case "REDUCE":
                maker, arguments = self._taken(2)
                made = maker(*arguments)
            case "BUILD":
                made, state = self._taken(2)
                if hasattr(made, "set_state"):
                    made.set_state(state)
            case "BINPERSID" if self.persistent:
                made = self.persistent(*self._taken(1))
            case _:
                raise ValueError(f"it wants {name}")
        self.stack.append(made)

    def _marked(self):
        """All values down to the last mark, taken from the stack."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def _taken(self, count):
        """The `count` values on top, taken from the stack."""
        if len(self.stack) < count:
            raise ValueError("it takes more than it has")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values


def _key(value):
    if not isinstance(value, (str, bytes, int)):
        raise ValueError("a key is no text and no number")
    return value


class PickledArray:
    """An array in a pickle, of which nothing is believed until `numbers` is asked."""

    def __init__(self, *ignored):
        self.state = None

    def set_state(self, state):
        """Take (version, shape, type, whether the first index runs fastest, content)."""
        self.state = state

    def numbers(self):
        """The array itself; ValueError unless its shape and type fit the bytes that there are."""
        try:
            _, shape, dtype, fortran, content = self.state
            content = content.encode("latin-1") if isinstance(content, str) else content
            array = np.frombuffer(content, dtype.of_numbers())
            return array.reshape(shape, order="F" if fortran else "C")
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"no sound array in the pickle: {brief(error)}") from None


class _PickledType:
    """A type of numbers in a pickle, such as "u1"."""

    def __init__(self, code, *ignored):
        self.code, self.order = code if isinstance(code, str) else code.decode(), "="

    def set_state(self, state):
        """Take (version, byte order, ...)."""
        order = state[1]
        self.order = order if isinstance(order, str) else order.decode()

    def of_numbers(self):
        if not re.fullmatch("[<>=|][biufc][0-9]{1,2}", self.order + self.code):
            raise ValueError(f"{self.code!r} is no type of numbers")
        return np.dtype(self.order + self.code)


def _from_buffer(content, dtype, shape, order):
    array = PickledArray()
    array.set_state((1, shape, dtype, order == "F", content))
    return array


ARRAY_MAKERS = {
    "numpy ndarray": PickledArray,
    "numpy dtype": _PickledType,
    "__builtin__ bytes": lambda: b"",  # Python 3 calls it for no bytes, and this for others:
    "_codecs encode": lambda text, coding: text,  # what is in a Latin-1 text; see `numbers`
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")
        for name, maker in (
            ("multiarray _reconstruct", PickledArray),
            ("numeric _frombuffer", _from_buffer),
        )
    },
}
