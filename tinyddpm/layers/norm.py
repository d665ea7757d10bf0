"""GroupNorm: gradients through statistics."""

from ..device import sum_rows
from ..fast import norm as fast
from ..tape import ones, zeros


class GroupNorm:
    """Normalise each image's channels in groups, then scale and shift every channel.

        x̂ = (x - mean) r,   r = 1/√(var + tiny)      mean, var over (H, W, C/G) of an image's group
        y = gain x̂ + bias                            x, y (N, H, W, C)   gain, bias (C,)

    Backward   dgain = Σ dy x̂      dbias = Σ dy
               dx = r (g - mean(g) - x̂ mean(g x̂))   with g = gain dy
               the two means are the ways through `mean` and `var`, which each pixel moves
    Keeps      x - mean (N, H·W, C) and r (N, 1, C)
    Fast       where `fast.suits`: keeps x, the mean and r
    Raises     ValueError if the groups do not divide the channels
    Source     Wu & He 2018, arXiv:1803.08494, section 3; tiny 1e-6 as in Ho et al. 2020's code
    """

    def __init__(self, layout, name, channels, groups, tiny=1e-6):
        if channels % groups:
            raise ValueError(
                f"{name}: {groups} groups do not divide {channels} channels; "
                "choose a number of groups that does"
            )
        self.groups, self.tiny = groups, tiny
        self.gain = layout.add(f"{name}.gain", (channels,), ones)
        self.bias = layout.add(f"{name}.bias", (channels,), zeros)

    def forward(self, x, tape):
        if fast.suits(x):
            return fast.forward(self, x, tape)
        gain, bias = self.gain.of(tape.theta), self.bias.of(tape.theta)
        pixels = x.reshape(len(x), -1, x.shape[-1])  # (N, H·W, C)
        centred = pixels - self._mean(pixels)
        r = (self._mean(centred * centred) + self.tiny) ** -0.5  # (N, 1, C)
        tape.push(self, (centred, r))
        return (centred * (gain * r) + bias).reshape(x.shape)

    def backward(self, dy, tape):
        if fast.suits(dy):
            return fast.backward(self, dy, tape)
        centred, r = tape.pop(self)
        gain = self.gain.of(tape.theta)
        dgain, dbias = self.gain.of(tape.grad), self.bias.of(tape.grad)
        dy_pixels = dy.reshape(centred.shape)
        dy_x_hat = dy_pixels * centred * r
        dgain += sum_rows(dy_x_hat).sum(axis=0)  # rule 3
        dbias += sum_rows(dy_pixels).sum(axis=0)
        mean_g, mean_g_x_hat = self._mean(dy_pixels, gain), self._mean(dy_x_hat, gain)
        dx = dy_pixels * (gain * r) - mean_g * r - centred * (mean_g_x_hat * r * r)
        return dx.reshape(dy.shape)

    def _mean(self, a, gain=1):
        """(N, S, C) -> (N, 1, C): the mean of gain · a over pixels and group, for every channel."""
        n, s, c = a.shape
        groups = (gain * sum_rows(a)).reshape(n, self.groups, -1).mean(axis=2) / s
        return groups.repeat(c // self.groups, axis=1)[:, None]
