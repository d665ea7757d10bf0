"""GroupNorm: gradients through statistics."""

from ..device import array_module
from ..tape import ones, zeros


class GroupNorm:
    """Normalise each image's channels in groups, then scale and shift every channel.

        x̂ = (x - mean) r,   r = 1/√(var + tiny)      mean, var over (H, W, C/G) of an image's group
        y = gain x̂ + bias                            x, y (N, H, W, C)   gain, bias (C,)

    Backward   dgain = Σ dy x̂      dbias = Σ dy
               dx = r (g - mean(g) - x̂ mean(g x̂))     with g = gain dy
               the two means are the ways through `mean` and `var`, which each pixel moves
    Keeps      x - mean (N, H·W, C) and r (N, 1, C)
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
        gain, bias = self.gain.of(tape.theta), self.bias.of(tape.theta)
        pixels = x.reshape(len(x), -1, x.shape[-1])  # (N, H·W, C)
        centred = pixels - self._group_mean(_pixel_mean(pixels))
        r = (self._group_mean(_pixel_mean(centred * centred)) + self.tiny) ** -0.5  # (N, 1, C)
        tape.push(self, (centred, r))
        return (centred * (gain * r) + bias).reshape(x.shape)

    def backward(self, dy, tape):
        centred, r = tape.pop(self)
        gain = self.gain.of(tape.theta)
        dgain, dbias = self.gain.of(tape.grad), self.bias.of(tape.grad)
        g = dy.reshape(centred.shape)
        mean_dy = _pixel_mean(g)  # (N, 1, C)
        mean_dy_x_hat = _pixel_mean(g * centred) * r
        dgain += mean_dy_x_hat.sum(axis=(0, 1)) * centred.shape[1]  # rule 3
        dbias += mean_dy.sum(axis=(0, 1)) * centred.shape[1]
        a = self._group_mean(gain * mean_dy)
        b = self._group_mean(gain * mean_dy_x_hat)
        dx = g * (gain * r) - centred * (b * r * r) - a * r
        return dx.reshape(dy.shape)

    def _group_mean(self, per_channel):
        """(N, 1, C) -> (N, 1, C): each channel's number becomes the mean of its group's."""
        n, _, c = per_channel.shape
        size = c // self.groups
        means = per_channel.reshape(n, 1, self.groups, size).mean(axis=3)
        return means.repeat(size, axis=2)


def _pixel_mean(a):
    """(N, S, C) -> (N, 1, C). A product with ones: several times faster than `a.mean(axis=1)`."""
    ones = array_module(a).ones((1, a.shape[1]), a.dtype)
    return ones @ a / a.shape[1]
