"""The training loop: Algorithm 1 on many cores, with pictures and checkpoints on the way."""

import os
import signal
import sys
import threading
import time
import zlib
from contextlib import suppress

import numpy as np

from ..data import batch_indices
from ..device import to_host
from ..diffusion.timesteps import TIMES
from ..files import locked
from ..nn.layers import update_ema
from ..nn.optim import clip_by_norm, learning_rate
from ..pictures import gallery
from ..pictures.page import Page, write_page
from ..progress import Progress, in_words
from ..randomness import generator
from ..ranks import difference, keep, together
from ..worker import STOPS
from ..workers import Workers
from .denoiser import Denoiser
from .log import not_finite


def train(run, detect_nan=False):
    """Go on with a run until its last step, then draw what it has learnt, all in its folder.

    Ctrl-C, SIGTERM or SIGHUP once: the step is finished and saved, then KeyboardInterrupt with the
    signal's number. Twice: at once. `detect_nan` traces a NaN or infinity to its layer; it is slow.
    Raises     FloatingPointError if numbers are not finite, BlockingIOError if others train here
    """
    config = run.config
    denoiser = Denoiser(run.unet, run.schedule.to(run.xp), config, detect_nan)
    fetch_every = 1 if run.xp is np else 50  # steps; reading a loss means waiting for the GPU
    with (
        locked(run.folder),
        _Interruption() as interruption,
        Workers(denoiser, run.theta, min(config.workers, config.batch), run.vectors[1:]) as workers,
        Progress(run.dataset.name, config.steps, run.step, "images", config.batch) as progress,
    ):
        run.vectors = workers.keep()
        keep(run)
        if left := config.steps - run.step:
            page = Page(run, _seconds_per_step(run, workers))
            print(f"At today's speed that takes {in_words(left * page.step_s)}.")
        average = None
        while run.step < config.steps:
            if run.step and run.step % config.every == 0:
                progress.clear()
                gallery.draw_preview(run, workers, interruption.check)
            advance(run, workers)
            stop = interruption.asked
            pause = stop or run.step % config.every == 0 or run.step == config.steps
            if pause or run.step % fetch_every == 0:
                for loss in run.log.fetch():
                    average = loss if average is None else average + 0.02 * (loss - average)
                if pause:
                    _save(run)
                progress.show(run.step, f"loss {average:.4f}")
                page.show()
            interruption.check(stop)
        progress.clear()
        gallery.draw_final(run, workers, interruption.check)
        write_page(run)


def _seconds_per_step(run, workers):
    """About how many seconds a step takes: one micro-batch for each worker is tried."""
    batch = _micro_batches(run, workers, *_draw_times(run))
    tasks = batch[: workers.count]
    for _ in range(2):  # the first time, memory is new and slow
        began = time.perf_counter()
        _, grad = workers.gradient(run.theta, tasks)
        to_host(grad[:1])
    return (time.perf_counter() - began) * len(batch) / len(tasks)


@together
def advance(run, workers):
    """One step of Algorithm 1: a batch, its gradient, an update; `run.log` gets the loss.

    Nothing is read back from a GPU, except for importance sampling.
    """
    config = run.config
    t, weight = _draw_times(run)
    tasks = _micro_batches(run, workers, t, weight)
    losses, grad = workers.gradient(run.theta, tasks)
    losses = run.xp.concatenate(losses)
    length, loss = clip_by_norm(grad, config.clip), (weight * losses).sum()
    lr = learning_rate(run.step, config.steps, config.lr, config.warmup, config.lr_end)
    if run.xp is np and not np.isfinite(loss + length):  # a GPU's numbers are known later
        _, grad = workers.gradient(run.theta, tasks)  # again, as it was before it was clipped
        raise not_finite(run.step + 1, loss, length, lr, _largest(run.unet.layout, grad))
    if config.loss == "vlb":
        run.history.update(to_host(t), to_host(losses))
    workers.update(run.optimizer.update, run.theta, grad, lr)
    workers.update(update_ema, run.ema, run.theta, run.step, config.ema_decay)
    run.log.record(run.step, loss, length, lr)


def _largest(layout, grad):
    """The name of the parameter with the largest gradient; NaN is larger than anything."""
    return layout.params[np.argmax([np.abs(param.of(grad)).max() for param in layout.params])].name


def _save(run):
    """Save it; FloatingPointError if not all ranks have the same weights, bit for bit."""
    if different := _difference(run):
        raise FloatingPointError(f"{different}: use machines of one kind")
    run.save()


@together
def _difference(run):
    """Which rank has other weights than the first one: a sentence, or nothing."""
    run.log.pending.clear()  # the first rank has fetched it, the others never do
    return difference({"weights with the checksum": zlib.crc32(to_host(run.theta))})


def _draw_times(run):
    """The times t (batch,) of the next step, and what the loss at each of them counts (batch,)."""
    config, xp = run.config, run.xp
    if config.loss == "vlb":  # the history of the losses is on the host
        t, weight = run.history.draw(generator(config.seed, "times", run.step), config.batch)
        return xp.asarray(t), xp.asarray(weight / config.batch, run.theta.dtype)
    rng = generator(config.seed, "times", run.step, xp=xp)
    t = TIMES[config.times](rng, config.batch, config.T)
    return t, xp.full(config.batch, 1 / config.batch, run.theta.dtype)


def _micro_batches(run, workers, t, weight):
    """The batch of the next step, cut into micro-batches: the arguments of `gradient`."""
    config, shape = run.config, run.unet.config.image_shape
    chosen = batch_indices(len(run.images), config.batch, run.step, config.seed)
    chosen, tasks = run.xp.asarray(chosen), []
    for cut in workers.micro_batches(config.batch, shape, config.micro_batch):
        i = chosen[cut]
        label = run.labels[i] if run.unet.config.classes else None
        tasks.append((run.step, len(tasks), run.images[i], label, t[cut], weight[cut]))
    return tasks


class _Interruption:
    """While it lasts, the first signal to stop is only noted; the second one acts as ever."""

    def __init__(self):
        self.asked, self.before = 0, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            for number in STOPS:
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):  # nohup has SIGHUP ignored
                    self.before[number] = handler  # before the signal can come
                    signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.asked = number
        self.__exit__()
        if sys.__stderr__:  # print may be at work, and must not be entered twice
            with suppress(OSError):
                os.write(2, b"\nfinishing this step and saving; Ctrl-C again stops at once\n")

    def check(self, noted=True):
        """Raise KeyboardInterrupt, with the signal's number, if one has come and was noted."""
        if noted and self.asked:
            raise KeyboardInterrupt(self.asked)

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)
