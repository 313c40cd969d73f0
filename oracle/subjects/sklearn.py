"""scikit-learn as a subject: the backpropagation of its MLPClassifier and MLPRegressor, and their SGD and Adam.

For every batch this module calls what `fit` calls, with the case's numbers: `_backprop`, then the optimizer's `update_params`.
An estimator keeps the outputs of activations, and for each linear layer the gradient with respect to its output. It overwrites
or never computes the other inputs and results of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from oracle.case.arrays import Array
from oracle.case.case import Case, at_step
from oracle.execution.network import LOSSES, OPTIMIZERS
from oracle.judging.profile import Profile
from oracle.subjects.walk import Options
from oracle.trace import Trace, Unsupported

name = "sklearn"
profile = Profile(
    quantities=("grad.weight", "grad.bias", "param.*", "exp_avg*", "step.*"),
    conventions=("adam_epsilon_uncorrected",),
)

ACTIVATIONS = {"Identity": "identity", "Sigmoid": "logistic", "Tanh": "tanh", "ReLU": "relu"}
DTYPES = ("float64", "float32")


def run(case: Case) -> Trace:
    """The trace of a case. Raises: Unsupported for anything but one of scikit-learn's multi-layer perceptrons."""
    if case.dtype not in DTYPES:
        raise Unsupported(f"scikit-learn's perceptrons have no {case.dtype}")
    return _Run(case).trace


class Perceptron:
    """The layers of a case as the only kind of network that scikit-learn has: linear layers with one kind of activation.

    Attributes:
        linear, hidden: the names of the linear layers, and of the activations between them, from the input on.
        activation: the activation of the hidden layers.
        flatten: the name of a layer before them that flattens images, or empty.
        last: the name of the layer that is the estimator's output activation; empty if the loss contains it.
    """

    def __init__(self, case: Case) -> None:
        specs = [(spec.name or str(index), spec) for index, spec in enumerate(case.layers)]
        if any(spec.layers or spec.same_as for _, spec in specs):
            raise Unsupported("scikit-learn's perceptrons are plain sequences of layers")
        self.flatten = self.last = ""
        if specs and specs[0][1].type == "Flatten" and not specs[0][1].options:
            self.flatten = specs.pop(0)[0]
        if specs and case.loss is not None and (specs[-1][1].type, case.loss.type) in OUTPUTS:
            name, spec = specs.pop()
            if spec.type == "LogSoftmax" and spec.options.get("dim") not in (1, -1):
                raise Unsupported("scikit-learn's softmax is over the outputs")
            self.last = name
        kinds = [spec.type for _, spec in specs]
        self.linear = [name for name, spec in specs if spec.type == "Linear"]
        self.hidden = [name for name, spec in specs if spec.type != "Linear"]
        used = {spec.type for _, spec in specs if spec.type != "Linear"} or {"Identity"}
        if not kinds or kinds[0::2] != ["Linear"] * len(self.linear) or len(self.hidden) != len(self.linear) - 1:
            raise Unsupported("scikit-learn's perceptrons are linear layers with activations between them")
        if len(used) > 1 or not used <= ACTIVATIONS.keys():
            raise Unsupported(f"scikit-learn's perceptrons have one activation of {', '.join(ACTIVATIONS)}")
        if any(f"{name}.bias" not in case.params for name in self.linear):
            raise Unsupported("scikit-learn's linear layers have a bias")
        self.activation = ACTIVATIONS[used.pop()]


# Last layers that are an estimator's output activation, with the losses that go with them.
OUTPUTS = {("LogSoftmax", "NLLLoss"), ("Sigmoid", "BCELoss")}
CLASSES = ("CrossEntropyLoss", "NLLLoss")


class _Run:
    """A run of a case, step by step."""

    def __init__(self, case: Case) -> None:
        self.case, self.trace = case, Trace()
        self.params = {name: np.array(value, order="C") for name, value in case.params.items()}
        self.network = None if case.grads else Perceptron(case)
        if self.network is not None:
            check_loss(case)
        self.optimizers = [] if case.optimizer is None else list(optimizers(case, self.params))
        for step in range(case.steps):
            grads = dict(at_step(case.grads, step)) if self.network is None else self._backprop(self.network, step)
            for optimizer in self.optimizers:
                optimizer.update(grads)
                for quantity, values in optimizer.state().items():
                    for name, value in values.items():
                        self._record(step, name, quantity, value)
            for name, value in self.params.items() if self.optimizers else ():
                self._record(step, name, "param", value)

    def _record(self, step: int, parameter: str, quantity: str, value: Any) -> None:
        layer, _, short = parameter.rpartition(".")
        self.trace.record(step, layer, f"{quantity}.{short}", value)

    def _backprop(self, network: Perceptron, step: int) -> dict[str, Array]:
        case, trace = self.case, self.trace
        x = np.array(at_step(case.inputs, step))
        if network.flatten:
            trace.record(step, network.flatten, "input", x)
            x = x.reshape(len(x), -1)
            trace.record(step, network.flatten, "output", x)
        if x.ndim != 2 or not len(x):
            raise Unsupported("scikit-learn's perceptrons take samples × features, at least one sample")
        weights = [self.params[f"{name}.weight"] for name in network.linear]
        estimator = made(case, network)
        estimator.coefs_ = [np.array(weight.T, order="C") for weight in weights]
        estimator.intercepts_ = [self.params[f"{name}.bias"].copy() for name in network.linear]
        estimator.n_layers_ = len(weights) + 1
        estimator.n_outputs_ = len(weights[-1])
        y, scale = target(case, step, estimator.n_outputs_)
        empty: list[Any] = [None] * len(weights)
        activations, deltas, coefs, intercepts = [x, *empty], empty.copy(), empty.copy(), empty.copy()
        loss, *_ = estimator._backprop(x, y, None, activations, deltas, coefs, intercepts)
        trace.record(step, network.linear[0], "input", x)
        for name, output in zip(network.hidden, activations[1:], strict=False):
            trace.record(step, name, "output", output)
        if estimator.out_activation_ == "identity":
            trace.record(step, network.linear[-1], "output", activations[-1])
        elif network.last and estimator.out_activation_ == "logistic":
            trace.record(step, network.last, "output", activations[-1])
        trace.record(step, "loss", "output", np.asarray(loss * scale, case.dtype))
        grads: dict[str, Array] = {}
        for name, delta, coef, intercept in zip(network.linear, deltas, coefs, intercepts, strict=True):
            trace.record(step, name, "grad_output", delta / len(x) * scale)
            grads[f"{name}.weight"], grads[f"{name}.bias"] = coef.T * scale, intercept * scale
        for name, value in grads.items():
            self._record(step, name, "grad", value)
        return grads


def check_loss(case: Case) -> None:
    if case.loss is None or case.loss.type not in (*CLASSES, "MSELoss", "BCELoss", "BCEWithLogitsLoss"):
        raise Unsupported(f"scikit-learn's perceptrons have no {case.loss.type if case.loss else 'upstream gradient'}")
    options = Options.of(LOSSES, case.loss)
    plain = {"weight": None, "pos_weight": None, "label_smoothing": 0.0, "reduction": "mean"}
    options.refuse(f"scikit-learn's {case.loss.type}", **plain)
    if case.grad_outputs:
        raise Unsupported("scikit-learn's losses take no upstream gradient")


def made(case: Case, network: Perceptron) -> Any:
    """An estimator that is ready for `_backprop`."""
    assert case.loss is not None
    if case.loss.type == "MSELoss":
        estimator = MLPRegressor(activation=network.activation, alpha=0.0)
        estimator.out_activation_ = "identity"
        return estimator
    estimator = MLPClassifier(activation=network.activation, alpha=0.0)
    estimator.out_activation_ = "softmax" if case.loss.type in CLASSES else "logistic"
    return estimator


def target(case: Case, step: int, outputs: int) -> tuple[Array, float]:
    """The target in the estimator's form, and the factor between torch's loss and scikit-learn's.

    scikit-learn takes half the squared error, torch all of it. For several binary outputs scikit-learn takes the sum over
    them, torch the mean.
    """
    assert case.loss is not None
    (given,) = at_step(case.targets, step)
    if case.loss.type in CLASSES:
        if given.dtype.kind not in "iu" or given.ndim != 1:
            raise Unsupported("scikit-learn's classifier takes one class for each sample")
        if (given == Options.of(LOSSES, case.loss)["ignore_index"]).any():
            raise Unsupported("scikit-learn's classifier ignores no class")
        return np.eye(outputs, dtype=case.dtype)[given], 1.0
    return np.array(given), 2.0 if case.loss.type == "MSELoss" else 1.0 / outputs


# Adam's attributes, with the quantities that they are.
MOMENTS = {"ms": "exp_avg", "vs": "exp_avg_sq"}


class Optimizer:
    """SGD or Adam of scikit-learn over one parameter group; it writes to the parameters.

    SGD's velocity includes the learning rate, which cannot be removed without rounding, so it is not shown.
    """

    def __init__(self, spec: Options, type: str, names: list[str], params: Mapping[str, Array]) -> None:
        spec.refuse(f"scikit-learn's {type}", weight_decay=0, maximize=False, dampening=0, amsgrad=False)
        self.type, self.names, self.options = type, names, spec
        own = [params[name] for name in names]
        self.params = own
        if type == "SGD":
            how = {"momentum": spec["momentum"], "nesterov": spec["nesterov"]}
            self.optimizer: Any = SGDOptimizer(own, spec["lr"], "constant", **how)
        elif type == "Adam":
            self.optimizer = AdamOptimizer(own, spec["lr"], *spec["betas"], spec["eps"])
        else:
            raise Unsupported(f"scikit-learn has no {type}")

    def resume(self, state: Mapping[str, Mapping[str, Array]]) -> None:
        if self.type == "SGD":
            given = state.get("momentum", {})
            self.optimizer.velocities = [
                -self.options["lr"] * given[n] if n in given else np.zeros_like(p) for n, p in self._own()
            ]
            return
        for kept, quantity in MOMENTS.items():
            given = state.get(quantity, {})
            setattr(self.optimizer, kept, [np.array(given.get(n, np.zeros_like(p))) for n, p in self._own()])
        for steps in state.get("step", {}).values():
            self.optimizer.t = int(steps)

    def _own(self) -> Iterator[tuple[str, Array]]:
        return zip(self.names, self.params, strict=True)

    def update(self, grads: Mapping[str, Array]) -> None:
        self.optimizer.update_params(self.params, [grads[name] for name in self.names])

    def state(self) -> dict[str, dict[str, Any]]:
        if self.type == "SGD":
            return {}
        shown: dict[str, dict[str, Any]] = {
            quantity: dict(zip(self.names, getattr(self.optimizer, kept), strict=True))
            for kept, quantity in MOMENTS.items()
        }
        return shown | {"step": dict.fromkeys(self.names, self.optimizer.t)}


def optimizers(case: Case, params: Mapping[str, Array]) -> Iterator[Optimizer]:
    """An optimizer for each parameter group."""
    spec = case.optimizer
    assert spec is not None
    for group in spec.groups or ({"params": list(params)},):
        options = Options({**Options.of(OPTIMIZERS, spec), **{k: v for k, v in group.items() if k != "params"}})
        optimizer = Optimizer(options, spec.type, list(group["params"]), params)
        optimizer.resume(case.optimizer_state)
        yield optimizer
