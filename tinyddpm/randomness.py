"""Every random number is a function of the seed, its purpose and two counters.

No generator lives longer than the piece of work that it was made for. So a resumed run draws what
the uninterrupted one would have drawn, and drawing a picture never changes the training.
"""

from functools import lru_cache

import numpy as np

PURPOSES = (
    "weights", "order", "training", "digits", "noise", "sampling", "forward", "times", "spectrum",
)  # fmt: skip


def generator(seed, purpose, counter=0, part=0, xp=np):
    """A new random Generator for one of PURPOSES; the counters are a step and a micro-batch.

    xp         where to draw: see `random_generator`
    Raises     ValueError for a seed below 0
    """
    if seed < 0:
        raise ValueError(f"seed of {seed}: use 0 or more")
    return random_generator([seed, 1 + PURPOSES.index(purpose), counter, part], xp)


def random_generator(key, xp=np):
    """A random Generator of `xp` that is a function of `key`, a list of integers from 0 on.

    On a GPU it is a `DeviceGenerator`, whose numbers are others than NumPy's.
    """
    return np.random.default_rng(key) if xp is np else DeviceGenerator(key, xp)


PHILOX = """
// Ten rounds stir the place and the call; between them, the key is counted up.
__device__ uint4 philox(unsigned long long key, unsigned call, unsigned long long place) {
    unsigned key0 = key, key1 = key >> 32;
    uint4 c = make_uint4(place, place >> 32, call, 0);
    for (int round = 0; round < 10; round++) {
        unsigned long long a = 0xD2511F53ull * c.x, b = 0xCD9E8D57ull * c.z;
        c = make_uint4((unsigned)(b >> 32) ^ c.y ^ key0, b, (unsigned)(a >> 32) ^ c.w ^ key1, a);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return c;
}
template <typename T> __device__ T uniform(unsigned a, unsigned b) {  // 24 or 53 bits, below 1
    if (sizeof(T) == 4) return (a >> 8) / T(16777216);
    return ((a >> 5) * T(67108864) + (b >> 6)) / T(9007199254740992);
}
"""


class DeviceGenerator:
    """Random numbers on a GPU that depend on the key, the call and a number's place, and no more.

        bits = Philox4x32-10(key, counter = (place, call)): four integers of 32 bits
        standard_normal = √(-2 ln(1 - u)) cos(2π v), u and v uniform in [0, 1)

    They are the same on every GPU, and nothing is kept there. The key becomes 64 bits.
    Source     Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Box & Muller 1958
    """

    def __init__(self, key, xp):
        self.xp, self.key = xp, np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        self.calls = 0

    def random(self, size=(), dtype=np.float64):
        """Numbers (size) in [0, 1)."""
        return self._draw("out = uniform<T>(bits.x, bits.y)", size, dtype)

    def standard_normal(self, size=(), dtype=np.float64):
        """Numbers (size) from the normal distribution."""
        radius = "sqrt(-2 * log(1 - uniform<T>(bits.x, bits.y)))"
        turn = "uniform<T>(bits.z, bits.w)"
        return self._draw(f"out = {radius} * cospi(2 * {turn})", size, dtype)

    def integers(self, low, high, size=()):
        """Integers (size) from low to high - 1."""
        above_low = "(bits.x | (unsigned long long)bits.y << 32) % (unsigned long long)span"
        return self._draw(f"out = low + (long long)({above_low})", size, np.int64, low, high - low)

    def _draw(self, formula, size, dtype, low=0, span=1):
        out = self.xp.empty(size, dtype)
        _kernel(self.xp, formula)(self.key, np.uint32(self.calls), low, span, out)
        self.calls += 1
        return out


@lru_cache
def _kernel(xp, formula):
    return xp.ElementwiseKernel(
        "uint64 key, uint32 call, int64 low, int64 span", "T out",
        f"uint4 bits = philox(key, call, i); {formula}", "draw", preamble=PHILOX,
    )  # fmt: skip
