"""One file per layer. Each has `forward(x, tape)` and its mirror `backward(dy, tape)`."""

from .activation import Identity, SiLU
from .attention import Attention
from .conv import Conv3x3
from .dropout import Dropout
from .embedding import Embedding, Sinusoid
from .linear import Linear
from .norm import GroupNorm
from .resample import Upsample
