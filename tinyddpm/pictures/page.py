"""The page of a run: index.html beside its pictures, to watch it in any browser."""

import dataclasses
import html
import json
import time
from contextlib import suppress
from pathlib import Path
from string import Template

from ..files import atomic_write
from ..progress import in_words

RELOAD_S = 10  # while the run goes on
PICTURES = (  # what a run draws besides its samples: the end of a name, what it shows
    ("loss.png", "The loss of every step, and its mean over 100 steps."),
    ("denoising.gif", "How the images come out of noise."),
    ("forward.png", "Images of the data set under more and more noise, and what the network sees."),
    ("spectrum.png", "Frequencies in samples and data: a grid in the samples would be a peak."),
)
PAGE, SAMPLES = (
    Template(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    for name in ("page.html", "samples.html")
)


class Page:
    """The page of a run that goes on: written at the start, then anew every RELOAD_S seconds.

    step_s     how many seconds a step is expected to take, until some have been done
    """

    def __init__(self, run, step_s):
        self.run, self.step_s = run, step_s
        self.first, self.began, self.next = run.step, time.monotonic(), 0.0
        self.show()

    def show(self):
        """Write it if it is time; a page that cannot be written does not stop the run."""
        now, done = time.monotonic(), self.run.step - self.first
        if now >= self.next:
            self.next = now + RELOAD_S
            step_s = (now - self.began) / done if done else self.step_s
            with suppress(OSError):
                write_page(self.run, step_s * (self.run.config.steps - self.run.step))


def write_page(run, seconds_left=None):
    """Write index.html into the folder of a run; while seconds are left it reloads itself.

    Pictures are referred to, not embedded: those that are there when it is written.
    Raises     OSError if it cannot be written
    """
    with atomic_write(run.folder / "index.html") as file:
        file.write(page_text(run, seconds_left).encode())


def page_text(run, seconds_left=None):
    """The page as HTML: what is learnt, how far it is, samples over time, pictures, settings."""
    config, unet = run.config, run.unet.config
    colours = {1: "grey", 3: "colour"}.get(unet.image_channels, f"{unet.image_channels}-channel")
    about = (
        f"A U-Net with {run.theta.size:,} parameters learns from {len(run.dataset.images):,} "
        f"{colours} images of {unet.image_size} × {unet.image_size} pixels"
    )
    about += f" with {unet.classes} labels." if unet.classes else "."
    state = f"Step {run.step:,} of {config.steps:,}"
    if recent := run.log.recent():
        state += f"; mean loss of the last {len(recent)} steps {sum(recent) / len(recent):.4f}"
    if seconds_left is not None:
        state += f"; {in_words(seconds_left)} left"
    return PAGE.substitute(
        title=html.escape(run.dataset.name),
        reload=f'<meta http-equiv="refresh" content="{RELOAD_S}">\n' if seconds_left else "",
        about=html.escape(about),
        steps=config.steps,
        step=run.step,
        state=html.escape(state + "."),
        samples=_samples(run),
        pictures="\n".join(_pictures(run)),
        settings="\n".join(_settings(unet, config)),
    )


def _samples(run):
    """The newest samples, and a slider to go back to the first ones; nothing if there are none."""
    found = sorted(path.name for path in (run.folder / "samples").glob(f"{run.dataset.name}-*.png"))
    shots = [f"samples/{name}" for name in found]  # digits come before "final"
    if not shots:
        return "<p>The first samples will appear here.</p>"
    return SAMPLES.substitute(
        last=html.escape(shots[-1]),
        end=len(shots) - 1,
        shots=json.dumps(shots).replace("<", "\\u003c"),
    )


def _pictures(run):
    """A figure for each picture that is there; the step makes a browser fetch it anew."""
    for name, text in PICTURES:
        path = run.folder / f"{run.dataset.name}-{name}"
        if path.exists():
            source = html.escape(f"{path.name}?step={run.step}")
            yield f'<figure><img src="{source}" alt=""><figcaption>{text}</figcaption></figure>'


def _settings(*configs):
    """A row for each setting: its name, its value, and what --help says about it."""
    for config in configs:
        for field in dataclasses.fields(config):
            value, text = getattr(config, field.name), field.metadata["help"]
            cells = (field.name, value, text)
            yield f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells)}</tr>"
