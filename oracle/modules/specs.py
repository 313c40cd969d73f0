"""Converts torch's modules, losses and optimizers to the specs of a case."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from oracle.case.case import CONTAINERS, Spec
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS, Undrawn

# Arguments that change no number, or that an instance no longer holds, since other attributes say the same.
LEFT_OUT = frozenset(
    {"dtype", "rng", "inplace", "return_indices", "init", "min_value", "max_value", "size_average", "reduce", "params"}
)
# The running statistics of a norm, beside its count of batches.
MOVING = ("running_mean", "running_var")


def layer_type(module: torch.nn.Module) -> str | None:
    """The name of the class of torch.nn that a module is or derives from; None if the reference lacks it."""
    return _known(type(module), "nn")


def class_name(made: type) -> str:
    """The name of a class for a report: with its module's path, unless it is one of torch.nn's or torch.optim's."""
    return made.__qualname__ if is_of_torch(made) else f"{made.__module__}.{made.__qualname__}"


def is_of_torch(made: type) -> bool:
    """Whether a class is one of torch.nn's or torch.optim's."""
    return made.__module__.startswith(("torch.nn.", "torch.optim."))


def loss_type(loss: Any) -> str | None:
    return _known(type(loss), "loss")


def optimizer_type(optimizer: torch.optim.Optimizer) -> str | None:
    return _known(type(optimizer), "optim")


def own_forward(module: torch.nn.Module, type: str) -> bool:
    """Whether a module overrides the forward of its class of torch.nn or is parametrized; its operations are then recorded."""
    made = module.__class__
    return (
        "forward" in vars(module)
        or made.forward is not getattr(torch.nn, type).forward
        or hasattr(module, "parametrizations")
    )


def _known(made: type, kind: str) -> str | None:
    """The nearest ancestor that the reference has."""
    known, namespace = {"nn": (LAYERS, torch.nn), "loss": (LOSSES, torch.nn), "optim": (OPTIMIZERS, torch.optim)}[kind]
    for ancestor in made.__mro__:
        name = ancestor.__name__
        if name in known and name not in CONTAINERS and getattr(namespace, name, None) is ancestor:
            return name
    return None


def layer_spec(module: torch.nn.Module, type: str) -> Spec:
    """The module's options, read from its attributes. Raises: AttributeError if its constructor did not set one."""
    return Spec(type, {name: _option(module, name) for name in _arguments(LAYERS[type])}, "layer")


def loss_spec(loss: torch.nn.Module, type: str) -> Spec:
    return Spec(type, {name: _option(loss, name) for name in _arguments(LOSSES[type])})


def takes(spec: Spec, output: torch.Tensor, targets: Sequence[torch.Tensor]) -> bool:
    """Whether the reference's loss takes targets of these shapes: it broadcasts none, unlike torch's."""
    if all(own.shape == output.shape for own in targets if own.is_floating_point()):
        return True
    blank = [
        np.zeros(tuple(own.shape), "float64" if own.is_floating_point() else "int64") for own in (output, *targets)
    ]
    try:
        LOSSES[spec.type](**dict(spec.options))(*blank)
    except ValueError:
        return False
    return True


def optimizer_spec(optimizer: torch.optim.Optimizer, type: str, names: Mapping[torch.Tensor, str]) -> Spec:
    """An optimizer's spec: its parameter groups with their current options, for parameters that have a name."""
    known = _arguments(OPTIMIZERS[type])
    groups = [
        {
            **{name: _plain(group[name]) for name in known if name in group},
            "params": [names[parameter] for parameter in group["params"] if parameter in names],
        }
        for group in optimizer.param_groups
    ]
    return Spec(type, {}, groups=tuple(group for group in groups if group["params"]))


@cache
def _arguments(made: type) -> tuple[str, ...]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(made).parameters.values()
    return tuple(p.name for p in parameters if p.kind in named and p.name not in LEFT_OUT)


def _option(module: torch.nn.Module, name: str) -> Any:
    if name == "bias":
        return module.bias is not None
    if name in ("affine", "elementwise_affine"):
        return module.weight is not None
    return _plain(getattr(module, name))


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return tuple(value) if isinstance(value, list) else value


def state_of(module: torch.nn.Module, spec: Spec) -> dict[str, torch.Tensor]:
    """The parameters and buffers that the reference's layer has, by short name, without those that a subclass adds."""
    values = {name: getattr(module, name) for name in _names(spec.type, tuple(spec.options.items()))}
    return {name: value for name, value in values.items() if value is not None}


def refusal(spec: Spec) -> str:
    """The reason why the reference does not take a layer's options; "" if it does."""
    try:
        _names(spec.type, tuple(spec.options.items()))
    except (ValueError, TypeError) as error:
        return f"the reference has no such {spec.type}: {error}"
    return ""


@cache
def _names(type: str, options: tuple[tuple[str, Any], ...]) -> tuple[str, ...]:
    """The names of the parameters and buffers of the reference's layer. Raises: ValueError, TypeError for other options."""
    made = LAYERS[type](**dict(options), rng=Undrawn("float64"))
    return (*made.params, *made.buffers)
