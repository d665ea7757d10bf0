"""Pairs of layers that always come together; whoever builds one hands in its layer with weights."""

from .activation import SiLU
from .resample import Upsample


class NormSiLU:
    """GroupNorm, then SiLU: in front of each convolution of a residual block and the U-Net's last.

        y = silu(norm(x))                            x, y (N, H, W, C)

    Backward   the two layers', in the opposite order
    Keeps      what the two layers keep
    Source     Ho et al. 2020, appendix B
    """

    def __init__(self, norm):
        self.norm, self.silu = norm, SiLU()

    def forward(self, x, tape):
        h = self.norm.forward(x, tape)
        return self.silu.forward(h, tape)

    def backward(self, dy, tape):
        dh = self.silu.backward(dy, tape)
        return self.norm.backward(dh, tape)


class UpsampleConv:
    """Twice the size: nearest-neighbour copies, smoothed by a convolution.

        y = conv(upsample(x))                        x (N, H, W, C)   y (N, 2H, 2W, D)

    Backward   the two layers', in the opposite order
    Keeps      what the convolution keeps
    Source     Ho et al. 2020, code
    """

    def __init__(self, conv):
        self.upsample, self.conv = Upsample(), conv

    def forward(self, x, tape):
        h = self.upsample.forward(x, tape)
        return self.conv.forward(h, tape)

    def backward(self, dy, tape):
        dh = self.conv.backward(dy, tape)
        return self.upsample.backward(dh, tape)
