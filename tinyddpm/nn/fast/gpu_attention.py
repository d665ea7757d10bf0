"""Attention on a GPU: two kernels in the places of the softmax and of its gradient."""

from ..attention import _transposed
from . import attention
from .kernels import WARPS, by_kernels, in_one_piece, products, run

SOURCE = """
// Each warp has a row of scores, which it overwrites.

// The sum over a warp, or the largest value in it.
__device__ real over_warp(real value, bool sum) {
    for (int half = 16; half > 0; half /= 2) {
        real other = __shfl_xor_sync(0xffffffff, value, half);
        value = sum ? value + other : max(value, other);
    }
    return value;
}

// A = softmax(scale score)
extern "C" __global__ void softmax(real* score, int rows, int length, real scale) {
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    real* mine = score + (long long)row * length;
    real most = mine[0], total = 0;
    for (int i = threadIdx.x; i < length; i += 32) most = max(most, mine[i]);
    most = over_warp(most, false);
    for (int i = threadIdx.x; i < length; i += 32) total += mine[i] = exp(scale * (mine[i] - most));
    total = over_warp(total, true);
    for (int i = threadIdx.x; i < length; i += 32) mine[i] /= total;
}

// dscore = scale A (dA - Σ A dA)
extern "C" __global__ void softmax_backward(real* dA, const real* A, int rows, int length,
                                            real scale) {
    int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    real* mine = dA + (long long)row * length;
    const real* share = A + (long long)row * length;
    real mean = 0;
    for (int i = threadIdx.x; i < length; i += 32) mean += share[i] * mine[i];
    mean = over_warp(mean, true);
    for (int i = threadIdx.x; i < length; i += 32) mine[i] = scale * share[i] * (mine[i] - mean);
}
"""


@by_kernels
class Attention(attention.Attention):
    """The plain formulas, with the division by √d in the kernels; keeps q, k, v and A."""

    def forward(self, q, k, v, tape):
        q, k, v = (in_one_piece(self._split(a)) for a in (q, k, v))  # (N, heads, S, d)
        A = products(q, _transposed(k))
        _run("softmax", q, A)
        tape.push(self, (q, k, v, A))
        return self._join(products(A, v))

    def backward(self, dy, tape):
        q, k, v, A = tape.pop(self)
        dy = in_one_piece(self._split(dy))
        dv, dscore = products(_transposed(A), dy), products(dy, _transposed(v))
        _run("softmax_backward", q, dscore, A)
        dq, dk = products(dscore, k), products(_transposed(dscore), q)
        return self._join(dq), self._join(dk), self._join(dv)


def _run(name, q, scores, *others):
    """A kernel for all rows of scores (N, heads, S, S), which are a product's: in one piece."""
    length, scale = scores.shape[-1], q.shape[-1] ** -0.5
    rows = scores.size // length
    run(SOURCE, name, (-(-rows // WARPS),), (32, WARPS), scores, *others, rows, length, scale)
