"""Records an optimizer's step: what goes into it, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import torch

from oracle.case.arrays import Array, are_equal
from oracle.case.names import quantity_of
from oracle.execution.network import OPTIMIZERS
from oracle.modules.as_parts import Update
from oracle.modules.calls import taken
from oracle.modules.sampled.draws import Draw, Shape
from oracle.modules.specs import optimizer_spec


def followed(
    optimizer: torch.optim.Optimizer,
    kind: str,
    held: list[torch.Tensor],
    names: Mapping[torch.Tensor, str],
    draws: dict[str, tuple[Shape, Draw]],
) -> Update:
    """Makes an optimizer's step, and records it as it is between the user's hooks before it and those after it.

    kind: the class of torch.optim.
    held: the parameters that it holds, whose names are in `names`.
    draws: the elements that are drawn of large parameters.
    """
    recorded: list[Update] = []

    def begin(*_: Any) -> None:
        recorded.append(_before(optimizer, kind, held, names, draws))

    def end(*_: Any) -> None:
        _after(optimizer, recorded[-1], held, names)

    inner: list[Update] = []

    def begin_inner() -> None:
        inner.append(_before(optimizer, kind, held, names, draws))

    def end_inner() -> None:
        _after(optimizer, inner[-1], held, names)

    begin()
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    with (
        _innermost(optimizer, begin, end) if hooked else nullcontext(),
        _step_of_class(optimizer, getattr(torch.optim, kind), begin_inner, end_inner),
    ):
        optimizer.step()
    if not recorded[-1].made:
        end()
    made = inner[0] if len(inner) == 1 and _differs_by_gradients(recorded[-1], inner[0]) else recorded[-1]
    first = recorded[0].grads
    changed = (name for name, own in made.grads.items() if name not in first or not are_equal(own, first[name]))
    return replace(made, changed_gradients=tuple(changed))


def _before(
    optimizer: torch.optim.Optimizer,
    kind: str,
    held: list[torch.Tensor],
    names: Mapping[torch.Tensor, str],
    draws: dict[str, tuple[Shape, Draw]],
) -> Update:
    """The inputs of an update."""
    update = Update(optimizer_spec(optimizer, kind, names), {}, {}, {}, draws=draws)
    for own in held:
        name = names[own]
        drawn = update.drawn(name)
        update.params[name] = taken(drawn, own)
        if own.grad is not None:
            update.grads[name] = taken(drawn, own.grad)
        for quantity, value in _state(optimizer, kind, own, drawn).items():
            update.state.setdefault(quantity, {})[name] = value
    return update


def _after(
    optimizer: torch.optim.Optimizer, update: Update, held: Sequence[torch.Tensor], names: Mapping[torch.Tensor, str]
) -> None:
    """Records the results of an update."""
    for own in held:
        layer, _, short = names[own].rpartition(".")
        drawn = update.drawn(names[own])
        shown = {
            f"{quantity}.{short}": value for quantity, value in _state(optimizer, update.spec.type, own, drawn).items()
        }
        shown[f"param.{short}"] = taken(drawn, own)
        update.made.update({(layer, quantity): value for quantity, value in shown.items()})


@contextmanager
def _innermost(
    optimizer: torch.optim.Optimizer, begin: Callable[..., None], end: Callable[..., None]
) -> Iterator[None]:
    """A context in which a step calls `begin` after all other hooks before it, and `end` before all other hooks after it."""
    before, after = optimizer.register_step_pre_hook(begin), optimizer.register_step_post_hook(end)
    hooks: Any = optimizer._optimizer_step_post_hooks
    hooks.move_to_end(after.id, last=False)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _step_of_class(
    optimizer: torch.optim.Optimizer, base: Any, begin: Callable[[], None], end: Callable[[], None]
) -> Iterator[None]:
    """A context in which the step of torch's class calls these around itself, if it is called by the step of a derived class."""
    if type(optimizer) is base:
        yield
        return
    plain = base.step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self is not optimizer:
            return plain(self, *args, **kwargs)
        begin()
        made = plain(self, *args, **kwargs)
        end()
        return made

    with mock.patch.object(
        base, "step", step
    ):  # afterwards a class that inherits its step, as AdamW does, inherits it again
        yield


def _differs_by_gradients(whole: Update, inner: Update) -> bool:
    """Whether a derived class changes only gradients before it calls the step of torch's class, as clipping does, and nothing
    after it."""

    def same(one: Mapping[Any, Array], other: Mapping[Any, Array]) -> bool:
        return one.keys() == other.keys() and all(are_equal(own, other[key]) for key, own in one.items())

    starts_alike = same(whole.params, inner.params) and whole.state.keys() == inner.state.keys()
    starts_alike = starts_alike and all(same(own, inner.state[name]) for name, own in whole.state.items())
    return starts_alike and whole.spec == inner.spec and same(whole.made, inner.made)


def _state(optimizer: torch.optim.Optimizer, kind: str, parameter: torch.Tensor, drawn: Draw) -> dict[str, Array]:
    """An optimizer's state by name, without what a class derived from torch's keeps beside it. Scalars in it have torch's default
    dtype, whatever the parameter's; counts are unchanged."""
    state: dict[str, Array] = {}
    known = {"step", *OPTIMIZERS[kind].state_names}  # type: ignore[attr-defined]
    for name, value in optimizer.state.get(parameter, {}).items():
        if value is not None and name in known:
            kept = torch.as_tensor(value)
            number = kept.ndim == 0 and kept.is_floating_point() and name != "step"
            kept = kept.to(parameter.dtype) if number else kept
            state[quantity_of(name)] = taken(drawn if kept.shape == parameter.shape else Draw(), kept)
    return state
