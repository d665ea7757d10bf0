"""The training loop: Algorithm 1 on many cores, with pictures and checkpoints on the way."""

import math
import os
import signal
import threading
import time

import numpy as np

from . import gallery
from .data import batch_indices
from .learner import Learner
from .optim import clip_by_norm, learning_rate, update_ema
from .progress import Progress, in_words
from .randomness import generator
from .workers import Workers


def train(run):
    """Go on with a run until its last step, then draw what it has learnt, all in its folder.

    Ctrl-C once: the step is finished and saved, then KeyboardInterrupt. Ctrl-C twice: at once.
    """
    config = run.config
    learner = Learner(run.unet, run.schedule, config)
    count = min(config.workers, config.batch)
    with (
        _Interruption() as interruption,
        Workers(learner, run.theta.size, count) as workers,
        Progress(run.dataset.name, config.steps, run.step, "images", config.batch) as progress,
    ):
        if left := config.steps - run.step:
            print(f"At today's speed that takes about {in_words(left * _step_s(run, workers))}.")
        average = None
        while run.step < config.steps:
            if run.step and run.step % config.every == 0:
                progress.clear()
                gallery.draw_preview(run, workers, interruption.check)
            loss = advance(run, workers)
            average = loss if average is None else average + 0.02 * (loss - average)
            progress.show(run.step, f"loss {average:.4f}")
            stop = interruption.asked
            if stop or run.step % config.every == 0 or run.step == config.steps:
                run.save()
            if stop:
                raise KeyboardInterrupt
        progress.clear()
        gallery.draw_final(run, workers, interruption.check)


def _step_s(run, workers):
    """About how many seconds a step takes: one part of a batch for each worker is tried."""
    config = run.config
    cuts = workers.cuts(config.batch, config.micro_batch)
    t, weight = np.full(config.batch, 1 + config.T // 2), np.ones(config.batch)
    parts = _parts(run, t, weight, cuts[: workers.count])
    for _ in range(2):  # the first time, memory is new and slow
        began = time.perf_counter()
        workers.gradient(run.theta, parts)
    return (time.perf_counter() - began) * len(cuts) / len(parts)


def advance(run, workers):
    """One step of Algorithm 1: a batch, its gradient, an update. Returns the loss.

    Raises     FloatingPointError if the loss or the gradient is no longer a number
    """
    config, step = run.config, run.step
    t, weight = run.history.draw(generator(config.seed, "times", step), config.batch)
    cuts = workers.cuts(config.batch, config.micro_batch)
    losses, grad = workers.gradient(run.theta, _parts(run, t, weight / config.batch, cuts))
    losses = np.concatenate(losses)
    loss, norm = float((weight * losses).mean()), clip_by_norm(grad, config.clip)
    if not math.isfinite(loss + norm):
        raise FloatingPointError(
            f"step {step + 1}: the loss is {loss}, the gradient's length {norm}; the checkpoint in "
            f"{run.folder} is older and sound, but start a new run with a smaller learning rate"
        )
    if config.loss == "vlb":
        run.history.update(t, losses)
    lr = learning_rate(step, config.steps, config.lr, config.warmup, config.lr_end)
    run.adam.update(run.theta, grad, lr)
    update_ema(run.ema, run.theta, run.step, config.ema_decay)
    run.log.append(f"{run.step},{loss:.6g},{norm:.6g},{lr:.6g}")
    return loss


def _parts(run, t, weight, cuts):
    """The batch of the next step, cut into micro-batches: the arguments of `Learner.gradient`."""
    config, data = run.config, run.dataset
    chosen = batch_indices(len(data.images), config.batch, run.step, config.seed)
    parts = []
    for cut in cuts:
        i = chosen[cut]
        label = data.labels[i] if run.unet.config.classes else None
        parts.append((run.step, len(parts), data.images[i], label, t[cut], weight[cut]))
    return parts


class _Interruption:
    """While it lasts, the first Ctrl-C is only noted; the second one acts as ever."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        self.before = None
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number, frame):
        self.asked = True
        signal.signal(signal.SIGINT, self.before)
        os.write(2, b"\nfinishing this step and saving; Ctrl-C again stops at once\n")

    def check(self):
        """Raise KeyboardInterrupt if Ctrl-C has been pressed."""
        if self.asked:
            raise KeyboardInterrupt

    def __exit__(self, *exception):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
