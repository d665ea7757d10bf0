"""What mnist.py, cifar10.py and own.py have in common: the command line of a training run."""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import shlex
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np

from tinyddpm import (
    Dataset,
    Run,
    TrainConfig,
    UNetConfig,
    WorkerDied,
    add_flags,
    device_name,
    given_flags,
    load_dataset,
    micro_batch_size,
    train,
    which_rank,
    with_flags,
)

CHANGEABLE = {"steps", "workers", "micro_batch", "device"}  # when a run is resumed


@dataclass(frozen=True)
class Recipe:
    """The settings that a run comes with, and a sentence about what to expect of it."""

    unet: UNetConfig
    training: TrainConfig
    expect: str


def learn(description, recipes, load, like):
    """Train as the command line says, or say in one sentence why not.

    description    what --help says
    recipes        {size: Recipe}; the first one is taken unless --size names another
    load           load(data_dir) gives the Dataset of a new run
    like           a `blank` Dataset as large as that: settings are tried on it before it is fetched
    """
    arguments, recipe = parse(description, recipes)
    if arguments.resume:
        run = resume(arguments, recipe)
    else:
        run = start(arguments, recipe, load, like)
    go(run, arguments, recipe.expect)


def go(run, arguments, expect):
    """Train, and say what comes; what ends it early is a sentence with the way on."""
    try:
        introduce(run)
        if not arguments.resume:
            print(expect)
        train(run, arguments.detect_nan)
    except FloatingPointError as error:
        said = f"error: {error}. The checkpoint in {run.folder} is of step {run.saved_step:,}"
        if not arguments.detect_nan:
            arguments.detect_nan = True
            said += f"; to see which layer begins it: {resume_command(run, arguments)}"
        sys.exit(said)
    except (OSError, WorkerDied) as error:
        sys.exit(f"error: {error}; the run is saved up to step {run.saved_step:,} in {run.folder}")
    except MemoryError:
        size = micro_batch_size(run.unet.config.image_shape, run.config.micro_batch, run.xp)
        size = min(size, run.config.batch)
        if size == 1:
            sys.exit("error: out of memory with one image at a time: use a smaller network")
        arguments.micro_batch = size // 2
        sys.exit(
            "error: out of memory; to go on with fewer images at once: "
            + resume_command(run, arguments)
        )
    except KeyboardInterrupt as stop:
        print(f"saved at step {run.saved_step:,}; to go on: {resume_command(run, arguments)}")
        sys.exit(console.stop_code(stop))
    recent = run.log.recent()
    print(f"done: the mean loss of the last {len(recent)} steps was {np.mean(recent):.4f}.")
    print(f"See {run.folder}/samples/{run.dataset.name}-final.png and the pictures beside it.")


def parse(description, recipes, add_own=lambda parser: None):
    """The command line, whose flags for settings are made from a recipe; and that recipe.

    add_own    add_own(parser) adds what only one program has
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_own(parser)
    parser.add_argument("--out", default="runs", help="folder that run folders are made in (runs)")
    parser.add_argument("--data-dir", help="folder with the data set's files (the cache)")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with the run in this folder")
    parser.add_argument(
        "--detect-nan", action="store_true", help="trace a NaN or infinity to its layer; slow"
    )
    recipe, *others = recipes.values()
    if others:
        first = next(iter(recipes))
        parser.add_argument("--size", choices=recipes, default=first, help=f"of all ({first})")
        early = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
        recipe = recipes[parser.parse_known_args(early)[0].size]  # its settings are the defaults
    add_flags(parser, recipe.training)
    add_flags(parser, recipe.unet)
    return parser.parse_args(), recipe


def blank(name, count, *shape):
    """A Dataset of black images with ten labels, which takes no memory."""
    images = np.broadcast_to(np.uint8(0), (count, *shape))
    return Dataset(name, images, np.arange(count) % 10)


def start(arguments, recipe, load, like):
    """A new run."""
    unet, training = with_flags(recipe.unet, arguments), with_flags(recipe.training, arguments)
    Run.check(unet, training, like)
    console.check_folder(arguments.out)
    dataset = load(arguments.data_dir)
    return Run.start(unet, training, dataset, f"{arguments.out}/{dataset.name}")


def resume(arguments, recipe):
    """The run in a folder, with its own data and settings; only CHANGEABLE ones may be new."""
    changes = given_flags(recipe.training, arguments)
    fixed = {**changes, **given_flags(recipe.unet, arguments)}.keys() - CHANGEABLE
    if fixed:
        raise ValueError(f"{', '.join(fixed)} cannot change when a run is resumed: leave it out")

    load = partial(load_dataset, folder=arguments.data_dir)
    return Run.resume(arguments.resume, load, **changes)


def introduce(run):
    """Say what is going to happen."""
    config = run.config
    address = (run.folder / "index.html").resolve().as_uri()
    crew = "1 worker" if config.workers == 1 else f"{config.workers} workers"
    cores, ranks = f", {crew}" if config.device == "cpu" else "", which_rank()[1]
    if ranks > 1:
        cores += f" on each of {ranks} ranks"
    print(
        f"{run.dataset.name}: {len(run.images):,} images; a U-Net with {run.theta.size:,} "
        f"parameters; {config.steps:,} steps of {config.batch} images on "
        f"{device_name(run.xp)}{cores}.\n"
        f"Samples appear in {run.folder}/samples every {config.every} steps; "
        f"Ctrl-C saves and stops. Watch it in a browser: {address}"
    )


def resume_command(run, arguments):
    """What to type to go on with this run."""
    ranks = which_rank()[1]
    words = ["mpiexec", "-n", ranks] if ranks > 1 else []
    words += ["python", sys.argv[0], "--resume", run.folder]
    if arguments.data_dir:
        words += ["--data-dir", arguments.data_dir]
    for name, value in sorted(given_flags(run.config, arguments).items()):
        if name in CHANGEABLE:
            words += [f"--{name.replace('_', '-')}", value]
    if arguments.detect_nan:
        words.append("--detect-nan")
    return shlex.join(map(str, words))
