"""Dropout: noise that keeps a network from learning its training images by heart."""


class Dropout:
    """Sets a random share of the numbers to zero and enlarges the rest, so that the mean stays.

        y = x mask / (1 - rate)        mask is 0 with probability `rate`, else 1

    It acts only on a tape with a random generator; on any other it is the identity.
    Backward   dx = dy mask / (1 - rate)
    Keeps      mask, one byte a number
    Raises     ValueError unless 0 <= rate < 1
    Source     Srivastava et al. 2014
    """

    def __init__(self, rate):
        if not 0 <= rate < 1:
            raise ValueError(f"a dropout rate of {rate}: use a number from 0 to below 1")
        self.rate = rate

    def forward(self, x, tape):
        mask = None
        if self.rate and tape.rng is not None:
            mask = tape.rng.random(x.shape, dtype="float32") >= self.rate
        tape.push(self, mask)
        return self._masked(x, mask)

    def backward(self, dy, tape):
        mask = tape.pop(self)
        return self._masked(dy, mask)

    def _masked(self, a, mask):
        return a if mask is None else a * mask / (1 - self.rate)
