"""Bugs in losses: reductions, weights, excluded elements, thresholds, and terms that the backward omits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.selftest.bugs.bug import Bug
from oracle.selftest.changes import (
    batch_reversed,
    factor,
    negated,
    one_element_off,
    slightly_scaled,
    zero,
)
from oracle.selftest.plant import Call, Change, changed, ignoring, twin
from oracle.suite.build import generator, layer, network_case
from oracle.suite.losses import classes, counts, labels_then_minus_one, other_and_sign, real, shares, sign, unit
from oracle.suite.losses import target_and_variance as with_variance

SHAPE = (6, 4)
CLASS_WEIGHT, PER_CLASS = (0.5, 2.0, 1.25, 0.75), (0.5, 2.0, 1.5, 1.0)
Arguments = Callable[[np.random.Generator, tuple[int, ...]], tuple[Array, ...]]
ARGUMENTS: Mapping[str, Arguments] = {
    "CrossEntropyLoss": classes,
    "NLLLoss": classes,
    "MultiMarginLoss": classes,
    "KLDivLoss": shares,
    "PoissonNLLLoss": counts,
    "GaussianNLLLoss": with_variance,
    "HingeEmbeddingLoss": sign,
    "SoftMarginLoss": sign,
    "MarginRankingLoss": other_and_sign,
    "MultiLabelMarginLoss": labels_then_minus_one,
    "BCELoss": unit,
    "BCEWithLogitsLoss": unit,
    "MultiLabelSoftMarginLoss": unit,
}


def bugs() -> Iterator[Bug]:
    yield from everywhere()
    yield from of_options()
    yield from of_formulas()


def case_of(name: str, spec: Spec, soft: bool = False) -> Case:
    """A linear layer and the loss, with a sigmoid or log-softmax between them if the loss needs probabilities."""
    rng = generator(f"{name}/targets")
    layers = [layer("Linear", 5, 4, name="linear")]
    if spec.type in ("BCELoss",) or (spec.type == "PoissonNLLLoss" and spec.options.get("log_input") is False):
        layers.append(layer("Sigmoid", name="probabilities"))
    if spec.type in ("NLLLoss", "KLDivLoss"):
        layers.append(layer("LogSoftmax", 1, name="probabilities"))
    targets = (shares if soft else ARGUMENTS.get(spec.type, real))(rng, SHAPE)
    if spec.type == "KLDivLoss" and spec.options.get("log_target"):
        targets = (np.log(targets[0]),)
    if spec.options.get("ignore_index") == 1:
        targets[0][:2] = 1
    fields: dict[str, Any] = {"inputs": (rng.standard_normal((6, 5)),), "loss": spec, "targets": (targets,)}
    return network_case(f"selftest/{name}", "a planted bug", layers, optimizer=Spec("SGD", {"lr": 0.1}), **fields)


def in_loss(name: str, spec: Spec, soft: bool = False, **change: Change) -> Bug:
    (what,) = change
    quantity = what if what in ("output", "grad_input") else f"grad.{what}"
    return Bug(name, case_of(name, spec, soft), changed(spec.type, **change), "loss", quantity)  # type: ignore[arg-type]


def ignored(name: str, spec: Spec, quantity: str = "grad_input", soft: bool = False, **options: Any) -> Bug:
    return Bug(name, case_of(name, spec, soft), ignoring(spec, quantity, **options), "loss", quantity)


def everywhere() -> Iterator[Bug]:
    """General mistakes, each planted in several losses: division by N, upstream gradient, sign, small errors."""
    for type in (
        "MSELoss",
        "CrossEntropyLoss",
        "NLLLoss",
        "BCEWithLogitsLoss",
        "HuberLoss",
        "KLDivLoss",
        "SoftMarginLoss",
    ):
        yield ignored(f"{type}: mean not divided backward", Spec(type), reduction="sum")
        yield ignored(f"{type}: sum divided backward", Spec(type, {"reduction": "sum"}), reduction="mean")
        yield ignored(f"{type}: value is a sum instead of a mean", Spec(type), "output", reduction="sum")
        per_element = Spec(type, {"reduction": "none"})
        yield in_loss(f"{type}: upstream ignored without reduction", per_element, grad_input=ones_upstream)
    for type in (
        "L1Loss",
        "SmoothL1Loss",
        "BCELoss",
        "PoissonNLLLoss",
        "GaussianNLLLoss",
        "MultiMarginLoss",
        "HingeEmbeddingLoss",
    ):
        yield ignored(f"{type}: mean not divided backward", Spec(type), reduction="sum")
        yield in_loss(f"{type}: gradient negated", Spec(type), grad_input=negated)
    for type in ("MSELoss", "CrossEntropyLoss", "BCEWithLogitsLoss", "GaussianNLLLoss", "KLDivLoss"):
        yield in_loss(f"{type}: gradient, one element off", Spec(type), grad_input=one_element_off)
        yield in_loss(f"{type}: gradient slightly scaled", Spec(type), grad_input=slightly_scaled)
        yield in_loss(f"{type}: batch reversed", Spec(type), grad_input=batch_reversed)


def of_options() -> Iterator[Bug]:
    weighted, excluded = {"weight": CLASS_WEIGHT}, {"ignore_index": 1}
    for type in ("CrossEntropyLoss", "NLLLoss"):
        yield ignored(f"{type}: class weights lost backward", Spec(type, weighted), weight=None)
        yield ignored(f"{type}: ignored classes counted backward", Spec(type, excluded), ignore_index=-100)
        yield ignored(f"{type}: ignored classes counted forward", Spec(type, excluded), "output", ignore_index=-100)
        yield in_loss(
            f"{type}: mean over N instead of the weights' sum", Spec(type, weighted), grad_input=divided_by_count
        )
    yield ignored(
        "CrossEntropyLoss: label smoothing lost backward",
        Spec("CrossEntropyLoss", {"label_smoothing": 0.1}),
        label_smoothing=0.0,
    )
    yield ignored(
        "CrossEntropyLoss: another label smoothing, slightly",
        Spec("CrossEntropyLoss", {"label_smoothing": 0.1}),
        label_smoothing=0.1001,
    )
    yield ignored(
        "CrossEntropyLoss: smoothing lost for probabilities",
        Spec("CrossEntropyLoss", {"label_smoothing": 0.2}),
        soft=True,
        label_smoothing=0.0,
    )
    for type in ("BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"):
        yield ignored(f"{type}: weight lost backward", Spec(type, {"weight": PER_CLASS}), weight=None)
    positive = Spec("BCEWithLogitsLoss", {"pos_weight": (3.0, 0.2, 1.0, 2.5)})
    yield ignored("BCEWithLogitsLoss: pos_weight lost backward", positive, pos_weight=None)
    yield ignored("BCEWithLogitsLoss: pos_weight half a percent off", positive, pos_weight=(3.015, 0.2, 1.0, 2.5))
    yield ignored(
        "BCEWithLogitsLoss: pos_weight taken for weight", positive, pos_weight=None, weight=(3.0, 0.2, 1.0, 2.5)
    )
    yield ignored("HuberLoss: delta ignored backward", Spec("HuberLoss", {"delta": 0.5}), delta=1.0)
    yield ignored("HuberLoss: delta ignored forward", Spec("HuberLoss", {"delta": 0.5}), "output", delta=1.0)
    yield ignored("SmoothL1Loss: beta ignored backward", Spec("SmoothL1Loss", {"beta": 0.5}), beta=1.0)
    yield ignored("KLDivLoss: mean for batchmean", Spec("KLDivLoss", {"reduction": "batchmean"}), reduction="mean")
    yield ignored(
        "KLDivLoss: logarithm of the target taken twice",
        Spec("KLDivLoss", {"log_target": False}),
        "output",
        log_target=True,
    )
    yield ignored(
        "PoissonNLLLoss: log_input ignored backward", Spec("PoissonNLLLoss", {"log_input": False}), log_input=True
    )
    yield ignored(
        "PoissonNLLLoss: Stirling's term left out", Spec("PoissonNLLLoss", {"full": True}), "output", full=False
    )
    yield ignored("GaussianNLLLoss: constant left out", Spec("GaussianNLLLoss", {"full": True}), "output", full=False)
    yield ignored("GaussianNLLLoss: eps ignored backward", Spec("GaussianNLLLoss", {"eps": 0.5}), eps=1e-6)
    yield ignored("MarginRankingLoss: margin ignored backward", Spec("MarginRankingLoss", {"margin": 1.5}), margin=0.0)
    yield ignored(
        "HingeEmbeddingLoss: margin ignored backward", Spec("HingeEmbeddingLoss", {"margin": 0.25}), margin=2.0
    )
    yield ignored("MultiMarginLoss: power ignored backward", Spec("MultiMarginLoss", {"p": 2}), p=1)
    yield ignored("MultiMarginLoss: margin ignored backward", Spec("MultiMarginLoss", {"margin": 0.2}), margin=1.0)


def of_formulas() -> Iterator[Bug]:
    def difference(call: Call) -> Array:
        return np.asarray(call.input - call.arguments[0])

    yield in_loss("MSELoss: factor 2 forgotten", Spec("MSELoss"), grad_input=factor(0.5))
    yield in_loss(
        "MSELoss: derivative of |x - t|", Spec("MSELoss"), grad_input=lambda g, c: np.sign(difference(c)) / g.size
    )
    yield in_loss("MSELoss: target's gradient lacks its sign", Spec("MSELoss"), target=negated)
    yield in_loss("MSELoss: divided by the batch instead of all elements", Spec("MSELoss"), grad_input=factor(4.0))
    yield in_loss("L1Loss: gradient is the difference", Spec("L1Loss"), grad_input=lambda g, c: difference(c) / g.size)
    yield in_loss(
        "HuberLoss: signed difference compared with the threshold",
        Spec("HuberLoss"),
        grad_input=lambda g, c: np.where(difference(c) < 1, difference(c), np.sign(difference(c))) / g.size,
    )
    yield in_loss(
        "SmoothL1Loss: linear part's gradient zero",
        Spec("SmoothL1Loss"),
        grad_input=lambda g, c: np.where(np.abs(difference(c)) < 1, g, 0),
    )
    yield in_loss(
        "CrossEntropyLoss: one-hot not subtracted",
        Spec("CrossEntropyLoss"),
        grad_input=lambda g, c: softmax(c.input) / len(g),
    )
    yield in_loss(
        "CrossEntropyLoss: gradient with respect to probabilities",
        Spec("CrossEntropyLoss"),
        grad_input=lambda g, c: np.where(one_hot(c), -1 / softmax(c.input), 0) / len(g),
    )
    yield in_loss(
        "CrossEntropyLoss: softmax left out",
        Spec("CrossEntropyLoss"),
        grad_input=lambda g, c: (c.input - one_hot(c)) / len(g),
    )
    yield in_loss("CrossEntropyLoss: divided by the classes too", Spec("CrossEntropyLoss"), grad_input=factor(0.25))
    yield in_loss("CrossEntropyLoss: probabilities' gradient zero", Spec("CrossEntropyLoss"), soft=True, target=zero)
    yield in_loss("NLLLoss: gradient at all classes", Spec("NLLLoss"), grad_input=lambda g, c: g * 0 - 1 / len(g))
    yield in_loss("BCELoss: denominator missing", Spec("BCELoss"), grad_input=lambda g, c: difference(c) / g.size)
    yield in_loss(
        "BCELoss: only positives count", Spec("BCELoss"), grad_input=lambda g, c: -c.arguments[0] / c.input / g.size
    )
    yield in_loss(
        "BCEWithLogitsLoss: sigmoid left out", Spec("BCEWithLogitsLoss"), grad_input=lambda g, c: difference(c) / g.size
    )
    yield in_loss("BCEWithLogitsLoss: target's gradient zero", Spec("BCEWithLogitsLoss"), target=zero)
    yield in_loss("KLDivLoss: target's gradient negated", Spec("KLDivLoss"), target=negated)
    yield in_loss("GaussianNLLLoss: target's gradient zero", Spec("GaussianNLLLoss"), target=zero)
    yield in_loss(
        "PoissonNLLLoss: target not subtracted",
        Spec("PoissonNLLLoss"),
        grad_input=lambda g, c: np.exp(c.input) / g.size,
    )
    yield in_loss("SoftMarginLoss: sign of the label lost", Spec("SoftMarginLoss"), grad_input=lambda g, c: -np.abs(g))
    yield in_loss(
        "MultiLabelMarginLoss: gradient of the target class only",
        Spec("MultiLabelMarginLoss"),
        grad_input=lambda g, c: np.minimum(g, 0),
    )


def ones_upstream(right: Array, call: Call) -> Array:
    return call.rerun(np.ones_like(call.output))


def divided_by_count(right: Array, call: Call) -> Array:
    _, backward, _ = twin(call, {"weight": np.asarray(CLASS_WEIGHT, call.input.dtype), "reduction": "sum"})
    result: Array = backward(call.grad_output)[0] / len(right)
    return result


def softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def one_hot(call: Call) -> Array:
    return np.asarray(call.arguments[0][:, None] == np.arange(call.input.shape[1]))
