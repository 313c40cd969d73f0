"""Optimizers: the update rule as a pure function, and above it the class that holds parameter groups and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from refbp.layer import Array, Layer, Parameter

Params: TypeAlias = Layer | Iterable[Parameter | Layer] | Iterable[Mapping[str, Any]]


def sgd(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Array, Array | None]:
    """One step of stochastic gradient descent: the new parameter and the new momentum buffer (None without momentum).

        d = ±grad + weight_decay W                           (minus when maximizing)
        v ← momentum v + (1 - dampening) d                   (v ← d on the first step)
        W ← W - lr (d + momentum v  if nesterov, else v)

    With weight_decay=1 on the weights, 0 on the biases and no momentum this is eq. (6): its "+ W" is the decay.
    """
    d = -grad if maximize else grad
    if weight_decay:
        d = d + weight_decay * param
    if not momentum:
        return param - lr * d, None
    v = d if momentum_buffer is None else momentum * momentum_buffer + (1.0 - dampening) * d
    return param - lr * (d + momentum * v if nesterov else v), v


class Optimizer:
    """Parameter groups, each with its own options, and a state per parameter.

    Args:
        params: a Layer; an iterable of Parameters or Layers; or an iterable of groups, mappings with such a "params"
            and options of their own.
    Attributes:
        param_groups: a list of dicts: "params" (a list of Parameter) and every option.
        state: Parameter -> name -> array, filled by the first step.
    Raises: ValueError for no parameters, a parameter in two groups, or an unknown option.
    """

    def __init__(self, params: Params, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Parameter, dict[str, Any]] = {}
        entries = [params] if isinstance(params, Layer) else list(params)
        groups = entries if entries and isinstance(entries[0], Mapping) else [{"params": entries}]
        seen: set[Parameter] = set()
        for group in groups:
            self._add_group(group, seen)
        if not seen:
            raise ValueError(f"{type(self).__name__} expects at least one parameter, got none")

    def _add_group(self, group: Any, seen: set[Parameter]) -> None:
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ValueError(f"{name} expects each group as a mapping with 'params', got {group!r}")
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ValueError(f"{name} expects options {', '.join(self.defaults)}, got {', '.join(sorted(unknown))}")
        parameters = list(_parameters(group["params"], name))
        options = {**self.defaults, **group, "params": parameters}
        self.check_options(options)
        for parameter in parameters:
            if parameter in seen:
                raise ValueError(f"{name} expects each parameter once, got {parameter.name} in two places")
            seen.add(parameter)
        self.param_groups.append(options)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises: ValueError for options that make no sense; `options` is one group's."""
        for name, value in options.items():
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{type(self).__name__} expects {name} of at least 0, got {value}")

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.layer.grads[parameter.name] = parameter.grad * 0.0

    def step(self) -> None:
        """Update every parameter from its gradient."""
        for group in self.param_groups:
            options = {name: value for name, value in group.items() if name != "params"}
            for parameter in group["params"]:
                self.update(parameter, self.state.setdefault(parameter, {}), options)

    def update(self, parameter: Parameter, state: dict[str, Any], options: Mapping[str, Any]) -> None:
        raise TypeError(f"{type(self).__name__} defines no update")


def _parameters(params: Any, name: str) -> Iterable[Parameter]:
    for entry in [params] if isinstance(params, (Layer, Parameter)) else params:
        if isinstance(entry, Parameter):
            yield entry
        elif isinstance(entry, Layer):
            yield from entry.parameters()
        else:
            raise ValueError(f"{name} expects Layers or Parameters, got {type(entry).__name__}")


class SGD(Optimizer):
    """torch.optim.SGD: see `refbp.functional.sgd`. Raises: ValueError for nesterov without momentum or with dampening."""

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options({name: options[name] for name in ("lr", "momentum", "weight_decay")})
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ValueError(
                f"SGD expects a momentum and no dampening with nesterov, got momentum {options['momentum']} and "
                f"dampening {options['dampening']}"
            )

    def update(self, parameter: Parameter, state: dict[str, Any], options: Mapping[str, Any]) -> None:
        value, buffer = sgd(parameter.data, parameter.grad, state.get("momentum_buffer"), **options)
        if buffer is not None:
            state["momentum_buffer"] = buffer
        parameter.update(value)
