"""Classes with forward and backward as a subject: the walk of `oracle.subjects.walk` over layers that differentiate themselves.

`Classes` adapts a NumPy framework that keeps its own caches. It says how an object of each class is made from a layer's options
and parameters, and where the object holds its gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects.walk import Framework, Layer, Op, Optimizer, Options
from oracle.trace import Trace

Back: TypeAlias = Callable[[Array], list[tuple["Node", Array]]]
Arrays: TypeAlias = dict[str, Array]
# The quantities that are shown if none are declared: a loss of such a framework seldom has the gradient of its target.
SHOWN = ("output", "grad_output", "grad_input", "grad.weight", "grad.bias")


def _grads(made: Any) -> Mapping[str, Any]:
    return made.grads  # type: ignore[no-any-return]


def _buffers(made: Any) -> Mapping[str, Any]:
    return getattr(made, "buffers", {})


def _mask(made: Any) -> Any:
    return getattr(made, "mask", None)


@dataclass(frozen=True)
class Classes:
    """A framework of layers with `forward(x)` and `backward(grad_output)`, which returns the gradient of the input, and of losses
    with `forward(input, target)` and `backward()`, which returns that of the input, or a tuple of those of all arguments.

    Args:
        layers, losses: for each of torch's class names a function that makes an object of the framework from a `Layer` (options
            with all defaults, params, buffers, training, imposed_mask). It is called for each pass, with the current parameters.
        optimizer: a function from class name, options and initial state to a `walk.Optimizer` over arrays; None if updates are
            not judged.
        grads, buffers, mask: functions from an object to its parameters' gradients and its buffers, by torch's names, and to its
            dropout mask. By default they read the attributes of these names; a missing attribute means that there are none.
        profile: the subject's profile; by default it leaves out the gradients of a loss's targets.
    """

    name: str
    layers: Mapping[str, Callable[[Layer], Any]]
    losses: Mapping[str, Callable[[Layer], Any]] = field(default_factory=dict)
    optimizer: Callable[[str, Options, Mapping[str, Arrays]], Any] | None = None
    grads: Callable[[Any], Mapping[str, Any]] = _grads
    buffers: Callable[[Any], Mapping[str, Any]] = _buffers
    mask: Callable[[Any], Any] = _mask
    dtypes: tuple[str, ...] = ("float64", "float32")
    profile: Profile | None = None

    def __post_init__(self) -> None:
        if self.profile is None:
            shown = (*SHOWN, "buffer.*", "mask", *(("param.*",) if self.optimizer else ()))
            object.__setattr__(self, "profile", Profile(quantities=shown))

    def run(self, case: Case) -> Trace:
        """The trace of a case. Raises: Unsupported for anything that the framework lacks."""
        optimizer = self.optimizer
        alone: list[str] = []
        trace = Framework(
            self.name,
            array=Node,
            numpy=lambda node: node.value,
            gradient=_gradient,
            concatenate=_concatenated,
            layers={kind: self._layer(make) for kind, make in self.layers.items()},
            losses={kind: _loss(make, alone) for kind, make in self.losses.items()},
            optimizer=None if optimizer is None else lambda *given: _Update(optimizer, *given),
            dtypes=self.dtypes,
        ).run(case)
        kept = {
            key: own for key, own in trace.arrays.items() if not (alone and key.layer == "loss" and "." in key.quantity)
        }
        return Trace(kept)

    def _layer(self, make: Callable[[Layer], Any]) -> Op:
        def op(layer: Layer, x: Node) -> Node:
            params = {name: node.value.copy() for name, node in layer.params.items()}
            buffers = {name: node.value.copy() for name, node in layer.buffers.items()}
            made = make(replace(layer, params=params, buffers=buffers))
            value = np.asarray(made.forward(x.value))
            layer.buffers.update({name: Node(np.asarray(own)) for name, own in self.buffers(made).items()})
            mask = self.mask(made)
            layer.mask = None if mask is None else Node(np.asarray(mask))

            def back(grad_output: Array) -> list[tuple[Node, Array]]:
                grad_input, grads = made.backward(grad_output), self.grads(made)
                lacking = [name for name in layer.params if name not in grads]
                if lacking:
                    raise KeyError(f"{layer.type} has no gradient {lacking[0]!r} after its backward: {sorted(grads)}")
                own = [(node, np.asarray(grads[name])) for name, node in layer.params.items()]
                return [(x, np.asarray(grad_input)), *own]

            return Node(value, back)

        return op


def _loss(make: Callable[[Layer], Any], alone: list[str]) -> Op:
    """The op of a loss. If the loss returns the gradient of its input only, its name is added to `alone`; the gradients of its
    other arguments are then left out of the trace."""

    def op(layer: Layer, x: Node, *targets: Node) -> Node:
        made = make(layer)
        value = np.asarray(made.forward(x.value, *(target.value for target in targets)))

        def back(grad_output: Array) -> list[tuple[Node, Array]]:
            grads = made.backward()
            several = grads if isinstance(grads, tuple) else (grads,)
            alone.extend([layer.type] if len(several) == 1 else [])
            return [(node, np.asarray(grad) * grad_output) for node, grad in zip((x, *targets), several, strict=False)]

        return Node(value, back)

    return op


class Node:
    """A value, and the function from its gradient to the gradients of its arguments."""

    _numbers: Iterator[int] = itertools.count()

    def __init__(self, value: Array, back: Back = lambda grad: []) -> None:
        self.value, self.back, self.number = value, back, next(self._numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __add__(self, other: Node) -> Node:
        return Node(np.asarray(self.value + other.value), lambda grad: [(self, grad), (other, grad)])


def _concatenated(nodes: Sequence[Node], dim: int) -> Node:
    ends = np.cumsum([node.shape[dim] for node in nodes])[:-1]

    def back(grad: Array) -> list[tuple[Node, Array]]:
        return list(zip(nodes, np.split(grad, ends, axis=dim), strict=True))

    return Node(np.concatenate([node.value for node in nodes], axis=dim), back)


def _gradient(
    function: Callable[[dict[str, Node]], Node], leaves: dict[str, Node]
) -> Callable[[Node | None], dict[str, Node]]:
    value = function(leaves)

    def backward(upstream: Node | None) -> dict[str, Node]:
        """Propagates gradients through the nodes in reverse order of creation."""
        first = np.ones_like(value.value) if upstream is None else upstream.value
        waiting, grads = {value.number: value}, {value.number: first}
        while waiting:
            node = waiting.pop(max(waiting))
            for parent, grad in node.back(grads[node.number]):
                known = grads.get(parent.number)
                grads[parent.number] = grad if known is None else known + grad
                waiting[parent.number] = parent
        zeros = {name: np.zeros_like(leaf.value) for name, leaf in leaves.items()}
        return {name: Node(grads.get(leaf.number, zeros[name])) for name, leaf in leaves.items()}

    return backward


class _Update:
    """An optimizer over arrays, with the interface that the walk uses."""

    def __init__(
        self, make: Callable[[str, Options, Mapping[str, Arrays]], Optimizer], kind: str, options: Options, state: Any
    ) -> None:
        self.own = make(kind, options, {name: _values(held) for name, held in state.items()})

    def step(self, params: dict[str, Node], grads: dict[str, Node]) -> dict[str, Node]:
        return _nodes(self.own.step(_values(params), _values(grads)))

    def state(self) -> dict[str, dict[str, Node]]:
        return {name: _nodes(held) for name, held in self.own.state().items()}


def _values(nodes: Mapping[str, Node]) -> Arrays:
    return {name: node.value.copy() for name, node in nodes.items()}


def _nodes(values: Mapping[str, Any]) -> dict[str, Node]:
    return {name: Node(np.array(value)) for name, value in values.items()}
