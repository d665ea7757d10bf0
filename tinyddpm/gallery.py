"""The pictures of a run: what it draws while it learns, and what it shows at the end."""

import numpy as np

from .data import to_unit
from .diffusion import predict_x0, q_sample
from .pictures import image_grid, labelled_grid, loss_curve, save_gif, save_picture
from .progress import Progress
from .randomness import generator
from .samplers import ancestral, guided, last

COLUMNS = 5  # images of every label, or images in a row where there are no labels
ROWS = 8  # where there are no labels
FORWARD = (0.1, 0.2, 0.377, 0.55, 0.75)  # times to show, as shares of T, on the way to noise
BACKWARD = (0.75, 0.5, 0.3, 0.2, 0.1, 0.05, 0)  # and on the way back
FRAMES = 48  # of the moving picture


def draw_preview(run, workers, check):
    """Write samples/DATA-STEP.png, always from the same noise, and the loss, unless it is there."""
    path = _sample_path(run, f"{run.step:06}")
    if not path.exists():
        schedule = run.schedule.respaced(run.config.preview_steps)
        images = last(_sampling(run, workers, schedule, check))
        _draw_loss(run)
        save_picture(image_grid(images, COLUMNS), path)
        print(f"step {run.step:,}: {path}")


def draw_final(run, workers, check):
    """Write the last samples, how they came out of noise, the forward process, and the loss."""
    schedule = run.schedule.respaced(run.config.final_steps)
    noise, labels = _noise_and_labels(run)
    row = slice(None, None, COLUMNS) if labels is not None else slice(COLUMNS)  # one of each label
    shown = {round(share * schedule.T) for share in BACKWARD}
    strip, frames = [("noise", noise[row])], []
    for step in _sampling(run, workers, schedule, check):
        if step.t in shown:
            strip.append((f"t = {schedule.times[step.t]}", step.x[row]))
        if step.t % max(1, schedule.T // FRAMES) == 0:
            frames.append(image_grid(step.x[row], len(noise[row]), scale=3))
    save_picture(image_grid(step.x, COLUMNS), _sample_path(run, "final"))
    save_picture(labelled_grid(strip), _path(run, "denoising.png"))
    save_gif(frames, _path(run, "denoising.gif"))
    save_picture(_forward_process(run, workers), _path(run, "forward.png"))
    _draw_loss(run)


def _path(run, name):
    """Every file name says which data it was."""
    return run.folder / f"{run.dataset.name}-{name}"


def _sample_path(run, name):
    return run.folder / "samples" / f"{run.dataset.name}-{name}.png"


def _draw_loss(run):
    if run.losses:
        title = f"{run.dataset.name}: loss, and its mean over 100 steps"
        save_picture(loss_curve(run.losses, title), _path(run, "loss.png"))


def _noise_and_labels(run):
    """The noise (N, H, W, C) and labels (N,) or None that all samples of a run are made of."""
    unet = run.unet.config
    labels = np.repeat(np.arange(unet.classes), COLUMNS) if unet.classes else None
    count = len(labels) if unet.classes else ROWS * COLUMNS
    shape = (count, unet.image_size, unet.image_size, unet.image_channels)
    return generator(run.config.seed, "noise").standard_normal(shape, run.theta.dtype), labels


def _sampling(run, workers, schedule, check):
    """The ancestral sampler's Steps, with a progress line; `check()` may stop it."""
    noise, labels = _noise_and_labels(run)
    variance = "large" if schedule.T == run.schedule.T else "small"
    rng = generator(run.config.seed, "sampling")
    weight = run.config.guidance if labels is not None else 0
    predict = guided(_eps_model(run, workers), labels, run.unet.config.classes, weight)
    chain = ancestral(predict, schedule, noise, rng, variance)
    with Progress(f"drawing {len(noise)} images", schedule.T) as progress:
        for step in chain:
            check()
            progress.show(schedule.T - step.t)
            yield step
        progress.clear()


def _eps_model(run, workers):
    """eps_hat = eps_model(x_t, t, label) by the averaged weights, spread over all workers."""
    size = run.config.micro_batch

    def eps_model(x_t, t, label):
        cuts = [slice(i, i + size) for i in range(0, len(x_t), size)]
        parts = [(x_t[cut], t[cut], None if label is None else label[cut]) for cut in cuts]
        return np.concatenate(workers.map("predict", run.ema, parts))

    return eps_model


def _forward_process(run, workers):
    """Three images under more and more noise, and below each what the network sees in it."""
    t = np.array([round(share * run.schedule.T) for share in FORWARD])
    rng = generator(run.config.seed, "forward")
    rows = []
    for image, label in zip(run.dataset.images[:3], run.dataset.labels[:3]):
        x0 = np.repeat(to_unit(image[None]), len(t), axis=0)
        x_t = q_sample(x0, t, rng.standard_normal(x0.shape, x0.dtype), run.schedule)
        label = np.full(len(t), label) if run.unet.config.classes else None
        eps_hat = _eps_model(run, workers)(x_t, t, label)
        x0_hat = predict_x0(x_t, t, eps_hat, run.schedule)
        rows.append(("x_t", np.concatenate([x0[:1], x_t])))
        rows.append(("x0 estimate", np.concatenate([x0[:1], x0_hat])))
    return labelled_grid(rows, head=["x0", *(f"t = {time}" for time in t)])
