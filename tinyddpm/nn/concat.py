"""Two images joined, and their gradients parted."""

from ..device import array_module


class Concat:
    """The channels of two images, one after the other.

        y = [a, b]                  a (N, H, W, C)   b (N, H, W, D)   y (N, H, W, C + D)

    Backward   da, db = the two parts of dy (rule 4: the transpose of joining is splitting)
    Keeps      C
    """

    def forward(self, a, b, tape):
        tape.push(self, a.shape[-1])
        return array_module(a).concatenate([a, b], axis=-1)

    def backward(self, dy, tape):
        c = tape.pop(self)
        return dy[..., :c].copy(), dy[..., c:]  # layers read da: contiguous; db is only added
