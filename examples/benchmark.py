"""How fast is it? Images per second in training and in sampling, and the memory training takes.

    python examples/benchmark.py                       networks a and b on all cores
    python examples/benchmark.py --against torch       and PyTorch with the same weights, in turn
    python examples/benchmark.py --against onnxruntime sampling, and ONNX Runtime's, of the network
                                                       that is exported from PyTorch
    python examples/benchmark.py --profile             where the time of a training step goes, by
                                                       layer; --against torch: PyTorch's, too
    python examples/benchmark.py --device cuda         on a GPU, network c, too
    python examples/benchmark.py --scaling             over several ranks, and over many on paper

    a    28 x 28 x 1, base 32, multipliers 1 2 2, attention at 14 x 14; batches of 128
    b    32 x 32 x 3, base 64, multipliers 1 2 2 2, attention at 16 x 16; batches of 16
    c    32 x 32 x 3, the network of Ho et al. 2020 for CIFAR-10, no dropout; batches of 128
    16, 32, 64, 128      so many pixels a side, 3 colours, base 32, multipliers 1 2 2, attention
                         in the middle only; batches of 65,536 pixels

A training step is forward, backward, clipping, Adam and the moving average; sampling is forward
alone. Speeds are medians over rounds. With --against, tinyddpm and PyTorch, in both of its memory
formats, take turns on the same cores, after their loss and gradient were found to be the same; the
ratios compare with the faster format. ONNX Runtime's answers are compared in place of gradients.
Memory is the sum of the most that each process has held, on Linux with what several of them share
counted once.

On a GPU PyTorch takes channels last, both multiply in float32 without TF32, a turn is several
steps, memory is what the library holds of the GPU's, and `busy` is the share of the time in which
nvidia-smi saw the GPU at work.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import importlib.util
import json
import math
import multiprocessing
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmark_machine import machine

from tinyddpm import (
    DEVICES,
    AddToPixels,
    Attention,
    Concat,
    Conv3x3,
    Dataset,
    Denoiser,
    Embedding,
    GroupNorm,
    Linear,
    NormSiLU,
    Run,
    Schedule,
    SiLU,
    Tape,
    TrainConfig,
    UNet,
    UNetConfig,
    Upsample,
    UpsampleConv,
    Workers,
    advance,
    cores,
    device_name,
    micro_batch_size,
    module_for,
    simple_loss,
    to_host,
)

try:
    import resource
except ImportError:  # on Windows
    resource = None

# fmt: off
NETWORKS = {  # the U-Net, images a batch
    "a": (UNetConfig(base=32, multipliers=(1, 2, 2), blocks=2, attention_at=(14,)), 128),
    "b": (UNetConfig(image_size=32, image_channels=3, base=64, multipliers=(1, 2, 2, 2), blocks=2,
                     attention_at=(16,)), 16),
    "c": (replace(UNetConfig.ddpm_cifar10(), dropout=0.0), 128),
    **{str(side): (UNetConfig(image_size=side, image_channels=3, base=32, multipliers=(1, 2, 2),
                              blocks=2, attention_at=()), 65_536 // side**2)
       for side in (16, 32, 64, 128)},
}
# fmt: on
LAYERS = (AddToPixels, Attention, Concat, Conv3x3, Embedding, GroupNorm, Linear, NormSiLU, SiLU)
LAYERS += (Upsample, UpsampleConv)
COLUMNS = {
    "train": ("training, images/s", 1),
    "sample": ("sampling, images/s", 1),
    "memory": ("memory, MB", 1e6),
}
NEEDS = {"torch": ["torch"], "onnxruntime": ["torch", "onnx", "onnxscript", "onnxruntime"]}
STEPS = {"cpu": 1, "cuda": 20}  # in a turn


def main():
    arguments = parse()
    xp = module_for(arguments.device)
    arguments.device = "cpu" if xp is np else "cuda"
    if arguments.profile and arguments.device == "cuda":
        raise ValueError("--profile measures layers on the CPU: leave out --device cuda")
    if arguments.against == "onnxruntime" and (arguments.profile or arguments.device == "cuda"):
        raise ValueError("ONNX Runtime samples on the CPU: leave out --profile and --device cuda")
    for package in NEEDS.get(arguments.against, []):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"--against {arguments.against}: type pip install {package}")
    for name in ("rounds", "workers"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name} of {getattr(arguments, name)}: use 1 or more")
    if arguments.json:
        console.check_folder(Path(arguments.json).parent)
    print(machine(arguments.workers), f"computing on {device_name(xp)}", sep="\n")
    if arguments.scaling:
        from benchmark_scaling import scaling  # which imports this file

        for name in arguments.networks or "a":
            scaling(name, arguments.workers, arguments.rounds)
        return
    figures = {}
    try:
        for name in arguments.networks or ("ab" if arguments.device == "cpu" else "abc"):
            if arguments.profile:
                shape = NETWORKS[name][0].image_shape
                size = micro_batch_size(shape, arguments.micro_batch, np)
                profile(name, size, arguments.against)
            else:
                figures |= measure(name, arguments)
    finally:
        for player in multiprocessing.active_children():  # of a measurement that failed
            player.terminate()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="(a b; on a GPU all)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to compute (auto)")
    parser.add_argument("--against", choices=NEEDS, help="measure them, too")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="of each (7)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    parser.add_argument(
        "--micro-batch", type=int, default=0, metavar="N", help="images a part (as in training)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--profile", action="store_true", help="where the time goes, by layer")
    parser.add_argument("--scaling", action="store_true", help="what more machines would bring")
    return parser.parse_args()


def problem(name):
    """A batch x0, t, eps, and weights that are nowhere silent."""
    config, batch = NETWORKS[name]
    rng = np.random.default_rng(0)
    x0, eps = rng.standard_normal((2, batch, *config.image_shape), np.float32)
    layout = UNet(config).layout
    theta = layout.init(rng) + 0.02 * rng.standard_normal(layout.size, np.float32)
    return x0, rng.integers(1, 1001, batch), eps, theta


class Measured(Denoiser):
    """A Denoiser that knows the most memory that its process has held, in bytes."""

    def peak(self, theta):
        return peak_memory()


def peak_memory():
    """The most memory that this process has held, in bytes; not a number on Windows.

    On Linux it holds a part only of what it shares with others, so that sums are right.
    """
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        now = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # not Linux, or not for us
        return peak
    held, own_part = (int(re.search(rf"^{key}: +(\d+)", now, re.M)[1]) for key in ("Rss", "Pss"))
    return peak - 1024 * (held - own_part)


def ours(pipe, name, device, workers, micro_batch):
    """The life of the process that measures tinyddpm."""
    from benchmark import Measured  # so that workers can import it: they know no main program

    unet_config, batch = NETWORKS[name]
    arrays = problem(name)
    data = Dataset("noise", np.zeros((batch, *unet_config.image_shape), np.uint8), np.zeros(batch))
    config = TrainConfig(batch=batch, micro_batch=micro_batch, workers=workers, device=device)
    run = Run(unet_config, config, data, "nowhere")
    job, xp = Measured(run.unet, run.schedule.to(run.xp), config), run.xp
    x0, t, eps, run.theta[:] = map(xp.asarray, arrays)
    del arrays  # each holds its weights once

    def loss_and_gradient():
        size = micro_batch_size(unet_config.image_shape, micro_batch, xp)
        losses, grad = [], xp.zeros_like(run.theta)
        for i in range(0, batch, size):
            cut = slice(i, i + size)
            weight = xp.full(len(t[cut]), 1 / batch, grad.dtype)
            tape = Tape(run.theta, grad)
            losses += [
                simple_loss(run.unet, x0[cut], t[cut], eps[cut], job.schedule, tape, weight=weight)
            ]
        return float(xp.concatenate(losses).mean()), to_host(grad)

    def train():
        for _ in range(STEPS[device]):
            advance(run, crew)
        return run.log.fetch()[0]

    def sample():
        for _ in range(STEPS[device]):
            answer = crew.map_batch("predict", run.theta, micro_batch, x0, t, None)
        return to_host(answer)

    def memory():
        if xp is not np:
            return xp.get_default_memory_pool().total_bytes()
        return (workers > 1) * peak_memory() + sum(crew.map("peak", run.theta, [()] * workers))

    with Workers(job, run.theta, workers, run.vectors[1:]) as crew:
        run.vectors = crew.vectors
        tasks = {"check": loss_and_gradient, "train": train, "sample": sample, "memory": memory}
        serve(pipe, tasks)


def theirs(pipe, name, device, threads, channels_last):
    """The life of the process that measures PyTorch."""
    import torch
    from benchmark_torch import TorchUNet

    torch.set_num_threads(threads)
    torch.set_default_device(device)
    config, batch = NETWORKS[name]
    x0, t, eps, theta = problem(name)
    layout = UNet(config).layout
    unet = TorchUNet(layout, theta, config, channels_last)
    del theta
    params = list(unet.params.values())
    ema = [param.detach().clone() for param in params]
    adam = torch.optim.Adam(params, lr=2e-4)
    alpha_bar = torch.tensor(Schedule.linear().alpha_bar, dtype=torch.float32)
    x0, noise, times = unet.images(x0), unet.images(eps), torch.tensor(t)

    def loss_of(t, eps):
        a = alpha_bar[t].reshape(-1, 1, 1, 1)
        return ((unet.forward(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps) ** 2).mean()

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def loss_and_gradient():
        adam.zero_grad()
        loss = loss_of(times, noise)
        loss.backward()
        return loss.item(), unet.gradient(layout)

    def train():
        for _ in range(STEPS[device]):
            adam.zero_grad()
            loss = loss_of(torch.randint(1, 1001, (batch,)), torch.randn_like(x0))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            adam.step()
            torch._foreach_lerp_(ema, [param.detach() for param in params], 1e-4)
        return loss.item()

    def sample():
        with torch.inference_mode():
            for _ in range(STEPS[device]):
                answer = unet.forward(x0, times)
            return answer.cpu().numpy()

    memory = peak_memory if device == "cpu" else torch.cuda.max_memory_reserved
    serve(pipe, {"check": loss_and_gradient, "train": train, "sample": sample, "memory": memory})


def deployed(pipe, name, threads):
    """The life of the process that measures ONNX Runtime."""
    from benchmark_onnx import sampler

    serve(pipe, {"sample": sampler(NETWORKS[name][0], problem(name), threads)})


def serve(pipe, tasks):
    """Do the tasks that come through the pipe; answer with the result and the seconds it took."""
    for task in iter(pipe.recv, None):
        began = time.perf_counter()
        result = tasks[task]()
        pipe.send((result, time.perf_counter() - began))


class Player:
    """One of those who take turns, in a process of its own."""

    def __init__(self, life, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=life, args=(there, *arguments))
        ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process will end it
        self.process.start()
        signal.signal(signal.SIGINT, ctrl_c)
        there.close()

    def ask(self, task):
        """(result, seconds); if it has died, with its own traceback, this is the end."""
        try:
            self.pipe.send(task)
            return self.pipe.recv()
        except (EOFError, OSError):
            sys.exit(f"error: {self.process.name} died at its task {task!r}")

    def end(self):
        self.pipe.send(None)
        self.process.join()


def measure(name, arguments):
    """Print the figures of one network; returns them by their names in the JSON file."""
    deployment = arguments.against == "onnxruntime"
    if arguments.against:
        agree(start(name, arguments), "sample" if deployment else "check")
    players, measured = start(name, arguments), {}
    images = NETWORKS[name][1] * STEPS[arguments.device]
    for task in ["sample"] if deployment else ["train", "sample"]:
        seconds = {who: [] for who in players}
        for _ in range(arguments.rounds):
            for who, player in players.items():
                player.ask(task)  # after the others' turns, the first time is slower for all
                seconds[who].append(player.ask(task)[1])
        measured[task] = {who: images / np.median(s) for who, s in seconds.items()}
    if arguments.device == "cuda":
        for who, player in players.items():
            print(f"{who}: GPU busy in training {busy_share(player)}")
    if not deployment:
        measured["memory"] = {who: player.ask("memory")[0] for who, player in players.items()}
    for player in players.values():
        player.end()
    return report(name, measured)


def busy_share(player, seconds=3.0):
    """What nvidia-smi says of the last moment of some seconds of training, such as "97 %"."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        player.ask("train")
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"


def start(name, arguments):
    """Those who take turns, by name."""
    device, count = arguments.device, arguments.workers
    players = {"tinyddpm": Player(ours, name, device, count, arguments.micro_batch)}
    if arguments.against == "onnxruntime":
        players["ONNX Runtime"] = Player(deployed, name, count)
    if arguments.against == "torch":
        if device == "cpu":
            players["PyTorch, NCHW"] = Player(theirs, name, device, count, False)
        players["PyTorch, channels last"] = Player(theirs, name, device, count, True)
    return players


def agree(players, task):
    """Stop unless all have the same answers to a task. They end: this is no part of training.

    The answers are loss and gradient ("check"), or one for each image ("sample").
    """
    mine, *others = [player.ask(task)[0] for player in players.values()]
    for player in players.values():
        player.end()
    for theirs in others:
        gap = max(np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(mine, theirs))
        if not gap < 1e-3:
            sys.exit(f"error: answers to {task!r} are {gap:.1e} apart")


def report(name, measured):
    """Print the table of one network, measured {column: {who: figure}}, and return its figures."""
    ours, *others = measured["sample"]
    print(f"\nnetwork {name}: {UNet(NETWORKS[name][0]).layout.size:,} parameters\n")
    titles, units = zip(*map(COLUMNS.get, measured))
    print(f"| | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for who in (ours, *others):
        cells = (f"{by[who] / unit:.1f}" for by, unit in zip(measured.values(), units))
        print(f"| {who} | {' | '.join(cells)} |")
    figures = {f"{column}_{name}": by[ours] for column, by in measured.items()}
    if others:
        ratios = {}
        for column, by in measured.items():
            best = min if column == "memory" else max
            ratios[f"{column}_ratio_{name}"] = by[ours] / best(by[who] for who in others)
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios.values())
        print(f"| tinyddpm / {others[0].partition(',')[0]} | {cells} |")
        figures |= ratios
    return {key: round(float(value), 4) for key, value in figures.items()}


def profile(name, micro_batch, against):
    """Print the time that each kind of layer takes in the forward and backward of a micro-batch."""
    print(f"\nnetwork {name}, {micro_batch} images, one process")
    print_times("layer", layer_times(name, micro_batch))
    if against:
        from benchmark_torch import operator_times

        times = operator_times(NETWORKS[name][0], problem(name), micro_batch)
        print_times("PyTorch's operators", times)


def layer_times(name, micro_batch):
    """Milliseconds of tinyddpm's layers: {(layer, "forward" or "backward"): ms}."""
    x0, t, eps, theta = problem(name)
    unet, schedule, grad = UNet(NETWORKS[name][0]), Schedule.linear(), np.zeros_like(theta)
    cut, times = slice(micro_batch), {}
    with timed_layers(times):
        for _ in range(10):
            simple_loss(unet, x0[cut], t[cut], eps[cut], schedule, Tape(theta, grad))
    return {key: seconds * 100 for key, seconds in times.items()}


def print_times(kind, times):
    """The table of times {(name, "forward" or "backward"): ms}, the longest first."""
    total = sum(times.values())
    ways = "forward", "backward"
    both = {name: [times.get((name, way), 0.0) for way in ways] for name, _ in times}
    print(f"\n| {kind} | forward, ms | backward, ms | share |\n|---|---|---|---|")
    for name in sorted(both, key=lambda name: -sum(both[name])):
        there, back = both[name]
        print(f"| {name} | {there:.2f} | {back:.2f} | {(there + back) / total:.1%} |")
    print(f"| all | {total:.0f} in both | | |")


@contextmanager
def timed_layers(times):
    """While it lasts, seconds spent in layers add up in times {(layer, method): seconds}.

    A layer that calls another one is charged for what it does itself.
    """
    running, originals = [], []

    def timed(key, function):
        def call(*arguments):
            began = time.perf_counter()
            running.append(0.0)
            result = function(*arguments)
            seconds = time.perf_counter() - began
            times[key] = times.get(key, 0.0) + seconds - running.pop()
            if running:
                running[-1] += seconds
            return result

        return call

    for layer in LAYERS:
        for method in ("forward", "backward"):
            originals.append((layer, method, getattr(layer, method)))
            setattr(layer, method, timed((layer.__name__, method), getattr(layer, method)))
    try:
        yield
    finally:
        for original in originals:
            setattr(*original)


if __name__ == "__main__":
    console.run(main)
