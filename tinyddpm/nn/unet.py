"""The U-Net of Ho et al. 2020: ε_θ(x_t, t)."""

from dataclasses import dataclass

from .. import doors
from ..config import BELOW_1, COUNT, FROM_0, FROM_2, Range, check, setting
from .blocks import Stage
from .condition import Condition
from .layers import Concat, Conv3x3, GroupNorm, NormSiLU, UpsampleConv
from .tape import NEARLY_ZERO, Layout

EVEN = Range("an even number from 4 on", lambda x: x >= 4 and x % 2 == 0)
OUTPUTS = Range("1, or 2 to learn variances, too", lambda x: x in (1, 2))


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net. Settings that cannot work together raise a ValueError that says what to change."""

    image_size: int = setting(28, "pixels a side", FROM_2)
    image_channels: int = setting(1, "1 for grey, 3 for colours", COUNT)
    base: int = setting(32, "channels of the first level", EVEN)
    multipliers: tuple[int, ...] = setting((1, 2, 2), "channels of each level, in bases", COUNT)
    blocks: int = setting(1, "residual blocks a level on the way down; up has one more", COUNT)
    attention_at: tuple[int, ...] = setting((7,), "sizes with attention after every block", COUNT)
    heads: int = setting(1, "heads of attention", COUNT)
    groups: int = setting(8, "groups of GroupNorm", COUNT)
    dropout: float = setting(0.0, "share of the numbers dropped in every residual block", BELOW_1)
    classes: int = setting(0, "how many labels there are; 0 for none", FROM_0)
    outputs: int = setting(1, "answers for each number; 2 to learn variances, too", OUTPUTS)

    def __post_init__(self):
        check(self)
        if not self.multipliers:
            raise ValueError("multipliers of (): give one for each level")
        for size in self.sizes[:-1]:
            if size % 2:
                raise ValueError(
                    f"{len(self.multipliers)} levels halve {self.image_size} pixels "
                    f"{len(self.multipliers) - 1} times, but {size} is odd: use fewer multipliers"
                )
        for size in self.attention_at:
            if size not in self.sizes:
                raise ValueError(
                    f"attention at {size} pixels, but levels have {self.sizes}: choose from them"
                )
        for channels in [self.base, *self.channels]:
            if channels % self.groups or channels % self.heads:
                raise ValueError(
                    f"a level with {channels} channels cannot be split into {self.groups} groups "
                    f"and {self.heads} heads: choose numbers that divide it"
                )

    @property
    def image_shape(self):
        """(H, W, C) of its images."""
        return self.image_size, self.image_size, self.image_channels

    @property
    def sizes(self):
        """Pixels a side at each level, the largest first."""
        return [self.image_size >> level for level in range(len(self.multipliers))]

    @property
    def channels(self):
        """Channels at each level, the largest image first."""
        return [self.base * multiplier for multiplier in self.multipliers]

    @classmethod
    def ddpm_cifar10(cls):
        """The network of the paper's CIFAR-10 results: 35,746,307 parameters (Ho et al. 2020)."""
        return cls(
            image_size=32, image_channels=3, base=128, multipliers=(1, 2, 2, 2), blocks=2,
            attention_at=(16,), heads=1, groups=32, dropout=0.1,
        )  # fmt: skip


class UNet:
    """Predicts the noise in noisy images, or x0 or v, whichever it is trained for.

        eps_hat = unet.forward(x_t, t, tape, label)      x_t (N, H, W, C)   t, label (N,)
                                                         eps_hat (N, H, W, C · outputs)

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
        n_emb, n_out = 4 * config.base, config.image_channels * config.outputs
        self.condition = Condition(layout, "condition", config.base, n_emb, config.classes)
        self.conv_in = Conv3x3(layout, "conv_in", config.image_channels, config.base)

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
            downsample = None if last else Conv3x3(layout, f"down{i}.downsample", c, c, stride=2)
            skip_channels += [] if last else [c]
            self.down.append((stages, downsample))

        self.middle = [stage("middle.0", c, c, True), stage("middle.1", c, c, False)]

        self.concat = Concat()
        self.up = []  # (stages, copies and convolution that double the size) for each level
        for i, (size, c_level) in reversed(list(enumerate(levels))):
            stages = []
            for j in range(config.blocks + 1):
                c_in = c + skip_channels.pop()
                stages.append(stage(f"up{i}.{j}", c_in, c_level, size in config.attention_at))
                c = c_level
            upsample = UpsampleConv(Conv3x3(layout, f"up{i}.upsample", c, c)) if i else None
            self.up.append((stages, upsample))

        self.norm_out = NormSiLU(GroupNorm(layout, "norm_out", c, config.groups))
        self.conv_out = Conv3x3(layout, "conv_out", c, n_out, scale=NEARLY_ZERO)

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
        if x_t.shape[1:] != self.config.image_shape:
            wanted = ", ".join(map(str, self.config.image_shape))
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
