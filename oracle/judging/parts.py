"""Splits a traced training step into parts: each layer, the loss and the update become a Case.

The inputs of each part are the subject's own values, which count as exact. So no error is inherited from other layers, and a
layer that is wrong on its own part is the culprit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, PER_STEP, Case, Spec, at_step, named_layers
from oracle.case.names import BUFFERS, TRANSPOSE, is_buffer
from oracle.execution.network import execute
from oracle.trace import Trace

# A count of steps is at most this.
MOST_STEPS = 2**31


@dataclass(frozen=True)
class Part:
    """One part of a step.

    Attributes:
        case: a single step. If its initial state is not shown, all steps from the last one whose initial state is known. The last
            step is the one that is judged.
        names: maps the layer names inside `case` to those of the whole case.
        shared: whether the layer stands in the network more than once, so that other calls add to its parameters' gradients.
    """

    case: Case
    names: Mapping[str, str]
    shared: bool = False


def usable(shown: Array | None, like: Array) -> TypeGuard[Array]:
    """Whether an array of a trace can replace `like`. Arrays of another shape or dtype are judged, but never used as inputs."""
    if shown is None or shown.shape != like.shape:
        return False
    return is_count(shown) if like.dtype.kind in "iu" else shown.dtype.kind not in "biu"


def is_count(shown: Array) -> bool:
    """Whether an array, of any numeric dtype, can be the number of steps or batches so far."""
    if shown.shape or shown.dtype.kind == "b":
        return False
    number = float(shown)
    return 0 <= number < MOST_STEPS and number.is_integer()


def _place(name: str, kind: str) -> tuple[str, str]:
    """The layer and quantity under which a trace shows a parameter or buffer."""
    layer, _, short = name.rpartition(".")
    return layer, f"{kind}.{short}"


def params_before(case: Case, trace: Trace, step: int) -> dict[str, Array]:
    """The subject's parameters and buffers at the beginning of this step, as far as its trace shows them.

    Without an optimizer parameters do not change. If a buffer is not shown, the case's own takes its place: in evaluation it does
    not change, and in training only the layer's buffers depend on it. That does not hold if this step shows one of these.
    """
    if step == 0:
        return dict(case.params)
    before: dict[str, Array] = {}
    updated = case.since_update(step)
    for name, initial in case.params.items():
        kind = "buffer" if is_buffer(name) else "param"
        layer, quantity = _place(name, kind)
        shown = trace.get((updated if kind == "param" else step) - 1, layer, quantity)
        if kind == "param" and (case.optimizer is None or not updated):
            before[name] = initial
        elif usable(shown, initial):
            before[name] = shown.astype(initial.dtype) if initial.dtype.kind in "iu" else shown
        elif kind == "buffer" and not (case.training and _shows_buffers(trace, step, layer)):
            before[name] = initial
    return before


def _shows_buffers(trace: Trace, step: int, layer: str) -> bool:
    return any(trace.get(step, layer, f"buffer.{short}") is not None for short in BUFFERS)


def state_before(case: Case, trace: Trace, step: int) -> dict[str, dict[str, Array]]:
    """The optimizer's state at the beginning of this step, by quantity and parameter."""
    if not case.since_update(step):
        return {quantity: dict(values) for quantity, values in case.optimizer_state.items()}
    return _state_shown(case, trace, step, _kept(case))


def _state_shown(
    case: Case, trace: Trace, step: int, kept: Mapping[str, Mapping[str, Array]]
) -> dict[str, dict[str, Array]]:
    """The part of the optimizer's state that the trace shows after the last update."""
    state: dict[str, dict[str, Array]] = {}
    parameters = {tuple(name.rpartition(".")[::2]): name for name in case.params}
    for (layer, quantity), array in trace.of_step(case.since_update(step) - 1).items():
        kind, _, short = quantity.partition(".")
        name = parameters.get((layer, short))
        like = kept.get(kind, {}).get(name) if name is not None else None
        if name is not None and like is not None and usable(array, like):
            state.setdefault(kind, {})[name] = array
    return state


def _floating(shown: Array | None, dtype: str) -> Array | None:
    """Integers of a trace as floating-point numbers. Their wrong dtype is judged elsewhere."""
    return shown.astype(dtype) if shown is not None and shown.dtype.kind in "biu" else shown


def masks_of(case: Case, trace: Trace, step: int) -> dict[str, Array]:
    """The masks of dropout layers: those that the case imposes, else those in the trace, of any numeric dtype."""
    dropouts = [name for name, spec in named_layers(case.layers) if "Dropout" in spec.type and case.training]
    shown = {name: trace.get(step, name, "mask") for name in dropouts}
    return {name: mask.astype(bool) for name, mask in shown.items() if mask is not None} | dict(case.masks)


def step_part(case: Case, trace: Trace, step: int) -> Part | None:
    """The whole step, from the subject's own parameters and state. It begins at the last step for which the trace shows these,
    and includes earlier steps whose gradients are added up before the same update.

    None if dropout draws different masks in several steps, since a case has one mask for all steps.
    """
    start, begin = _last_known(case, trace, step, case.params), case.since_update(step)
    stateless = start < begin and _updates_are_shown(case, trace, start, step)
    start = begin if stateless else start
    masks = masks_of(case, trace, step)
    if start < step and masks.keys() - case.masks.keys():
        return None
    entries: dict[str, Any] = {
        name: tuple(at_step(getattr(case, name), own) for own in range(start, step + 1)) if getattr(case, name) else ()
        for name in PER_STEP
    }
    whole = replace(
        case,
        params=params_before(case, trace, start),
        optimizer=None if stateless else case.optimizer,
        optimizer_state=state_before(case, trace, start),
        masks=masks,
        steps=step - start + 1,
        **entries,
    )
    names = {name: name for name, _ in named_layers(case.layers)} | {"loss": "loss"}
    return Part(whole, names | {name.rpartition(".")[0]: name.rpartition(".")[0] for name in case.params})


def _last_known(case: Case, trace: Trace, step: int, names: Collection[str]) -> int:
    """The last step, up to this one, that starts without accumulated gradients and for which the trace shows these parameters and
    the optimizer's state."""
    return next(
        own for own in range(case.since_update(step), -1, -case.update_every) if _is_known(case, trace, own, names)
    )


def _is_known(case: Case, trace: Trace, step: int, names: Collection[str]) -> bool:
    return params_before(case, trace, step).keys() >= set(names) and not hides_state(case, trace, step)


def _updates_are_shown(case: Case, trace: Trace, start: int, step: int) -> bool:
    """Whether the trace shows all parameters before the step, and all gradients since `start`.

    With these the update can be judged by itself, whatever the optimizer's state was.
    """
    params = params_before(case, trace, step)
    updated = [name for name in case.params if trace.get(step, *_place(name, "param")) is not None]
    given = [_grads(case, trace, own, params) for own in _updates(case, start, step)]
    return len(params) == len(case.params) and all(name in grads for grads in given for name in updated)


def _updates(case: Case, start: int, step: int) -> list[int]:
    """The steps between two steps that end with an update."""
    return [own for own in range(start, step + 1) if case.since_update(own + 1) == own + 1]


def local_parts(case: Case, trace: Trace, step: int) -> Iterator[Part]:
    """Each layer, the loss and the update of a step, as far as the trace shows their inputs."""
    params, masks = params_before(case, trace, step), masks_of(case, trace, step)
    hidden = {name.rpartition(".")[0] for name in case.params.keys() - params.keys()}
    specs = dict(named_layers(case.layers))
    reused = {spec.same_as for spec in specs.values() if spec.same_as}
    for name, spec in specs.items():
        owner = spec.same_as or name
        if spec.type not in CONTAINERS and owner not in hidden:
            shared = bool(spec.same_as) or name in reused
            own = _alone(specs[owner], owner, params)
            own = _transposed(*own) if spec.type == TRANSPOSE else own
            yield from _layer_part(case, trace, step, name, own, masks.get(name), shared)
    yield from _loss_part(case, trace, step)
    yield from _update_part(case, trace, step)


def _alone(spec: Spec, owner: str, params: Mapping[str, Array]) -> tuple[Spec, dict[str, Array]]:
    """A case with this layer only, and its parameters."""
    prefix = f"{owner}."
    own = {f"layer.{key.removeprefix(prefix)}": value for key, value in params.items() if key.startswith(prefix)}
    return replace(spec, name="layer"), own


def _transposed(spec: Spec, params: Mapping[str, Array]) -> tuple[Spec, dict[str, Array]]:
    weight = params["layer.weight"].T
    options = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
    return replace(spec, options=options), {"layer.weight": weight}


def _layer_part(
    case: Case,
    trace: Trace,
    step: int,
    name: str,
    own: tuple[Spec, dict[str, Array]],
    mask: Array | None,
    shared: bool,
) -> Iterator[Part]:
    """The part of one layer in this step. It includes earlier steps that add to its gradients, if the trace shows them."""
    spec, params = own
    steps = range(case.since_update(step), step + 1) if params else (step,)
    given, upstream = (
        [_floating(trace.get(at, name, quantity), case.dtype) for at in steps] for quantity in ("input", "grad_output")
    )
    if len(steps) > 1 and (_is_moving(params) or any(own is None for own in (*given, *upstream))):
        given, upstream, shared = given[-1:], upstream[-1:], True
    if given[-1] is None:
        return
    yield Part(
        Case(
            name=f"{case.name}/{name}",
            dtype=case.dtype,
            layers=(spec,),
            params=params,
            inputs=tuple(own for own in given if own is not None),
            grad_outputs=tuple(own for own in upstream if own is not None),
            masks={} if mask is None else {"layer": mask},
            steps=len(given),
            update_every=len(given),
            training=case.training,
            structured=case.structured,
        ),
        {"layer": name},
        shared,
    )


def _is_moving(params: Mapping[str, Array]) -> bool:
    """Whether a layer's buffers change from step to step."""
    return any(map(is_buffer, params))


def _loss_part(case: Case, trace: Trace, step: int) -> Iterator[Part]:
    given = _floating(trace.get(step, "loss", "input"), case.dtype)
    if case.loss is None or given is None:
        return
    yield Part(
        Case(
            name=f"{case.name}/loss",
            dtype=case.dtype,
            loss=case.loss,
            inputs=(given,),
            targets=(at_step(case.targets, step),),
            grad_outputs=(at_step(case.grad_outputs, step),) if case.grad_outputs else (),
            structured=case.structured,
        ),
        {"loss": "loss"},
    )


def hides_state(case: Case, trace: Trace, step: int) -> bool:
    """Whether the trace lacks part of the optimizer's state before this step, for one parameter or for all."""
    before = case.since_update(step) - 1
    if case.optimizer is None or before < 0:
        return False
    kept = _kept(case)
    shown = _state_shown(case, trace, step, kept)
    updated = {name for name in case.params if trace.get(before, *_place(name, "param")) is not None}
    return any(name in updated - shown.get(kind, {}).keys() for kind, names in kept.items() for name in names)


def _kept(case: Case) -> Mapping[str, Mapping[str, Array]]:
    """The state that the case's optimizer keeps for each parameter, by name; only shapes and dtypes are meaningful."""
    ones = {name: np.ones(value.shape) for name, value in case.params.items()}
    alone = Case(case.name, params=ones, grads=(ones,), optimizer=case.optimizer)
    kept: dict[str, dict[str, Array]] = {}
    for (_, layer, quantity), value in execute(alone, lambda array: array).items():
        kind, _, short = quantity.partition(".")
        if kind != "param":
            kept.setdefault(kind, {})[f"{layer}.{short}" if layer else short] = np.asarray(value)
    return kept


def _update_part(case: Case, trace: Trace, step: int) -> Iterator[Part]:
    """The update of this step; if the state before it is not shown, with all updates since the last known state."""
    if case.optimizer is None or not _updates(case, step, step):
        return
    learnt = [name for name in case.params if not is_buffer(name)]
    start = _last_known(case, trace, step, learnt)
    params = params_before(case, trace, start)
    given = [_grads(case, trace, own, params) for own in _updates(case, start, step)]
    updated = {name for name in params if all(name in grads for grads in given)}
    if not updated:
        return
    whole = Case(
        name=f"{case.name}/update",
        dtype=case.dtype,
        params=params,
        grads=tuple(given),
        optimizer=case.optimizer,
        optimizer_state=state_before(case, trace, start),
        steps=len(given),
        structured=case.structured,
    )
    layers = {name.rpartition(".")[0] for name in updated}
    yield Part(update_of(whole, updated), {layer: layer for layer in layers})


def update_of(case: Case, names: Collection[str]) -> Case:
    """The case of an update, reduced to these parameters."""
    assert case.optimizer is not None

    def of_these(held: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value for name, value in held.items() if name in names}

    groups = tuple(
        {**group, "params": [name for name in group["params"] if name in names]} for group in case.optimizer.groups
    )
    return replace(
        case,
        params=of_these(case.params),
        grads=tuple(map(of_these, case.grads)),
        optimizer=replace(case.optimizer, groups=groups),
        optimizer_state={quantity: of_these(values) for quantity, values in case.optimizer_state.items()},
    )


def _grads(case: Case, trace: Trace, step: int, params: Mapping[str, Array]) -> dict[str, Array]:
    """The gradients with which a step's update was computed, by parameter, as far as the trace shows them."""
    grads = dict(at_step(case.grads, step)) if case.grads else {}
    for name in params:
        shown = trace.get(step, *_place(name, "grad"))
        if usable(shown, params[name]):
            grads[name] = shown
    return grads
