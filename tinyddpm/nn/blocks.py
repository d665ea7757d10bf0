"""What the U-Net is built of: layers in a row, and the places where ways part and meet again.

Where ways meet, a sum is written into what a convolution, a Linear or a norm has just returned,
because nobody else holds that. It is never written into x, dy or what Identity and Dropout return,
which may be x or dy itself.
"""

from .layers import (
    AddToPixels,
    Attention,
    Conv3x3,
    Dropout,
    GroupNorm,
    Identity,
    Linear,
    NormSiLU,
)
from .tape import NEARLY_ZERO


class ResBlock:
    """Two convolutions around a shift that depends on time and label, and a way past both.

        h = conv1(silu(norm1(x)))                    x (N, H, W, C)
        h = h + shift(emb)                           emb (N, E): one vector for an image's pixels
        y = conv2(dropout(silu(norm2(h)))) + skip(x)    y (N, H, W, D)

    Backward   forward read from the bottom up. Two rules meet here: x is used twice, so its two
               gradients add (rule 2); emb went to all pixels, so its gradient is a sum (rule 3)
    Source     He et al. 2015; Ho et al. 2020, appendix B
    """

    def __init__(self, layout, name, c_in, c_out, n_emb, groups, dropout=0.0, tiny=1e-6):
        self.norm1 = NormSiLU(GroupNorm(layout, f"{name}.norm1", c_in, groups, tiny))
        self.conv1 = Conv3x3(layout, f"{name}.conv1", c_in, c_out)
        self.shift = Linear(layout, f"{name}.shift", n_emb, c_out)
        self.add = AddToPixels()
        self.norm2 = NormSiLU(GroupNorm(layout, f"{name}.norm2", c_out, groups, tiny))
        self.dropout = Dropout(dropout)
        self.conv2 = Conv3x3(layout, f"{name}.conv2", c_out, c_out, scale=NEARLY_ZERO)
        self.skip = Identity() if c_in == c_out else Linear(layout, f"{name}.skip", c_in, c_out)

    def forward(self, x, emb, tape):
        h = self.norm1.forward(x, tape)
        h = self.conv1.forward(h, tape)
        h = self.add.forward(h, self.shift.forward(emb, tape), tape)
        h = self.norm2.forward(h, tape)
        h = self.dropout.forward(h, tape)
        h = self.conv2.forward(h, tape)
        h += self.skip.forward(x, tape)
        return h

    def backward(self, dy, tape):
        dx_skip = self.skip.backward(dy, tape)
        dh = self.conv2.backward(dy, tape)
        dh = self.dropout.backward(dh, tape)
        dh = self.norm2.backward(dh, tape)
        dh, dshift = self.add.backward(dh, tape)  # rule 3
        demb = self.shift.backward(dshift, tape)
        dh = self.conv1.backward(dh, tape)
        dh = self.norm1.backward(dh, tape)
        dx = dh
        dx += dx_skip  # rule 2; not the other way round: dx_skip may be dy itself
        return dx, demb


class AttentionBlock:
    """Attention among all pixels of an image, added to the image.

        h = norm(x)                                  x, y (N, H, W, C)
        y = x + out(attention(q(h), k(h), v(h)))     q, k, v, out are 1×1 convolutions

    Backward   h is used three times and x twice: their gradients add (rule 2)
    Source     Ho et al. 2020, appendix B and code
    """

    def __init__(self, layout, name, channels, groups, heads=1, tiny=1e-6):
        self.norm = GroupNorm(layout, f"{name}.norm", channels, groups, tiny)
        self.q = Linear(layout, f"{name}.q", channels, channels)
        self.k = Linear(layout, f"{name}.k", channels, channels)
        self.v = Linear(layout, f"{name}.v", channels, channels)
        self.attention = Attention(name, channels, heads)
        self.out = Linear(layout, f"{name}.out", channels, channels, scale=NEARLY_ZERO)

    def forward(self, x, tape):
        n, h, w, c = x.shape
        a = self.norm.forward(x, tape).reshape(n, h * w, c)
        q = self.q.forward(a, tape)
        k = self.k.forward(a, tape)
        v = self.v.forward(a, tape)
        a = self.attention.forward(q, k, v, tape)
        a = self.out.forward(a, tape).reshape(x.shape)
        a += x
        return a

    def backward(self, dy, tape):
        n, h, w, c = dy.shape
        da = self.out.backward(dy.reshape(n, h * w, c), tape)
        dq, dk, dv = self.attention.backward(da, tape)
        da = self.v.backward(dv, tape)
        da += self.k.backward(dk, tape)
        da += self.q.backward(dq, tape)
        da = self.norm.backward(da.reshape(dy.shape), tape)
        da += dy
        return da


class Stage:
    """A residual block, followed by attention where the U-Net wants it."""

    def __init__(self, layout, name, c_in, c_out, n_emb, config, attention):
        self.res = ResBlock(
            layout, f"{name}.res", c_in, c_out, n_emb, config.groups, config.dropout, config.tiny
        )
        self.attention = None
        if attention:
            heads = config.heads_of(c_out)
            self.attention = AttentionBlock(
                layout, f"{name}.attention", c_out, config.groups, heads, config.tiny
            )

    def forward(self, x, emb, tape):
        h = self.res.forward(x, emb, tape)
        return self.attention.forward(h, tape) if self.attention else h

    def backward(self, dy, tape):
        dh = self.attention.backward(dy, tape) if self.attention else dy
        return self.res.backward(dh, tape)
