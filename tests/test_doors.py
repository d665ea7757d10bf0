"""What people bring by mistake is converted or refused; nothing comes out silently wrong."""

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import standin

from tinyddpm import (
    Dataset,
    Denoiser,
    LossSecondMomentResampler,
    NotFinite,
    Run,
    SamplingConfig,
    Schedule,
    Tape,
    TrainConfig,
    UNet,
    UNetConfig,
    Workers,
    ancestral,
    bits_per_dimension,
    bound,
    bound_terms,
    ddim,
    ddim_inversion,
    doors,
    dpm_solver,
    final_images,
    frechet_distance,
    guided,
    hybrid_loss,
    image_grid,
    load_trained,
    log_variance,
    named_grid,
    nearest,
    posterior_mean,
    power_spectrum,
    predictor,
    prior_bits,
    q_sample,
    rate_distortion,
    sample,
    simple_loss,
    slerp,
    spectral_excess,
    target,
    to_bytes,
    to_model_range,
    train,
    vlb_loss,
    x0_and_eps,
)
from tinyddpm.config import check
from tinyddpm.pictures import gallery
from tinyddpm.pictures.plots import loss_curve
from tinyddpm.training.log import Log

S = Schedule.cosine(20)
T1 = np.array([3, 20])
UNET = UNet(
    UNetConfig(
        image_size=4, base=4, multipliers=(1,), attention_at=(), groups=2, classes=3, outputs=2
    )
)
THETA = UNET.layout.init(np.random.default_rng(0))
ONES = np.ones((2, 4, 4, 1), np.float32)


class Echo:
    """A model that answers with what it sees, `outputs` times, and remembers what it was told."""

    def __init__(self, outputs=1):
        self.outputs, self.told = outputs, []

    def forward(self, x_t, t, tape, label=None):
        self.told += np.asarray(t).tolist()
        return np.concatenate([x_t] * self.outputs, axis=-1)

    def backward(self, d_out, tape):
        return d_out


def echo(x_t, t):
    return x_t


TAPE, RNG = Tape(np.zeros(1)), np.random.default_rng(0)
TAKE_IMAGES = {  # every public function that takes images of [-1, 1], with bad ones at each place
    "q_sample, x0": lambda x: q_sample(x, T1, ONES, S),
    "q_sample, eps": lambda x: q_sample(ONES, T1, x, S),
    "target, x0": lambda x: target(x, T1, ONES, S, "v"),
    "target, eps": lambda x: target(ONES, T1, x, S),
    "x0_and_eps, answer": lambda x: x0_and_eps(x, ONES, T1, S),
    "x0_and_eps, x_t": lambda x: x0_and_eps(ONES, x, T1, S, "v"),
    "posterior_mean, x0": lambda x: posterior_mean(x, ONES, T1, S),
    "posterior_mean, x_t": lambda x: posterior_mean(ONES, x, T1, S),
    "log_variance": lambda x: log_variance("learned", x, T1, S),
    "simple_loss, x0": lambda x: simple_loss(Echo(), x, T1, ONES, S, TAPE),
    "simple_loss, eps": lambda x: simple_loss(Echo(), ONES, T1, x, S, TAPE),
    "hybrid_loss": lambda x: hybrid_loss(Echo(2), x, T1, ONES, S, TAPE),
    "vlb_loss": lambda x: vlb_loss(Echo(2), x, T1, ONES, S, TAPE),
    "bound, x0": lambda x: bound(x, ONES, T1, ONES, 0 * ONES, S),
    "bound, x_t": lambda x: bound(ONES, x, T1, ONES, 0 * ONES, S),
    "bound, mean": lambda x: bound(ONES, ONES, T1, x, 0 * ONES, S),
    "bound, log_sigma2": lambda x: bound(ONES, ONES, T1, ONES, x, S),
    "prior_bits": lambda x: prior_bits(x, S),
    "bound_terms": lambda x: list(bound_terms(echo, x, S, RNG)),
    "bits_per_dimension": lambda x: bits_per_dimension([], x, S),
    "ancestral": lambda x: final_images(ancestral(echo, S, x, RNG)),
    "ddim": lambda x: final_images(ddim(echo, S, x)),
    "ddim_inversion": lambda x: final_images(ddim_inversion(echo, S, x)),
    "dpm_solver": lambda x: final_images(dpm_solver(echo, S, x)),
    "slerp": lambda x: slerp(x, x, 0.5),
    "UNet.forward": lambda x: UNET.forward(x, T1, Tape(THETA)),
    "to_bytes": to_bytes,
    "image_grid": lambda x: image_grid(x, 2),
    "power_spectrum": power_spectrum,
}
WRONG_KINDS = {
    "bytes": np.full((2, 4, 4, 1), 200, np.uint8),
    "whole numbers": np.ones((2, 4, 4, 1), int),
    "truth": np.ones((2, 4, 4, 1), bool),
    "half precision": np.ones((2, 4, 4, 1), np.float16),
    "objects": np.full((2, 4, 4, 1), None),
    "text": np.full((2, 4, 4, 1), "1"),
    "nothing": np.ones((0, 4, 4, 1)),
}


@pytest.mark.parametrize("function", TAKE_IMAGES)
def test_images_of_the_wrong_kind_are_refused(function):
    for bad in WRONG_KINDS.values():
        with pytest.raises(
            ValueError, match=r"give (float32 or float64 numbers|one image or more)"
        ):
            TAKE_IMAGES[function](bad)


def test_floating_images_of_any_precision_come_out_right():
    for dtype in (np.float32, np.float64, np.complex128):
        one = np.ones((1, 1), dtype)
        x_t = q_sample(one, [300], 0 * one, Schedule.linear())
        assert x_t.dtype == dtype and x_t[0, 0] == pytest.approx(0.6296, abs=1e-4)
    assert q_sample([[1.0]], [300], [[0.0]], Schedule.linear())[0, 0] == pytest.approx(
        0.62962, 1e-4
    )


@pytest.mark.parametrize("name", [name for name in TAKE_IMAGES if "," in name])
def test_arrays_that_would_be_stretched_to_fit_are_refused(name):
    """One noise for all images, one channel for three: NumPy would do it without a word."""
    with pytest.raises(ValueError, match="of shape"):
        TAKE_IMAGES[name](np.ones((2, 4, 4, 3), np.float32))
    if name != "bound, log_sigma2":  # may be one number for each image, or for all
        with pytest.raises(ValueError, match="of shape"):
            TAKE_IMAGES[name](np.ones((1, 4, 4, 1), np.float32))


TAKE_TIMES = {
    "q_sample": lambda t: q_sample(ONES, t, ONES, S),
    "target": lambda t: target(ONES, t, ONES, S),
    "x0_and_eps": lambda t: x0_and_eps(ONES, ONES, t, S),
    "posterior_mean": lambda t: posterior_mean(ONES, ONES, t, S),
    "log_variance": lambda t: log_variance("small", ONES, t, S),
    "bound": lambda t: bound(ONES, ONES, t, ONES, 0 * ONES, S),
    "simple_loss": lambda t: simple_loss(Echo(), ONES, t, ONES, S, TAPE),
    "vlb_loss": lambda t: vlb_loss(Echo(2), ONES, t, ONES, S, TAPE),
    "hybrid_loss": lambda t: hybrid_loss(Echo(2), ONES, t, ONES, S, TAPE),
    "UNet.forward": lambda t: UNET.forward(ONES, t, Tape(THETA)),
    "predictor": lambda t: predictor(UNET, THETA, S)(ONES, t),
    "update": lambda t: LossSecondMomentResampler(20).update(t, [1.0, 1.0]),
}
BAD_TIMES = (
    [-5, 3],
    [0.5, 3],
    [21, 3],
    [3],
    [3, 3, 3],
    3,
    [[3, 3]],
    [True, True],
    None,
    ["3", "4"],
)


@pytest.mark.parametrize("function", TAKE_TIMES)
def test_times_become_arrays_or_are_refused(function):
    for t in ([3, 20], (3, 20), np.array([3, 20], np.uint8), np.array([3, 20], np.int32)):
        TAKE_TIMES[function](t)
    for t in BAD_TIMES:
        if function != "UNet.forward" or t != [21, 3]:  # a U-Net knows no last time
            with pytest.raises(ValueError, match="^t(imes)? .*(use|give|this schedule has)"):
                TAKE_TIMES[function](t)


@pytest.mark.parametrize("function", [name for name in TAKE_TIMES if name != "q_sample"])
def test_time_0_which_no_step_has_is_refused(function):
    with pytest.raises(ValueError, match="t(imes)? "):
        TAKE_TIMES[function]([0, 3])
    assert np.array_equal(q_sample(ONES, [0, 0], -ONES, S), ONES)


def test_labels_become_arrays_or_are_refused():
    first = UNET.forward(ONES, [3, 4], Tape(THETA), np.array([0, 3]))
    for label in ([0, 3], (0, 3), np.array([0, 3], np.uint8)):
        assert np.array_equal(UNET.forward(ONES, [3, 4], Tape(THETA), label), first)
    for label in ([-2, -2], [0, 4], [0.0, 1.0], [1], 1, [[0], [1]], [True, False], ["0", "1"]):
        with pytest.raises(ValueError, match="^label .*(use|give)"):
            UNET.forward(ONES, [3, 4], Tape(THETA), label)
        with pytest.raises(ValueError, match="^label .*(use|give)"):
            guided(lambda x, t, label: x, label, null=3, weight=1.0)(ONES, T1)


def test_weights_of_another_network_are_refused():
    for theta in (THETA[:-1], np.append(THETA, 0), THETA[None], THETA.astype(int)):
        with pytest.raises(ValueError, match="theta of"):
            UNET.forward(ONES, T1, Tape(theta))
    for weight in (np.ones(3), np.ones(1)):
        with pytest.raises(ValueError, match="weights for 2 images"):
            simple_loss(Echo(), ONES, T1, ONES, S, Tape(THETA, 0 * THETA), None, weight)


def test_bytes_and_nothing_else_are_brought_to_the_range_of_models():
    every = np.arange(256)
    for kind in (np.uint8, np.int16, np.int64):
        assert np.allclose(to_model_range(every.astype(kind)), every / 127.5 - 1, atol=1e-6)
    for bad in (every / 255, every / 127.5 - 1, every.astype(float), every + 1, -every, every > 9):
        with pytest.raises(ValueError, match="give bytes, 0 to 255"):
            to_model_range(bad)


def test_the_bound_wants_images_that_were_bytes():
    for bad in (127 * ONES, -1.1 * ONES, np.nan * ONES):
        for count in (
            lambda: bound(bad, ONES, T1, ONES, 0 * ONES, S),  # noqa: B023
            lambda: next(bound_terms(echo, bad, S, RNG)),  # noqa: B023
        ):
            with pytest.raises(ValueError, match="use -1 to 1, see to_model_range"):
                count()


# Labels of few bits, and rows that never learned.


def striped(labels):
    images = np.zeros((len(labels), 4, 4, 1), np.uint8)
    return Dataset("stripes", images, np.asarray(labels))


SMALL = UNetConfig(image_size=4, base=4, multipliers=(1,), attention_at=(), groups=2, classes=3)
SHORT = TrainConfig(steps=1, batch=2, micro_batch=2, T=25, device="cpu")


def test_dropped_labels_of_bytes_are_the_null_label_and_not_class_0(tmp_path):
    """256 classes in uint8: the null label 256 would wrap around to 0."""
    config = replace(SHORT, label_drop=1.0)
    data = striped(np.arange(1, 9, dtype=np.uint8))
    run = Run(replace(SMALL, classes=256), config, data, tmp_path)
    assert run.labels.dtype == np.int64
    grad = np.zeros_like(run.theta)
    Denoiser(run.unet, run.schedule, config).gradient(
        run.theta, grad, 0, 0, run.images[:4], run.labels[:4], np.full(4, 9), np.ones(4)
    )
    table = next(p for p in run.unet.layout.params if p.name.endswith("table")).of(grad)
    assert table[256].any() and not table[:256].any()


@pytest.mark.parametrize(
    "labels", [[0.0, 1.0, 2.0], [[0], [1], [2]], np.eye(3, dtype=int), ["a", "b", "c"]]
)
def test_data_with_labels_of_the_wrong_kind_is_refused(tmp_path, labels):
    with pytest.raises(ValueError, match="stripes has labels of .*: give whole numbers"):
        Run(SMALL, SHORT, striped(labels), tmp_path)


ASKED = {  # label_drop: (labels that the run draws, what may be asked of it, what may not)
    0.0: ([0, 2], [[0, 2]], [None, [3, 3], [1, 1]]),
    0.5: ([0, 2], [None, [3, 0]], [[1, 0]]),
    1.0: ([], [None, [3, 3]], [[0, 3], [1, 1], [2, 2]]),
}


@pytest.mark.parametrize("label_drop", ASKED)
def test_only_rows_that_were_trained_are_asked_for(tmp_path, label_drop):
    drawn, right, wrong = ASKED[label_drop]
    run = Run.start(
        SMALL, replace(SHORT, label_drop=label_drop), striped([0, 2, 0]), tmp_path / "r"
    )
    trained = load_trained(run.folder)
    assert run.learned_labels == drawn and trained.labels == tuple(drawn)
    assert trained.can_guide == (label_drop == 0.5)
    with trained.predictor() as eps_model:
        for label in right:
            assert eps_model(ONES, T1, label).shape == ONES.shape
        for label in wrong:
            with pytest.raises(ValueError, match="trained"):
                eps_model(ONES, T1, label)
        for label in ([0, 2, 0], [9, 9]):  # more than images: they would have been cut off
            with pytest.raises(ValueError, match="label .* (give|use)"):
                eps_model(ONES, T1, label)


def test_a_run_draws_with_the_rows_that_it_trains(tmp_path, monkeypatch):
    asked, make = [], gallery._eps_model

    def spying(run, workers):
        return lambda x_t, t, label: (asked.append(label), make(run, workers)(x_t, t, label))[1]

    monkeypatch.setattr(gallery, "_eps_model", spying)
    for label_drop, wanted in ((1.0, None), (0.0, {0, 2})):
        run = Run(SMALL, replace(SHORT, label_drop=label_drop), striped([0, 2, 0]), tmp_path)
        with gallery_workers(run) as workers:
            gallery.draw_final(run, workers, lambda: None)
        assert all((label if label is None else set(label) <= wanted) or wanted is None
                   for label in asked)  # fmt: skip
        assert {None if label is None else 0 for label in asked} == {None if not wanted else 0}
        asked.clear()


def gallery_workers(run):
    return Workers(Denoiser(run.unet, run.schedule, run.config), run.theta)


# Times that the network is told, and answers of every kind.


@pytest.mark.parametrize("loss, outputs", [(simple_loss, 1), (hybrid_loss, 2), (vlb_loss, 2)])
def test_a_network_that_learns_on_few_times_is_told_those_that_it_is_asked_about(loss, outputs):
    few, model = Schedule.cosine(1000).respaced(10), Echo(outputs)
    loss(model, ONES, [5, 10], ONES, few, TAPE)
    assert model.told == few.times[[5, 10]].tolist() == [445, 1000]
    asked = Echo()
    for _ in ancestral(predictor(asked, None, few), few, ONES, RNG):
        pass
    assert asked.told == np.repeat(few.times[:0:-1], 2).tolist()


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_a_predictor_gives_eps_whatever_the_model_answers_with(predicts, rng):
    s, x0 = Schedule.cosine(100), rng.uniform(-0.9, 0.9, (3, 2, 2, 1))

    class Knows:
        """The true answer for images x0, and v = 7 after it."""

        def forward(self, x_t, t, tape, label=None):
            _, eps = x0_and_eps(x0, x_t, t, s, "x0")
            return np.concatenate([target(x0, t, eps, s, predicts), 7 + 0 * x_t], axis=-1)

    for schedule in (s, s.respaced(10)):  # of the training, and of the sampling
        predict = predictor(Knows(), None, s, predicts)
        steps = list(ddim(predict, schedule, rng.standard_normal(x0.shape)))
        assert np.allclose(steps[0].x0_hat, x0, atol=1e-4) and np.allclose(steps[-1].x, x0)
    assert (predict(x0, np.array([5, 5, 5]))[..., 1:] == 7).all()


def test_a_predictor_refuses_times_that_its_model_was_not_trained_on():
    few = Schedule.cosine(100).respaced(10)
    assert few.index(few.times[[1, 4, 10]]).tolist() == [1, 4, 10]
    assert few.to(np).index(few.times[[2]]).tolist() == [2]
    for told in ([2], [0], [101], [-1]):
        with pytest.raises(ValueError, match="this schedule has"):
            predictor(Echo(), None, few, "v")(ONES[:1], np.array(told))


@pytest.mark.parametrize("times", [[0, 1], [0, 2, 1], [0, 1, 1], [-1, 0, 1], [0, 1.0, 2.0]])
def test_times_of_a_schedule_are_whole_numbers_that_rise(times):
    with pytest.raises(ValueError, match="give 3 whole numbers that rise"):
        Schedule([0.5, 0.9999], times)


def test_an_answer_that_does_not_fit_is_refused_and_not_stretched(rng):
    x = rng.standard_normal((2, 4, 4, 3))
    for answer in (x[..., :1], x[:1], np.concatenate([x, x[..., :1]], axis=-1)):
        for walk in (dpm_solver, ddim, ddim_inversion):
            with pytest.raises(ValueError, match=r"answer of shape .* for images \(2, 4, 4, 3\)"):
                final_images(walk(lambda x_t, t, answer=answer: answer, S, x))


def test_a_sampler_runs_once():
    steps = dpm_solver(echo, S, ONES)
    final_images(steps)
    with pytest.raises(ValueError, match="a sampler can be run only once"):
        final_images(steps)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -0.5])
def test_a_weight_of_guidance_that_is_none_is_refused(weight):
    for label in ([0, 1], None):
        with pytest.raises(ValueError, match="guidance of"):
            guided(lambda x, t, label: x, label, 3, weight)
    with pytest.raises(ValueError, match="with labels"):
        guided(lambda x, t, label: x, None, 3, 1.0)


# Numbers that are none.


def terms_of(x0, **changes):
    terms = list(bound_terms(echo, x0, S, np.random.default_rng(0)))
    terms[4] = terms[4]._replace(**changes)
    return terms


BECOMES_A_NUMBER = {
    "to_bytes": lambda x: to_bytes(x),
    "image_grid": lambda x: image_grid(x, 1),
    "power_spectrum": lambda x: power_spectrum(x),
    "nearest, images": lambda x: nearest(x, ONES),
    "nearest, among": lambda x: nearest(ONES, x),
    "frechet_distance": lambda x: frechet_distance(x[..., 0, 0], ONES[..., 0, 0]),
    "bits_per_dimension": lambda x: bits_per_dimension(terms_of(ONES, bits=x[0, 0, 0]), ONES, S),
    "loss_curve": lambda x: loss_curve(x.ravel()),
    "rate_distortion": lambda x: rate_distortion(x.ravel(), 0 * ONES.ravel()),
}


@pytest.mark.parametrize("function", BECOMES_A_NUMBER)
def test_what_is_not_finite_becomes_no_picture_and_no_number(function):
    for none in (np.nan, np.inf, -np.inf):
        bad = ONES.copy()
        bad[0, 0, 0, 0] = none
        with pytest.raises(NotFinite, match="numbers that are not finite"):
            BECOMES_A_NUMBER[function](bad)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm"])
@pytest.mark.parametrize("none", [np.nan, np.inf])
def test_an_infinite_answer_is_not_clipped_into_an_image(sampler, none, rng):
    config = SamplingConfig(sampler=sampler, steps=5)
    with np.errstate(invalid="ignore"):
        x = final_images(sample(config, lambda x, t: none * np.ones_like(x), S, ONES, rng))
        assert np.isnan(x).all()


def test_bits_that_are_none_are_not_counted_as_an_impossible_image():
    mean = np.full_like(ONES, np.nan)
    assert np.isnan(bound(ONES, ONES, [1, 2], mean, 0 * ONES, S).bits).all()


def test_bits_want_all_terms_of_the_bound():
    terms = terms_of(ONES)
    for some in (terms[1:], terms[:-1], terms[::-1], []):
        with pytest.raises(ValueError, match="give all, t = T .. 1"):
            bits_per_dimension(some, ONES, S)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    run = Run.start(SMALL, SHORT, striped([0, 1, 2]), tmp_path / "run")
    before = (run.folder / "checkpoint.safetensors").read_bytes()
    run.theta[3] = np.inf
    with pytest.raises(FloatingPointError, match="theta with numbers that are not finite"):
        run.save()
    assert (run.folder / "checkpoint.safetensors").read_bytes() == before


def test_a_loss_that_is_no_number_is_found_when_it_is_fetched(tmp_path):
    """As from a GPU, many steps later; what was fetched before it stays."""
    log, one = Log(), np.array(1.0)
    log.record(1, one, one, 0.1)
    log.record(2, np.nan * one, one, 0.1)
    with pytest.raises(FloatingPointError, match="step 2: the loss is nan.* learning rate 0.1; "):
        log.fetch()
    assert log.losses == [1.0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("every", [1, 500])
def test_a_run_with_a_huge_learning_rate_ends_before_it_draws(tmp_path, every):
    run = Run.start(
        SMALL, replace(SHORT, warmup=0, lr=1e25, every=every), striped([0, 1, 2]), tmp_path / "run"
    )
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        train(run)
    assert not list(run.folder.rglob("*.png"))


# Sizes that are legal, and odd.


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_are_no_colours_stand_side_by_side_in_grey(channels, rng):
    images = rng.uniform(-1, 1, (3, 4, 4, channels))
    picture = np.asarray(image_grid(images, columns=2, scale=1))
    assert picture.shape == (2 * 6 + 2, 2 * (4 * channels + 2) + 2)
    for k in range(channels):
        shown = picture[2:6, 2 + 4 * k : 6 + 4 * k]
        assert np.array_equal(shown, to_bytes(images)[0, :, :, k])


@pytest.mark.parametrize("size, period", [(9, 3), (15, 5), (7, 7), (8, 4), (27, 3), (2, 2), (3, 3)])
def test_the_period_of_a_pattern_is_right_for_odd_sides_too(size, period, rng):
    data = rng.standard_normal((2000, size, size, 1)) * 0.1
    wave = np.cos(2 * np.pi * np.arange(size) / period)[:, None, None]
    spectra = power_spectrum(data + wave), power_spectrum(data)
    assert spectra[0].frequency.shape == spectra[0].power.shape == (size // 2 + 1,)
    assert spectral_excess(*spectra)[1] == pytest.approx(period)


def test_arguments_of_metrics_and_grids_that_cannot_be_are_refused(rng):
    x = rng.uniform(-1, 1, (4, 6, 6, 1))
    bad = {
        "give \\(N, S, S, C\\)": lambda: power_spectrum(x[:, :4]),
        "S from 2 on": lambda: power_spectrum(x[:, :1, :1]),
        "of one size": lambda: spectral_excess(power_spectrum(x), power_spectrum(x[:, :4, :4])),
        "both as bytes or both": lambda: nearest(x, to_bytes(x)),
        "of the same shape": lambda: nearest(x, x.reshape(4, 9, 4, 1)),
        "give \\(N, D\\)": lambda: frechet_distance(x[0, ..., 0], x[0, :, :4, 0]),
        "two images or more in each": lambda: frechet_distance(x[0, :1, :, 0], x[0, :, :, 0]),
        "columns of 0: use 1 or more": lambda: image_grid(x, 0),
        "scale of 0": lambda: image_grid(x, 1, 0),
        "give them as \\(N, H, W, C\\)": lambda: image_grid(x[0], 1),
        "2 names for 4 rows": lambda: named_grid(x, 1, ("a", "b")),
    }
    for sentence, call in bad.items():
        with pytest.raises(ValueError, match=sentence):
            call()
    assert frechet_distance(np.arange(9.0)[:, None], 1 + np.arange(9.0)[:, None]) == pytest.approx(
        1
    )


def test_curves_of_numbers_that_are_all_the_same_can_be_drawn():
    for losses in ([0.0], [0.0, 1.0], [1e30, 1.0], [2.0, 2.0]):
        assert loss_curve(losses).size == (720, 400)
    assert rate_distortion(np.zeros(3), np.zeros(3)).size[1] == 370


CONFIGS = (SamplingConfig(), TrainConfig(), UNetConfig())
NUMBERS = [
    (config, name)
    for config in CONFIGS
    for name, value in vars(config).items()
    if isinstance(value, (int, float))
]


@pytest.mark.parametrize(
    "config, name", NUMBERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_number_of_every_config_has_its_range(config, name):
    default = getattr(config, name)
    for bad in (
        -5,
        -1,
        float("nan"),
        float("inf"),
        True,
        "3",
        None,
        -1e9,
    ):
        with pytest.raises(ValueError, match=f"^{name} of .*: use "):
            replace(config, **{name: bad})
    if isinstance(default, int):
        for bad in (default + 0.5, float(default), np.float32(default)):
            with pytest.raises(ValueError, match=f"^{name} of .*: use a whole number"):
                replace(config, **{name: bad})
    kind = np.int64 if isinstance(default, int) else np.float64
    again = replace(config, **{name: kind(default)})  # NumPy's numbers become Python's
    assert again == config and type(getattr(again, name)) is type(default)


def test_numbers_in_tuples_have_their_range_too():
    for bad in ((1, -2), (1, 0), (1, 2.0), (1, True), 3, "12", None, (1, float("nan"))):
        for name in ("multipliers", "attention_at"):
            with pytest.raises(ValueError, match=f"{name} of"):
                UNetConfig(**{name: bad})
    assert UNetConfig(multipliers=[1, np.int64(2)], attention_at=[]).multipliers == (1, 2)
    check(UNetConfig())


@pytest.mark.parametrize("steps", [2.5, True, "7", None, np.float64(5), 0, 21])
def test_numbers_of_steps_are_whole(steps):
    with pytest.raises(ValueError, match="steps"):
        S.respaced(steps)
    if steps != 21:
        with pytest.raises(ValueError, match="T of|schedule of"):
            Schedule.cosine(steps)


def test_a_process_of_two_steps_is_trained_and_drawn(tmp_path):
    """Shares of T that round to 0 are no times, and 20 steps of sampling are too many."""
    unet = replace(SMALL, image_channels=2, image_size=3, classes=0)
    data = Dataset("two", np.zeros((3, 3, 3, 2), np.uint8), np.zeros(3, int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two steps leave much of the image
        run = Run.start(unet, replace(SHORT, T=2, schedule="cosine"), data, tmp_path / "run")
        train(run)
    assert len(list(run.folder.glob("*.*"))) == 10


# On a GPU.


def test_on_a_gpu_doors_look_at_dtypes_and_shapes_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy)
    x, t = (standin.cupy.asarray(array) for array in (ONES, T1))
    with standin.no_waiting():
        assert doors.images(x=x, y=x)[0] is x
        assert doors.times(t, 2, 20).dtype == np.int64
        assert doors.labels(t, 2, 1).dtype == np.int64  # nobody looks: 20 is no label
        doors.in_model_range(2 * x)
        for bad in (
            lambda: doors.images(x=t),
            lambda: doors.times(x, 2),
            lambda: doors.times(t, 3),
        ):
            with pytest.raises(ValueError):
                bad()
