"""What a lesson's code is tried on: cases that hide nothing, and what is right in them."""

from dataclasses import dataclass, field

import numpy as np

from tinyddpm import Layout, Tape
from tinyddpm.nn.gradcheck import numerical_jacobian, pull_back

SEED = 7


@dataclass(frozen=True)
class LayerTrial:
    """One trip there and back through a layer.

    make       make(cls, layout) gives the layer
    shapes     {name: shape} of its inputs
    fixed      arguments that are no variables, such as labels
    weights    {parameter: value} for those that are not random
    """

    target: str
    make: object
    shapes: dict
    fixed: tuple = ()
    weights: dict = field(default_factory=dict)

    def run(self, names, results):
        """Adds y, dx, dW ..., and how much is left on the tape."""
        layer, layout, theta, inputs = self._prepare(names)
        forward = self._forward(layer)
        y = results["y"] = forward(*inputs, Tape(theta, rng=np.random.default_rng([SEED])))
        tapes = []

        def backward(dy, tape):
            tapes.append(tape)
            return layer.backward(dy, tape)

        start = np.random.default_rng(1).standard_normal(layout.size)
        dy = self._dy(np.shape(y))
        dtheta, *d_inputs = pull_back(forward, backward, theta, dy, *inputs, start=start, seed=SEED)
        if self.shapes:
            results.update(_named(d_inputs, self.shapes))
        results.update({_of(param): param.of(dtheta) for param in layout.params})
        results["tape"] = np.array(float(len(tapes[0])))

    def right(self, names):
        """The same by complex steps through the forward of `names`, without any backward."""
        layer, layout, theta, inputs = self._prepare(names)
        forward = self._forward(layer)
        y = forward(*inputs, Tape(theta, rng=np.random.default_rng([SEED])))
        slopes = self._dy(y.shape).ravel() @ numerical_jacobian(forward, theta, *inputs, seed=SEED)
        results, end = {"y": y}, theta.size
        for name, x in zip(self.shapes, inputs):
            results[f"d{name}"] = slopes[end : end + x.size].reshape(x.shape)
            end += x.size
        results |= {_of(param): param.of(slopes) for param in layout.params}
        return results | {"tape": np.array(0.0)}

    def _prepare(self, names):
        rng = np.random.default_rng(SEED)
        layer = self.make(names[self.target], layout := Layout())
        theta = layout.init(rng, float) + 0.3 * rng.standard_normal(layout.size)
        for param in layout.params:
            if _of(param) in self.weights:
                param.of(theta)[...] = self.weights[_of(param)]
        inputs = [rng.standard_normal(shape) for shape in self.shapes.values()]
        for array in (theta, *inputs):
            array.flags.writeable = False
        return layer, layout, theta, inputs

    def _forward(self, layer):
        return lambda *arguments: layer.forward(*arguments[:-1], *self.fixed, arguments[-1])

    def _dy(self, shape):
        return np.random.default_rng(2).standard_normal(shape)


@dataclass(frozen=True)
class Trials:
    """Several trials as one; the words in front of each go in front of its results."""

    trials: dict

    def run(self, names, results):
        for words, trial in self.trials.items():
            found = {}
            try:
                trial.run(names, found)
            finally:
                results.update({f"{words}{name}": result for name, result in found.items()})

    def right(self, names):
        return {
            f"{words}{name}": result
            for words, trial in self.trials.items()
            for name, result in trial.right(names).items()
        }


@dataclass(frozen=True)
class FunctionTrial:
    """run(names, results), for a function whose results in the package are right."""

    run: object

    def right(self, names):
        self.run(names, results := {})
        return results


def _of(param):
    """dW for linear.W, conv1.dW for res.conv1.W"""
    *middle, name = param.name.split(".")[1:]
    return ".".join([*middle, f"d{name}"])


def _named(d_inputs, shapes):
    """The returned gradients by name; those that nobody asked for have numbers."""
    names = [f"d{name}" for name in shapes]
    names += [f"returned value {i}" for i in range(len(names) + 1, len(d_inputs) + 1)]
    return dict(zip(names, d_inputs))
