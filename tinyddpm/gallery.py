"""The pictures of a run: what it draws while it learns, and what it shows at the end."""

import numpy as np

from . import pictures
from .data import to_unit
from .diffusion import predict_x0, q_sample
from .progress import Progress
from .randomness import generator
from .samplers import ancestral, last

COLUMNS = 6  # images of every label, or images in a row where there are no labels
ROWS = 8  # where there are no labels
MOMENTS = (0.1, 0.2, 0.377, 0.55, 0.75, 1.0)  # times of the forward process to show, as shares of T
FRAMES = 60  # of a moving picture


def draw_preview(run, workers, check):
    """Write samples/DATA-STEP.png, always from the same noise, and loss.png, unless it is there."""
    path = _sample_path(run, f"{run.step:06}")
    if not path.exists():
        images = last(_sampling(run, workers, run.config.preview_steps, check))
        pictures.save(_loss_picture(run), run.folder / "loss.png")
        pictures.save(pictures.grid(images, COLUMNS), path)
        print(f"step {run.step:,}: {path}")


def draw_final(run, workers, check):
    """Write the last samples, how they came out of noise, the forward process, and the loss."""
    steps = run.config.final_steps
    few = _two_rows(run)
    frames, moments = [], []
    shown = {round(steps * (1 - share)) for share in (1, 0.75, 0.5, 0.3, 0.2, 0.1, 0.05)} | {steps}
    noise, _ = _noise_and_labels(run)
    moments.append(("noise", noise[few]))
    for done, step in enumerate(_sampling(run, workers, steps, check), 1):
        if done % max(1, steps // FRAMES) == 0 or done == steps:
            frames.append(pictures.grid(step.x[few], len(few) // 2, scale=3))
        if done in shown:
            moments.append((f"{done} of {steps}", step.x[few]))
    pictures.save(pictures.grid(step.x, COLUMNS), _sample_path(run, "final"))
    pictures.save_gif(frames, run.folder / "denoising.gif")
    pictures.save(pictures.labelled_grid(moments), run.folder / "denoising.png")
    pictures.save(_forward_picture(run, workers), run.folder / "forward.png")
    pictures.save(_loss_picture(run), run.folder / "loss.png")


def _predictor(run, workers, label=None):
    """What samplers take: eps_hat = predict(x_t, t), by the averaged weights on all workers."""
    size = run.config.micro_batch

    def predict(x_t, t):
        cuts = [slice(i, i + size) for i in range(0, len(x_t), size)]
        parts = [(x_t[cut], t[cut], None if label is None else label[cut]) for cut in cuts]
        return np.concatenate(workers.run("predict", run.ema, parts)[0])

    return predict


def _sample_path(run, name):
    return run.folder / "samples" / f"{run.dataset.name}-{name}.png"


def _noise_and_labels(run):
    """The noise (N, H, W, C) and labels (N,) or None that all samples of a run are made of."""
    unet = run.unet.config
    labels = np.repeat(np.arange(unet.classes), COLUMNS) if unet.classes else None
    count = len(labels) if unet.classes else ROWS * COLUMNS
    shape = (count, unet.image_size, unet.image_size, unet.image_channels)
    noise = generator(run.config.seed, "pictures").standard_normal(shape, run.theta.dtype)
    return noise, labels


def _two_rows(run):
    """Indices of the samples in the moving picture: two of each label, or two rows."""
    if not run.unet.config.classes:
        return np.arange(2 * COLUMNS)
    first = COLUMNS * np.arange(run.unet.config.classes)
    return np.concatenate([first, first + 1])


def _sampling(run, workers, steps, check):
    """The ancestral sampler's Steps, with a progress line; `check()` may stop it."""
    schedule = run.schedule.respaced(steps)
    noise, labels = _noise_and_labels(run)
    variance = "large" if steps == run.schedule.T else "small"
    rng = generator(run.config.seed, "pictures", 1)
    chain = ancestral(_predictor(run, workers, labels), schedule, noise, rng, variance)
    with Progress(f"drawing {len(noise)} images", steps) as progress:
        for done, step in enumerate(chain, 1):
            check()
            progress.show(done)
            yield step
        progress.clear()


def _forward_picture(run, workers):
    """Images of the data set at several times of the forward process, and what is seen there."""
    times = [round(share * run.schedule.T) for share in MOMENTS]
    t = np.array(times)
    rng = generator(run.config.seed, "pictures", 2)
    rows = []
    for image, label in zip(run.dataset.images[:3], run.dataset.labels[:3]):
        x0 = np.repeat(to_unit(image[None]), len(times), axis=0)
        x_t = q_sample(x0, t, rng.standard_normal(x0.shape, x0.dtype), run.schedule)
        label = np.full(len(times), label) if run.unet.config.classes else None
        x0_hat = predict_x0(x_t, t, _predictor(run, workers, label)(x_t, t), run.schedule)
        rows.append(("x_t", np.concatenate([x0[:1], x_t])))
        rows.append(("x0 estimate", np.concatenate([x0[:1], x0_hat])))
    return pictures.labelled_grid(rows, head=["x0", *(f"t = {t}" for t in times)])


def _loss_picture(run):
    return pictures.loss_curve(run.losses, f"{run.dataset.name}: loss, and its mean over 100 steps")
