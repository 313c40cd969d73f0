"""Bugs in a subject with plain options, as most hand-written implementations have. The suite has to find them.

The subject reports every other case as unsupported. A bug is found if one of the remaining cases shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from oracle import suite
from oracle.case.case import Case, Spec, named_layers
from oracle.harness.judge import tried
from oracle.judging.rows import DISCREPANCIES
from oracle.subjects import refbp as honest
from oracle.suite.tried import options_of
from oracle.trace import Trace, Unsupported

WINDOW = ("kernel_size", "stride", "padding")
# The options that the subject supports, by class of layer, loss or optimizer.
PLAIN: dict[str, tuple[str, ...]] = {
    **{f"Conv{rank}d": ("in_channels", "out_channels", "bias", *WINDOW) for rank in (1, 2, 3)},
    "ConvTranspose2d": ("in_channels", "out_channels", "bias", *WINDOW),
    **{f"{kind}Pool{rank}d": WINDOW for kind in ("Max", "Avg") for rank in (1, 2, 3)},
    "AdaptiveAvgPool2d": ("output_size",),
    "BatchNorm1d": ("num_features", "eps", "momentum"),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "LayerNorm": ("normalized_shape", "eps"),
    "GroupNorm": ("num_groups", "num_channels", "eps"),
    "MSELoss": ("reduction",),
    "HuberLoss": ("reduction", "delta"),
    "SmoothL1Loss": ("reduction", "beta"),
    "BCEWithLogitsLoss": ("reduction", "pos_weight"),
    "CrossEntropyLoss": ("reduction", "weight", "ignore_index", "label_smoothing"),
    "KLDivLoss": ("reduction",),
    "SGD": ("lr", "momentum", "weight_decay", "nesterov"),
    "Adam": ("lr", "betas", "eps", "weight_decay"),
    "AdamW": ("lr", "betas", "eps", "weight_decay"),
    "RMSprop": ("lr", "alpha", "eps", "momentum"),
}
Options: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class PlainBug:
    """A bug in one option: the values that other(options) returns replace the subject's own."""

    name: str
    type: str
    other: Callable[[dict[str, Any]], Options]


def is_plain(spec: Spec) -> bool:
    if spec.type not in PLAIN or spec.layers or spec.same_as or spec.groups:
        return False
    given, defaults = options_of(spec), options_of(replace(spec, options={}))
    plain = all(name in PLAIN[spec.type] or value == defaults.get(name) for name, value in given.items())
    return plain and not isinstance(given.get("padding"), str)


@dataclass(frozen=True)
class PlainSubject:
    """refbp for single layers, losses and optimizers with plain options; it takes one option wrongly."""

    bug: PlainBug
    name: str = "plain"

    def run(self, case: Case) -> Trace:
        wrong = self.altered(case)
        if wrong is None:
            raise Unsupported("another layer, or another option")
        return honest.run(wrong)

    def altered(self, case: Case) -> Case | None:
        """The case with the wrong option, as the subject runs it; None if it does not support the case."""
        specs = [*(spec for _, spec in named_layers(case.layers)), case.loss, case.optimizer]
        present = [spec for spec in specs if spec is not None]
        if len(present) != 1 or not is_plain(present[0]):
            return None
        return replace(
            case,
            layers=tuple(map(self._altered, case.layers)),
            loss=None if case.loss is None else self._altered(case.loss),
            optimizer=None if case.optimizer is None else self._altered(case.optimizer),
        )

    def _altered(self, spec: Spec) -> Spec:
        if spec.type != self.bug.type:
            return spec
        given = options_of(spec)
        return replace(spec, options={**given, **self.bug.other(given)})


@dataclass(frozen=True)
class Plain:
    """The result for a plain bug.

    Attributes:
        supported: number of the suite's cases that the subject supports and that contain the bug's class.
        case: the first of them that finds the bug; empty if none does.
    """

    bug: str
    supported: int
    case: str


def found(name: str) -> Plain:
    """Tries the suite's cases of the bug's class in float32, until one finds the bug."""
    subject = PlainSubject(plain_bugs()[name])
    supported = [case for case in suite.all_cases().values() if subject.altered(case) is not None]
    own = [case for case in supported if any(spec.type == subject.bug.type for spec in _specs(case))]
    for case in own:
        rows = tried(case.astype("float32"), subject, honest, causes=False).judgement.rows
        if any(row.verdict in DISCREPANCIES for row in rows):
            return Plain(name, len(own), case.name)
    return Plain(name, len(own), "")


def _specs(case: Case) -> Iterator[Spec]:
    yield from (spec for spec in (*case.layers, case.loss, case.optimizer) if spec is not None)


def turned(name: str) -> Callable[[dict[str, Any]], Options]:
    """The values for rows and columns are exchanged; in three dimensions, those for depth and width."""

    def other(options: dict[str, Any]) -> Options:
        value = options[name]
        return {name: tuple(reversed(value)) if isinstance(value, tuple) else value}

    return other


def first_for_all(name: str) -> Callable[[dict[str, Any]], Options]:
    def other(options: dict[str, Any]) -> Options:
        value = options[name]
        return {name: value[0] if isinstance(value, tuple) else value}

    return other


def always(**values: Any) -> Callable[[dict[str, Any]], Options]:
    return lambda options: values


def where(condition: Callable[[dict[str, Any]], Any], **values: Any) -> Callable[[dict[str, Any]], Options]:
    return lambda options: values if condition(options) else {}


def largest(value: Any) -> int:
    return int(np.max(value))


def plain_bugs() -> dict[str, PlainBug]:
    """Every bug by its name; the name begins with its class."""
    table: tuple[tuple[str, str, Callable[[dict[str, Any]], Options]], ...] = (
        ("Conv2d", "rows and columns of the stride exchanged", turned("stride")),
        ("Conv2d", "rows and columns of the padding exchanged", turned("padding")),
        ("Conv2d", "the stride of rows for columns too", first_for_all("stride")),
        ("Conv2d", "the padding of rows for columns too", first_for_all("padding")),
        ("Conv2d", "no padding with a stride", where(lambda o: largest(o["stride"]) > 1, padding=0)),
        ("Conv2d", "no padding", always(padding=0)),
        ("Conv2d", "no stride", always(stride=1)),
        ("Conv2d", "no stride with a kernel of 1", where(lambda o: o["kernel_size"] == 1, stride=1)),
        ("Conv2d", "no stride with padding", where(lambda o: largest(o["padding"]) > 0, stride=1)),
        ("Conv2d", "padding of 3 is 1", where(lambda o: o["padding"] == 3, padding=1)),
        ("Conv1d", "no padding with a stride", where(lambda o: largest(o["stride"]) > 1, padding=0)),
        ("Conv3d", "no padding with a stride", where(lambda o: largest(o["stride"]) > 1, padding=0)),
        ("Conv3d", "depth and width of the stride exchanged", turned("stride")),
        ("ConvTranspose2d", "no padding with a stride", where(lambda o: largest(o["stride"]) > 1, padding=0)),
        ("ConvTranspose2d", "rows and columns of the stride exchanged", turned("stride")),
        ("ConvTranspose2d", "rows and columns of the padding exchanged", turned("padding")),
        ("MaxPool2d", "the stride is the kernel", always(stride=None)),
        ("MaxPool2d", "a stride of 1 where none is given", where(lambda o: o["stride"] is None, stride=1)),
        ("MaxPool2d", "rows and columns of the stride exchanged", turned("stride")),
        ("MaxPool2d", "rows and columns of the kernel exchanged", turned("kernel_size")),
        ("MaxPool2d", "rows and columns of the padding exchanged", turned("padding")),
        ("MaxPool2d", "no padding with a stride", where(lambda o: o["stride"] not in (1, None), padding=0)),
        ("MaxPool1d", "no padding", always(padding=0)),
        ("AvgPool2d", "padding is not counted", always(count_include_pad=False)),
        ("AvgPool2d", "the stride is the kernel", always(stride=None)),
        ("AvgPool2d", "rows and columns of the stride exchanged", turned("stride")),
        ("AvgPool2d", "rows and columns of the kernel exchanged", turned("kernel_size")),
        ("AvgPool2d", "no padding with a stride", where(lambda o: o["stride"] not in (1, None), padding=0)),
        ("AdaptiveAvgPool2d", "rows and columns of the output exchanged", turned("output_size")),
        ("BatchNorm2d", "eps is always 1e-5", always(eps=1e-5)),
        ("BatchNorm2d", "momentum is always 0.1", always(momentum=0.1)),
        ("BatchNorm2d", "momentum for 1 - momentum", lambda o: {"momentum": 1 - (o["momentum"] or 0.0)}),
        ("LayerNorm", "eps is always 1e-5", always(eps=1e-5)),
        ("LayerNorm", "eps of 1e-6 where it is less", where(lambda o: o["eps"] < 1e-6, eps=1e-6)),
        ("GroupNorm", "a single group", always(num_groups=1)),
        ("GroupNorm", "eps is always 1e-5", always(eps=1e-5)),
        ("MSELoss", "a mean for a sum", where(lambda o: o["reduction"] == "sum", reduction="mean")),
        ("MSELoss", "a mean without reduction", where(lambda o: o["reduction"] == "none", reduction="mean")),
        ("HuberLoss", "delta is always 1", always(delta=1.0)),
        ("SmoothL1Loss", "beta is always 1", always(beta=1.0)),
        ("BCEWithLogitsLoss", "no pos_weight", always(pos_weight=None)),
        ("CrossEntropyLoss", "no ignored class", where(lambda o: o["ignore_index"] >= 0, ignore_index=-100)),
        ("CrossEntropyLoss", "no smoothing", always(label_smoothing=0.0)),
        ("CrossEntropyLoss", "no smoothing with a weight", where(lambda o: o["weight"], label_smoothing=0.0)),
        ("CrossEntropyLoss", "no weight", always(weight=None)),
        ("KLDivLoss", "a mean for the batch's mean", where(lambda o: o["reduction"] == "batchmean", reduction="mean")),
        ("SGD", "no momentum", always(momentum=0, nesterov=False)),
        ("SGD", "no momentum without decay", where(lambda o: not o["weight_decay"] and not o["nesterov"], momentum=0)),
        ("SGD", "no decay", always(weight_decay=0)),
        ("SGD", "no decay without momentum", where(lambda o: not o["momentum"], weight_decay=0)),
        ("SGD", "no nesterov", always(nesterov=False)),
        ("SGD", "dampening is the momentum", where(lambda o: not o["nesterov"], dampening=0.5)),
        ("Adam", "betas are always the defaults", always(betas=(0.9, 0.999))),
        ("Adam", "eps is always 1e-8", always(eps=1e-8)),
        ("Adam", "no decay", always(weight_decay=0)),
        ("AdamW", "decay is always 0.01", always(weight_decay=0.01)),
        ("AdamW", "no decay by default", where(lambda o: o["weight_decay"] == 0.01, weight_decay=0.0)),
        ("RMSprop", "alpha is always 0.99", always(alpha=0.99)),
        ("RMSprop", "no momentum", always(momentum=0)),
    )
    return {f"{type}: {what}": PlainBug(f"{type}: {what}", type, other) for type, what, other in table}
