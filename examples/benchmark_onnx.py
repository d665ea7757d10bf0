"""The same U-Net in ONNX Runtime, for `benchmark.py --against onnxruntime` alone."""

import io
import logging
import warnings

from benchmark_torch import TorchUNet

from tinyddpm import UNet


def sampler(config, problem, threads):
    """A function that asks ONNX Runtime for eps_hat (N, H, W, C) of a problem's whole batch.

    Its network is the one in PyTorch, exported with these weights and this size of batch.
    """
    import onnxruntime

    x0, t, _, theta = problem
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        exported(TorchUNet(UNet(config).layout, theta, config, channels_last=False), x0, t),
        options,
        providers=["CPUExecutionProvider"],
    )
    names, x = [given.name for given in session.get_inputs()], x0.transpose(0, 3, 1, 2).copy()
    return lambda: session.run(None, dict(zip(names, (x, t))))[0].transpose(0, 2, 3, 1)


def exported(unet, x0, t):
    """A TorchUNet as an ONNX file's bytes, for images and times like these."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x, t):
            return unet.forward(x, t)

    for param in unet.params.values():
        param.requires_grad_(False)
    file = io.BytesIO()
    logging.disable(logging.WARNING)  # about what this network does not need
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = unet.images(x0), torch.tensor(t)
        torch.onnx.export(Module().eval(), inputs, file, dynamo=True, verbose=False)
    return file.getvalue()
