"""GroupNorm: gradients through statistics."""

from .tape import ones, zeros


class GroupNorm:
    """Normalise each image's channels in groups, then scale and shift every channel.

        x̂ = (x - mean) r,   r = 1/√(var + tiny)      mean, var over (H, W, C/G) of an image's group
        y = gain x̂ + bias                            x, y (N, H, W, C)   gain, bias (C,)

    Backward   dgain = Σ dy x̂      dbias = Σ dy
               dx = r (g - mean(g) - x̂ mean(g x̂))   with g = gain dy, the gradient of x̂
               x reaches y in three ways: by itself (g), and through the mean and the variance of
               its group, which every pixel moves a little (mean(g), x̂ mean(g x̂))
    Keeps      x̂ (N, H·W, C) and r (N, 1, C)
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
        centred = pixels - self._mean(pixels)
        r = (self._mean(centred * centred) + self.tiny) ** -0.5
        x_hat = centred * r
        tape.push(self, (x_hat, r))
        return (gain * x_hat + bias).reshape(x.shape)

    def backward(self, dy, tape):
        x_hat, r = tape.pop(self)
        dgain, dbias = self.gain.of(tape.grad), self.bias.of(tape.grad)
        dy_pixels = dy.reshape(x_hat.shape)
        dgain += (dy_pixels * x_hat).sum(axis=(0, 1))  # rule 3
        dbias += dy_pixels.sum(axis=(0, 1))
        g = self.gain.of(tape.theta) * dy_pixels
        dx = r * (g - self._mean(g) - x_hat * self._mean(g * x_hat))
        return dx.reshape(dy.shape)

    def _mean(self, a):
        """(N, S, C) -> (N, 1, C): the mean over pixels and group, repeated for every channel."""
        n, s, c = a.shape
        means = a.reshape(n, s, self.groups, -1).mean(axis=(1, 3))  # (N, G)
        return means.repeat(c // self.groups, axis=1)[:, None]
