"""Published weights in and out: the folders of the diffusers library, which is not needed."""

from .safetensors import read_safetensors, write_safetensors
from .weights import load_diffusers, load_scheduler, load_variance, save_diffusers
