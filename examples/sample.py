"""Draw with a trained model: that of a run, "mnist", or published weights.

    python examples/sample.py runs/mnist                          eight images of every label
    python examples/sample.py runs/mnist --labels 3 1 4 --count 5
    python examples/sample.py runs/mnist --sampler ancestral --steps 1000 --guidance 0
    python examples/sample.py --weights ddpm-cifar10-32 --count 4
    python examples/sample.py runs/mnist --from picture.png --strength 0.6
    python examples/sample.py runs/mnist --inpaint picture.png mask.png

What it makes of them is chosen by --make:

    grid             the images, a row for each label (this is what it makes unless told otherwise)
    gif              how they come out of noise, as a moving picture
    denoising        the same as a strip, one image of each label
    progressive      the image that each step sees coming: the broad strokes come first
    guidance         a row for each of the weights 0, 0.5, 1 and 3, all from the same noise
    interpolation    the first and the last image are turned into the noise that they come from, by
                     DDIM run backwards; from the noise between the two, new images

--from begins with your picture under as much noise as there is after --strength of the time, and
--inpaint draws anew what is white in the mask (a picture, or "left", "right", "top", "bottom": that
half). The first column of the grid is your picture then.

Settings of the training are in the checkpoint; none has to be said again. A picture that is there
already is left alone: the new one gets a number. Published weights are a folder that the diffusers
library reads, such as the repository google/ddpm-cifar10-32 of Hugging Face, which has CIFAR-10's
by Ho et al. 2020. If it has no scheduler's file, say what the network was trained for.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import dataclasses
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
from artist import Artist, Given
from PIL import Image
from PIL.ImageOps import exif_transpose

from tinyddpm import (
    DEVICES,
    Process,
    SamplingConfig,
    Schedule,
    add_flags,
    cores,
    device_name,
    free_path,
    load_published,
    load_trained,
    picture_format,
    read_picture,
    save_gif,
    save_picture,
    to_model_range,
    with_flags,
)

MAKES = ("grid", "gif", "denoising", "progressive", "guidance", "interpolation")
ALTERS = ("grid", "guidance")  # what can be made from a picture


def main():
    arguments = parse()
    trained = chosen_model(arguments).to(arguments.device)
    sampling = chosen_sampling(trained, arguments)
    rows = chosen_labels(trained, arguments)
    given = chosen_picture(trained, arguments)
    path = chosen_path(trained.data, arguments)
    rows, count = chosen_count(trained, sampling, rows, arguments)
    workers = min(arguments.workers, len(rows) * count)  # with one, BLAS takes all cores
    with trained.predictor(workers) as eps_model:
        artist = Artist(trained, eps_model, sampling, rows, count, arguments.seed, given)
        picture = getattr(artist, arguments.make)()
    path = arguments.out or free_path(path)
    (save_gif if arguments.make == "gif" else save_picture)(picture, path)
    age = "" if trained.step is None else f", after {trained.step:,} steps of training"
    print(f"{trained.data}{age}, drawn on {device_name(trained.xp)}: {path}")


def parse():
    """The command line; flags for settings are made from SamplingConfig."""
    parser = argparse.ArgumentParser(
        usage="sample.py RUN | --weights FOLDER [--make WHAT] [and more, named below]\n"
        "       sample.py mnist --labels 3 1 4 --count 5",
        description=__doc__.splitlines()[0] + " More is in examples/README.md.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=42, width=80),
    )
    parser.add_argument("checkpoint", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--weights", metavar="FOLDER", help="published weights instead of a run")
    process = parser.add_argument_group("of published weights, if their folder is wrong or silent")
    process.add_argument("--schedule", choices=("linear", "cosine"), help="noise schedule (linear)")
    process.add_argument("--predicts", choices=("eps", "x0", "v"), help="what it answers (eps)")
    process.add_argument("--T", type=int, metavar="N", help="steps of the process (1000)")
    process.add_argument("--image-size", type=int, metavar="N", help="pixels a side")
    parser.add_argument(
        "--make", choices=MAKES, default="grid", metavar="WHAT", help=f"{', '.join(MAKES)} (grid)"
    )
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="numbers or names (all)")
    parser.add_argument(
        "--count", type=int, metavar="N", help="images of each (8, or fewer if slow)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--from", dest="start", metavar="PICTURE", help="begin with this picture")
    parser.add_argument("--strength", type=float, metavar="N", help="share of time (0.6)")
    parser.add_argument("--inpaint", nargs=2, metavar=("PICTURE", "MASK"), help="fill in a picture")
    parser.add_argument("--out", metavar="FILE", help="what to write (named by --make)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to draw (auto)")
    add_flags(parser, SamplingConfig())
    return parser.parse_args()


# What cannot be is refused here, before the work begins.


def chosen_model(arguments):
    """The Trained model of a run, or of published weights."""
    if bool(arguments.checkpoint) == bool(arguments.weights):
        raise ValueError("name the folder of a run, or --weights with that of published weights")
    process, size = chosen_process(arguments), arguments.image_size
    if arguments.weights:
        if any(Path(arguments.weights).glob("checkpoint*.safetensors")):
            raise ValueError(f"{arguments.weights} is the folder of a run: leave out --weights")
        return load_published(arguments.weights, process, size)
    if process or size is not None:
        raise ValueError("a run knows its process and size: leave out what --weights may need")
    return load_trained(arguments.checkpoint)


def chosen_process(arguments):
    """The Process that the user says; None if that is left to the folder."""
    schedule, predicts, T = arguments.schedule, arguments.predicts, arguments.T
    if schedule is None and predicts is None and T is None:
        return None
    make = getattr(Schedule, schedule or "linear")
    return Process(make(1000 if T is None else T), predicts or "eps")


def chosen_sampling(trained, arguments):
    """The SamplingConfig that suits the model, changed by the flags."""
    default = SamplingConfig(variance=trained.variance, clip=trained.clip)
    default = dataclasses.replace(default, steps=min(default.steps, trained.schedule.T))
    if not trained.can_guide:
        default = dataclasses.replace(default, guidance=0.0)
    sampling = with_flags(default, arguments)
    sampling = dataclasses.replace(sampling, steps=sampling.respaced(trained.schedule).T)
    if not trained.can_guide and (sampling.guidance or arguments.make == "guidance"):
        raise ValueError("this model was not trained with labels and without: use no guidance")
    if arguments.make == "interpolation" and not trained.knows_null:
        raise ValueError("this model was trained with labels only: make no interpolation")
    return sampling


def chosen_labels(trained, arguments):
    """The label of each row of images, a list; None stands for no label."""
    known, names = trained.labels, trained.label_names
    if arguments.count is not None and arguments.count < 1:
        raise ValueError(f"count of {arguments.count}: use 1 or more")
    if not known:
        if arguments.labels:
            raise ValueError("this model was trained without labels: leave out --labels")
        return [None] * 8
    if arguments.labels is None:
        return list(known)
    number = {str(n): n for n in known} | {names[n]: n for n in known if names}
    for label in arguments.labels:
        if label not in number:
            words = ", ".join(number) if len(number) < 30 else "those that it was trained on"
            raise ValueError(f"label {label}: choose from {words}")
    return [number[label] for label in arguments.labels]


def chosen_count(trained, sampling, rows, arguments):
    """The rows of images and how many each has: unless told, as many as two minutes allow."""
    if trained.step is not None:
        return rows, arguments.count or 8
    label = None if rows[0] is None else rows[:1]
    with trained.predictor() as eps_model:
        x = trained.xp.zeros((1, *trained.unet.config.image_shape), np.float32)
        for _ in range(2):  # the first time costs more
            begin = time.perf_counter()
            eps_model(x, np.array([trained.schedule.T]), label).sum().item()  # a GPU is waited for
    seconds = sampling.steps * (time.perf_counter() - begin)
    how = f"{sampling.steps} steps of {sampling.sampler} at times of ours, not of its scheduler"
    print(f"{trained.data}: {how}; an image takes about {seconds:.2g} s", flush=True)
    images = int(max(1, min(64, 120 / seconds)))
    if label is None and not arguments.count:
        rows = rows[: math.isqrt(images)]
    return rows, arguments.count or max(1, images // len(rows))


def chosen_picture(trained, arguments):
    """What --from or --inpaint give: a `Given`, or None."""
    if not (arguments.start or arguments.inpaint):
        if arguments.strength is not None:
            raise ValueError("--strength is for --from: name a picture to begin with")
        return None
    if arguments.make not in ALTERS or (arguments.start and arguments.inpaint):
        raise ValueError(f"--from or --inpaint, one of them, can make {' and '.join(ALTERS)}")
    size, _, channels = trained.unet.config.image_shape
    path, mask = arguments.inpaint or (arguments.start, None)
    x0 = to_model_range(square(path, size, channels))[None]
    if mask is None:
        strength = 0.6 if arguments.strength is None else arguments.strength
        return Given(x0, None, strength)
    if arguments.strength is not None:
        raise ValueError("--strength is for --from: leave it out")
    return Given(x0, chosen_mask(mask, path, size))


def chosen_mask(mask, path, size):
    """Where to draw anew (size, size, 1): a half, or what is white in a mask for the picture."""
    hidden = np.zeros((size, size, 1), bool)
    halves = {
        "left": hidden[:, : size // 2], "right": hidden[:, size // 2 :],
        "top": hidden[: size // 2], "bottom": hidden[size // 2 :],
    }  # fmt: skip
    if mask in halves:
        halves[mask][:] = True
        return hidden
    hidden = square(mask, size, 1, "black") >= 128
    (w, h), (wide, high) = shape_of(mask), shape_of(path)
    if not 0.98 < w * high / (h * wide) < 1.02:
        raise ValueError(f"{mask} is {w} × {h} pixels, {path} {wide} × {high}: give them one shape")
    if not hidden.any():
        raise ValueError(f"nothing is white in {mask}: paint white what is to be drawn anew")
    return hidden


def shape_of(path):
    """(width, height) of a picture, turned as it is shown."""
    with Image.open(path) as picture:
        return exif_transpose(picture).size


def square(path, size, channels, background="white"):
    """A picture as bytes (size, size, channels)."""
    if not Path(path).is_file():
        raise ValueError(f"there is no picture {path}")
    try:
        picture = read_picture(path, size, background)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if channels == 1:
        return picture.mean(axis=2, keepdims=True).round().astype(np.uint8)
    if channels != 3:
        raise ValueError(f"this model draws {channels} channels, no pictures: it can alter none")
    return picture


def chosen_path(data, arguments):
    """Where the picture goes, if nothing else is there."""
    ending = "gif" if arguments.make == "gif" else "png"
    path = arguments.out or f"{data}-{arguments.make}.{ending}"
    if (picture_format(path) == "GIF") != (ending == "gif"):
        raise ValueError(f"{path}: a picture of --make {arguments.make} wants the ending .{ending}")
    console.check_folder(Path(path).parent)
    return path


if __name__ == "__main__":
    console.run(main, "use a smaller --count")
