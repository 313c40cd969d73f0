"""A call of a leaf: its inputs and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from oracle.case.arrays import Array
from oracle.case.case import Spec

Node: TypeAlias = Any  # torch.autograd.graph.Node


class Slice(NamedTuple):
    """The position of a view in the memory of its base tensor."""

    base: torch.Size
    base_strides: tuple[int, ...]
    shape: torch.Size
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, view: torch.Tensor) -> Slice:
        base = view._base
        assert base is not None
        return cls(
            base.shape, base.stride(), view.shape, view.stride(), int(view.storage_offset() - base.storage_offset())
        )

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        laid = torch.empty_strided(self.base, self.base_strides, dtype=gradient.dtype, device=gradient.device)
        return laid.copy_(gradient).as_strided(self.shape, self.strides, self.offset)


@dataclass
class Call:
    """One call of a leaf.

    Attributes:
        layer: the dotted name of the leaf; "name#2" for its second call.
        kind: its class of torch.nn; for a leaf that cannot be judged, its own class.
        spec: its options; None if it cannot be judged, for the `reason`.
        given: its input, and its parameters and buffers by short name, as they were at the call; `device`, the kind of device
            that they are on.
        made: its results, by quantity.
        expected: the quantities that it must have.
        joined: whether its output is part of autograd's graph.
        learns: the names of its parameters that have a gradient.
        keeps: the norm of torch.nn that keeps statistics, for a class that derives from one and has its own forward.
        spoilt: "input" or "grad_output" if the call changed them unnoticed by autograd, although other code reads them.
    """

    layer: str
    kind: str
    spec: Spec | None
    reason: str = ""
    training: bool = True
    input: Array | None = None
    device: str = "cpu"
    state: dict[str, Array] = field(default_factory=dict)
    grad_output: Array | None = None
    made: dict[str, Array] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    joined: bool = False
    keeps: Spec | None = None
    spoilt: list[str] = field(default_factory=list)
    learns: list[str] = field(default_factory=list)
    # How autograd knows what went in, and how young its nodes were then.
    edges: dict[tuple[Node, int], tuple[str, Slice | None]] = field(default_factory=dict, repr=False)
    version: int = 0
    age: int = 0
    # The nodes with edges out of the call through which the backward pass has not gone yet.
    pending: int = 0

    @property
    def name(self) -> str:
        """The name of the leaf, without the number of the call."""
        return self.layer.partition("#")[0]

    def add_zeros(self) -> None:
        """Adds the gradients that autograd leaves out because they are zero."""
        for quantity in self.expected:
            if quantity not in self.made:
                name = quantity.partition(".")[2]
                like = self.state[name] if name else self.input
                assert like is not None
                self.made[quantity] = np.zeros_like(like)

    def release(self) -> None:
        """Replaces the recorded arrays, once they are judged, by zeros of the same shape and dtype that take no memory."""

        def light(array: Array) -> Array:
            return np.broadcast_to(np.zeros((), array.dtype), array.shape)

        self.input = None if self.input is None else light(self.input)
        self.grad_output = None if self.grad_output is None else light(self.grad_output)
        self.state = {name: light(value) for name, value in self.state.items()}
        self.made = {quantity: light(value) for quantity, value in self.made.items()}

    def refuse(self, reason: str) -> None:
        self.spec, self.reason = None, reason
