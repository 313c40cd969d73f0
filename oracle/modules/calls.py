"""A call of a leaf: what it was given and what it made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch

from oracle.case.arrays import Array
from oracle.case.case import Spec

Node: TypeAlias = Any  # torch.autograd.graph.Node


class Slice(NamedTuple):
    """Where a view lies in the memory of the tensor behind it."""

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
        layer: the dotted name of the leaf; "name#2" where it is called a second time.
        kind: its class of torch.nn; of a leaf that cannot be judged its own class.
        spec: its options; None where it cannot be judged, and `reason` says why.
        given: what went in, parameters and buffers by short name as they were when it was called, and the input.
        made: by quantity what came out.
        expected: the quantities that it has to show.
        joined: whether its output is part of autograd's graph.
        learns: the names of its parameters that have a gradient.
        keeps: of a class that derives from a norm of torch.nn and has a forward of its own, that norm, if it keeps statistics.
        spoilt: of "input" and "grad_output" those that it changed behind autograd's back, though others read them too.
    """

    layer: str
    kind: str
    spec: Spec | None
    reason: str = ""
    training: bool = True
    input: Array | None = None
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

    @property
    def name(self) -> str:
        """The leaf's, whichever call it is."""
        return self.layer.partition("#")[0]

    def refuse(self, reason: str) -> None:
        self.spec, self.reason = None, reason
