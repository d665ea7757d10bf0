"""How far training goes over many machines: what `benchmark.py --scaling` measures and computes.

Under MPI, mpiexec -n RANKS python examples/benchmark_scaling.py NETWORK WORKERS ROUNDS prints what
one number of ranks needs, as JSON.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import importlib.util
import json
import math
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
from benchmark import NETWORKS

from tinyddpm import (
    Dataset,
    Denoiser,
    Run,
    TrainConfig,
    Workers,
    advance,
    clip_by_norm,
    keep,
    update_ema,
)

RANKS = (1, 2, 4)
NETS = (1, 10, 100)  # gigabits per second
LATENCY = 30e-6  # seconds until a message arrives
PAYS = 0.9  # share of the time that goes to images
MACHINES = [2**k for k in range(11)]


class Needs(NamedTuple):
    """What a step of training takes, in seconds: in all, to sum gradients, and to use the sum."""

    step: float
    sum: float
    update: float
    batch: int
    parameters: int


def needs(unet_config, batch, workers, rounds):
    """The `Needs` of this program's ranks with so many workers each: medians over rounds."""
    data = Dataset("noise", np.zeros((batch, *unet_config.image_shape), np.uint8), np.zeros(batch))
    run = Run(unet_config, TrainConfig(batch=batch, device="cpu"), data, "nowhere")
    job = Denoiser(run.unet, run.schedule, run.config)

    def update():
        clip_by_norm(grad, run.config.clip)
        crew.update(run.optimizer.update, run.theta, grad, 0.0)
        crew.update(update_ema, run.ema, run.theta, run.step, run.config.ema_decay)

    with Workers(job, run.theta, workers, run.vectors[1:]) as crew:
        run.vectors = crew.keep()
        keep(run)
        step = median(lambda: advance(run, crew), rounds)
        summing = median(lambda: crew.gradient(run.theta, []), rounds)
        _, grad = crew.gradient(run.theta, [])
        return Needs(step, summing, median(update, rounds), batch, run.theta.size)


def median(work, rounds):
    """Seconds that it takes, after a first time that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


def scaling(name, workers, rounds):
    """Print what was measured with RANKS on the cores at hand, and what to expect of machines."""
    measured = {1: needs(*NETWORKS[name], workers, rounds)}
    if shutil.which("mpiexec") and importlib.util.find_spec("mpi4py"):
        for ranks in RANKS[1:]:
            measured[ranks] = needs_of_ranks(ranks, name, max(1, workers // ranks), rounds)
    else:
        print("Without MPI there is nothing to measure: pip install mpi4py mpich.")
    one = measured[1]
    megabytes = 4e-6 * one.parameters
    print(f"\nnetwork {name}: a gradient of {megabytes:.1f} MB, batches of {one.batch} images\n")
    print("| ranks | workers each | steps/s | to one rank | summing, ms | update, ms |")
    print("|---|---|---|---|---|---|")
    for ranks, n in measured.items():
        print(
            f"| {ranks} | {max(1, workers // ranks)} | {1 / n.step:.3f} | {one.step / n.step:.2f} "
            f"| {1e3 * n.sum:.1f} | {1e3 * n.update:.1f} |"
        )
    on_paper(one, workers)


def needs_of_ranks(ranks, name, workers, rounds):
    """The `Needs` of several ranks on this machine."""
    command = ["mpiexec", "-n", ranks, sys.executable, __file__, name, workers, rounds]
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise OSError(f"{ranks} ranks ended with exit code {done.returncode}, see above")
    return Needs(**json.loads(done.stdout))


def on_paper(one, workers):
    """Print steps/s of up to 1,024 such machines, and from which batch on they pay."""
    head = " | ".join(f"{speed} Gb/s" for speed in NETS)
    line = f"| machines | {head} |\n|---|{'---|' * len(NETS)}"
    print(
        f"\nOn paper, steps/s of machines like this one, still with {one.batch} images:\n\n{line}"
    )
    for machines in MACHINES:
        rates = (1 / step_seconds(one, workers, machines, one.batch, speed) for speed in NETS)
        print(f"| {machines:,} | {' | '.join(f'{rate:.3g}' for rate in rates)} |")
    print(f"\nThe batch, in images, to which at least {PAYS:.0%} of the time goes:\n\n{line}")
    for machines in MACHINES:
        batches = (f"{smallest_batch(one, workers, machines, speed):,}" for speed in NETS)
        print(f"| {machines:,} | {' | '.join(batches)} |")
    print(LEARNING_RATE)


LEARNING_RATE = """
A larger batch makes fewer steps of an epoch, and its gradient has less noise: Adam then bears a
learning rate that grows with about the root of the batch (Malladi et al. 2022, arXiv:2205.10287),
plain gradient descent one that grows with the batch (Goyal et al. 2017, arXiv:1706.02677), both
after a warm-up. Beyond some batch, which depends on the data, fewer steps do not do (McCandlish et
al. 2018, arXiv:1812.06162)."""


def image_seconds(one):
    """What a machine needs for an image, with all its cores."""
    return (one.step - one.sum - one.update) / one.batch


def other_seconds(one, machines, speed):
    """What goes into a step besides images: the update, and a sum of gradients over a network.

    The sum is scattered and gathered again: every machine sends 2 (n - 1) / n of a gradient, in
    2 log2 n rounds.
    Source     Thakur, Rabenseifner & Gropp 2005, "Optimization of Collective Communication
               Operations in MPICH"
    """
    bits = 32 * one.parameters * 2 * (machines - 1) / machines
    rounds = 2 * math.ceil(math.log2(machines))
    return one.sum + one.update + bits / (1e9 * speed) + rounds * LATENCY


def step_seconds(one, workers, machines, batch, speed):
    """What a step takes: the images of the machine with most, a whole number for each worker.

    That small micro-batches take a core longer for each image is left out.
    """
    images = workers * math.ceil(batch / (machines * workers))
    return images * image_seconds(one) + other_seconds(one, machines, speed)


def smallest_batch(one, workers, machines, speed):
    """Images that take PAYS of the time or more, at least one for each worker."""
    images = PAYS / (1 - PAYS) * other_seconds(one, machines, speed) / image_seconds(one)
    return machines * workers * max(1, math.ceil(images / workers))


def main():
    name, workers, rounds = sys.argv[1:]
    print(json.dumps(needs(*NETWORKS[name], int(workers), int(rounds))._asdict()))


if __name__ == "__main__":
    console.run(main)
