"""The layers that blocks are made of. The one place that chooses between plain and fast ones.

Those of `fast` are subclasses of the plain ones and give the same results, up to rounding. Each
decides at every call whether its own way saves time; if not, it takes the plain way.
TINYDDPM_FAST=0 in the environment chooses the plain ones.
"""

import os

from .activation import Identity, SiLU
from .concat import Concat
from .dropout import Dropout
from .embedding import Embedding, Sinusoid
from .resample import Upsample

if os.environ.get("TINYDDPM_FAST") == "0":
    from .attention import Attention
    from .broadcast import AddToPixels
    from .conv import Conv3x3
    from .linear import Linear
    from .norm import GroupNorm
    from .pairs import NormSiLU, UpsampleConv
else:
    from .fast import (
        AddToPixels,
        Attention,
        Conv3x3,
        GroupNorm,
        Linear,
        NormSiLU,
        UpsampleConv,
    )

__all__ = [
    "AddToPixels", "Attention", "Concat", "Conv3x3", "Dropout", "Embedding", "GroupNorm",
    "Identity", "Linear", "NormSiLU", "SiLU", "Sinusoid", "Upsample", "UpsampleConv",
]  # fmt: skip
