"""The layers that blocks are made of, and Adam. The one place that chooses plain or fast ones.

Those of `fast` are subclasses of the plain ones and give the same results, up to rounding. Each
decides at every call whether its own way saves time; if not, it takes the plain way.
TINYDDPM_FAST=0 in the environment chooses the plain ones.
"""

import os

from .activation import Identity
from .embedding import Embedding
from .resample import Upsample

if os.environ.get("TINYDDPM_FAST") == "0":
    from .activation import SiLU
    from .attention import Attention
    from .broadcast import AddToPixels
    from .concat import Concat
    from .conv import Conv3x3
    from .dropout import Dropout
    from .embedding import Sinusoid
    from .linear import Linear
    from .norm import GroupNorm
    from .optim import Adam, update_ema
    from .pairs import NormSiLU, UpsampleConv
else:
    from .fast import (
        Adam,
        AddToPixels,
        Attention,
        Concat,
        Conv3x3,
        Dropout,
        GroupNorm,
        Linear,
        NormSiLU,
        SiLU,
        Sinusoid,
        UpsampleConv,
        update_ema,
    )

__all__ = [
    "Adam", "AddToPixels", "Attention", "Concat", "Conv3x3", "Dropout", "Embedding", "GroupNorm",
    "Identity", "Linear", "NormSiLU", "SiLU", "Sinusoid", "Upsample", "UpsampleConv", "update_ema",
]  # fmt: skip
