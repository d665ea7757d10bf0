"""The 3×3 convolution with a quarter to a sixth of the multiplications: Winograd's F(m×m, 3×3).

A window of k×k pixels, k = m + 2, holds all that a tile of m×m outputs sees. Along one axis: the
product of polynomials with 3 and m coefficients has k coefficients. So its values at k points fix
it, and each of them costs one multiplication. With P_n (k, n) the powers 0 to n - 1 of the points,
the product is P_k⁻¹ (P_3 a · P_m b); what a kernel a does to a window is the transpose of this map
of b. Along both axes, from pixels to k×k points and back:

    V = B x Bᵀ      U = G W Gᵀ      y = Aᵀ (Σ_channels V U) A
    B = P_k⁻ᵀ (k, k)      G = P_3 (k, 3)      A = P_m (k, m)         (Lavin & Gray write Bᵀ for B)

With many tiles and channels, the product is k² matrix products (tiles, C) · (C, D). Tiles need not
be square: m and k are then one number down and another across. Backward goes through the transposes
of the same maps, in the opposite order (rules 4 and 5), and finds V on the tape. Where channels are
many, mapping is a small part of the work, and V is made again from x, which is smaller.
Source     Lavin & Gray 2015, arXiv:1509.09308, section 4. Rounding depends on the points:
           Barabasz et al. 2018, arXiv:1803.10986; ours, in `tiles`, come from trying fractions
"""

from functools import partial
from itertools import product

import numpy as np

from .. import conv, pairs
from .arithmetic import sum_rows
from .maps import add, at, kernel_from_points, kernel_to_points, maps_for
from .memory import chunks, empty, scratch
from .tiles import tiles_of

CHUNK = 1 << 20  # bytes of V that are worked on at once
WIDE = 128  # channels from which on V is made again: 1 % more time, half of the memory


class Conv3x3(conv.Conv3x3):
    """The convolution by Winograd's algorithm; keeps x, or V: 1.6 to 2.3 times its size."""

    def forward(self, x, tape):
        if not pays(x, self.W, self.stride):
            return super().forward(x, tape)
        return forward(self, x, tape)

    def backward(self, dy, tape):
        if not pays(dy, self.W, self.stride):
            return super().backward(dy, tape)
        return backward(self, dy, tape)


class UpsampleConv(pairs.UpsampleConv):
    """From x to y without the larger image in between; keeps x, or V: 6 to 9 times its size."""

    def forward(self, x, tape):
        if not pays(x, self.conv.W, copies=2):
            return super().forward(x, tape)
        return forward(self.conv, x, tape, copies=2)

    def backward(self, dy, tape):
        if not pays(dy, self.conv.W):
            return super().backward(dy, tape)
        return backward(self.conv, dy, tape, copies=2)


def pays(x, W, stride=1, copies=1):
    """Whether Winograd saves time for images x (N, H, W, channels) and a kernel W (3, 3, C, D).

    It saves multiplications in proportion to C D. Mapping the images costs time in proportion to
    C + D, mapping the kernel the same for one tile as for many. One output channel is enough: the
    plain way cuts as many patches.
    """
    n, h, w = len(x), copies * x.shape[1], copies * x.shape[2]
    if stride > 1 or not isinstance(x, np.ndarray):
        return False
    return W.shape[2] >= 8 and n * tiles_of(h, w, (4, 4)) >= 16


def forward(conv, x, tape, copies=1):
    """y (N, H, W, D) of x (N, H / copies, W / copies, C), whose pixels are repeated copies² times.

    Remembers x where it is WIDE, else V (k, k, tiles, C), in chunks.
    """
    W, b = conv.W.of(tape.theta), conv.b.of(tape.theta)
    x = x.astype(np.result_type(x, W), copy=False)
    y = empty((len(x), copies * x.shape[1], copies * x.shape[2], len(b)), x.dtype)
    G, blocks = maps_for(y, copies, exact=tape.grad is None)
    U, kept = kernel_to_points(G, W), []
    again = x.shape[-1] >= WIDE
    new = partial(scratch, "V") if again or tape.grad is None else empty
    for cut, block in product(_chunks(x, blocks, U), blocks):
        V = block.B.to_points(at(x[cut], *block.x), new)
        M = np.matmul(V, U, out=scratch("M", (*V.shape[:3], len(b)), x.dtype))
        block.A.from_points(M, at(y[cut], *block.y), plus=b)
        kept.append((cut, block, None if again else V))
    tape.push(conv, (x if again else None, x.shape, kept))
    return y


def backward(conv, dy, tape, copies=1):
    """dx, of the shape of x; adds to the gradients of W and b."""
    (x, shape, kept), W = tape.pop(conv), conv.W.of(tape.theta)
    dW, db = conv.W.of(tape.grad), conv.b.of(tape.grad)
    dy = dy.astype(np.result_type(dy, W), copy=False)
    G, blocks = maps_for(dy, copies)
    U_T, dx = kernel_to_points(G, W.swapaxes(2, 3)), empty(shape, dy.dtype)
    db += sum_rows(dy.reshape(-1, len(db)))  # rule 3
    if len(blocks) > 1:
        dx[...] = 0
    while kept:
        cut, block, V = kept.pop()
        if V is None:
            V = block.B.to_points(at(x[cut], *block.x), partial(scratch, "V"))
        dM = block.A.to_points(at(dy[cut], *block.y), partial(scratch, "M"))
        dU = np.matmul(V.mT, dM, out=scratch("U", (*V.shape[:2], *W.shape[2:]), dy.dtype))
        dW += kernel_from_points(G, dU)
        dV = np.matmul(dM, U_T, out=scratch("V", V.shape, dy.dtype))
        part = at(dx[cut], *block.x)
        own = part if len(blocks) == 1 else scratch("dx", part.shape, dy.dtype)
        block.B.from_points(dV, own)
        if own is not part:  # neighbours see the same pixels
            add(part, own)
    return dx


def _chunks(x, blocks, U):
    """Slices of images x, at least one each, V of blocks below CHUNK, or half of U if more."""
    tiles = max(block.tiles for block in blocks)
    size = tiles * U[..., 0, 0].size * max(U.shape[2:]) * x.itemsize
    return chunks(len(x), size, max(CHUNK, U.nbytes // 2))
