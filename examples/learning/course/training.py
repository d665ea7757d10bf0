"""The lessons on the loss and on Adam."""

from dataclasses import dataclass

import numpy as np

from learning.lesson import Lesson, Mistake
from learning.trials import FunctionTrial, Trials
from tinyddpm import Schedule, Tape
from tinyddpm.nn.gradcheck import numerical_jacobian


class Answers:
    """A network whose answer to x_t is its own weights, and a little of all that it is told."""

    def forward(self, x_t, t, tape, label=None):
        self.x_t = x_t
        told = 0.3 * x_t + 1e-3 * t[:, None, None, None]
        return tape.theta.reshape(x_t.shape) + told + (0 if label is None else 0.1 * label.sum())

    def backward(self, d_out, tape):
        if tape.grad is None:
            raise ValueError("backward was called on a tape without a gradient: look at tape.grad")
        grad = tape.grad
        grad += d_out.ravel()
        return 0.3 * d_out


@dataclass(frozen=True)
class LossTrial:
    """simple_loss, and the gradient that it hands to a network's backward."""

    options: dict

    def run(self, names, results):
        start = np.random.default_rng(1).standard_normal(60)
        theta, arguments = self._arguments()
        tape = Tape(theta, start.copy())
        model = Answers()
        results["loss"] = names["simple_loss"](model, *arguments, tape, **self.options)
        results["x_t"] = model.x_t
        results["dε_θ"] = (tape.grad - start).reshape(3, 4, 1, 5)
        names["simple_loss"](Answers(), *arguments, Tape(theta), **self.options)

    def right(self, names):
        theta, arguments = self._arguments()

        model = Answers()

        def loss(tape):
            return names["simple_loss"](model, *arguments, tape, **self.options)

        weight = self.options.get("weight", np.full(3, 1 / 3))
        slopes = weight @ numerical_jacobian(loss, theta)
        right = {"loss": loss(Tape(theta)), "dε_θ": slopes.reshape(3, 4, 1, 5)}
        return right | {"x_t": model.x_t}

    def _arguments(self):
        rng = np.random.default_rng(5)
        theta, (x0, eps) = rng.standard_normal(60), rng.standard_normal((2, 3, 4, 1, 5))
        for array in (theta, x0, eps):
            array.flags.writeable = False
        return theta, (x0, np.array([1, 400, 1000]), eps, Schedule.linear())


WEIGHT, LABEL = np.array([0.5, 2.0, 1.1]), np.array([1, 0, 3])
LOSS = Lesson(
    name="simple_loss",
    module="tinyddpm.diffusion.process",
    target="simple_loss",
    hole="simple_loss",
    given=("q_sample", "target", "mean_of_each"),
    question="""
        Make x_t with q_sample; ask the network, model.forward(x_t, schedule.times[t], tape, label)
        (times[t] is t itself, unless the schedule is respaced); compare its answer with
        target(x0, t, eps, schedule, predicts); return the loss of each image (N,).
        And start the way back: model.backward(d, tape), where d is the gradient of
            Σ weight_n loss_n          weight_n = 1/N for all n if weight is None
        by the network's answer, unless tape.grad is None: then there is no way back.
        - Write Σ weight_n loss_n for one number of one image, and differentiate that. Which three
          factors stand in front of (answer - target)?
        - How many numbers has an image, and in which axes do they stand? weight has another shape.
    """,
    hints=(
        "The square gives a 2; the mean over an image's numbers divides by their count; the mean "
        "over the batch is in weight, and only there.",
        "per_image(weight, x0) gives weight (N,) the axes of x0. With weight None it is 1 / "
        "len(x0).",
    ),
    rules=(1, 3),
    trial=Trials(
        {
            "": LossTrial({}),
            "with weights: ": LossTrial({"weight": WEIGHT}),
            "predicts v: ": LossTrial({"predicts": "v", "label": LABEL}),
        }
    ),
    constants={
        "2": 2,
        "N": 3,
        "H": 4,
        "C": 5,
        "the numbers of an image": 20,
        "all numbers": 60,
    },  # fmt: skip
    mistakes=(
        Mistake(
            "* 2 / x0[0].size",
            "/ x0[0].size",
            "the 2 of the square is missing: (a - b)² has the slope 2 (a - b)",
        ),
        Mistake(
            "* 2 / x0[0].size",
            "* 2",
            "the division by the numbers of an image is missing: loss_n is a mean over them",
        ),
        Mistake(
            "* 2 / x0[0].size",
            "* 2 / x0.size",
            "it is divided by the batch twice: the mean over the batch is in weight already",
        ),
        Mistake(
            "* 2 / x0[0].size",
            "* 2 / len(x0) / x0[0].size",
            "it is divided by the batch twice: the mean over the batch is in weight already",
        ),
        Mistake(
            "loss_weight(weight, x0) * 2",
            "2",
            "the weight is missing: 1/N for each image, unless others are given",
        ),
        Mistake(
            "loss_weight(weight, x0) * 2 / x0[0].size",
            "2 / x0.size",
            "the given weights are not used: 1/N is only what stands for None",
        ),
        Mistake(
            "* error, tape)",
            "* -error, tape)",
            "the sign is wrong: the gradient goes by the answer, answer - target",
        ),
        Mistake(
            "* error, tape)",
            "* error * error, tape)",
            "the error is squared: the slope of a square is 2 times the error itself",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return (error * error).mean()",
            "the loss is a mean over the whole batch: one number for each image is wanted, (N,)",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return mean_of_each(error * error) * x0[0].size",
            "the loss is a sum over an image's numbers where it should be their mean",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return mean_of_each(error * error) / 2",
            "the loss is halved: here it is the mean of squares without a 1/2",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return mean_of_each(error)",
            "the loss lacks the square",
        ),
        Mistake(
            "target(x0, t, eps, schedule, predicts)",
            "eps",
            "the answer is always compared with eps: `predicts` may ask for x0 or v, see target",
        ),
        Mistake(
            "target(x0, t, eps, schedule, predicts)",
            "x0",
            "the answer is compared with x0, where the network is asked for the noise",
        ),
        Mistake(
            "model.forward(x_t, network_time(t, x0, schedule), tape, label)",
            "model.forward(x0, network_time(t, x0, schedule), tape, label)",
            "the network is shown the clean image, x0, in place of x_t",
        ),
        Mistake(
            "model.forward(x_t, network_time(t, x0, schedule), tape, label)",
            "model.forward(x_t, network_time(t, x0, schedule), tape)",
            "the network is not told the label",
        ),
        Mistake(
            "model.forward(x_t, network_time(t, x0, schedule), tape, label)",
            "model.forward(x_t, network_time(t, x0, schedule) - 1, tape, label)",
            "the network is told t - 1: here t runs from 1 to T, and the U-Net knows it",
        ),
        Mistake(
            "x_t = q_sample(x0, t, eps, schedule)",
            "x_t = x0 + eps",
            "x_t is made by just adding the noise: use q_sample, which makes x_t = a x0 + b eps",
        ),
        Mistake(
            "x_t = q_sample(x0, t, eps, schedule)",
            "x_t = q_sample(eps, t, x0, schedule)",
            "image and noise are swapped in q_sample(x0, t, eps, schedule)",
        ),
        Mistake(
            "x_t = q_sample(x0, t, eps, schedule)",
            "x_t = q_sample(x0, t - 1, eps, schedule)",
            "x_t is made for t - 1: the network and the noise must have the same t",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return mean_of_each((error * error) ** 0.5)",
            "the loss is the mean of absolute errors: it is the mean of their squares",
        ),
        Mistake(
            "return mean_of_each(error * error)",
            "return mean_of_each(error * error) * loss_weight(weight, x0[:, 0, 0, 0])",
            "the loss is multiplied by the weight: the loss of each image is returned without "
            "it, the "
            "weight counts in the gradient only",
        ),
        Mistake(
            "* error, tape)",
            "* (error**2) ** 0.5, tape)",
            "the error has lost its sign: the slope of its square is 2 times the error itself",
        ),
        Mistake(
            "if tape.grad is not None:",
            "if False:",
            "model.backward is never called: nothing reaches tape.grad",
        ),
        Mistake(
            "if tape.grad is not None:",
            "if True:",
            "a tape without a gradient must not go back: look at tape.grad first",
        ),
    ),
)


def run_adam(names, results):
    rng = np.random.default_rng(3)
    sizes = 10.0 ** np.arange(-7, 2)
    theta = np.zeros(len(sizes))
    adam = names["Adam"](theta)
    for step in (1, 2, 3):
        gradient = sizes * rng.standard_normal(len(sizes))
        gradient.flags.writeable = False
        adam.update(theta, gradient, 0.01 * step)
        results[f"theta after step {step}"] = theta.copy()
    results.update({"m": adam.m, "v": adam.v / sizes**2, "step": np.array(float(adam.step))})
    long = np.zeros(40_000)
    adam = names["Adam"](long)
    for _ in range(2):
        adam.update(long, rng.standard_normal(len(long)), 0.01)
    results["some of 40,000 weights"] = long[::999].copy()


ADAM = Lesson(
    name="adam",
    module="tinyddpm.nn.optim",
    target="Adam",
    hole="Adam.update",
    question="""
        One step of Adam, in place: theta, self.m and self.v are arrays that others look at.
        - The first step is step 1. What would the corrections be with step 0?
        - Work two steps out by hand for one weight with gradients 1 and 1: m, v, m̂, v̂, and the
          step taken. Which of these numbers would be the same without the powers of β?
        - Where does tiny stand: inside of the root, outside, before or after the correction?
        - Which line changes the array theta, and which would only give its name to another one?
        (cache_chunks cuts a long vector into slices for speed, and share says which of them one of
        many processes does; you need not use them.)
    """,
    chained=True,
    hints=(
        "Count the step first. m and v are kept for the next step, m̂ and v̂ are not.",
        "m *= β1 and m += (1 - β1) grad change the array; v gets grad². Divide by 1 - β**step: β "
        "to the power of the step. Then theta -= lr m̂ / (√v̂ + tiny).",
        "With gradients 1 and 1: m is 0.1, then 0.19; v 0.001, then 0.001999; m̂ and v̂ are 1 "
        "both times, "
        "so each step is lr.",
    ),
    trial=FunctionTrial(run_adam),
    constants={"2": 2, "(1 - β1)": 0.1, "(1 - β2)": 0.001, "β1": 0.9, "β2": 0.999},
    mistakes=(
        Mistake(
            (" / (1 - self.decay1**self.step)", " / (1 - self.decay2**self.step)"),
            ("", ""),
            "the bias correction is missing: m and v begin at 0, m̂ and v̂ make up for it",
        ),
        Mistake(
            " / (1 - self.decay1**self.step)",
            "",
            "m's bias correction is missing: m begins at 0",
        ),
        Mistake(
            " / (1 - self.decay2**self.step)",
            "",
            "v's bias correction is missing: v begins at 0",
        ),
        Mistake(
            "**self.step",
            "",
            "the corrections lack the power of the step: 1 - β^step, which goes to 1",
        ),
        Mistake(
            "**self.step",
            "*self.step",
            "β is multiplied by the step where it is raised to its power",
        ),
        Mistake(
            "        self.step += 1\n",
            "",
            "the steps are not counted: with step 0 the corrections divide by 0",
        ),
        Mistake(
            ("        self.step += 1\n", "grad[chunk], lr)\n"),
            ("", "grad[chunk], lr)\n        self.step += 1\n"),
            "the steps are counted from 0: the first one divides by 1 - β^0 = 0; count before",
        ),
        Mistake(
            ("        self.step += 1\n", "        m *= self.decay1\n"),
            ("", "        self.step += 1\n        m *= self.decay1\n"),
            "a step is counted for each part of a long vector: count it once in an update",
        ),
        Mistake(
            "**self.step",
            "**(self.step + 1)",
            "the corrections are one step ahead: the first step is step 1",
        ),
        Mistake(
            (
                "        m *= self.decay1\n        m += (1",
                "        v *= self.decay2\n        v += (1",
            ),
            ("        m = self.decay1 * m + (1", "        v = self.decay2 * v + (1"),
            "the moments are not stored: m = ... makes a new array, self.m and self.v stay 0",
        ),
        Mistake(
            "        m *= self.decay1\n        m += (1",
            "        m = self.decay1 * m + (1",
            "the moment m is not stored: m = ... makes a new array, self.m stays 0",
        ),
        Mistake(
            "        v *= self.decay2\n        v += (1",
            "        v = self.decay2 * v + (1",
            "the moment v is not stored: v = ... makes a new array, self.v stays 0",
        ),
        Mistake(
            ("m_hat = m / (", "v_hat = v / ("),
            ("m_hat = m; m /= (", "v_hat = v; v /= ("),
            "the corrected moments are stored: m̂ and v̂ serve one step, m and v go on uncorrected",
        ),
        Mistake(
            "(v_hat**0.5 + self.tiny)",
            "(v_hat + self.tiny) ** 0.5",
            "tiny stands inside of the root. That is right in some programs (optax calls it "
            "eps_root); here and in Algorithm 1 it is added to √v̂",
            convention=True,
        ),
        Mistake(
            "(v_hat**0.5 + self.tiny)",
            "(v_hat**0.5 + self.tiny / (1 - self.decay2**self.step) ** 0.5)",
            "tiny is added before the correction of v. That is right in TensorFlow and in the "
            "paper's shorter form at the end of section 2; here and in Algorithm 1 it is added "
            "to √v̂",
            convention=True,
        ),
        Mistake(
            " + self.tiny)",
            ")",
            "tiny is missing: √v̂ may be 0, and it brakes weights with very small gradients",
        ),
        Mistake(
            "v_hat**0.5",
            "v_hat",
            "the root is missing: m̂ is divided by √v̂",
        ),
        Mistake(
            "m *= self.decay1",
            "m *= 1 - self.decay1",
            "the old m counts 1 - β1: it counts β1, the new gradient 1 - β1",
        ),
        Mistake(
            ("m *= self.decay1", "m += (1 - self.decay1)"),
            ("m *= 1 - self.decay1", "m += self.decay1"),
            "β1 and 1 - β1 are exchanged: the old m counts β1, the new gradient 1 - β1",
        ),
        Mistake(
            ("v *= self.decay2", "v += (1 - self.decay2)"),
            ("v *= 1 - self.decay2", "v += self.decay2"),
            "β2 and 1 - β2 are exchanged: the old v counts β2, the new square 1 - β2",
        ),
        Mistake(
            "m += (1 - self.decay1) * grad",
            "m += grad",
            "the factor 1 - β1 is missing before the gradient",
        ),
        Mistake(
            "v += (1 - self.decay2) * grad",
            "v += grad",
            "the factor 1 - β2 is missing before grad²",
        ),
        Mistake(
            "        m *= self.decay1\n",
            "",
            "the old m is not multiplied by β1",
        ),
        Mistake(
            "        v *= self.decay2\n",
            "",
            "the old v is not multiplied by β2",
        ),
        Mistake(
            "v / (1 - self.decay2**",
            "v / (1 - self.decay1**",
            "v is corrected with β1: it is β2's average",
        ),
        Mistake(
            "m / (1 - self.decay1**",
            "m / (1 - self.decay2**",
            "m is corrected with β2: it is β1's average",
        ),
        Mistake(
            ("m / (1 - ", "v / (1 - "),
            ("m * (1 - ", "v * (1 - "),
            "the corrections multiply: they divide by 1 - β^step",
        ),
        Mistake(
            "m_hat / (v_hat**0.5 + self.tiny)",
            "m_hat",
            "the division by √v̂ + tiny is missing: this is momentum alone",
        ),
        Mistake(
            "* grad * grad",
            "* (grad * grad) ** 0.5",
            "v gets the gradient's size where it gets its square",
        ),
        Mistake(
            "* grad * grad",
            "* m * m",
            "v gets m² where it gets grad²",
        ),
        Mistake(
            "self.step += 1",
            "self.step = 1",
            "the step is always 1: it counts up",
        ),
        Mistake(
            "* grad * grad",
            "* grad",
            "v gets the gradient where it gets its square",
        ),
        Mistake(
            "self.decay1, self.decay2, self.tiny =",
            "self.decay2, self.decay1, self.tiny =",
            "the two decays are exchanged: β1 = 0.9 is m's, β2 = 0.999 is v's",
        ),
        Mistake(
            "theta -= lr",
            "theta += lr",
            "the sign is wrong: it goes up the slope",
        ),
        Mistake(
            "theta -= lr",
            "theta = theta - lr",
            "theta is not changed: theta = ... makes a new array; write theta -= ...",
        ),
        Mistake(
            "lr * m_hat",
            "lr * grad",
            "the gradient itself stands where m̂ belongs",
        ),
        Mistake(
            "lr * m_hat",
            "m_hat",
            "the learning rate is missing",
        ),
    ),
)
