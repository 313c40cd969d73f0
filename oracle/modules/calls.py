"""A call of a leaf: its inputs and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from oracle.case.arrays import Array, are_equal
from oracle.case.case import Spec
from oracle.modules.sampled.draws import Draw, Take
from oracle.modules.sampled.plans import SmallerLayer
from oracle.subjects.torch import array, as_real

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
        input, state: its input, and its parameters and buffers by short name, as they were at the call.
        device: the kind of device that they are on.
        grad_output: the upstream gradient.
        made: the results of the call, by quantity.
        expected: the quantities that it must have.
        joined: whether its output is part of autograd's graph.
        behind: whether the module's outputs depend on its output. If not, its gradients arise inside the backward pass, for
            instance in a hook, and some may be missing.
        learns: the names of its parameters that have a gradient.
        keeps: the norm of torch.nn that keeps statistics, for a class that derives from one and has its own forward.
        spoilt: "input" or "grad_output", whichever the call changed without autograd's notice while other code reads it.
        parts: if elements of it are drawn, the smaller calls that hold them; its own arrays then hold no numbers.
        draws: of each quantity, the elements that are drawn.
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
    behind: bool = True
    keeps: Spec | None = None
    spoilt: list[str] = field(default_factory=list)
    learns: list[str] = field(default_factory=list)
    parts: list[CallPart] = field(default_factory=list, repr=False)
    draws: Mapping[str, Draw] = field(default_factory=dict, repr=False)
    # Its input and state in autograd's graph: their edges, the version of the input, and the age of the graph at the call.
    edges: dict[tuple[Node, int], tuple[str, Slice | None]] = field(default_factory=dict, repr=False)
    version: int | None = 0
    # Whether the module has full backward hooks, whose node lies between the input and the layer.
    hooked: bool = False
    age: int = 0
    # The number of nodes with edges out of the call that the backward pass has not reached.
    pending: int = 0

    @property
    def name(self) -> str:
        """The name of the leaf, without the number of the call."""
        return self.layer.partition("#")[0]

    def cut(self, plans: Sequence[SmallerLayer], given: torch.Tensor, state: Mapping[str, torch.Tensor]) -> None:
        """Records only the parts of an input and of a state that the plans need."""
        self.input = blank_of(given)
        self.state = {name: blank_of(value) for name, value in state.items()}
        self.draws = {quantity: own for plan in plans for quantity, own in plan.draws.items()}
        for plan in plans:
            small = Call(self.layer, self.kind, plan.spec, training=self.training, device=self.device)
            small.input = taken(plan.takes["input"], given)
            small.state = {
                name: taken(plan.takes[name], value) if name in plan.takes else copy_of(value)
                for name, value in state.items()
            }
            self.parts.append(CallPart(plan, small))

    def add(self, quantity: str, tensor: torch.Tensor) -> None:
        """Adds a share of a result."""
        if not self.parts:
            self.made[quantity] = with_share(self.made.get(quantity), copy_of(tensor))
            return
        if quantity in self.draws and not self.draws[quantity].fits(tuple(tensor.shape)):
            self.refuse(f"its {quantity} has the shape {tuple(tensor.shape)}, from which nothing was drawn")
        self.made[quantity] = blank_of(tensor)
        for part in self.parts if self.spec is not None else []:
            if quantity in part.plan.draws:
                share, before = taken(part.plan.draws[quantity], tensor), part.call.made.get(quantity)
                part.call.made[quantity] = with_share(before, share)

    def arrive(self, gradient: torch.Tensor) -> None:
        """Takes the upstream gradient."""
        if not self.parts:
            self.grad_output = copy_of(gradient)
            return
        self.grad_output = blank_of(gradient)
        for part in self.parts:
            if "grad_output" in part.plan.takes:
                part.call.grad_output = taken(part.plan.takes["grad_output"], gradient)

    def holds(self, name: str, tensor: torch.Tensor) -> bool:
        """Whether a tensor still has the recorded values. If only parts of it were recorded, one of them is compared."""
        for part in self.parts:
            if name in part.plan.takes:
                before = part.call.input if name == "input" else part.call.grad_output
                return before is None or are_equal(taken(part.plan.takes[name], tensor), before)
        before = self.input if name == "input" else self.grad_output
        return before is None or bool(self.parts) or are_equal(array(dense(tensor)), before)

    def small_calls(self) -> list[Call]:
        """The smaller calls that stand for this one."""
        for part in self.parts:
            part.call.expected = [own for own in self.expected if own in part.plan.draws]
        return [part.call for part in self.parts]

    def forget(self) -> None:
        """Drops all gradients: only the forward pass is judged. Later ones are not taken."""
        self.expected = [own for own in self.expected if not own.startswith("grad")]
        for call in (self, *(part.call for part in self.parts)):
            call.grad_output = None
            call.made = {quantity: own for quantity, own in call.made.items() if not quantity.startswith("grad")}

    def add_zeros(self) -> None:
        """Adds the gradients that autograd leaves out because they are zero."""
        for call in self.small_calls():
            call.add_zeros()
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

        self.parts = []
        self.input = None if self.input is None else light(self.input)
        self.grad_output = None if self.grad_output is None else light(self.grad_output)
        self.state = {name: light(value) for name, value in self.state.items()}
        self.made = {quantity: light(value) for quantity, value in self.made.items()}

    def refuse(self, reason: str) -> None:
        self.spec, self.reason, self.parts, self.draws = None, reason, [], {}


@dataclass
class CallPart:
    """A smaller call of the same layer."""

    plan: SmallerLayer
    call: Call


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, with the zeros of a sparse one, such as an embedding's gradient; of a nested one all numbers in a row, of a
    complex one real and imaginary parts in a last dimension."""
    if tensor.is_nested:
        return torch.cat([own.reshape(-1) for own in tensor.detach().unbind()])
    return as_real(tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense())


def copy_of(tensor: torch.Tensor) -> Array:
    """A copy of a tensor's values."""
    return np.array(array(dense(tensor)))


def with_share(so_far: Array | None, share: Array) -> Array:
    """The sum of a gradient and another share of it. Infinities of both signs add up to NaN, as in autograd."""
    with np.errstate(all="ignore"):
        return share if so_far is None else so_far + share


def taken(take: Take, tensor: torch.Tensor) -> Array:
    """A copy of a part of a tensor. The whole is not copied."""
    return np.array(array(take.of(dense(tensor))))


def blank_of(tensor: torch.Tensor) -> Array:
    """An array of the tensor's shape and dtype without its numbers, which takes no memory."""
    return np.broadcast_to(np.zeros((), array(torch.empty(0, dtype=tensor.dtype)).dtype), tuple(tensor.shape))
