"""DDPM without a deep-learning framework: every layer's forward and backward is written by hand."""

from .checkpoint import load_checkpoint, save_checkpoint
from .data import Dataset, load_mnist
from .diffusion import predict_x0, q_sample, simple_loss
from .digits import offline_digits
from .download import DataUnavailable
from .optim import Adam, clip_by_norm, learning_rate, update_ema
from .run import Run, TrainConfig
from .samplers import ancestral, last, predictor
from .schedule import Schedule
from .tape import Layout, Param, Tape
from .train import train
from .unet import UNet, UNetConfig

__version__ = "0.1.0"
