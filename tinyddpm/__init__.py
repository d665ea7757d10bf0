"""DDPM without a deep-learning framework: every layer's forward and backward is written by hand."""

from .checkpoint import load_checkpoint, save_checkpoint
from .config import add_flags, given_flags, with_flags
from .data import (
    Dataset,
    DataUnavailable,
    load_cifar10,
    load_dataset,
    load_mnist,
    offline_digits,
    to_unit,
)
from .device import DEVICES, array_module, device_name, module_for, random_generator, to_host
from .diffusion import log_variance, posterior_mean, q_sample, simple_loss, target, x0_and_eps
from .files import free_path
from .gallery import denoising_strip, moving_picture
from .interop import (
    load_diffusers,
    load_scheduler,
    read_safetensors,
    save_diffusers,
    write_safetensors,
)
from .layers import (
    Attention,
    Conv3x3,
    Dropout,
    Embedding,
    GroupNorm,
    Identity,
    Linear,
    SiLU,
    Sinusoid,
    Upsample,
)
from .learner import Learner
from .likelihood import bits_per_dimension, bound_terms
from .metrics import block_means, frechet_distance, nearest, power_spectrum, spectral_excess
from .optim import Adam, clip_by_norm, learning_rate, update_ema
from .pictures import (
    image_grid,
    labelled_grid,
    named_grid,
    picture_format,
    save_gif,
    save_picture,
    to_bytes,
)
from .plots import rate_distortion
from .progress import watched
from .randomness import generator
from .run import Run, TrainConfig
from .samplers import (
    Step,
    ancestral,
    ddim,
    ddim_inversion,
    dpm_solver,
    guided,
    last,
    predictor,
    slerp,
)
from .sampling import SamplingConfig, sample
from .schedule import Schedule
from .tape import Layout, Param, Tape
from .timesteps import LossHistory
from .train import advance, train
from .trained import load_published, load_trained
from .unet import UNet, UNetConfig
from .variational import bound, hybrid_loss, prior_bits, vlb_loss
from .workers import WorkerDied, Workers, cores, part_size

__version__ = "0.1.0"
__all__ = [
    "Adam", "add_flags", "advance", "ancestral", "array_module", "Attention", "bits_per_dimension",
    "block_means", "bound", "bound_terms", "clip_by_norm", "Conv3x3", "cores", "Dataset",
    "DataUnavailable", "ddim", "ddim_inversion", "denoising_strip", "device_name", "DEVICES",
    "dpm_solver", "Dropout", "Embedding", "frechet_distance", "free_path", "generator",
    "given_flags", "GroupNorm", "guided", "hybrid_loss", "Identity", "image_grid", "labelled_grid",
    "last", "Layout", "Learner", "learning_rate", "Linear", "load_checkpoint", "load_cifar10",
    "load_dataset", "load_diffusers", "load_mnist", "load_published", "load_scheduler",
    "load_trained", "log_variance", "LossHistory", "module_for", "moving_picture", "named_grid",
    "nearest", "offline_digits", "Param", "part_size", "picture_format", "posterior_mean",
    "power_spectrum", "predictor", "prior_bits", "q_sample", "random_generator", "rate_distortion",
    "read_safetensors", "Run", "sample", "SamplingConfig", "save_checkpoint", "save_diffusers",
    "save_gif", "save_picture", "Schedule", "SiLU", "simple_loss", "Sinusoid", "slerp",
    "spectral_excess", "Step", "Tape", "target", "to_bytes", "to_host", "to_unit", "train",
    "TrainConfig", "UNet", "UNetConfig", "update_ema", "Upsample", "vlb_loss", "watched",
    "with_flags", "WorkerDied", "Workers", "write_safetensors", "x0_and_eps",
]  # fmt: skip
