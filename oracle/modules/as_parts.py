"""Turns a leaf's call, a loss and an update into parts: separate cases, which are judged like those of any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.judging.masks import CHANNEL_DROPOUTS, channel_positions
from oracle.judging.parts import Part
from oracle.modules.calls import Call
from oracle.modules.sampled.draws import Draw, Shape
from oracle.running_error import UNIT_ROUNDOFF

DROPOUTS = ("Dropout", *CHANNEL_DROPOUTS, "AlphaDropout")


@dataclass(frozen=True)
class Mask:
    """A dropout layer's mask, as its output shows it: the elements that were kept, and the elements for which this is known."""

    kept: Array
    known: Array


@dataclass(frozen=True)
class Observed:
    """A part with the results from which its rows are made.

    Attributes:
        kinds: the class of each layer.
        made: the results, by layer and quantity.
        expected: the quantities that must be present.
        mask: the mask that a dropout layer drew.
        if_output: whether the part is judged only if its output, which is judged elsewhere, is right.
        device: the kind of device on which it was computed.
        sampled: if only some elements are judged: the shape of the whole tensor and the drawn elements, by layer and quantity.
    """

    part: Part
    kinds: Mapping[str, str]
    made: Mapping[tuple[str, str], Array]
    expected: Sequence[str]
    mask: Mask | None = None
    if_output: bool = False
    device: str = "cpu"
    sampled: Mapping[tuple[str, str], tuple[Shape, Draw]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many elements the part's inputs and results have."""
        return sum(own.size for own in (*self.part.case.inputs, *self.made.values()))


def mixed(call: Call) -> str:
    """The reason why the numbers of a call cannot be judged in one precision; "" if they can."""
    assert call.input is not None
    shown = [call.input, *call.state.values(), *call.made.values()]
    dtypes = dict.fromkeys(array.dtype.name for array in shown if array.dtype.kind not in "iub")
    if call.input.dtype.name not in UNIT_ROUNDOFF:
        return f"its input is {call.input.dtype.name}: judged are {', '.join(UNIT_ROUNDOFF)}"
    return f"it mixes {' and '.join(dtypes)}" if len(dtypes) > 1 else ""


def of_calls(call: Call, case: str) -> list[Observed]:
    """The parts of a layer's call: one, or the smaller calls of which elements were drawn."""
    if not call.parts:
        return [of_call(call, case)]
    sampled = {
        (call.layer, quantity): (call.made[quantity].shape, own)
        for quantity, own in call.draws.items()
        if quantity in call.made
    }
    return [replace(of_call(own, case), sampled=sampled) for own in call.small_calls()]


def of_call(call: Call, case: str) -> Observed:
    """The part of a layer with its inputs."""
    assert call.spec is not None and call.input is not None
    mask = mask_of(call) if call.training and call.kind in DROPOUTS else None
    part = Part(
        Case(
            name=f"{case}/{call.layer}",
            dtype=call.input.dtype.name,
            layers=(call.spec,),
            params={f"layer.{name}": value for name, value in call.state.items()},
            inputs=(call.input,),
            grad_outputs=() if call.grad_output is None else (call.grad_output,),
            masks={} if mask is None else {"layer": mask.kept},
            training=call.training,
        ),
        {"layer": call.layer},
    )
    made = {(call.layer, quantity): value for quantity, value in call.made.items()}
    return Observed(part, {call.layer: call.kind}, made, call.expected, mask, device=call.device)


def of_statistics(call: Call, case: str) -> Observed | None:
    """The part for the running statistics of a user's class that derives from a norm.

    The results of such a class are judged operation by operation. If they are those of the norm, its statistics have to be the
    norm's too.
    """
    if call.keeps is None or "output" not in call.made or mixed(call):
        return None
    observed = of_call(replace(call, spec=call.keeps), case)
    return replace(observed, expected=list(call.made), if_output=True)


def of_loss(call: Call, case: str, targets: tuple[Array, ...]) -> Observed:
    assert call.spec is not None and call.input is not None
    part = Part(
        Case(
            name=f"{case}/loss",
            dtype=call.input.dtype.name,
            loss=call.spec,
            inputs=(call.input,),
            targets=(targets,),
            grad_outputs=() if call.grad_output is None else (call.grad_output,),
        ),
        {"loss": "loss"},
    )
    made = {("loss", quantity): value for quantity, value in call.made.items()}
    return Observed(part, {"loss": call.kind}, made, call.expected, device=call.device)


@dataclass
class Update:
    """A step of an optimizer: its inputs and results, by full parameter name; `draws`, the elements drawn of a parameter,
    with its shape; `changed_gradients`, the parameters whose gradient was another one before a hook or a derived class."""

    spec: Spec
    params: dict[str, Array]
    grads: dict[str, Array]
    state: dict[str, dict[str, Array]]
    made: dict[tuple[str, str], Array] = field(default_factory=dict)
    draws: dict[str, tuple[Shape, Draw]] = field(default_factory=dict)
    changed_gradients: tuple[str, ...] = ()

    def drawn(self, name: str) -> Draw:
        """The elements that are judged of a parameter and of its state."""
        return self.draws[name][1] if name in self.draws else Draw()


def of_update(update: Update, case: str, kinds: Mapping[str, str]) -> list[Observed]:
    """A part for each dtype among the parameters that have a gradient."""
    parts = []
    for dtype in dict.fromkeys(value.dtype.name for value in update.params.values()):
        names = [name for name, value in update.params.items() if value.dtype.name == dtype and name in update.grads]
        groups = [{**group, "params": [n for n in group["params"] if n in names]} for group in update.spec.groups]
        if not names or dtype not in UNIT_ROUNDOFF:
            continue
        layers = {name.rpartition(".")[0] for name in names}
        part = Part(
            Case(
                name=f"{case}/update",
                dtype=dtype,
                params={name: update.params[name] for name in names},
                grads=({name: update.grads[name] for name in names},),
                optimizer=Spec(update.spec.type, groups=tuple(group for group in groups if group["params"])),
                optimizer_state={
                    quantity: {name: value for name, value in values.items() if name in names}
                    for quantity, values in update.state.items()
                },
            ),
            {layer: layer for layer in layers},
        )
        made = {key: value for key, value in update.made.items() if key[0] in layers}
        sampled = {
            key: update.draws[name]
            for key in made
            if (name := f"{key[0]}.{key[1].partition('.')[2]}") in update.draws and made[key].ndim
        }
        parts.append(Observed(part, kinds, made, ["*"], sampled=sampled))
    return parts


def mask_of(call: Call) -> Mask:
    """The elements that a dropout layer kept, found by comparing its output with the values for kept and for dropped elements.

    Where these are equal the gradient decides; where it is zero too, it makes no difference.
    """
    assert call.spec is not None and call.input is not None
    x, y = call.input.astype(np.float64), call.made["output"].astype(np.float64)
    op: Any = refbp.functional.alpha_dropout if call.kind == "AlphaDropout" else refbp.functional.dropout
    p = float(call.spec.options.get("p", 0.5))
    kept, lost = (op(x, p, True, mask=np.full(x.shape, choice))[0] for choice in (True, False))
    if y.shape != x.shape:
        return Mask(np.ones(x.shape, bool), np.zeros(x.shape, bool))
    with np.errstate(invalid="ignore"):
        mask = np.where(np.isinf(x), ~np.isnan(y), np.abs(y - kept) < np.abs(y - lost))  # infinity times zero is NaN
        known = (kept != lost) & ~np.isnan(x)
    gradient = call.made.get("grad_input")
    if gradient is not None and gradient.shape == mask.shape:
        mask = np.where(known, mask, gradient != 0)
    if call.kind in CHANNEL_DROPOUTS:
        positions = channel_positions(call.kind, x.ndim)
        mask = np.where(known, mask, mask.any(positions, keepdims=True))
    return Mask(mask, known)
