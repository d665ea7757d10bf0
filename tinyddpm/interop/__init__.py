"""Published weights in and out: the folders of the diffusers library, which is not needed."""

from .folders import draws_latents, name_of
from .process import Process
from .torch_file import read_torch
from .weights import load_diffusers, load_process, save_diffusers
