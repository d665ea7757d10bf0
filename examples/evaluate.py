"""What the samples of a model are worth: how real, how varied, and whether they are copies.

    python examples/evaluate.py runs/mnist                          1,000 samples, drawn by default
    python examples/evaluate.py runs/mnist --images 10000 --sampler ancestral --steps 100

Beside the checkpoint it makes a folder, evaluation-STEP-SAMPLER-STEPS-GUIDANCE, with

    evaluation.md            all numbers, which are printed, too
    samples.png              the first hundred samples
    nearest-pixels.png       samples, each beside the training image that is nearest to it by its
    nearest-features.png     pixels, and by what a classifier sees in it: copies would be alike
    spectrum.png             frequencies in samples and data: a grid in the samples would be a peak
    parts/                   the samples, a hundred in a file

Distances are those of a classifier's features; it learns from the training images the first time,
in some minutes, and is kept with the data. They are not FID, and compare only with each other. Each
stands beside what as many training images get, which nothing real can beat but by chance.
--inception FILE adds the real FID, KID and Inception score, by the published network in that file
(pt_inception-2015-12-05-6726825d.pth); it looks at some three images in a second.
Ctrl-C stops; the same command goes on with the samples that are there.
"""

import console  # isort: skip (first, so that Ctrl-C is silent from here on)

import argparse
import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sample import chosen_sampling

from tinyddpm import (
    DEVICES,
    Progress,
    SamplingConfig,
    add_flags,
    atomic_write,
    classifier_judge,
    cores,
    frechet_distance,
    generator,
    image_grid,
    inception_score,
    kernel_distance,
    labelled_grid,
    load_checkpoint,
    load_dataset,
    load_inception,
    load_trained,
    nearest_of_looks,
    power_spectrum,
    precision_and_recall,
    sample,
    save_checkpoint,
    save_picture,
    spectral_excess,
    spectrum,
    to_bytes,
    to_host,
    to_model_range,
)

PART = 100  # samples in a file
PAIRS = 8  # in a row of a picture
ENOUGH = 2000  # images for a spectrum
CLOSE = 0.01  # the share of unseen images that are called close to a training image


class Measures(NamedTuple):
    """What distances and scores are called in the features of a network."""

    frechet: str
    kernel: str
    score: str


CLASSIFIER = Measures(
    "Fréchet classifier distance", "kernel classifier distance", "classifier score"
)
INCEPTION = Measures("FID", "KID", "Inception score")


def main():
    arguments = parse()
    trained = load_trained(arguments.checkpoint).to(arguments.device)
    sampling = chosen_sampling(trained, arguments)
    if arguments.images < 100:  # what cannot be is refused before anything is fetched
        raise ValueError(f"images of {arguments.images}: use 100 or more")
    train, test = (
        load_dataset(trained.data, arguments.data_dir, split) for split in ("train", "test")
    )
    if arguments.images > len(train.images):
        raise ValueError(f"images of {arguments.images}: use 100 to {len(train.images):,}")
    inception = load_inception(arguments.inception) if arguments.inception else None
    folder = chosen_folder(trained, sampling, arguments)
    console.check_folder(folder)
    try:
        samples = drawn(trained, sampling, arguments, folder)
    except KeyboardInterrupt:
        print("stopped; the samples so far are kept, and the same command goes on with them")
        raise
    labels = asked(np.arange(len(samples)), trained.labels)
    with classifier_judge(train, arguments.data_dir, arguments.workers) as judge:
        seed = arguments.seed
        table = evaluated(samples, labels, train, test, judge, seed, folder, inception)
    text = f"{heading(trained, sampling, arguments)}\n\n{table}"
    with atomic_write(folder / "evaluation.md") as file:
        file.write(text.encode())
    print(text)
    print(f"This table and its pictures are in {folder}")


def parse():
    """The command line; flags for sampling are made from SamplingConfig, as sample.py's are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="folder of a run, or its checkpoint")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="samples (1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--out", metavar="FOLDER", help="folder to write (beside the checkpoint)")
    parser.add_argument("--inception", metavar="FILE", help="weights, for FID, KID and IS")
    parser.add_argument("--data-dir", help="folder with the data set's files (the cache)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="processes (all)")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="where to draw (auto)")
    parser.set_defaults(make="evaluation")  # as sample.py calls what it makes
    add_flags(parser, SamplingConfig())
    return parser.parse_args()


def chosen_folder(trained, sampling, arguments):
    """Where everything goes: by default a folder whose name says what was evaluated."""
    if arguments.out:
        return Path(arguments.out)
    path = Path(arguments.checkpoint)
    beside = path if path.is_dir() else path.parent
    settings = f"{sampling.sampler}-{sampling.steps}-{sampling.guidance:g}"
    return beside / f"evaluation-{trained.step}-{settings}"


def heading(trained, sampling, arguments):
    """What is evaluated, in a line: a number without it says nothing."""
    guidance = f", guidance {sampling.guidance:g}" if trained.can_guide else ""
    if trained.can_guide and sampling.guidance and sampling.guided_share < 1:
        guidance += f" at the last {sampling.guided_share:.0%} of the times"
    return (
        f"# {trained.data} after {trained.step:,} steps: {sampling.sampler} with {sampling.steps} "
        f"steps{guidance}, seed {arguments.seed}"
    )


def asked(numbers, labels):
    """The labels of samples with these numbers, all in turn; None where there are no labels."""
    return np.asarray(labels)[numbers % len(labels)] if labels else None


# The samples. Part k is a function of the model, the settings, the seed and k alone.


def drawn(trained, sampling, arguments, folder):
    """As many samples as were asked for, bytes (N, H, W, C): those kept in the folder, and new."""
    parts, steps = -(-arguments.images // PART), sampling.steps
    paths = [folder / "parts" / f"{k:05}.safetensors" for k in range(parts)]
    weights = hashlib.sha256(np.ascontiguousarray(to_host(trained.theta))).hexdigest()
    facts = {**dataclasses.asdict(sampling), "times": list(sampling.times)}
    facts |= {"seed": arguments.seed, "weights": weights}
    images = [kept(path, facts) for path in paths]
    missing = [k for k in range(parts) if images[k] is None]
    if missing:
        title = f"drawing {PART * len(missing):,} images"
        with (
            trained.predictor(arguments.workers) as eps_model,
            Progress(title, steps * len(missing)) as progress,
        ):
            for done, k in enumerate(missing):
                for i, step in enumerate(part(k, trained, eps_model, sampling, arguments.seed), 1):
                    progress.show(done * steps + i)
                    x = step.x
                images[k] = to_bytes(x)
                save_checkpoint(paths[k], {"images": images[k].astype(np.float16)}, facts)
            progress.clear()
    return np.concatenate(images)[: arguments.images]


def kept(path, facts):
    """The samples in a file, or None if there are none; ValueError if they are other ones."""
    if not path.exists():
        return None
    try:
        arrays, meta = load_checkpoint(path)
    except ValueError as error:
        print(f"{error}; these samples are drawn again")
        return None
    if meta != facts or arrays.keys() != {"images"}:
        raise ValueError(
            f"{path} has samples of another model or other settings: choose another folder by --out"
        )
    return arrays["images"].astype(np.uint8)


def part(k, trained, eps_model, sampling, seed):
    """The sampler's Steps for PART images of all labels in turn."""
    config = trained.unet.config
    labels = asked(np.arange(k * PART, (k + 1) * PART), trained.labels)
    noise = generator(seed, "noise", k).standard_normal((PART, *config.image_shape), np.float32)
    predict = sampling.guided(eps_model, labels, config.classes, trained.schedule)
    rng = generator(seed, "sampling", k, xp=trained.xp)
    return sample(sampling, predict, trained.schedule, trained.xp.asarray(noise), rng)


# What they are worth.


class Crowd(NamedTuple):
    """Images (N, H, W, C), bytes, what a judge sees in them, and their labels (N,) or None."""

    images: np.ndarray
    features: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray | None = None

    def some(self, chosen):
        """The crowd of the chosen ones."""
        return Crowd(*(values[chosen] for values in self))


def evaluated(samples, labels, train, test, judge, seed, folder, inception=None):
    """The table of all numbers; pictures go into the folder.

    labels     (N,) that were asked for, or None
    judge      features, probabilities = judge(images); inception likewise
    """
    made = Crowd(samples, *judge(samples), labels)
    train, test = (Crowd(data.images, *judge(data.images), data.labels) for data in (train, test))
    n, rng = len(samples), generator(seed, "order")
    known = train.some(rng.permutation(len(train.images))[:n])
    some = rng.permutation(len(test.images))[:n]
    unseen = test.some(some)

    rows = compared(made, known, test, some, CLASSIFIER)
    if inception:
        seen = (Crowd(c.images, *inception(c.images), c.labels) for c in (made, known, test))
        rows += compared(*seen, some, INCEPTION)[:3]  # whose precision and recall nobody compares
    if labels is not None:
        rows.append(
            ("recognised as asked", *(f"{recognised(crowd):.1%}" for crowd in (made, known)))
        )
    rows.append(("stands out most in the spectrum", *grid_noise(made, known, test, folder)))
    save_picture(image_grid(to_model_range(samples[:100]), 10), folder / "samples.png")
    return REPORT.format(
        n=n, tests=len(test.images), unseen=len(unseen.images), trains=len(train.images),
        accuracy=recognised(test), close=CLOSE, rows=lines(rows),
        copies=lines(copies(made, unseen, train, judge, folder)),
    )  # fmt: skip


REPORT = """\
| | {n:,} samples | {n:,} training images: the floor |
|---|---|---|
{rows}

Fréchet distances are to all {tests:,} test images, kernel distance, precision and recall to
{unseen:,} of them. The classifier that judges recognises {accuracy:.2%} of the test images.

| nearest of {trains:,} training images | {n:,} samples | {unseen:,} test images |
|---|---|---|
{copies}

Test images are what somebody draws who has not seen the training images. Of copies, far more than
{close:.0%} would be closer than the closest {close:.0%} of test images, and the smallest distance
would be about 0.
"""


def lines(rows):
    """Rows of a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def compared(made, known, test, some, names):
    """Rows of what samples and training images measure, with some of the test images."""
    by = [measured(crowd, test, test.some(some), names) for crowd in (made, known)]
    return [(name, by[0][name], by[1][name]) for name in by[0]]


def measured(crowd, test, unseen, names):
    """{name: number} of a crowd, by what one judge sees in it and in test images."""
    precision, recall = precision_and_recall(unseen.features, crowd.features)
    score, spread = inception_score(crowd.probabilities)
    return {
        names.frechet: f"{frechet_distance(crowd.features, test.features):.2f}",
        names.kernel: f"{kernel_distance(crowd.features, unseen.features):.4f}",
        names.score: f"{score:.2f} ± {spread:.2f}",
        "precision": f"{precision:.3f}",
        "recall": f"{recall:.3f}",
    }


def recognised(crowd):
    """The share of a crowd whose likeliest class is its label."""
    return (crowd.probabilities.argmax(axis=1) == crowd.labels).mean()


def grid_noise(made, known, test, folder):
    """Where the spectra of samples and of training images stand out over that of test images."""
    some = [crowd.images[:ENOUGH] for crowd in (test, made, known)]
    data, *spectra = (power_spectrum(to_model_range(images)) for images in some)
    save_picture(spectrum(spectra[0], data, "samples and test images"), folder / "spectrum.png")
    excesses = (spectral_excess(powers, data) for powers in spectra)
    return [f"{ratio:.2f} times, period {period:.3g}" for ratio, period in excesses]


def copies(made, unseen, train, judge, folder):
    """Rows that say how close samples and unseen images are to training images; two pictures."""
    looks = {"samples": [made], "test images": [unseen]}
    if train.images.shape[-1] == 3:  # a photograph's mirror image would be a copy, too
        for crowds in looks.values():
            mirrored = crowds[0].images[:, :, ::-1]
            crowds.append(Crowd(mirrored, *judge(mirrored)))
    pixel = made.images[0].size ** 0.5  # so that distances are errors per pixel, of 255
    for space, unit, name in (("images", pixel, "pixels"), ("features", 1, "features")):
        distances, picture = [], []
        for who, crowds in looks.items():
            asked = [getattr(crowd, space) for crowd in crowds]
            found = nearest_of_looks(asked, getattr(train, space), f"{name}: nearest to {who}")
            distances.append(found[1] / unit)
            picture += pairs(who, crowds[0].images, train.images, *found)
        save_picture(labelled_grid(picture), folder / f"nearest-{name}.png")
        yield from closeness(name, *distances)


def closeness(name, made, unseen):
    """Rows on the distances (N,) of samples and (M,) of unseen images to training images."""
    limit = np.quantile(unseen, CLOSE)
    yield f"{name}: median distance", f"{np.median(made):.2f}", f"{np.median(unseen):.2f}"
    yield f"{name}: smallest distance", f"{made.min():.2f}", f"{unseen.min():.2f}"
    yield f"{name}: closer than {limit:.2f}", *(f"{(d < limit).mean():.1%}" for d in (made, unseen))


def pairs(who, images, among, index, distance):
    """Two rows of a picture: image, nearest, image, nearest ..., the closest ones and any."""
    closest, any_ = np.argsort(distance)[:PAIRS], np.arange(PAIRS)
    for text, chosen in ((f"{who}, closest", closest), (f"{who}, any", any_)):
        both = np.stack([images[chosen], among[index[chosen]]], axis=1)
        yield text, to_model_range(both.reshape(-1, *images.shape[1:]))


if __name__ == "__main__":
    console.run(main, "use fewer --images or --workers")
