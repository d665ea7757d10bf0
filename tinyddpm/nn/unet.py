"""The U-Net of Ho et al. 2020: ε_θ(x_t, t)."""

from .. import doors
from .blocks import Stage
from .condition import Condition
from .layers import Concat, Conv3x3, GroupNorm, NormSiLU, UpsampleConv
from .tape import NEARLY_ZERO, Layout


class UNet:
    """Predicts the noise in noisy images, or x0 or v, whichever it is trained for.

        eps_hat = unet.forward(x_t, t, tape, label)      x_t (N, H, W, C)   t, label (N,)
                                                         eps_hat (N, H, W, C · outputs)

    With `joined` channels, such as a second image, x_t is (N, H, W, C + joined), the image first.

    Down: at every size some residual blocks, then half the size. Middle: block, attention, block.
    Up: the same sizes backwards, where each block also sees what the way down had at this point
    (skips, a stack: the last one pushed is the first one needed).

    layout     the addresses of all parameters: `.params`, `.size`, `.init(rng, dtype)` -> theta
    Backward   `backward(d_out, tape)` adds to tape.grad and returns the gradient of x_t. The skips
               flow back in the opposite order, so they are a stack again
    Source     Ronneberger et al. 2015; Ho et al. 2020, appendix B
    """

    def __init__(self, config):
        self.config = config
        self.layout = layout = Layout()
        n_in, n_out = config.input_shape[-1], config.image_channels * config.outputs
        n_emb, shift, padding = 4 * config.base, config.freq_shift, config.downsample_padding
        self.condition = Condition(layout, "condition", config.base, n_emb, config.classes, shift)
        self.conv_in = Conv3x3(layout, "conv_in", n_in, config.base)

        def stage(name, c_in, c_out, attention):
            return Stage(layout, name, c_in, c_out, n_emb, config, attention)

        levels = list(zip(config.sizes, config.channels))
        c, skip_channels = config.base, [config.base]  # of the image, and of all skips so far
        self.down = []  # (stages, convolution that halves the size) for each level
        for i, (size, c_level) in enumerate(levels):
            stages = []
            for j in range(config.blocks):
                stages.append(stage(f"down{i}.{j}", c, c_level, size in config.attention_at))
                c = c_level
                skip_channels.append(c)
            last = i == len(levels) - 1
            down = None if last else Conv3x3(layout, f"down{i}.downsample", c, c, 2, before=padding)
            skip_channels += [] if last else [c]
            self.down.append((stages, down))

        self.middle = [stage("middle.0", c, c, True), stage("middle.1", c, c, False)]
        self.concat = Concat()
        self.up = []  # (stages, copies and convolution that double the size) for each level
        for i, (size, c_level) in reversed(list(enumerate(levels))):
            stages = []
            for j in range(config.blocks + 1):
                c_in = c + skip_channels.pop()
                stages.append(stage(f"up{i}.{j}", c_in, c_level, size in config.up_attention))
                c = c_level
            upsample = UpsampleConv(Conv3x3(layout, f"up{i}.upsample", c, c)) if i else None
            self.up.append((stages, upsample))

        self.norm_out = NormSiLU(GroupNorm(layout, "norm_out", c, config.groups, config.tiny))
        self.conv_out = Conv3x3(layout, "conv_out", c, n_out, scale=NEARLY_ZERO)

    @property
    def matrices(self):
        """The Params of the weights between the first and the last layer: see `Muon`."""
        ends = "conv_in.W", "conv_out.W"
        return [p for p in self.layout.params if p.name.endswith(".W") and p.name not in ends]

    def forward(self, x_t, t, tape, label=None):
        x_t, t, label = self._check(x_t, t, label, tape)
        emb = self.condition.forward(t, label, tape)
        h = self.conv_in.forward(x_t, tape)
        skips = [h]
        for stages, downsample in self.down:
            for stage in stages:
                h = stage.forward(h, emb, tape)
                skips.append(h)
            if downsample:
                h = downsample.forward(h, tape)
                skips.append(h)
        for stage in self.middle:
            h = stage.forward(h, emb, tape)
        for stages, upsample in self.up:
            for stage in stages:
                h = self.concat.forward(h, skips.pop(), tape)
                h = stage.forward(h, emb, tape)
            if upsample:
                h = upsample.forward(h, tape)
        h = self.norm_out.forward(h, tape)
        return self.conv_out.forward(h, tape)

    def backward(self, d_out, tape):
        dh = self.conv_out.backward(d_out, tape)
        dh = self.norm_out.backward(dh, tape)
        demb, dskips = 0, []
        for stages, upsample in reversed(self.up):
            if upsample:
                dh = upsample.backward(dh, tape)
            for stage in reversed(stages):
                dh, d = stage.backward(dh, tape)
                demb = demb + d  # rule 2: every stage uses emb
                dh, dskip = self.concat.backward(dh, tape)
                dskips.append(dskip)
        for stage in reversed(self.middle):
            dh, d = stage.backward(dh, tape)
            demb = demb + d
        for stages, downsample in reversed(self.down):
            if downsample:
                dh += dskips.pop()  # rule 2: a skip is a second use
                dh = downsample.backward(dh, tape)
            for stage in reversed(stages):
                dh += dskips.pop()
                dh, d = stage.backward(dh, tape)
                demb = demb + d
        dh += dskips.pop()
        dx_t = self.conv_in.backward(dh, tape)
        self.condition.backward(demb, tape)
        return dx_t

    def _check(self, x_t, t, label, tape):
        """x_t, t and label as `doors` gives them; ValueError for what cannot be asked."""
        (x_t,) = doors.images(x_t=x_t)
        if x_t.shape[1:] != self.config.input_shape:
            wanted = ", ".join(map(str, self.config.input_shape))
            raise ValueError(f"images of shape {x_t.shape}: this U-Net wants (N, {wanted})")
        (theta,) = doors.images(theta=tape.theta)
        if theta.shape != (self.layout.size,):
            raise ValueError(f"theta of shape {theta.shape}: give {self.layout.size:,} weights")
        t = doors.times(t, len(x_t))
        if label is not None and not self.config.classes:
            raise ValueError("labels for a U-Net without classes: leave them out, or set classes")
        if label is not None:
            label = doors.labels(label, len(x_t), self.config.classes)
        return x_t, t, label
