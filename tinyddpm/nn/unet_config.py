"""The settings of the U-Net."""

from dataclasses import dataclass

from ..config import ABOVE_0, BELOW_1, COUNT, FROM_0, FROM_2, Range, check, setting

EVEN = Range("an even number from 4 on", lambda x: x >= 4 and x % 2 == 0)
EITHER = Range("0 or 1", lambda x: x in (0, 1))
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
    joined: int = setting(0, "channels joined to the image, for which there is no answer", FROM_0)
    attention_up_at: tuple[int, ...] = setting((0,), "the same on the way up; 0: as down", FROM_0)
    head_channels: int = setting(0, "channels of a head of attention; 0: see heads", FROM_0)
    downsample_padding: int = setting(0, "zeros above and left of what is halved", EITHER)
    freq_shift: int = setting(1, "1: the time's lowest frequency is 1/10000; 0: more", EITHER)
    tiny: float = setting(1e-6, "what GroupNorm adds to variances", ABOVE_0)

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
        for size in (*self.attention_at, *self.up_attention):
            if size not in self.sizes:
                raise ValueError(
                    f"attention at {size} pixels, but levels have {self.sizes}: choose from them"
                )
        for channels in [self.base, *self.channels]:
            size, heads = self.head_channels, f"{self.heads} heads"
            whole = channels not in self.attended or channels % (size or self.heads) == 0
            if channels % self.groups or not whole:
                raise ValueError(
                    f"a level with {channels} channels cannot be split into {self.groups} groups "
                    f"and {f'heads of {size}' if size else heads}: choose numbers that divide it"
                )
        if self.head_channels and self.heads > 1:
            raise ValueError(f"{self.heads} heads of {self.head_channels} channels: set either")

    @property
    def image_shape(self):
        """(H, W, C) of its images."""
        return self.image_size, self.image_size, self.image_channels

    @property
    def input_shape(self):
        """The same with the channels that are joined to the image."""
        return *self.image_shape[:2], self.image_channels + self.joined

    @property
    def sizes(self):
        """Pixels a side at each level, the largest first."""
        return [self.image_size >> level for level in range(len(self.multipliers))]

    @property
    def up_attention(self):
        """Sizes with attention on the way up."""
        return self.attention_at if self.attention_up_at == (0,) else self.attention_up_at

    @property
    def attended(self):
        """Channels where there is attention, each once; the middle always has it."""
        sizes = {self.sizes[-1], *self.attention_at, *self.up_attention}
        return {c for size, c in zip(self.sizes, self.channels) if size in sizes}

    def heads_of(self, channels):
        """How many heads attention with so many channels has."""
        return channels // self.head_channels if self.head_channels else self.heads

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
