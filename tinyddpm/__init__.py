"""DDPM without a deep-learning framework: every layer's forward and backward is written by hand."""

from .checkpoint import load_checkpoint, save_checkpoint
from .config import add_flags, given_flags, with_flags
from .data import Dataset, load_mnist
from .diffusion import predict_x0, q_sample, simple_loss
from .digits import offline_digits
from .download import DataUnavailable
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
from .optim import Adam, clip_by_norm, learning_rate, update_ema
from .pictures import image_grid, labelled_grid, save_gif, save_picture
from .run import Run, TrainConfig
from .samplers import Step, ancestral, guided, last, predictor
from .schedule import Schedule
from .tape import Layout, Param, Tape
from .train import train
from .unet import UNet, UNetConfig
from .workers import WorkerDied, Workers, cores

__version__ = "0.1.0"
__all__ = [
    "Adam", "add_flags", "ancestral", "Attention", "clip_by_norm", "Conv3x3", "cores",
    "Dataset", "DataUnavailable", "Dropout", "Embedding", "given_flags", "guided", "GroupNorm",
    "Identity", "image_grid", "labelled_grid", "last", "Layout", "learning_rate", "Linear",
    "load_checkpoint", "load_mnist", "offline_digits", "Param", "predict_x0", "predictor",
    "q_sample", "Run", "save_checkpoint", "save_gif", "save_picture", "Schedule", "SiLU",
    "simple_loss", "Sinusoid", "Step", "Tape", "train", "TrainConfig", "UNet", "UNetConfig",
    "update_ema", "Upsample", "with_flags", "WorkerDied", "Workers",
]  # fmt: skip
