"""The same U-Net in PyTorch, for `benchmark.py --against torch`. Nothing else needs PyTorch."""

import math
from collections import Counter

from tinyddpm import UNet

OPERATORS = {  # what stands in the names that PyTorch's profiler prints
    "convolution": "convolutions", "group_norm": "GroupNorm", "groupnorm": "GroupNorm",
    "silu": "SiLU", "attention": "attention", "mm": "Linear",
}  # fmt: skip


def operator_times(config, problem, images):
    """Milliseconds that one thread of PyTorch takes for the forward and backward of some images.

    {(kind of operator, "forward" or "backward"): ms}, in the faster of the two memory formats. The
    products in the backward of Linear are called as those in its forward, and are counted there.
    """
    formats = [_operator_times(config, problem, images, last) for last in (False, True)]
    return min(formats, key=lambda spent: sum(spent.values()))


def _operator_times(config, problem, images, channels_last):
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(1)
    x0, t, eps, theta = problem
    unet = TorchUNet(UNet(config).layout, theta, config, channels_last)
    x, noise, t = unet.images(x0[:images]), unet.images(eps[:images]), torch.tensor(t[:images])

    def step():
        ((unet.forward(x, t) - noise) ** 2).mean().backward()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(10):
            step()
    spent = Counter()
    for event in record.key_averages():
        name = event.key.lower()
        kind = next((kind for part, kind in OPERATORS.items() if part in name), "the rest")
        way = "backward" if "backward" in name else "forward"
        spent[kind, way] += event.self_cpu_time_total / 1e4  # microseconds of ten steps
    return spent


class TorchUNet:
    """tinyddpm's U-Net with autograd: the same weights, by their names, in PyTorch's layouts.

    layout, theta   tinyddpm's; `config` is the UNetConfig, without classes
    """

    def __init__(self, layout, theta, config, channels_last):
        import torch

        self.torch, self.config = torch, config
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.params = {}
        for param in layout.params:
            value = torch.tensor(param.of(theta))
            if value.ndim == 4:  # (3, 3, C, D) -> (D, C, 3, 3)
                value = value.permute(3, 2, 0, 1).contiguous(memory_format=self.format)
            elif value.ndim == 2:  # (n_in, n_out) -> (n_out, n_in)
                value = value.T.contiguous()
            self.params[param.name] = value.requires_grad_()

    def images(self, x):
        """(N, H, W, C) NumPy -> (N, C, H, W) in the memory format."""
        return self.torch.tensor(x).permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def gradient(self, layout):
        """The gradients as tinyddpm's flat vector."""
        parts = []
        for param in layout.params:
            grad = self.params[param.name].grad
            if grad.ndim == 4:
                grad = grad.permute(2, 3, 1, 0)
            elif grad.ndim == 2:
                grad = grad.T
            parts.append(grad.reshape(-1))
        return self.torch.cat(parts).cpu().numpy()

    def forward(self, x, t):
        c, levels = self.config, range(len(self.config.multipliers))
        emb = self._condition(t)
        h = self._conv("conv_in", x)
        skips = [h]
        for i in levels:
            for j in range(c.blocks):
                h = self._stage(f"down{i}.{j}", h, emb)
                skips.append(h)
            if i < levels[-1]:
                h = self._conv(
                    f"down{i}.downsample", self._F.pad(h, (0, 1, 0, 1)), stride=2, padding=0
                )
                skips.append(h)
        h = self._stage("middle.0", h, emb)
        h = self._stage("middle.1", h, emb)
        for i in reversed(levels):
            for j in range(c.blocks + 1):
                h = self._stage(f"up{i}.{j}", self.torch.cat([h, skips.pop()], dim=1), emb)
            if i:
                h = self._F.interpolate(h, scale_factor=2, mode="nearest")
                h = self._conv(f"up{i}.upsample", h)
        return self._conv("conv_out", self._F.silu(self._norm("norm_out", h)))

    @property
    def _F(self):
        return self.torch.nn.functional

    def _conv(self, name, x, stride=1, padding=1):
        W, b = self.params[f"{name}.W"], self.params[f"{name}.b"]
        return self._F.conv2d(x, W, b, stride=stride, padding=padding)

    def _linear(self, name, x):
        return self._F.linear(x, self.params[f"{name}.W"], self.params[f"{name}.b"])

    def _norm(self, name, x):
        gain, bias = self.params[f"{name}.gain"], self.params[f"{name}.bias"]
        return self._F.group_norm(x, self.config.groups, gain, bias, eps=1e-6)

    def _stage(self, name, x, emb):
        h = self._conv(f"{name}.res.conv1", self._F.silu(self._norm(f"{name}.res.norm1", x)))
        h = h + self._linear(f"{name}.res.shift", emb)[:, :, None, None]
        h = self._conv(f"{name}.res.conv2", self._F.silu(self._norm(f"{name}.res.norm2", h)))
        if f"{name}.res.skip.W" in self.params:
            W, b = self.params[f"{name}.res.skip.W"], self.params[f"{name}.res.skip.b"]
            x = self._F.conv2d(x, W[:, :, None, None], b)
        h = h + x
        attends = f"{name}.attention.q.W" in self.params
        return self._attention(f"{name}.attention", h) if attends else h

    def _attention(self, name, x):
        n, c, height, width = x.shape
        a = self._norm(f"{name}.norm", x).permute(0, 2, 3, 1).reshape(n, -1, c)
        heads = self.config.heads
        q, k, v = (
            self._linear(f"{name}.{part}", a).reshape(n, -1, heads, c // heads).transpose(1, 2)
            for part in "qkv"
        )
        a = self._F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1, c)
        a = self._linear(f"{name}.out", a)
        return x + a.reshape(n, height, width, c).permute(0, 3, 1, 2)

    def _condition(self, t):
        half = self.config.base // 2
        frequency = self.torch.exp(self.torch.arange(half) * (-math.log(10000) / (half - 1)))
        angle = (t[:, None] - 1) * frequency
        h = self.torch.cat([angle.sin(), angle.cos()], dim=1).float()
        h = self._linear("condition.linear1", h)
        h = self._linear("condition.linear2", self._F.silu(h))
        return self._F.silu(h)
