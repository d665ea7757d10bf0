"""The numbers of every step of a run, for log.csv."""

import math
import re

from ..device import array_module, to_host

HEADER = "step,loss,gradient,lr"
ROW = re.compile(r"\d{1,15}(,-?\d+([.]\d+)?(e[-+]\d\d)?){3}")


class Log:
    """Rows of text, one for each step. New numbers stay on their device until `fetch` is called.

    Reading a number from a GPU means waiting until it has done everything asked of it before.
    """

    def __init__(self):
        self.rows, self.pending = [], []

    @property
    def losses(self):
        """The loss of every step so far."""
        return self.recent(len(self.rows))

    def recent(self, count=100):
        """The losses of the last `count` steps, or of all if there are fewer; a list."""
        return [float(row.split(",")[1]) for row in self.rows[max(0, len(self.rows) - count) :]]

    def record(self, step, loss, length, lr):
        """Remember the loss of a step, the length of its gradient (both 0-d arrays), and lr."""
        self.pending.append((step, loss, length, lr))

    def fetch(self):
        """Make rows of what was noted; returns the losses among it, a list.

        Raises     FloatingPointError if one of them is no number; the rows end before it
        """
        if not self.pending:
            return []
        steps, losses, lengths, rates = zip(*self.pending)
        self.pending = []
        xp = array_module(losses[0])
        losses, lengths = to_host(xp.stack([xp.stack(losses), xp.stack(lengths)])).tolist()
        for step, loss, length, lr in zip(steps, losses, lengths, rates):
            if not math.isfinite(loss + length):
                raise not_finite(step, loss, length, lr)
            self.rows.append(f"{step},{loss:.6g},{length:.6g},{lr:.6g}")
        return losses

    def read(self, path, step):
        """Take the rows of a log.csv up to a step; there may be more, or no file.

        Raises     ValueError that names the file if its rows are not four numbers each
        """
        rows = path.read_text("utf-8", "replace").splitlines()[1:] if path.exists() else []
        if not all(map(ROW.fullmatch, rows)):
            raise ValueError(f"{path} is damaged: put it back, or take it away to go on without it")
        self.rows = [row for row in rows if int(row.split(",")[0]) <= step]

    def text(self):
        """What log.csv holds."""
        return "\n".join([HEADER, *self.rows]) + "\n"


def not_finite(step, loss, length, lr, largest=""):
    """The error that ends a run whose numbers have gone bad; `largest` names a parameter."""
    largest = largest and f", the largest in {largest}"
    return FloatingPointError(
        f"step {step}: the loss is {loss:.3g}, the gradient's length {length:.3g}{largest}, the "
        f"learning rate {lr:.3g}; start a new run with a smaller learning rate"
    )
