"""The walk through a case's layers, containers, names and steps that adapters share.

An adapter is a `Framework`: it says how the library makes an array and differentiates a function, and which op implements which
class. The framework itself computes the gradients of each layer's input and output: a tap, an array of zeros, is added at both
places, and the whole network is differentiated with respect to the taps as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CHOOSING, CONSTANT_TARGETS, Case, Spec, at_step, loss_arguments
from oracle.case.names import BUFFERS, TRANSPOSE
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.execution.options import filled_options
from oracle.trace import Trace, Unsupported

# An array of the framework.
Tensor: TypeAlias = Any
Op: TypeAlias = Callable[..., Tensor]
Gradient: TypeAlias = Callable[[Tensor | None], dict[str, Tensor]]


class Options(dict[str, Any]):
    """The arguments of a class by name, including torch's defaults, with access to arguments that have a value per dimension."""

    @classmethod
    def of(cls, kind: Mapping[str, type], spec: Spec) -> Options:
        return cls(filled_options(kind, spec))

    def each(self, name: str, rank: int) -> tuple[int, ...]:
        """An argument, given as one number or one per dimension, as one per dimension."""
        value = self[name]
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank

    def refuse(self, who: str, **accepted: Any) -> None:
        """Raises: Unsupported for an option whose value is not the one that the framework supports."""
        for name, value in accepted.items():
            if self.get(name, value) != value:
                raise Unsupported(f"{who} has no {name}={self[name]!r}")


@dataclass
class Layer:
    """The layer that an op computes.

    Attributes:
        params, buffers: the layer's arrays by short name; an op that updates a buffer stores the new value there.
        make: converts a NumPy array to the framework's.
        mask: set by an op that drops elements to the mask of those kept, for the trace.
        imposed_mask: the case's mask.
    """

    type: str
    options: Options
    params: Mapping[str, Tensor]
    buffers: dict[str, Tensor]
    training: bool
    dtype: str
    make: Callable[[Array], Tensor]
    imposed_mask: Array | None = None
    mask: Tensor | None = None

    @property
    def rank(self) -> int:
        """The number of spatial dimensions, from the name of the class."""
        return int(self.type.rstrip("dD")[-1])

    def each(self, name: str) -> tuple[int, ...]:
        return self.options.each(name, self.rank)

    def tensor(self, option: str) -> Tensor:
        """An option that holds numbers, as an array of the framework; None stays None."""
        value = self.options[option]
        return None if value is None else self.make(np.asarray(value, self.dtype))

    @property
    def weight(self) -> Tensor:
        """The weight, or None for a layer without one; the bias likewise."""
        return self.params.get("weight")

    @property
    def bias(self) -> Tensor:
        return self.params.get("bias")


class Optimizer(Protocol):
    """A framework's optimizer over one parameter group."""

    def step(self, params: dict[str, Tensor], grads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Makes a step and returns the new parameters."""
        ...

    def state(self) -> dict[str, dict[str, Tensor]]:
        """The state by quantity and parameter."""
        ...


@dataclass(frozen=True)
class Framework:
    """A library, in the form that the walk needs.

    Args:
        array: converts a NumPy array to the library's, in the same memory layout if the library has layouts.
        numpy: converts it back, in the same dtype.
        gradient: takes a function of a dict of arrays and the dict. It returns the function's value, and a function from the
            value's gradient (None stands for 1, if the value is a scalar) to the gradient of every entry.
        concatenate: joins arrays along a dimension.
        layers, losses: the op of each class, called with a Layer and the input, or the loss's arguments.
        optimizer: a function from class name, options and initial state to an Optimizer; None if there are no updates.
        buffers: the short names of arrays that layers keep in addition to parameters.
        dtypes: the dtypes in which the library computes.
        seed: called before each pass, so that both passes draw the same random numbers.
        evaluate: for a lazy library, computes all arrays of a step at once.
    """

    name: str
    array: Callable[[Array], Tensor]
    numpy: Callable[[Tensor], Array]
    gradient: Callable[[Callable[[dict[str, Tensor]], Tensor], dict[str, Tensor]], Gradient]
    concatenate: Callable[[Sequence[Tensor], int], Tensor]
    layers: Mapping[str, Op]
    losses: Mapping[str, Op]
    optimizer: Callable[[str, Options, Mapping[str, Mapping[str, Tensor]]], Optimizer] | None = None
    buffers: tuple[str, ...] = BUFFERS
    dtypes: tuple[str, ...] = ("float64", "float32")
    seed: Callable[[], object] = lambda: None
    evaluate: Callable[[list[Tensor]], object] = lambda values: None

    def run(self, case: Case) -> Trace:
        """The trace of a case. Raises: Unsupported for a dtype, layer, loss or optimizer that the library lacks."""
        if case.dtype not in self.dtypes:
            raise Unsupported(f"{self.name} has no {case.dtype} here")
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Libraries that compute in NumPy would warn of NaN and infinities, which are results like any others.
            warnings.simplefilter("ignore", RuntimeWarning)
            return _Run(self, case).trace


@dataclass
class _Pass:
    """One pass through the network: the first records values, the second, with taps, is differentiated."""

    leaves: dict[str, Tensor]
    buffers: dict[str, Tensor]
    tapped: bool
    zeros: dict[str, Tensor] = field(default_factory=dict)
    finished: list[tuple[str, str]] = field(default_factory=list)


class _Run:
    """A case, step by step."""

    def __init__(self, framework: Framework, case: Case) -> None:
        self.framework, self.case, self.trace, self.step = framework, case, Trace(), 0
        shorts = {name: name.rpartition(".")[2] for name in case.params}
        self.added: dict[str, Tensor] = {}
        self.params = {n: framework.array(v) for n, v in case.params.items() if shorts[n] not in BUFFERS or case.grads}
        self.buffers = {n: framework.array(v) for n, v in case.params.items() if n not in self.params}
        self.owners: dict[str, Spec] = {}
        self.recorded: list[tuple[str, str, Tensor]] = []
        self.optimizers = list(self._optimizers())
        for self.step in range(case.steps):
            self._step()
            self._show()
            if case.optimizer is not None and not self.optimizers and case.since_update(self.step + 1) > self.step:
                break

    def _optimizers(self) -> Iterator[tuple[Optimizer, list[str]]]:
        """An optimizer for each parameter group, with the names of its parameters."""
        spec = self.case.optimizer
        if spec is None:
            return
        if self.framework.optimizer is None:
            if self.case.grads:
                raise Unsupported(f"{self.framework.name} has no optimizers")
            return
        for group in spec.groups or ({"params": list(self.params)},):
            names = list(group["params"])
            given = {key: value for key, value in group.items() if key != "params"}
            own = Options({**Options.of(OPTIMIZERS, spec), **given})
            state = {
                quantity: {name: self.framework.array(values[name]) for name in names if name in values}
                for quantity, values in self.case.optimizer_state.items()
            }
            yield self.framework.optimizer(spec.type, own, state), names

    def _record(self, layer: str, quantity: str, value: Tensor) -> None:
        self.recorded.append((layer, quantity, value))

    def _show(self) -> None:
        if not self.recorded:
            return
        self.framework.evaluate([value for *_, value in self.recorded])
        for layer, quantity, value in self.recorded:
            self.trace.record(self.step, layer, quantity, self.framework.numpy(value))
        self.recorded.clear()

    def _step(self) -> None:
        if self.case.grads:
            grads = {name: self.framework.array(value) for name, value in at_step(self.case.grads, self.step).items()}
        else:
            grads = self._forward_backward()
        for name, value in self.buffers.items():
            layer, _, short = name.rpartition(".")
            if short in self.framework.buffers:
                self._record(layer, f"buffer.{short}", value)
        self._show()  # before an optimizer that writes into its parameters
        if self.case.since_update(self.step + 1) <= self.step:
            return
        for optimizer, names in self.optimizers:
            updated = optimizer.step({n: self.params[n] for n in names}, {n: grads[n] for n in names})
            for quantity, values in optimizer.state().items():
                for name, value in values.items():
                    layer, _, short = name.rpartition(".")
                    self._record(layer, f"{quantity}.{short}", value)
            for name, value in updated.items():
                layer, _, short = name.rpartition(".")
                self._record(layer, f"param.{short}", value)
            self.params.update(updated)
        held = {name for _, names in self.optimizers for name in names}
        for name in self.params if held else ():
            if name not in held:  # frozen
                layer, _, short = name.rpartition(".")
                self._record(layer, f"param.{short}", self.params[name])

    def _forward_backward(self) -> dict[str, Tensor]:
        """Records a forward pass, then differentiates one with taps. Returns the parameters' gradients by full name."""
        make, case = self.framework.array, self.case
        upstream = make(at_step(case.grad_outputs, self.step)) if case.grad_outputs else None
        given = at_step(case.targets, self.step) if case.loss is not None else ()
        targets = {name: make(value) for name, value in zip(self._arguments(), given, strict=False)}
        learnt = {n for n, value in zip(targets, given, strict=True) if value.dtype.kind not in "biu"}
        leaves = {**self.params, "input": make(at_step(case.inputs, self.step))}
        leaves |= {f"target {name}": targets.pop(name) for name in sorted(learnt)}
        recorded, before = _Pass(leaves, dict(self.buffers), tapped=False), self.buffers
        self.framework.seed()
        self._network(recorded, targets)
        self.buffers = recorded.buffers
        if case.loss is None and upstream is None:
            return {}

        def network(leaves: dict[str, Tensor]) -> Tensor:
            return self._network(_Pass(leaves, dict(before), tapped=True), targets)

        self.framework.seed()
        grads = self._added(self.framework.gradient(network, {**leaves, **recorded.zeros})(upstream))
        if case.loss is not None:
            self._record("loss", "grad_input", grads[self._tap_name("loss")])
            for name in sorted(learnt) if case.loss.type not in CONSTANT_TARGETS else ():
                if (case.loss.type, name) not in CHOOSING:
                    self._record("loss", f"grad.{name}", grads[f"target {name}"])
        for name, owner in reversed(recorded.finished):
            self._record(name, "grad_output", grads[f"out {name}"])
            self._record(name, "grad_input", grads[self._tap_name(name)])
            for short in short_names(owner, self.params):
                self._record(owner, f"grad.{short}", grads[f"{owner}.{short}"])
        return grads

    def _added(self, grads: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters' gradients, added to those of earlier steps if several steps add up before an update."""
        if self.case.since_update(self.step) == self.step:
            self.added = {name: grads[name] for name in self.params}
        else:
            self.added = {name: so_far + grads[name] for name, so_far in self.added.items()}
        return {**grads, **self.added}

    def _arguments(self) -> tuple[str, ...]:
        return loss_arguments(self.case.loss.type) if self.case.loss is not None else ()

    def _network(self, now: _Pass, targets: Mapping[str, Tensor]) -> Tensor:
        x, spec = self._sequence(now, self.case.layers, "", now.leaves["input"]), self.case.loss
        if spec is None:
            return x
        given = self._tap(now, "loss", x)
        arguments = [targets[n] if n in targets else now.leaves[f"target {n}"] for n in self._arguments()]
        layer = Layer(
            spec.type, Options.of(LOSSES, spec), {}, {}, self.case.training, self.case.dtype, self.framework.array
        )
        value = self._op(self.framework.losses, spec)(layer, given, *arguments)
        if not now.tapped:
            self._record("loss", "output", value)
        return value

    def _sequence(self, now: _Pass, layers: tuple[Spec, ...], prefix: str, x: Tensor) -> Tensor:
        for index, spec in enumerate(layers):
            x = self._layer(now, f"{prefix}{spec.name or index}", spec, x)
        return x

    def _tap_name(self, name: str) -> str:
        """A layer's tap. The first layer receives the input itself, since a sum with zeros has another memory layout."""
        first = self.case.layers[0].name or "0" if self.case.layers else "loss"
        return "input" if name == first else f"in {name}"

    def _tap(self, now: _Pass, name: str, x: Tensor) -> Tensor:
        tap = self._tap_name(name)
        given = x if tap == "input" else self._tapped(now, tap, x)
        if not now.tapped:
            self._record(name, "input", given)
        return given

    def _tapped(self, now: _Pass, tap: str, x: Tensor) -> Tensor:
        """The value plus its tap. The recorded pass adds zeros as well, so that both passes compute with the same numbers in the
        same memory layout, and a library that compiles them finds the same graph."""
        if now.tapped:
            return x + now.leaves[tap]
        now.zeros[tap] = self.framework.array(np.zeros(tuple(x.shape), self.case.dtype))
        return x + now.zeros[tap]

    def _layer(self, now: _Pass, name: str, spec: Spec, x: Tensor) -> Tensor:
        given = self._tap(now, name, x)
        owner = spec.same_as or name
        if spec.type == "Sequential":
            made = self._sequence(now, spec.layers, f"{name}.", given)
        elif spec.type == "Residual":
            parts = [self._sequence(now, (child,), f"{name}.", given) for child in spec.layers]
            made = parts[0] + (parts[1] if len(parts) > 1 else given)
        elif spec.type == "Concat":
            parts = [self._layer(now, f"{name}.{child.name or i}", child, given) for i, child in enumerate(spec.layers)]
            made = self.framework.concatenate(parts, int(spec.options.get("dim", 1)))
        else:
            made = self._leaf(now, name, spec, given)
        made = self._tapped(now, f"out {name}", made)
        if not now.tapped:
            self._record(name, "output", made)
            now.finished.append((name, owner))
        return made

    def _leaf(self, now: _Pass, name: str, spec: Spec, x: Tensor) -> Tensor:
        owner, transposed = spec.same_as or name, spec.type == TRANSPOSE
        spec = self.owners.setdefault(owner, spec)
        params = {short: now.leaves[f"{owner}.{short}"] for short in short_names(owner, self.params)}
        layer = Layer(
            spec.type,
            Options.of(LAYERS, spec),
            {"weight": params["weight"].T} if transposed else params,
            {short: now.buffers[f"{owner}.{short}"] for short in short_names(owner, self.buffers)},
            self.case.training,
            self.case.dtype,
            self.framework.array,
            self.case.masks.get(name),
        )
        made = self._op(self.framework.layers, spec)(layer, x)
        now.buffers |= {f"{owner}.{short}": value for short, value in layer.buffers.items()}
        if layer.mask is not None and not now.tapped:
            self._record(name, "mask", layer.mask)
        return made

    def _op(self, known: Mapping[str, Op], spec: Spec) -> Op:
        if spec.type not in known:
            raise Unsupported(f"{self.framework.name} has no {spec.type}")
        return known[spec.type]


def short_names(layer: str, values: Mapping[str, Tensor]) -> list[str]:
    """The entries of a layer by short name."""
    return [name.rpartition(".")[2] for name in values if name.rpartition(".")[0] == layer]
