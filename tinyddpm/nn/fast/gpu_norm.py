"""GroupNorm, and SiLU behind it, on a GPU: one kernel forward, one and a small product backward."""

from ...device import array_module
from . import norm
from .kernels import add_rows, by_kernels, run

THREADS = 256  # of a block, at most

SOURCE = """
// A block is one group of one image: threadIdx.x is a channel of the group, and the threads with
// the same one share the pixels.

// The sum over the threads t, t ± step, t ± 2 step ..., told to all of them. Its order is fixed.
__device__ real sum(real value, int step) {
    __shared__ real sums[256];  // THREADS
    int t = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();  // the sum before this one has been told to all
    sums[t] = value;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (t / step < half && t + half * step < blockDim.x * blockDim.y)
            sums[t] += sums[t + half * step];
        __syncthreads();
    }
    return sums[t % step];
}

extern "C" __global__ void forward(const real* x, const real* gain, const real* bias, int pixels,
                                   int silu, real* y, real* statistics, real tiny) {
    int channels = gridDim.x * blockDim.x, channel = blockIdx.x * blockDim.x + threadIdx.x;
    long long image = (long long)pixels * channels, end = (blockIdx.y + 1) * image;
    long long first = end - image + threadIdx.y * channels + channel, step = blockDim.y * channels;
    real count = (real)pixels * blockDim.x, total = 0, squares = 0;
    for (long long i = first; i < end; i += step) total += x[i];
    real mean = sum(total, 1) / count;
    for (long long i = first; i < end; i += step) squares += (x[i] - mean) * (x[i] - mean);
    real r = 1 / sqrt(sum(squares, 1) / count + tiny);
    for (long long i = first; i < end; i += step) {
        real h = gain[channel] * ((x[i] - mean) * r) + bias[channel];
        y[i] = silu ? h / (1 + exp(-h)) : h;
    }
    real* mine = statistics + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
    mine[0] = mean;  // all threads write the same
    mine[1] = r;
}

__device__ real through_silu(real dy, real h) {
    real s = 1 / (1 + exp(-h));
    return dy * (s + h * s * (1 - s));
}

extern "C" __global__ void backward(const real* x, const real* gain, const real* bias, int pixels,
                                    int silu, const real* dy, const real* statistics, real* dx,
                                    real* sums_of_images) {
    int channels = gridDim.x * blockDim.x, channel = blockIdx.x * blockDim.x + threadIdx.x;
    long long image = (long long)pixels * channels, end = (blockIdx.y + 1) * image;
    long long first = end - image + threadIdx.y * channels + channel, step = blockDim.y * channels;
    const real* mine = statistics + 2 * (blockIdx.y * gridDim.x + blockIdx.x);
    real mean = mine[0], r = mine[1], a = gain[channel], b = bias[channel], dgain = 0, dbias = 0;
    for (long long i = first; i < end; i += step) {
        real x_hat = (x[i] - mean) * r, dh = silu ? through_silu(dy[i], a * x_hat + b) : dy[i];
        dgain += dh * x_hat;
        dbias += dh;
    }
    dgain = sum(dgain, blockDim.x);
    dbias = sum(dbias, blockDim.x);
    real* ours = sums_of_images + (long long)2 * blockIdx.y * channels + channel;
    ours[0] = dgain;
    ours[channels] = dbias;
    real count = (real)pixels * blockDim.x;
    real mean_g = sum(threadIdx.y == 0 ? a * dbias : 0, 1) / count;
    real mean_g_x_hat = sum(threadIdx.y == 0 ? a * dgain : 0, 1) / count;
    for (long long i = first; i < end; i += step) {
        real x_hat = (x[i] - mean) * r, dh = silu ? through_silu(dy[i], a * x_hat + b) : dy[i];
        dx[i] = r * (a * dh - mean_g - x_hat * mean_g_x_hat);
    }
}
"""


@by_kernels
class GroupNorm(norm.GroupNorm):
    """The plain formulas, a block of threads for a group; keeps x and two numbers a group."""

    def forward(self, x, tape):
        return forward(self, x, tape) if _fits(self) else super().forward(x, tape)

    def backward(self, dy, tape):
        return backward(self, dy, tape) if _fits(self) else super().backward(dy, tape)


@by_kernels
class NormSiLU(norm.NormSiLU):
    """Both layers by the same kernels; keeps x and two numbers a group."""

    def forward(self, x, tape):
        return forward(self.norm, x, tape, 1) if _fits(self.norm) else super().forward(x, tape)

    def backward(self, dy, tape):
        return backward(self.norm, dy, tape, 1) if _fits(self.norm) else super().backward(dy, tape)


def _fits(layer):
    """Whether a block has a thread for each channel of a group."""
    return layer.gain.shape[0] // layer.groups <= THREADS


def forward(layer, x, tape, silu=0):
    """y (N, H, W, C) = gain x̂ + bias, or silu of it."""
    xp = array_module(x)
    y, statistics = xp.empty_like(x), xp.empty((len(x), layer.groups, 2), x.dtype)
    _run("forward", layer, tape, x, silu, y, statistics, float(layer.tiny))
    tape.push(layer, (x, statistics))
    return y


def backward(layer, dy, tape, silu=0):
    """dx (N, H, W, C); adds to the gradients of gain and bias. x̂ and h are computed once more."""
    (x, statistics), xp = tape.pop(layer), array_module(dy)
    dx, sums_of_images = xp.empty_like(dy), xp.empty((len(x), 2 * x.shape[-1]), dy.dtype)
    _run("backward", layer, tape, x, silu, dy, statistics, dx, sums_of_images)
    add_rows(sums_of_images, tape.grad[layer.gain.span.start : layer.bias.span.stop])  # neighbours
    return dx


def _run(name, layer, tape, x, silu, *more):
    """A kernel, with a block for each group of each image of x (N, H, W, C)."""
    gain, bias = layer.gain.of(tape.theta), layer.bias.of(tape.theta)
    pixels, width = x.shape[1] * x.shape[2], x.shape[-1] // layer.groups
    run(SOURCE, name, (layer.groups, len(x)), (width, THREADS // width), x, gain, bias, pixels,
        silu, *more)  # fmt: skip
