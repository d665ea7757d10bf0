"""What a U-Net is told besides the image: the time step and the label, as one vector."""

from ..device import array_module
from .layers import Embedding, Linear, SiLU, Sinusoid


class Condition:
    """What every residual block is told about an image: its time step and, if any, its label.

        emb = silu(linear2(silu(linear1(sinusoid(t)))) + table[label])    t, label (N,)  emb (N, E)

    label = None stands for the null label of a U-Net with classes.
    Backward   returns nothing: neither t nor the label is a variable
    Source     Ho et al. 2020, appendix B; the label as in Nichol & Dhariwal 2021's code
    """

    def __init__(self, layout, name, n_sinusoid, n_emb, classes, shift=1):
        self.sinusoid = Sinusoid(n_sinusoid, shift)
        self.linear1 = Linear(layout, f"{name}.linear1", n_sinusoid, n_emb)
        self.silu1 = SiLU()
        self.linear2 = Linear(layout, f"{name}.linear2", n_emb, n_emb)
        self.label = Embedding(layout, f"{name}.label", classes, n_emb) if classes else None
        self.silu2 = SiLU()

    def forward(self, t, label, tape):
        h = self.sinusoid.forward(t, tape)
        h = self.linear1.forward(h, tape)
        h = self.silu1.forward(h, tape)
        h = self.linear2.forward(h, tape)
        if self.label:
            xp = array_module(h)
            label = xp.full(len(h), self.label.null) if label is None else xp.asarray(label)
            h = h + self.label.forward(label, tape)
        return self.silu2.forward(h, tape)

    def backward(self, demb, tape):
        dh = self.silu2.backward(demb, tape)
        if self.label:
            self.label.backward(dh, tape)
        dh = self.linear2.backward(dh, tape)
        dh = self.silu1.backward(dh, tape)
        self.linear1.backward(dh, tape)
