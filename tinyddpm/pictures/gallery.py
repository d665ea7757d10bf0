"""The pictures of a run: what it draws while it learns, and what it shows at the end."""

from dataclasses import replace
from functools import partial

import numpy as np

from ..data import to_model_range
from ..device import to_host
from ..diffusion.process import q_sample, x0_and_eps
from ..diffusion.samplers import final_images
from ..diffusion.sampling import SamplingConfig, sample
from ..evaluation.spectrum import power_spectrum, spectral_excess
from ..progress import with_progress
from ..randomness import generator
from .grids import image_grid, labelled_grid, named_grid, save_gif, save_picture
from .plots import loss_curve, spectrum

SAMPLING = SamplingConfig()
COLUMNS = 5  # images of every label, or images in a row where there are no labels
ROWS = 8  # where there are no labels
FORWARD = (0.1, 0.2, 0.377, 0.55, 0.75)  # times to show, as shares of T, on the way to noise
BACKWARD = (0.75, 0.5, 0.3, 0.2, 0.1, 0.05, 0)  # and on the way back


def draw_preview(run, workers, check):
    """Write samples/DATA-STEP.png, always from the same noise, and the loss; not a second time."""
    path = _sample_path(run, f"{run.step:06}")
    if not path.exists():
        images = final_images(_sampling(run, workers, check))
        save_picture(_grid(run, images), path)
        _draw_loss(run)
        print(f"step {run.step:,}: {path}")


def draw_final(run, workers, check):
    """Write the last samples, how they came out of noise, their spectrum, and the rest."""
    noise, labels = _noise_and_labels(run)
    row = slice(None, None, COLUMNS) if labels is not None else slice(COLUMNS)  # one of each label
    steps = list(_sampling(run, workers, check))
    save_picture(_grid(run, steps[-1].x), _sample_path(run, "final"))
    shown = [step._replace(x=step.x[row], x0_hat=step.x0_hat[row]) for step in steps]
    times = run.schedule.respaced(len(steps), SAMPLING.spacing).times
    save_picture(denoising_strip(noise[row], shown, times), _path(run, "denoising.png"))
    save_gif(moving_picture(noise[row], shown, len(noise[row])), _path(run, "denoising.gif"))
    save_picture(_forward_process(run, workers), _path(run, "forward.png"))
    save_picture(_spectrum(run, steps[-1].x), _path(run, "spectrum.png"))
    _draw_loss(run)


def denoising_strip(noise, steps, times, of="x"):
    """How images come out of noise: a row of all images for some of a sampler's Steps.

    times      of the respaced schedule that they walked
    of         "x" for x_t, or "x0_hat" for each step's estimate of the clean image: the progressive
               generation of Ho et al. 2020 (figure 6)
    """
    shown = {round(share * len(steps)) for share in BACKWARD}
    rows = [(f"t = {times[s.t]}", getattr(s, of)) for s in steps if s.t in shown]
    return labelled_grid([("noise", noise), *rows])


def moving_picture(noise, steps, columns):
    """Pictures of all images, for the noise and for each of a sampler's Steps."""
    return [image_grid(x, columns, scale=3) for x in (noise, *(step.x for step in steps))]


def _path(run, name):
    """Every file name says which data it was."""
    return run.folder / f"{run.dataset.name}-{name}"


def _sample_path(run, name):
    return run.folder / "samples" / f"{run.dataset.name}-{name}.png"


def _grid(run, images):
    names = run.dataset.label_names
    return named_grid(images, COLUMNS, [names[label] for label in run.learned_labels if names])


def _draw_loss(run):
    if run.log.rows:
        title = f"{run.dataset.name}: loss, and its mean over 100 steps"
        save_picture(loss_curve(run.log.losses, title), _path(run, "loss.png"))


def _spectrum(run, images):
    """The power spectrum of samples over that of the data: a grid in samples would stand out.

    As many images of the data say how much of that is chance.
    """
    order = generator(run.config.seed, "spectrum").permutation(len(run.dataset.images))
    samples = power_spectrum(to_host(images))
    real, data = (
        power_spectrum(to_model_range(run.dataset.images[chosen]))
        for chosen in (order[: len(images)], order[-1000:])
    )
    (ratio, period), (chance, _) = spectral_excess(samples, data), spectral_excess(real, data)
    title = f"{run.dataset.name}: up to {ratio:,.1f} times the data's power, at period {period:.3g}"
    title = f"{title}; as many real images: {chance:,.1f} times"
    return spectrum(samples, data, title)


def _noise_and_labels(run):
    """The noise (N, H, W, C) and labels (N,) or None that all samples of a run are made of."""
    known = run.learned_labels
    labels = np.repeat(known, COLUMNS) if known else None
    shape = (COLUMNS * (len(known) or ROWS), *run.unet.config.image_shape)
    noise = generator(run.config.seed, "noise").standard_normal(shape, run.theta.dtype)
    return run.xp.asarray(noise), labels


def _sampling(run, workers, check):
    """The sampler's Steps, with a progress line; `check()` may stop it."""
    noise, labels = _noise_and_labels(run)
    config = replace(SAMPLING, steps=min(SAMPLING.steps, run.schedule.T))
    if not run.config.label_drop:
        config = replace(config, guidance=0)
    null = run.unet.config.classes
    predict = config.guided(_eps_model(run, workers), labels, null, run.schedule)
    rng = generator(run.config.seed, "sampling", xp=run.xp)
    steps = sample(config, predict, run.schedule, noise, rng)
    for step in with_progress(steps, f"drawing {len(noise)} images", config.steps):
        check()
        yield step


def _eps_model(run, workers):
    """eps_hat = eps_model(x_t, t, label) by the averaged weights, spread over all workers."""
    return partial(workers.map_batch, "predict", run.ema, run.config.micro_batch)


def _forward_process(run, workers):
    """Three images under more and more noise, and below each what the network sees in it."""
    t = np.array([max(1, round(share * run.schedule.T)) for share in FORWARD])
    rng = generator(run.config.seed, "forward", xp=run.xp)
    rows = []
    for image, label in zip(run.images[:3], run.dataset.labels[:3]):
        x0 = to_model_range(image[None]).repeat(len(t), axis=0)
        x_t = q_sample(x0, t, rng.standard_normal(x0.shape, x0.dtype), run.schedule)
        label = np.full(len(t), label) if run.learned_labels else None
        eps_hat = _eps_model(run, workers)(x_t, t, label)[..., : x0.shape[-1]]
        x0_hat, _ = x0_and_eps(eps_hat, x_t, t, run.schedule)
        rows.append(("x_t", run.xp.concatenate([x0[:1], x_t])))
        rows.append(("x0 estimate", run.xp.concatenate([x0[:1], x0_hat])))
    return labelled_grid(rows, head=["x0", *(f"t = {time}" for time in t)])
