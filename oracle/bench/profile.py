"""The time of refbp's training step by class of layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oracle.bench.timing import Clock
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import Network, build_loss
from refbp.layer import Layer


class ClockedLayer(Layer):
    """Wraps a layer and adds the seconds of its forward and backward passes to the sum for its class."""

    def __init__(self, inner: Layer, seconds: dict[str, float], clock: Clock) -> None:
        super().__init__()
        self.inner, self.seconds, self.clock = inner, seconds, clock

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        begin = self.clock()
        output, inner_backward = self.inner.apply(input)
        self._add(begin)

        def backward(grad_output: Array) -> Array:
            begin = self.clock()
            grad_input = inner_backward(grad_output)
            self._add(begin)
            return grad_input

        return output, backward

    def _add(self, begin: float) -> None:
        kind = type(self.inner).__name__
        self.seconds[kind] = self.seconds.get(kind, 0.0) + self.clock() - begin


def by_kind(case: Case, passes: int, clock: Clock) -> dict[str, float]:
    """The seconds that refbp's forward and backward pass spends in layers of each class, the mean of several passes."""
    seconds: dict[str, float] = {}
    network = Network(case, lambda _, __, made: made if made.children else ClockedLayer(made, seconds, clock))
    network.load(np.copy)
    assert case.loss is not None
    loss = build_loss(case, case.loss)
    for number in range(passes + 1):
        if number == 1:
            seconds.clear()  # the first pass sets up what later ones share
        loss(network.root(case.inputs[0]), case.targets[0][0])
        network.root.backward(loss.backward())
    return {kind: total / passes for kind, total in seconds.items()}
