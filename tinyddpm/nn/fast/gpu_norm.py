"""GroupNorm, and SiLU behind it, on a GPU: one kernel forward, one and a small product backward."""

from ...device import array_module
from . import norm
from .kernels import add_rows, in_one_piece, run, takes

THREADS = 256  # of a block, at most

SOURCE = """
// A block is one group of one image: threadIdx.x is a channel of the group, and the threads with
// the same one share the pixels.

// The sum over the threads t, t ± step, t ± 2 step ..., told to all of them. Its order is fixed.
__device__ real sum(real value, int step) {
    __shared__ real sums[256];
    int t = threadIdx.y * blockDim.x + threadIdx.x;
    sums[t] = value;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (t / step < half && t + half * step < blockDim.x * blockDim.y)
            sums[t] += sums[t + half * step];
        __syncthreads();
    }
    real total = sums[t % step];
    __syncthreads();  // before the next sum is written
    return total;
}

extern "C" __global__ void forward(const real* x, const real* gain, const real* bias, real* y,
                                   real* statistics, int pixels, real tiny, int silu) {
    int channels = gridDim.x * blockDim.x, channel = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = (long long)blockIdx.y * pixels * channels + channel;
    real count = (real)pixels * blockDim.x, total = 0, squares = 0;
    for (int p = threadIdx.y; p < pixels; p += blockDim.y)
        total += x[first + (long long)p * channels];
    real mean = sum(total, 1) / count;
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) {
        real centred = x[first + (long long)p * channels] - mean;
        squares += centred * centred;
    }
    real r = 1 / sqrt(sum(squares, 1) / count + tiny);
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) {
        long long i = first + (long long)p * channels;
        real h = gain[channel] * ((x[i] - mean) * r) + bias[channel];
        y[i] = silu ? h / (1 + exp(-h)) : h;
    }
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        real* mine = statistics + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
        mine[0] = mean;
        mine[1] = r;
    }
}

__device__ real through_silu(real dy, real h) {
    real s = 1 / (1 + exp(-h));
    return dy * (s + h * s * (1 - s));
}

extern "C" __global__ void backward(const real* x, const real* dy, const real* gain,
                                    const real* bias, const real* statistics, real* dx,
                                    real* sums_of_images, int pixels, int silu) {
    int channels = gridDim.x * blockDim.x, channel = blockIdx.x * blockDim.x + threadIdx.x;
    long long first = (long long)blockIdx.y * pixels * channels + channel;
    const real* mine = statistics + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
    real mean = mine[0], r = mine[1], a = gain[channel], b = bias[channel], dgain = 0, dbias = 0;
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) {
        long long i = first + (long long)p * channels;
        real x_hat = (x[i] - mean) * r, dh = silu ? through_silu(dy[i], a * x_hat + b) : dy[i];
        dgain += dh * x_hat;
        dbias += dh;
    }
    dgain = sum(dgain, blockDim.x);
    dbias = sum(dbias, blockDim.x);
    if (threadIdx.y == 0) {
        sums_of_images[(long long)2 * blockIdx.y * channels + channel] = dgain;
        sums_of_images[(long long)(2 * blockIdx.y + 1) * channels + channel] = dbias;
    }
    real count = (real)pixels * blockDim.x;
    real mean_g = sum(threadIdx.y == 0 ? a * dbias : 0, 1) / count;
    real mean_g_x_hat = sum(threadIdx.y == 0 ? a * dgain : 0, 1) / count;
    for (int p = threadIdx.y; p < pixels; p += blockDim.y) {
        long long i = first + (long long)p * channels;
        real x_hat = (x[i] - mean) * r, dh = silu ? through_silu(dy[i], a * x_hat + b) : dy[i];
        dx[i] = r * (a * dh - mean_g - x_hat * mean_g_x_hat);
    }
}
"""


class GroupNorm(norm.GroupNorm):
    """The plain formulas, a block of threads for a group; keeps x and two numbers a group."""

    def forward(self, x, tape):
        return forward(self, x, tape) if _takes(self, x, tape) else super().forward(x, tape)

    def backward(self, dy, tape):
        return backward(self, dy, tape) if _takes(self, dy, tape) else super().backward(dy, tape)


class NormSiLU(norm.NormSiLU):
    """Both layers by the same kernels; keeps x and two numbers a group."""

    def forward(self, x, tape):
        if not _takes(self.norm, x, tape):
            return super().forward(x, tape)
        return forward(self.norm, x, tape, silu=1)

    def backward(self, dy, tape):
        if not _takes(self.norm, dy, tape):
            return super().backward(dy, tape)
        return backward(self.norm, dy, tape, silu=1)


def _takes(norm, x, tape):
    return takes(x, tape.theta) and x.shape[-1] // norm.groups <= THREADS


def _blocks_and_threads(norm, x):
    width = x.shape[-1] // norm.groups
    return (norm.groups, len(x)), (width, THREADS // width)


def forward(norm, x, tape, silu=0):
    """y (N, H, W, C) = gain x̂ + bias, or silu of it."""
    x, xp = in_one_piece(x), array_module(x)
    gain, bias = norm.gain.of(tape.theta), norm.bias.of(tape.theta)
    y, statistics = xp.empty_like(x), xp.empty((len(x), norm.groups, 2), x.dtype)
    pixels = x.shape[1] * x.shape[2]
    run(SOURCE, "forward", *_blocks_and_threads(norm, x), x, gain, bias, y, statistics, pixels,
        float(norm.tiny), silu)  # fmt: skip
    tape.push(norm, (x, statistics))
    return y


def backward(norm, dy, tape, silu=0):
    """dx (N, H, W, C); adds to the gradients of gain and bias. x̂ and h are computed once more."""
    (x, statistics), dy, xp = tape.pop(norm), in_one_piece(dy), array_module(dy)
    gain, bias = norm.gain.of(tape.theta), norm.bias.of(tape.theta)
    dx, sums_of_images = xp.empty_like(dy), xp.empty((len(x), 2 * len(gain)), dy.dtype)
    pixels = x.shape[1] * x.shape[2]
    run(SOURCE, "backward", *_blocks_and_threads(norm, x), x, dy, gain, bias, statistics, dx,
        sums_of_images, pixels, silu)  # fmt: skip
    both = tape.grad[norm.gain.span.start : norm.bias.span.stop]  # bias comes right behind gain
    add_rows(sums_of_images, both)
    return dx
