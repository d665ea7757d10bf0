"""The lessons on diffusion."""

from itertools import islice

import numpy as np

from learning.lesson import Lesson, Mistake
from learning.trials import FunctionTrial
from tinyddpm import Schedule

T, MIDDLE = 1000, 500
TIMES = (1, 2, MIDDLE, T)


def images(count, seed=4):
    """Some (count, 3, 2, 5) that nobody may write to."""
    x = np.random.default_rng(seed).standard_normal((count, 3, 2, 5))
    x.flags.writeable = False
    return x


def at_all_times(name):
    """A trial of a function of (x0, x_t or eps, t, schedule): one image for each time."""

    def run(names, results):
        first, second, schedule = images(4), images(4, seed=5), Schedule.linear(T)
        times = np.array(TIMES)
        if name == "q_sample":
            x = names[name](first, times, second, schedule)
        else:
            x = names[name](first, second, times, schedule)
        x = np.asarray(x)
        of_each = x if x.shape == first.shape else [x] * 4
        results.update({f"t = {t}": image for t, image in zip(TIMES, of_each)})

    return FunctionTrial(run)


TABLES = """
        The schedule has tables for t = 0 .. T: schedule.beta, schedule.alpha (α_t = 1 - β_t) and
        schedule.alpha_bar (ᾱ_t = α_1 α_2 ... α_t, so ᾱ_0 = 1). t (N,) holds a time for each image;
        extract(table, t, like) picks table[t] as an array that multiplies images like `like`."""

Q_SAMPLE = Lesson(
    name="q_sample",
    module="tinyddpm.diffusion.process",
    target="q_sample",
    hole="q_sample",
    question="""
        Noise of deviation √β_t was added t times, and what was there shrank by √α_t each time. All
        of it can be done at once.
        - α_t is the share of the variance that step t keeps. Which number of the tables is the
          share after t steps, and what is a, which multiplies x0 itself?
        - If x0 and eps have variance 1, x_t must have it, too: a² + b² = ? So what is b?
        - Which image and which noise have t = 0 and t = T?
    """
    + TABLES,
    hints=(
        "ᾱ_t, not α_t, is what is left after t steps. It is a share of variance; x0 is "
        "multiplied by "
        "its root.",
        "a = √ᾱ_t and b = √(1 - ᾱ_t), so that a² + b² = 1.",
        "Both are roots of tables: extract(table**0.5, t, x0).",
    ),
    hides=(),
    trial=at_all_times("q_sample"),
    constants={"2": 2},
    mistakes=(
        Mistake(
            "schedule.alpha_bar**0.5, (1 - schedule.alpha_bar) ** 0.5",
            "schedule.alpha_bar, 1 - schedule.alpha_bar",
            "both roots are missing: ᾱ_t and 1 - ᾱ_t are variances, x0 and eps are multiplied by "
            "deviations",
        ),
        Mistake(
            "(1 - schedule.alpha_bar) ** 0.5",
            "(1 - schedule.alpha_bar)",
            "the noise is multiplied by its variance: the root of 1 - ᾱ_t is missing",
        ),
        Mistake(
            "schedule.alpha_bar**0.5",
            "schedule.alpha_bar",
            "the image is multiplied by ᾱ_t: its root is missing",
        ),
        Mistake(
            "schedule.alpha_bar",
            "schedule.alpha",
            "α_t stands for ᾱ_t: √α_t and √β_t belong to one step, x_t is t steps away from x0. "
            "(In the "
            "DDIM paper α is our ᾱ)",
        ),
        Mistake(
            "(1 - schedule.alpha_bar) ** 0.5",
            "1 - schedule.alpha_bar ** 0.5",
            "a + b = 1 in place of a² + b² = 1: b is √(1 - ᾱ_t), not 1 - √ᾱ_t",
        ),
        Mistake(
            "extract(a, t, like), extract(b, t, like)",
            "extract(a, t - 1, like), extract(b, t - 1, like)",
            "the tables are read at t - 1: entry t is time t here, entry 0 is the clean image",
        ),
        Mistake(
            "extract(a, t, like), extract(b, t, like)",
            "extract(a, (t + 1).clip(0, schedule.T), like), "
            "extract(b, (t + 1).clip(0, schedule.T), like)",
            "the tables are read at t + 1: entry t is time t here",
        ),
        Mistake(
            "extract(a, t, like), extract(b, t, like)",
            "extract(b, t, like), extract(a, t, like)",
            "image and noise are swapped: x_t begins as the image, ᾱ_0 = 1",
        ),
        Mistake(
            "a * x0 + b * eps",
            "a * (x0 + b * eps)",
            "the noise is multiplied by a, too: x_t = a x0 + b eps",
        ),
        Mistake(
            "(1 - schedule.alpha_bar) ** 0.5",
            "(1 - schedule.alpha_bar**2) ** 0.5",
            "b is √(1 - ᾱ_t²): ᾱ_t is a share of variance already, a² = ᾱ_t, so b = √(1 - ᾱ_t)",
        ),
        Mistake(
            "(1 - schedule.alpha_bar) ** 0.5",
            "schedule.posterior_variance ** 0.5",
            "the noise is that of the posterior, √β̃_t: after t steps its variance is 1 - ᾱ_t",
        ),
        Mistake(
            "schedule.alpha_bar",
            "schedule.beta",
            "β_t stands for ᾱ_t",
        ),
        Mistake(
            "extract(b, t, like)",
            "extract(b, t - 1, like)",
            "the noise's table is read at t - 1: entry t is time t here",
        ),
        Mistake(
            "extract(a, t, like),",
            "extract(a, t - 1, like),",
            "the image's table is read at t - 1: entry t is time t here",
        ),
        Mistake(
            "extract(a, t, like), extract(b, t, like)",
            "extract(a, 0 * t + t[0], like), extract(b, 0 * t + t[0], like)",
            "all images get the first one's t: each has its own",
        ),
        Mistake(
            "a * x0 + b * eps",
            "a * x0 - b * eps",
            "the noise is taken off: x_t = a x0 + b eps",
        ),
        Mistake(
            "(1 - schedule.alpha_bar) ** 0.5",
            "schedule.beta ** 0.5",
            "the noise is that of a single step, √β_t: after t steps its variance is 1 - ᾱ_t",
        ),
        Mistake(
            "extract(a, t, like), extract(b, t, like)",
            "a[t], b[t]",
            "a and b have the shape (N,): extract gives them the axes of the images",
        ),
    ),
)


def posterior_like(x0_coef, x_t_coef):
    """posterior_mean with coefficients from the tables: A = ᾱ_t, P = ᾱ_{t-1}, B = β_t, S = α_t."""
    text = "P, A, B, S = (extract(table, time, x0) for table, time in ("
    text += "(schedule.alpha_bar, t - 1), "
    text += "(schedule.alpha_bar, t), (schedule.beta, t), (schedule.alpha, t))); "
    return f"{text}x0_coef, x_t_coef = {x0_coef}, {x_t_coef}; return x0_coef"


X0_COEF, X_T_COEF = "P**0.5 * B / (1 - A)", "S**0.5 * (1 - P) / (1 - A)"
POSTERIOR = Lesson(
    name="posterior",
    module="tinyddpm.diffusion.process",
    target="posterior_mean",
    hole="posterior_mean",
    question="""
        Two facts are known of x_{t-1}. From x0: it is N(√ᾱ_{t-1} x0, 1 - ᾱ_{t-1}). From x_t, which
        it was made into: x_t is N(√α_t x_{t-1}, β_t). Bayes multiplies the two Gaussians.
        - The log of each is a parabola in x_{t-1}. Add them: what stands before x_{t-1}², what
          before x_{t-1}? The mean is the second over twice the first, with the sign that gives
          a maximum.
        - 1/β_t · α_t + 1/(1 - ᾱ_{t-1}) has a simple numerator: which? (α_t ᾱ_{t-1} = ᾱ_t)
        - At t = 1, ᾱ_0 = 1: what must the mean be?
        Work with the tables beta, alpha and alpha_bar. (The schedule also keeps the two
        coefficients of the mean; taking them would be no exercise.)
    """
    + TABLES,
    hints=(
        "The precisions are α_t / β_t and 1 / (1 - ᾱ_{t-1}); their sum is (1 - ᾱ_t) / (β_t (1 - "
        "ᾱ_{t-1})). The mean is (√α_t x_t / β_t + √ᾱ_{t-1} x0 / (1 - ᾱ_{t-1})) by this sum.",
        "x0 goes with ᾱ of the time before, x_t with α of this step. Both are divided by 1 - ᾱ_t.",
    ),
    hides=("mean =",),
    trial=at_all_times("posterior_mean"),
    constants={"2": 2},
    mistakes=(
        Mistake(
            "return x0_coef",
            posterior_like(X_T_COEF, X0_COEF),
            "the coefficients of x0 and x_t are swapped: at t = 1 the mean is x0 itself",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("A**0.5 * B / (1 - A)", X_T_COEF),
            "√ᾱ_t stands before x0, where the time before belongs: √ᾱ_{t-1}",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "A**0.5 * (1 - P) / (1 - A)"),
            "√ᾱ_t stands before x_t, where this step's √α_t belongs",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("S**0.5 * B / (1 - A)", X_T_COEF),
            "√α_t stands before x0, where √ᾱ_{t-1} belongs: x0 is t - 1 steps away from x_{t-1}",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P * B / (1 - A)", X_T_COEF),
            "a root is missing before x0: √ᾱ_{t-1}",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "S * (1 - P) / (1 - A)"),
            "a root is missing before x_t: √α_t",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P * B / (1 - A)", "S * (1 - P) / (1 - A)"),
            "both roots are missing: √ᾱ_{t-1} before x0, √α_t before x_t",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "S**0.5 * (1 - A) / (1 - A)"),
            "1 - ᾱ_t stands in x_t's numerator, where the time before belongs: 1 - ᾱ_{t-1}",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B / (1 - P)", "S**0.5 * (1 - P) / (1 - P)"),
            "it is divided by 1 - ᾱ_{t-1}: the denominator of both is 1 - ᾱ_t",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B", "S**0.5 * (1 - P)"),
            "the division by 1 - ᾱ_t is missing",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B / (1 - A)**0.5", "S**0.5 * (1 - P) / (1 - A)**0.5"),
            "it is divided by √(1 - ᾱ_t): the denominator is 1 - ᾱ_t, without a root",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B**0.5 / (1 - A)", X_T_COEF),
            "β_t stands under a root: x0's coefficient has β_t itself",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 / (1 - A)", X_T_COEF),
            "the factor β_t is missing before x0",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "S**0.5 * (1 - P)**0.5 / (1 - A)"),
            "1 - ᾱ_{t-1} stands under a root before x_t: it is a variance there",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("extract(schedule.alpha_bar, t, x0)**0.5 * B / (1 - A)",
                           "S**0.5 * (1 - A) / (1 - A)"),
            "the tables are read one step too late: P = ᾱ_{t-1} is taken at t",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "B**0.5 * (1 - P) / (1 - A)"),
            "√β_t stands before x_t, where √α_t belongs",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B / (1 - A)**2", "S**0.5 * (1 - P) / (1 - A)**2"),
            "it is divided by 1 - ᾱ_t twice",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * B / A", "S**0.5 * (1 - P) / A"),
            "it is divided by ᾱ_t: the denominator is 1 - ᾱ_t",
        ),
        Mistake(
            "return x0_coef",
            posterior_like("P**0.5 * S / (1 - A)", X_T_COEF),
            "α_t stands before x0, where β_t belongs",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "S**0.5 * P / (1 - A)"),
            "ᾱ_{t-1} stands before x_t, where 1 - ᾱ_{t-1} belongs",
        ),
        Mistake(
            "return x0_coef",
            posterior_like(X0_COEF, "S**0.5 / (1 - A)"),
            "the factor 1 - ᾱ_{t-1} is missing before x_t",
        ),
        Mistake(
            "return x0_coef",
            "x0_coef = extract(schedule.posterior_x0_coef, t - 1, x0); return x0_coef",
            "x0's coefficient is that of t - 1",
        ),
        Mistake(
            "return x0_coef",
            "x_t_coef = extract(schedule.posterior_x_t_coef, t - 1, x_t); return x0_coef",
            "x_t's coefficient is that of t - 1",
        ),
        Mistake(
            "return x0_coef",
            "x_t_coef = 1 - x0_coef; return x0_coef",
            "the coefficients are made to sum to 1: they do not",
        ),
        Mistake(
            "return x0_coef",
            "x0_coef = 0 * x0 + 1; x_t_coef = 0 * x0; return x0_coef",
            "it is x0 itself: x_t says something about x_{t-1}, too",
        ),
    ),
)  # fmt: skip


def stand_in(x, t):
    """The answer of a network: nobody's noise, but one that makes x0_hat leave [-1, 1]."""
    t = np.reshape(t, (-1, 1, 1, 1))
    return np.concatenate([0.6 * x + 0.4 * np.sin(3 * x + t), np.cos(x + t)], axis=-1)


def walks(name, choices):
    """A trial of a sampler; choices is {words: (options, whether variances are learned)}."""

    def run(names, results):
        schedule, x_T = Schedule.cosine(60).respaced(6), images(3)
        for words, (options, learned) in choices.items():

            def predict(x, t, channels=10 if learned else 5):
                return stand_in(x, t)[..., :channels]

            rng = np.random.default_rng(8) if options.get("eta", 1) else None
            walk = names[name](predict, schedule, x_T, rng=rng, **options)
            for i, (t, x, x0_hat) in enumerate(islice(walk, 7)):
                step = f"{words}, step from t = {schedule.T - i}"
                results[f"{step}: t"] = np.array(float(t))
                results[f"{step}: x"] = x
                results[f"{step}: x0_hat"] = x0_hat

    return FunctionTrial(run)


ANCESTRAL = Lesson(
    name="ancestral",
    module="tinyddpm.diffusion.samplers",
    target="ancestral",
    hole="ancestral",
    chained=True,
    given=("Step", "predict_x0", "log_variance", "posterior_mean"),
    hides=("x_{t-1} =",),
    question="""
        Algorithm 2: from noise to images. It is a generator: it yields a Step(t - 1, x_{t-1},
        x0_hat) after each step, from t = T = schedule.T down to t = 1.
        - predict_x0(predict, schedule, x, t, clip) gives (x0_hat, eps_hat, v); x0_hat is clipped
          already. Of which Gaussian is x_{t-1} drawn, if x0_hat is taken for x0?
        - log_variance(variance, v, times, schedule) gives the log of its variance, for times (N,):
          np.full(len(x), t). By what is z multiplied?
        - z is rng.standard_normal(x.shape, x.dtype), drawn only if needed. Why is none added at
          t = 1?
        - The paper prints x_{t-1} = (x_t - β_t / √(1 - ᾱ_t) eps_hat) / √α_t + σ_t z. Put
          x0_hat = (x_t - b eps_hat) / a into posterior_mean: the same, until x0_hat is clipped.
          Which of the two forms knows of the clipping?
    """,
    hints=(
        "A loop over t from T to 1; in it: predict_x0, posterior_mean, and the noise unless t is "
        "1.",
        "x = posterior_mean(x0_hat, x, times, schedule) + σ z with σ = exp(log_variance / 2): "
        "half of "
        "the log is the root.",
    ),
    trial=walks(
        "ancestral",
        {
            "small variance": ({"variance": "small"}, False),
            "large variance": ({"variance": "large"}, False),
            "learned variance": ({"variance": "learned"}, True),
        },
    ),
    constants={"2": 2},
    mistakes=(
        Mistake(
            "if t > 1:",
            "if True:",
            "noise is added at the last step, too: at t = 1 the mean is the image, z = 0 there",
        ),
        Mistake(
            "if t > 1:",
            "if t > 2:",
            "noise is missing at t = 2: only the last step, t = 1, has none",
        ),
        Mistake(
            "if t > 1:",
            "if False:",
            "no noise is ever added: x_{t-1} is drawn from a Gaussian, except at t = 1",
        ),
        Mistake(
            "v, times, schedule) / 2)",
            "v, times, schedule))",
            "the noise is multiplied by its variance σ²: σ is the root, the exponential of half "
            "the "
            "log",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "schedule.beta[t] ** 0.5",
            "σ² is always β_t: that is variance 'large' (the paper's choice), `variance` may ask "
            "for "
            "another",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "schedule.posterior_variance[t] ** 0.5",
            "σ² is always β̃_t: that is variance 'small', `variance` may ask for another",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "(1 - schedule.alpha_bar[t]) ** 0.5",
            "σ is √(1 - ᾱ_t), all noise of x_t: a step adds only that of one step",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "schedule.beta[t]",
            "the noise is multiplied by β_t, a variance: σ is a root, and `variance` says of what",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "schedule.posterior_variance[t]",
            "the noise is multiplied by β̃_t, a variance: σ is a root, and `variance` says of what",
        ),
        Mistake(
            "array_module(x).exp(log_variance(variance, v, times, schedule) / 2)",
            "array_module(x).exp(log_variance(variance, v, times - 1, schedule) / 2)",
            "the variance is that of time t - 1: it is t's",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = (x - schedule.beta[t] / (1 - schedule.alpha_bar[t]) ** 0.5 * predict(x, "
            "schedule.times[times])[..., : x.shape[-1]]) / schedule.alpha[t] ** 0.5",
            "x0_hat is not clipped: the paper's printed form takes the network's noise as it is. "
            "It is "
            "the same until x0_hat leaves [-1, 1]; the paper's code clips",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = (x - schedule.beta[t] / (1 - schedule.alpha_bar[t]) ** 0.5 * predict(x, "
            "times)[..., : x.shape[-1]]) / schedule.alpha[t] ** 0.5",
            "x0_hat is not clipped, and the network is told t in place of schedule.times[t]",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = posterior_mean(x0_hat, x, times - 1, schedule)",
            "the mean is that of time t - 1: it goes from t to t - 1, ask at t",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = posterior_mean(x, x0_hat, times, schedule)",
            "x0_hat and x are swapped in the mean",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = x0_hat",
            "x_{t-1} is x0_hat: the mean lies between x0_hat and x_t",
        ),
        Mistake(
            "sigma = array_module",
            "sigma = 1; array_module",
            "z is added as it is: it is multiplied by σ",
        ),
        Mistake(
            "rng.standard_normal(x.shape, x.dtype)",
            "rng.random(x.shape)",
            "z is uniform: it is standard normal, rng.standard_normal",
        ),
        Mistake(
            "rng.standard_normal(x.shape, x.dtype)",
            "rng.standard_normal(x.shape[1:], x.dtype)",
            "all images get the same noise: z has the shape of x",
        ),
        Mistake(
            "x = posterior_mean(x0_hat, x, times, schedule)",
            "x = posterior_mean(x0_hat, x_T, times, schedule)",
            "the mean is always made from x_T: go on from the x of the step before",
        ),
        Mistake(
            "predict_x0(predict, schedule, x, t, clip)",
            "predict_x0(predict, schedule, x_T, t, clip)",
            "the network is always shown x_T: show it the x of the step before",
        ),
        Mistake(
            "predict_x0(predict, schedule, x, t, clip)",
            "predict_x0(predict, schedule, x, max(t - 1, 1), clip)",
            "the network is asked for t - 1: x is at t",
        ),
        Mistake(
            "yield Step(t - 1, x, x0_hat)",
            "yield Step(t, x, x0_hat)",
            "the Step says t: after the step it stands at t - 1",
        ),
        Mistake(
            "yield Step(t - 1, x, x0_hat)",
            "yield Step(t - 1, x0_hat, x)",
            "x and x0_hat are swapped in the Step",
        ),
        Mistake(
            "range(schedule.T, 0, -1)",
            "range(schedule.T - 1, 0, -1)",
            "it begins at T - 1: x_T is the noise, so the first step goes from T to T - 1",
        ),
        Mistake(
            "range(schedule.T, 0, -1)",
            "range(schedule.T, 1, -1)",
            "the last step, from t = 1 to 0, is missing",
        ),
        Mistake(
            "range(schedule.T, 0, -1)",
            "range(1, schedule.T + 1)",
            "time runs forward: from noise to images it goes from T down to 1",
        ),
    ),
)

DDIM = Lesson(
    name="ddim",
    module="tinyddpm.diffusion.samplers",
    target="ddim",
    hole="ddim",
    chained=True,
    given=("Step", "predict_x0"),
    hides=("x_{t-1} =",),
    question="""
        A sampler that may add less noise, or none. It is a generator: it yields a Step(t - 1,
        x_{t-1}, x0_hat) after each step, from t = T = schedule.T down to t = 1, and goes on from
        that x. t is one number for all images, and Step is a named tuple (t, x, x0_hat).
        - predict_x0(predict, schedule, x, t, clip) gives (x0_hat, eps_hat, v): the image and the
          noise that x_t is made of. Whatever t is, x_t = √ᾱ_t x0 + √(1 - ᾱ_t) eps. If nothing
          random is added (eta = 0), what is x_{t-1} made of?
        - With σ z in it, z ~ N(0, 1), all noise in x_{t-1} must still have variance 1 - ᾱ_{t-1}.
          How much is left for eps_hat? (Variances add, deviations do not.)
        - σ is the share eta of the deviation that the posterior has: σ² = eta² β̃_t. The table
          schedule.posterior_variance holds β̃_t. Where does it end: what is ᾱ_0?
        - In the paper of DDIM, α_t is what is called ᾱ_t here.
        The schedule's tables have entries for t = 0 .. T: schedule.alpha_bar[t] is ᾱ_t.
        z is rng.standard_normal(x.shape, x.dtype), once a step, only where σ is not 0; rng may be
        None for eta = 0. predict_x0 has clipped x0_hat and fitted eps_hat to it.
    """,
    hints=(
        "x_{t-1} = √ᾱ_{t-1} x0_hat + (what is left) eps_hat + σ z: everything at the time you go "
        "to, "
        "except β̃_t, which belongs to the step.",
        "Of the variance 1 - ᾱ_{t-1} the random part takes σ², so eps_hat is multiplied by "
        "√(1 - ᾱ_{t-1} - σ²).",
    ),
    trial=walks(
        "ddim",
        {
            "eta = 0": ({}, False),
            "eta = 0.6": ({"eta": 0.6}, True),
            "eta = 1": ({"eta": 1.0}, False),
        },
    ),
    constants={"2": 2},
    mistakes=(
        Mistake(
            "schedule.alpha_bar[t - 1]",
            "schedule.alpha_bar[t]",
            "ᾱ_t stands for ᾱ_{t-1}: x_{t-1} is made at the time you go to",
        ),
        Mistake(
            "schedule.alpha_bar[t - 1]",
            "schedule.alpha[t - 1]",
            "α stands for ᾱ: α of the DDIM paper is our ᾱ, the product of all steps",
        ),
        Mistake(
            "schedule.alpha_bar[t - 1]",
            "schedule.alpha[t]",
            "α_t stands for ᾱ_{t-1}: α of the DDIM paper is our ᾱ, the product of all steps",
        ),
        Mistake(
            "schedule.alpha_bar[t - 1]",
            "schedule.alpha_bar[max(t - 1, 1)]",
            "the last step ends at ᾱ_1: the clean image is at t = 0, with ᾱ_0 = 1",
        ),
        Mistake(
            "schedule.alpha_bar[t - 1]",
            "schedule.alpha_bar[max(t - 2, 0)]",
            "ᾱ is read two steps ahead: x_{t-1} is made with ᾱ_{t-1}",
        ),
        Mistake(
            "1 - alpha_bar - sigma**2",
            "1 - alpha_bar",
            "σ² is not subtracted: eps_hat and z share the variance 1 - ᾱ_{t-1}",
        ),
        Mistake(
            "1 - alpha_bar - sigma**2",
            "1 - alpha_bar - sigma",
            "σ is subtracted in place of σ²: variances add, deviations do not",
        ),
        Mistake(
            "1 - alpha_bar - sigma**2",
            "1 - alpha_bar - eta**2",
            "eta² is subtracted in place of σ² = eta² β̃_t",
        ),
        Mistake(
            "x = x + sigma * rng",
            "x = x - sigma * rng",
            "σ z is subtracted. z is negative as often, so it is as good; here it is added",
            convention=True,
        ),
        Mistake(
            "1 - alpha_bar - sigma**2",
            "1 - alpha_bar + sigma**2",
            "σ² is added where it is subtracted: eps_hat and z share the variance 1 - ᾱ_{t-1}",
        ),
        Mistake(
            "math.sqrt(1 - alpha_bar - sigma**2)",
            "(1 - alpha_bar - sigma**2)",
            "the root is missing before eps_hat: 1 - ᾱ_{t-1} - σ² is a variance",
        ),
        Mistake(
            "math.sqrt(1 - alpha_bar - sigma**2)",
            "(math.sqrt(1 - alpha_bar) - sigma)",
            "deviations are subtracted: √(1 - ᾱ_{t-1}) - σ in place of √(1 - ᾱ_{t-1} - σ²)",
        ),
        Mistake(
            "math.sqrt(alpha_bar) * x0_hat",
            "alpha_bar * x0_hat",
            "the root is missing before x0_hat: √ᾱ_{t-1}",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "math.sqrt(schedule.posterior_variance[t])",
            "eta is missing: σ² = eta² β̃_t",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "math.sqrt(schedule.posterior_variance[t]) if eta else 0.0",
            "σ² is β̃_t for every eta above 0: it is eta² β̃_t",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "math.sqrt(eta * schedule.posterior_variance[t])",
            "eta stands under the root: σ = eta √β̃_t, so σ² = eta² β̃_t",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "eta**2 * math.sqrt(schedule.posterior_variance[t])",
            "eta is squared in σ: σ = eta √β̃_t",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "eta * schedule.posterior_variance[t]",
            "the root is missing in σ: β̃_t is a variance, σ = eta √β̃_t",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "eta * math.sqrt(schedule.beta[t])",
            "β_t stands for β̃_t: σ² = eta² β̃_t, with β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t)",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "eta * math.sqrt(schedule.posterior_variance[t - 1])",
            "β̃ is read one step too early: σ belongs to the step from t, β̃_t",
        ),
        Mistake(
            "            x = x + sigma * rng.standard_normal(x.shape, x.dtype)\n",
            "            pass\n",
            "the noise σ z is never added",
        ),
        Mistake(
            "x = x + sigma * rng",
            "x = x + sigma**2 * rng",
            "z is multiplied by the variance σ² in place of σ",
        ),
        Mistake(
            "predict_x0(predict, schedule, x, t, clip)",
            "predict_x0(predict, schedule, x_T, t, clip)",
            "the network is always shown x_T: show it the x of the step before",
        ),
        Mistake(
            "predict_x0(predict, schedule, x, t, clip)",
            "predict_x0(predict, schedule, x, max(t - 1, 1), clip)",
            "the network is asked for t - 1: x is at t",
        ),
        Mistake(
            "1 - alpha_bar - sigma**2",
            "1 - float(schedule.alpha_bar[t]) - sigma**2",
            "ᾱ_t stands for ᾱ_{t-1} before eps_hat: x_{t-1} is made at the time you go to",
        ),
        Mistake(
            "math.sqrt(alpha_bar) * x0_hat",
            "math.sqrt(schedule.alpha_bar[t]) * x0_hat",
            "ᾱ_t stands for ᾱ_{t-1} before x0_hat: x_{t-1} is made at the time you go to",
        ),
        Mistake(
            "eta * math.sqrt(schedule.posterior_variance[t])",
            "eta * math.sqrt(1 - schedule.alpha_bar[t])",
            "σ is made of 1 - ᾱ_t, all noise of x_t: σ² = eta² β̃_t",
        ),
        Mistake(
            "x = x + sigma * rng",
            "x = x + eta * rng",
            "z is multiplied by eta: it is multiplied by σ = eta √β̃_t",
        ),
        Mistake(
            "x0_hat, eps_hat, _ = predict_x0(predict, schedule, x, t, clip)",
            "x0_hat, eps_hat, _ = predict_x0(predict, schedule, x, t, clip); "
            "eps_hat = predict(x, schedule.times[np.full(len(x), t)])[..., : x.shape[-1]]",
            "eps_hat is the network's answer as it is: where x0_hat was clipped, the noise that "
            "goes "
            "with it is another one; predict_x0 gives it",
        ),
        Mistake(
            "+ math.sqrt(1 - alpha_bar - sigma**2) * eps_hat",
            "",
            "eps_hat is missing: x_{t-1} is image and noise",
        ),
        Mistake(
            "yield Step(t - 1, x, x0_hat)",
            "yield Step(t, x, x0_hat)",
            "the Step says t: after the step it stands at t - 1",
        ),
        Mistake(
            "range(schedule.T, 0, -1)",
            "range(schedule.T - 1, 0, -1)",
            "it begins at T - 1: x_T is the noise, so the first step goes from T to T - 1",
        ),
        Mistake(
            "range(schedule.T, 0, -1)",
            "range(schedule.T, 1, -1)",
            "the last step, from t = 1 to 0, is missing",
        ),
    ),
)


def run_guided(names, results):
    x, t, label, null = images(3), np.array([9, 9, 9]), np.array([1, 0, 2]), 5

    def eps_model(channels):
        def answer(x_t, t, label):
            told = np.reshape(np.asarray(t) + 7 * np.asarray(label), (-1, 1, 1, 1))
            return stand_in(x_t, told)[..., :channels]

        return answer

    plain, learned = eps_model(5), eps_model(10)
    for w in (0.0, 0.7, 3.0):
        results[f"w = {w}"] = names["guided"](plain, label, null, w)(x, t)
    both = np.asarray(names["guided"](learned, label, null, 2.0)(x, t))
    results["w = 2, image"], results["w = 2, learned variance"] = both[..., :5], both[..., 5:]


GUIDED = Lesson(
    name="guided",
    module="tinyddpm.diffusion.predictors",
    target="guided",
    hole="guided",
    hides=("eps_hat = (1",),
    question="""
        Return a function predict(x_t, t) that samplers can ask. It asks eps_model twice, with the
        labels and with the null label for all images, and goes away from the second answer.
        - The result is a straight line in w: w = 0 gives the label's answer, w = -1 the null's.
          Where does it lie for w = 1?
        - Many programs have a scale s in its place, with s = 1 for no guidance: how do s and w hang
          together?
        - The answer may have more channels than x_t: those behind the image's are a learned
          variance, which is not guided. Whose is it?
        - The null label for N images is an array like label: null + 0 * label.
    """,
    hints=(
        "From the null label's answer through the label's and on: eps_hat = label's + w (label's - "
        "null's). With s = 1 + w it is null's + s (label's - null's).",
        "channels = x_t.shape[-1]; guide answer[..., :channels] and put the label's "
        "answer[..., channels:] behind it with np.concatenate.",
    ),
    trial=FunctionTrial(run_guided),
    constants={"2": 2},
    mistakes=(
        Mistake(
            "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "weight * both[:n, ..., :channels] + (1 - weight) * both[n:, ..., :channels]",
            "the weight is taken for the scale s = 1 + w. That is right in programs that call s "
            "the "
            "guidance scale; here w = 0 is no guidance, as in Ho & Salimans 2022",
            convention=True,
        ),
        Mistake(
            (
                "            return eps_model(x_t, t, label)\n",
                "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            ),
            (
                "            pass\n",
                "weight * both[:n, ..., :channels] + (1 - weight) * both[n:, ..., :channels]",
            ),
            "the weight is taken for the scale s = 1 + w. That is right in programs that call s "
            "the "
            "guidance scale; here w = 0 is no guidance, as in Ho & Salimans 2022",
            convention=True,
        ),
        Mistake(
            ":channels] - weight * both",
            ":channels] + weight * both",
            "the null label's answer is added: guidance goes away from it, minus w times",
        ),
        Mistake(
            "(1 + weight) * both",
            "weight * both",
            "the label's answer counts w times: w times the difference is added to the label's "
            "answer, "
            "so it counts 1 + w times",
        ),
        Mistake(
            "both[:n, ..., :channels] - weight * both[n:",
            "both[n:, ..., :channels] - weight * both[:n",
            "the two answers are swapped: it goes towards the null label",
        ),
        Mistake(
            "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "the label's answer counts once: it counts 1 + w times",
        ),
        Mistake(
            "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "(1 - weight) * both[:n, ..., :channels] + weight * both[n:, ..., :channels]",
            "it goes towards the null label: the sign of w is wrong",
        ),
        Mistake(
            "- weight * both[n:",
            "- (1 + weight) * both[n:",
            "the null label's answer counts 1 + w times: it counts w times, so that both make one",
        ),
        Mistake(
            "_join(eps_hat, both[:n, ..., channels:], axis=-1)",
            "_join(eps_hat, (1 + weight) * both[:n, ..., channels:] - weight * "
            "both[n:, ..., channels:], axis=-1)",
            "the learned variance is guided, too: it stays that of the label",
        ),
        Mistake(
            "_join(eps_hat, both[:n, ..., channels:], axis=-1)",
            "_join(eps_hat, both[n:, ..., channels:], axis=-1)",
            "the learned variance is the null label's: it stays that of the label",
        ),
        Mistake(
            "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "both[:n, ..., :channels] + weight * both[n:, ..., :channels]",
            "the null label's answer is added w times: w times the difference is, label's - null's",
        ),
        Mistake(
            "(1 + weight) * both[:n, ..., :channels] - weight * both[n:, ..., :channels]",
            "both[n:, ..., :channels] + (weight - 1) * (both[:n, ..., :channels] - "
            "both[n:, ..., :channels])",
            "it lies one or two differences too near to the null label's answer",
        ),
        Mistake(
            "null + 0 * asked",
            "0 * asked",
            "label 0 stands for the null label: the model was trained with `null`",
        ),
        Mistake(
            "_join(eps_hat, both[:n, ..., channels:], axis=-1)",
            "_join(eps_hat, (both[:n, ..., channels:] + both[n:, ..., channels:]) / 2, axis=-1)",
            "the learned variance is the mean of both: it stays that of the label",
        ),
        Mistake(
            "_join(eps_hat, both[:n, ..., channels:], axis=-1)",
            "eps_hat",
            "the learned variance is lost: it follows the image's channels",
        ),
    ),
)
