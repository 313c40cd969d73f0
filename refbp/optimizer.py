"""The base of every optimizer: parameter groups, their options, a state per parameter, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from refbp.arrays import Array
from refbp.layer import Layer, Parameter

Params: TypeAlias = Layer | Parameter | Iterable[Parameter | Layer] | Iterable[Mapping[str, Any]]


class Optimizer:
    """The base of all optimizers: parameter groups, each with its own options, and a state per parameter.

    Args:
        params: a Layer or Parameter; an iterable of these; or an iterable of groups. A group is a mapping. Its entry "params" is
            a Layer, a Parameter or an iterable of these; its other entries are options of the group.
    Attributes:
        param_groups: a list of dicts: "params" (a list of Parameter) and every option. A new value takes effect in the next step.
        state: Parameter -> name -> array (an int for "step"), filled by the first step.
    Raises: ValueError for no parameters, a parameter that is given twice, an unknown option, or one out of range.
    Conventions: a parameter that no backward has reached has the gradient zero, and weight decay and momentum still change it.
        torch skips a parameter only while its gradient is None. Parameters keep their dtype.

    A subclass sets `rule`, its update rule, and `state_names`, the state that the rule takes and returns. The options are the
    arguments of its constructor.
    """

    rule: ClassVar[Callable[..., tuple[Any, ...]]]
    state_names: ClassVar[tuple[str, ...]]

    def __init__(self, params: Params, **defaults: Any) -> None:
        """params is a Layer or Parameter, an iterable of these, or an iterable of groups, mappings with "params" and options."""
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        self.check_options(defaults)
        entries: list[Any] = list(_several(params))
        for group in entries if entries and isinstance(entries[0], Mapping) else [{"params": entries}]:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            raise ValueError(f"{type(self).__name__} expects at least one parameter, got none")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group of parameters; options that it does not name have the constructor's values."""
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ValueError(f"{name} expects each group as a mapping with 'params', got {group!r}")
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(f"{name} expects options {', '.join(self.defaults)}, got {', '.join(sorted(unknown))}")
        options = {**self.defaults, **group, "params": list(_parameters(group["params"], name))}
        self.check_options(options)
        seen = {parameter for earlier in self.param_groups for parameter in earlier["params"]}
        for parameter in options["params"]:
            if parameter in seen:
                raise ValueError(f"{name} expects each parameter once, got {parameter.name} in two places")
            self.check_parameter(parameter)
            seen.add(parameter)
        self.param_groups.append(options)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises: ValueError for a beta outside [0, 1), or another number below zero; only a dampening may be negative."""
        for name, value in options.items():
            if name == "betas":
                if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
                    raise ValueError(f"{type(self).__name__} expects two betas from 0 to below 1, got {value}")
            elif name not in ("params", "dampening") and not all(
                number >= 0 for number in (value if isinstance(value, (tuple, list)) else [value])
            ):
                raise ValueError(f"{type(self).__name__} expects {name} of at least 0, got {value}")

    def check_parameter(self, parameter: Parameter) -> None:
        """Raises: ValueError for a parameter that the rule cannot update; most take any."""

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.zero_grad()

    def step(self) -> None:
        """Update every parameter from its gradient; each parameter's array is replaced by a new one."""
        for group in self.param_groups:
            # NumPy's own float64 would turn the result of a float32 parameter into float64.
            options = {n: v.item() if isinstance(v, np.generic) else v for n, v in group.items() if n != "params"}
            for parameter in group["params"]:
                state = self.state.setdefault(parameter, {})
                before = (state.get(name) for name in self.state_names)
                value, *after = type(self).rule(parameter.data, parameter.grad, *before, **options)
                state |= {n: v for n, v in zip(self.state_names, after, strict=True) if v is not None}
                parameter.update(value)


def _several(params: Any) -> Iterable[Any]:
    """The entries of `params`; a single Layer or Parameter is one entry, although both can be iterated over."""
    return params if isinstance(params, Iterable) and not isinstance(params, (Layer, Parameter)) else [params]


def _parameters(params: Any, name: str) -> Iterator[Parameter]:
    for entry in _several(params):
        if isinstance(entry, Parameter):
            yield entry
        elif isinstance(entry, Layer):
            yield from entry.parameters()
        else:
            raise ValueError(f"{name} expects Layers or Parameters, got {type(entry).__name__}")


def descent(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """d = ±grad + weight_decay W, minus when maximizing. The weight decay keeps its sign when maximizing."""
    d = -grad if maximize else grad
    return d + weight_decay * param if weight_decay else d
