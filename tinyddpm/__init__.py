"""DDPM without a deep-learning framework: every layer's forward and backward is written by hand."""

from .checkpoint import load_checkpoint, save_checkpoint
from .config import add_flags, given_flags, with_flags
from .data import (
    Dataset,
    DataUnavailable,
    load_cifar10,
    load_dataset,
    load_folder,
    load_mnist,
    load_own,
    offline_digits,
    read_picture,
    to_model_range,
)
from .device import DEVICES, array_module, cores, device_name, module_for, to_host
from .diffusion.dpm_solver import dpm_solver, dpm_solver_sde
from .diffusion.editing import inpaint, sdedit
from .diffusion.likelihood import bits_per_dimension, bound_terms
from .diffusion.predictors import clipped, guided, predictor
from .diffusion.process import (
    log_variance,
    posterior_mean,
    q_sample,
    simple_loss,
    target,
    x0_and_eps,
)
from .diffusion.samplers import (
    Step,
    ancestral,
    ddim,
    ddim_inversion,
    final_images,
    slerp,
)
from .diffusion.sampling import SamplingConfig, sample, sampler
from .diffusion.schedule import Schedule
from .diffusion.timesteps import LossSecondMomentResampler
from .diffusion.variational import bound, hybrid_loss, prior_bits, vlb_loss
from .doors import NotFinite
from .evaluation.distances import frechet_distance, inception_score, kernel_distance
from .evaluation.inception import Inception, load_inception
from .evaluation.judge import classifier_judge
from .evaluation.neighbours import nearest, nearest_of_looks, precision_and_recall
from .evaluation.spectrum import power_spectrum, spectral_excess
from .files import atomic_write, free_path
from .interop import (
    Process,
    load_diffusers,
    load_process,
    read_torch,
    save_diffusers,
)
from .nn.layers import (
    Adam,
    AddToPixels,
    Attention,
    Concat,
    Conv3x3,
    Dropout,
    Embedding,
    GroupNorm,
    Identity,
    Linear,
    NormSiLU,
    SiLU,
    Sinusoid,
    Upsample,
    UpsampleConv,
    update_ema,
)
from .nn.optim import Muon, clip_by_norm, learning_rate
from .nn.tape import Layout, Param, Tape
from .nn.unet import UNet
from .nn.unet_config import UNetConfig
from .pictures.diagram import unet_diagram
from .pictures.gallery import denoising_strip, moving_picture
from .pictures.grids import (
    image_grid,
    labelled_grid,
    named_grid,
    picture_format,
    save_gif,
    save_picture,
    to_bytes,
)
from .pictures.plots import Axes, rate_distortion, spectrum
from .pictures.terminal import has_colours, terminal_text
from .progress import Progress, SafeStream, with_progress
from .randomness import generator, random_generator
from .ranks import keep, over_ranks, which_rank
from .safetensors import read_safetensors, write_safetensors
from .training.config import TrainConfig
from .training.denoiser import Denoiser
from .training.loop import advance, train
from .training.run import Run
from .training.trained import load_pretrained, load_published, load_trained, save_trained
from .workers import WorkerDied, Workers, micro_batch_size

__version__ = "0.1.0"
__all__ = [
    "Adam", "add_flags", "AddToPixels", "advance", "ancestral", "array_module", "atomic_write",
    "Attention", "Axes", "bits_per_dimension", "bound", "bound_terms", "classifier_judge",
    "clip_by_norm", "clipped", "Concat", "Conv3x3", "cores", "Dataset", "DataUnavailable",
    "ddim", "ddim_inversion", "Denoiser", "denoising_strip", "device_name", "DEVICES",
    "dpm_solver", "dpm_solver_sde", "Dropout", "Embedding", "final_images", "frechet_distance",
    "free_path", "generator", "given_flags", "GroupNorm", "guided", "has_colours",
    "hybrid_loss", "Identity", "image_grid", "Inception", "inception_score", "inpaint", "keep",
    "kernel_distance", "labelled_grid", "Layout", "learning_rate", "Linear", "load_checkpoint",
    "load_cifar10", "load_dataset", "load_diffusers", "load_folder", "load_inception",
    "load_mnist", "load_own", "load_pretrained", "load_process", "load_published",
    "load_trained", "log_variance", "LossSecondMomentResampler", "micro_batch_size",
    "module_for", "moving_picture", "Muon", "named_grid", "nearest", "nearest_of_looks",
    "NormSiLU", "NotFinite", "offline_digits", "over_ranks", "Param", "picture_format",
    "posterior_mean", "power_spectrum", "precision_and_recall", "predictor", "prior_bits",
    "Process", "Progress", "q_sample", "random_generator", "rate_distortion", "read_picture",
    "read_safetensors", "read_torch", "Run", "SafeStream", "sample", "sampler",
    "SamplingConfig", "save_checkpoint", "save_diffusers", "save_gif", "save_picture",
    "save_trained", "Schedule", "sdedit", "SiLU", "simple_loss", "Sinusoid", "slerp",
    "spectral_excess", "spectrum", "Step", "Tape", "target", "terminal_text", "to_bytes",
    "to_host", "to_model_range", "train", "TrainConfig", "UNet", "unet_diagram", "UNetConfig",
    "update_ema", "Upsample", "UpsampleConv", "vlb_loss", "which_rank", "with_flags",
    "with_progress", "WorkerDied", "Workers", "write_safetensors", "x0_and_eps",
]  # fmt: skip
