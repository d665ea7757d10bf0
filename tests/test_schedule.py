"""Every table of the noise schedules against the papers and against Bayes' rule."""

import warnings

import numpy as np
import pytest

from tinyddpm import Schedule


def test_linear_schedule_of_the_paper():
    s = Schedule.linear()
    assert s.T == 1000 and s.beta[1] == 1e-4 and s.beta[1000] == 0.02
    assert s.alpha_bar[0] == 1 and s.beta[0] == 0 and s.posterior_variance[1] == 0
    assert s.alpha_bar[1000] == pytest.approx(4.0358e-5, rel=1e-4)  # the paper's code
    assert s.posterior_variance[2] == pytest.approx(5.453e-5, rel=1e-3)  # OpenAI's first entry
    assert s.beta[2] == pytest.approx(1.199e-4, rel=1e-3)
    for table in (
        s.beta,
        s.alpha_bar,
        s.posterior_variance,
        s.posterior_x0_coef,
        s.posterior_x_t_coef,
        s.log_beta,
    ):
        assert table.dtype == np.dtype(float) and table.shape == (1001,) and table[0] in (0, 1)


def test_cosine_schedule_of_the_paper():
    s = Schedule.cosine()
    assert s.beta[1] == pytest.approx(4.1e-5, rel=0.02)
    assert s.beta[1000] == 0.999 and (s.beta[:1000] < 0.999).all()  # only the last is clipped
    assert s.alpha_bar[999] == pytest.approx(2.4e-6, rel=0.02)
    assert s.alpha_bar[1000] == pytest.approx(2.4e-9, rel=0.02)  # of the clipped β: a product
    f = np.cos((np.arange(1000) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    assert np.allclose(s.alpha_bar[:1000], f / f[0], rtol=1e-9)
    assert s.alpha_bar[500] > 5 * Schedule.linear().alpha_bar[500]  # less haste


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine])
@pytest.mark.parametrize("T", [25, 50, 100, 400, 1000, 4000])
def test_every_schedule_ends_in_noise(make, T):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = make(T)
    assert np.sqrt(s.alpha_bar[T]) < 0.01
    assert (np.diff(s.alpha_bar) < 0).all()


def test_a_schedule_that_leaves_the_image_visible_warns():
    with pytest.warns(UserWarning, match="x_T still holds 0.1"):
        Schedule(np.linspace(1e-4, 0.02, 400))  # the paper's betas without scaling


def test_it_warns_once_and_not_at_each_respacing():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        schedule = Schedule(np.linspace(1e-4, 0.02, 400))
        schedule.respaced(10)
        schedule.respaced(5)
    assert len(said) == 1


@pytest.mark.parametrize(
    "beta", [[], [1.5], [0.1, 0.0], [0.1, 1.0], [0.5, np.nan], [[0.1]], [-0.1, 0.5]]
)
def test_betas_outside_0_and_1_are_refused(beta):
    with pytest.raises(ValueError, match="one or more numbers between 0 and 1"):
        Schedule(beta)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="20 steps: use more than 20"):
        Schedule.linear(20)
    with pytest.raises(ValueError, match="1 steps: use 2 or more"):
        Schedule.cosine(1)


@pytest.mark.parametrize("s", [Schedule.linear(100), Schedule.cosine(100).respaced(20)])
def test_posterior_is_the_product_of_two_gaussians(s):
    """q(x_{t-1} | x_t, x_0) on a fine grid of x_{t-1}: a prior times a likelihood, normalised."""
    x0, x_t = 0.6, -0.4
    for t in range(2, s.T + 1, 7):
        width = np.sqrt(s.posterior_variance[t])
        centre = s.posterior_x0_coef[t] * x0 + s.posterior_x_t_coef[t] * x_t
        x = np.linspace(centre - 12 * width, centre + 12 * width, 20_001)
        prior = (x - np.sqrt(s.alpha_bar[t - 1]) * x0) ** 2 / (1 - s.alpha_bar[t - 1])
        seen = (x_t - np.sqrt(s.alpha[t]) * x) ** 2 / s.beta[t]
        density = np.exp(-(prior + seen - (prior + seen).min()) / 2)
        density /= density.sum()
        assert (density * x).sum() == pytest.approx(centre, abs=1e-9)
        assert (density * (x - centre) ** 2).sum() == pytest.approx(width**2, rel=1e-8)


def test_logarithms_have_the_second_entry_in_place_of_the_first():
    s = Schedule.linear()
    assert s.log_posterior_variance[1] == s.log_posterior_variance[2]
    assert s.log_posterior_variance[1] == np.log(s.posterior_variance[2])
    assert np.allclose(np.exp(s.log_posterior_variance[2:]), s.posterior_variance[2:])
    assert np.allclose(np.exp(s.log_beta[1:]), s.beta[1:])
    assert (s.log_posterior_variance[1:] < s.log_beta[1:]).all()


@pytest.mark.parametrize("spacing", ["even", "quadratic", "log-snr"])
@pytest.mark.parametrize("steps", [2, 7, 50, 999, 1000])
@pytest.mark.parametrize("s", [Schedule.linear(), Schedule.cosine()])
def test_respacing_keeps_both_ends_and_the_marginals(s, steps, spacing):
    respaced = s.respaced(steps, spacing)
    assert (
        respaced.times[[0, 1, -1]].tolist() == [0, 1, 1000]
        and len(set(respaced.times)) == steps + 1
    )
    assert np.allclose(respaced.alpha_bar, s.alpha_bar[respaced.times], rtol=1e-6)
    wanted = respaced.beta[1:] * (1 - respaced.alpha_bar[:-1]) / (1 - respaced.alpha_bar[1:])
    assert np.allclose(respaced.posterior_variance[1:], wanted)  # from the new betas
    assert np.allclose(respaced.log_beta[1:], np.log(respaced.beta[1:]))


def test_respaced_times_are_those_of_the_papers_code():
    """improved-diffusion and diffusers' "linspace" round 0 .. T - 1; ours count from 1."""
    for T, steps in ((1000, 10), (1000, 20), (1000, 50), (1000, 28), (100, 12), (25, 7)):
        stride, theirs = (T - 1) / (steps - 1), []
        for i in range(steps):
            theirs.append(round(i * stride))
        assert Schedule.cosine(T).respaced(steps).times.tolist() == [0, *(1 + t for t in theirs)]
    assert Schedule.linear().respaced(3).times.tolist() == [0, 1, 501, 1000]  # 499.5 to even: 500


def test_respacing_twice_still_tells_the_original_times():
    respaced = Schedule.linear().respaced(100).respaced(10)
    assert respaced.times[-1] == 1000 and np.allclose(
        respaced.alpha_bar, Schedule.linear().alpha_bar[respaced.times]
    )


SPACINGS = ["even", "quadratic", "log-snr", "leading", "trailing"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("s", [Schedule.linear(200), Schedule.cosine(200)])
def test_respacing_to_all_steps_is_the_same_schedule(s, spacing):
    again = s.respaced(200, spacing)
    assert np.allclose(again.beta, s.beta, rtol=1e-9) and (again.times == s.times).all()


@pytest.mark.parametrize("s", [Schedule.linear(50), Schedule.cosine(50)])
@pytest.mark.filterwarnings("ignore:x_T still holds")
def test_no_spacing_keeps_a_time_twice_or_one_outside(s):
    for spacing in SPACINGS:
        for steps in range(2, 51):
            times = s.respaced(steps, spacing).times
            assert len(times) == steps + 1 and (np.diff(times) > 0).all() and times[-1] <= 50


@pytest.mark.parametrize(
    "spacing, wanted",
    [  # the middle two as in diffusers' schedulers, plus 1
        ("quadratic", [1, 63, 250, 562, 1000]),
        ("leading", [1, 201, 401, 601, 801]),
        ("trailing", [200, 400, 600, 800, 1000]),
        ("log-snr", None),
    ],
)
@pytest.mark.filterwarnings("ignore:x_T still holds")
def test_spacings_are_what_they_are_called(spacing, wanted):
    respaced = Schedule.linear().respaced(5, spacing)
    if wanted:
        assert np.abs(respaced.times[1:] - wanted).max() <= 1
    else:  # log ᾱ / (1 - ᾱ) is evenly spaced, but for the last step, which ends at T
        log_snr = np.log(respaced.alpha_bar[1:] / (1 - respaced.alpha_bar[1:]))
        assert np.diff(log_snr)[:-1] == pytest.approx(np.diff(log_snr)[0], rel=0.06)


def test_another_spacing_is_refused():
    with pytest.raises(ValueError, match="spacing 'odd': choose from even, quadratic, log-snr"):
        Schedule.linear().respaced(5, "odd")


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_respacing_to_impossible_numbers_is_refused(steps):
    with pytest.raises(ValueError, match="choose from 1 to 1000"):
        Schedule.linear().respaced(steps)


@pytest.mark.parametrize("spacing", ["even", "quadratic", "log-snr", "leading", "trailing"])
def test_a_single_step_goes_all_the_way(spacing):
    s = Schedule.cosine()
    one = s.respaced(1, spacing)
    assert one.times.tolist() == [0, 1000] and one.T == 1
    assert one.alpha_bar[1] == pytest.approx(s.alpha_bar[1000], rel=1e-9)
    assert one.posterior_variance[1] == 0 and one.log_posterior_variance[1] == one.log_beta[1]


def test_respaced_times_may_be_listed_in_any_order():
    s = Schedule.cosine()
    listed = s.respaced([1000, 1, 400])
    assert listed.times.tolist() == [0, 1, 400, 1000]
    assert np.allclose(listed.alpha_bar, s.alpha_bar[[0, 1, 400, 1000]], rtol=1e-9)
    even = s.respaced(20)
    assert np.array_equal(s.respaced(even.times[1:]).beta, even.beta)
    again = even.respaced([20, 3])  # of its own 20 times; the network is told the original ones
    assert again.times.tolist() == [0, even.times[3], 1000]


@pytest.mark.parametrize(
    "times, sentence",
    [([], "whole numbers"), ([0, 5], "t from 0 to 5"),
     ([5, 1001], "use 1 to 1,000"), ([1.5], "whole numbers"), ([[1, 2]], "shape")],
)  # fmt: skip
def test_listed_times_that_cannot_be_are_refused(times, sentence):
    with pytest.raises(ValueError, match=sentence):
        Schedule.linear().respaced(times)


@pytest.mark.parametrize("s", [Schedule.linear(50), Schedule.cosine(50).respaced(20, "quadratic")])
def test_a_schedule_until_a_time_is_its_beginning(s):
    cut, told = s.until(7), s.times[1:8]  # without a warning: the image need not be gone
    with pytest.warns(UserWarning, match="x_T still holds"):
        whole = Schedule(s.beta[1:8], s.times[:8])
    for name, table in vars(whole).items():
        if name != "t_of":
            assert np.array_equal(getattr(cut, name), table), name
    assert cut.index(told).tolist() == list(range(1, 8))
    with pytest.raises(ValueError, match="times"):
        cut.index(s.times[8:9])
    assert s.T in (20, 50) and s.until(s.T).T == s.T
    for t in (0, 51, 2.5):
        with pytest.raises(ValueError, match="t of"):
            s.until(t)
