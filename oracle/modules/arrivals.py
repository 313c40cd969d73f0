"""Compares each gradient that arrives with the sum of the gradients that were passed on to it.

Every operation is judged by the gradients that it receives and passes on. Between two operations autograd adds these up, and at a
parameter it adds them to `grad`. A hook, or memory that is used again, can change them on the way, which no operation shows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from oracle.judging.rows import UNJUDGED, WRONG
from oracle.modules.calls import Node, dense
from oracle.modules.graph import Edge, edge_of, nodes_behind
from oracle.modules.passes import Passes
from oracle.modules.workers import on_one_thread
from oracle.subjects.torch import array
from oracle.wording.figures import figure

OVERWRITTEN = "the gradient that it passes on is overwritten before it arrives: its memory is used again"
HOOKED = "a hook on autograd's node changes the gradient that arrives here, which has no reference"
LATER = "a hook changes the gradient after it was added up, which has no reference"
NESTED = "a part of its gradient comes from a backward pass that other code runs, and was not recorded"
BEFORE = "it has a gradient before the backward pass starts, whose origin is not judged"


class Astray(NamedTuple):
    """A gradient that is not the sum of what was passed on: the node or the parameter at which this shows."""

    place: Node | str
    verdict: str
    reason: str


@dataclass
class _Sum:
    """The gradients that were passed on to one place.

    Attributes:
        total: a copy of their sum.
        only: the first one, in its own memory, until a second one is added to it; `giver`, the node that passed it on.
        is_finite: whether their numbers are.
        count, largest: their number and, of several, the sum of their largest numbers.
    """

    total: torch.Tensor
    only: torch.Tensor | None
    giver: Node | None
    is_finite: bool
    count: int = 1
    largest: float = 0.0

    @classmethod
    def of(cls, gradient: torch.Tensor, giver: Node | None) -> _Sum:
        only = dense(gradient)
        return cls(only.clone(), only, giver, _is_finite(only))

    def is_overwritten(self) -> bool:
        return self.only is not None and not _same(self.only, self.total)

    def add(self, gradient: torch.Tensor) -> None:
        share, before = dense(gradient), self.largest if self.count > 1 else _largest(self.total)
        self.total, self.only = self.total + share, None
        self.count, self.largest = self.count + 1, before + _largest(share)
        self.is_finite = self.is_finite and _is_finite(self.total)

    def is_total(self, gradient: torch.Tensor | None) -> bool:
        """Whether a gradient is this sum, in any order of summation: two orders of n terms differ by at most 2 (n - 1) u Σ|t|.

        A single term is not rounded.
        """
        if gradient is None:
            return False
        own = dense(gradient)
        if own.shape != self.total.shape or self.count == 1 or _same(own, self.total):
            return _same(own, self.total)
        rounding = self.count * self.largest * torch.finfo(own.dtype).eps
        return torch.allclose(own, self.total.to(own.dtype), rtol=0, atol=rounding, equal_nan=True)


class Arrivals:
    """Follows all gradients of a backward pass from the node that passes them on to the place where they arrive.

    Args:
        names: the names of parameters.
        is_judged: called with a parameter's name; tells whether the gradient that it gets in a nested backward pass is judged.
        passes: the backward passes that run.
    Attributes:
        astray: the gradients that differ from the sum of what was passed on.
        not_finite: the first node that passed on NaN or an infinity although all that arrived was finite.
    """

    def __init__(self, names: Mapping[torch.Tensor, str], is_judged: Callable[[str], bool], passes: Passes) -> None:
        self.names, self.is_judged, self.passes = names, is_judged, passes
        self.astray: list[Astray] = []
        self.not_finite: Node | None = None
        self._sums: dict[Edge, _Sum] = {}
        self._left: dict[torch.Tensor, tuple[int, float] | None] = {}
        self._hooks: list[Any] = []
        self._running: Node | None = None
        self._is_finite = True  # whether what arrived at the running node is
        self._arrived: _Sum | None = None  # at the leaf that is next, if it is what was passed on

    def watch(
        self,
        outputs: Sequence[torch.Tensor],
        upstream: Sequence[torch.Tensor | None],
        read: Iterable[torch.Tensor],
    ) -> None:
        """Follows the gradients of these outputs, after all hooks that are there already. Hooks of the tensors that were read are
        judged elsewhere."""
        self.astray += [Astray(name, UNJUDGED, BEFORE) for own, name in self.names.items() if own.grad is not None]
        hooked = {edge_of(own) for own in read if own._backward_hooks}
        for own, given in zip(outputs, upstream, strict=True):
            self._pass_on(edge_of(own), torch.ones_like(own) if given is None else given, None)
        for node in nodes_behind([node for node, _ in self._sums], leaves=True):
            parameter = getattr(node, "variable", None)
            self._hooks.append(node.register_prehook(on_one_thread(self._arriving(node, hooked))))
            if parameter is None:
                self._hooks.append(node.register_hook(on_one_thread(self._leaving(node))))
            elif parameter in self.names:
                self._accumulate(node, parameter)

    def _pass_on(self, edge: Edge, gradient: torch.Tensor, giver: Node | None) -> None:
        so_far = self._sums.get(edge)
        if so_far is None:
            self._sums[edge] = _Sum.of(gradient, giver)
            return
        if so_far.is_overwritten():
            self.astray.append(Astray(so_far.giver or edge[0], WRONG, OVERWRITTEN))
        so_far.add(gradient)

    def _leaving(self, node: Node) -> Callable[..., None]:
        edges = node.next_functions

        def hook(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
            for edge, gradient in zip(edges, gradients, strict=False):
                if gradient is not None and edge[0] is not None and not self.passes.is_inside:
                    self._pass_on(edge, gradient, node)
                    if self._is_finite and self.not_finite is None and not self._sums[edge].is_finite:
                        self.not_finite = node

        return hook

    def _arriving(self, node: Node, hooked: set[Edge]) -> Callable[..., None]:
        is_leaf = hasattr(node, "variable")

        def hook(gradients: tuple[torch.Tensor | None, ...]) -> None:
            self._arrived = None
            if self.passes.is_inside:
                return
            self._running, self._is_finite = node, True
            for number, gradient in enumerate(gradients):
                due = self._sums.pop((node, number), None)
                self._is_finite = self._is_finite and (due is None or due.is_finite)
                if due is None or (node, number) in hooked:
                    continue
                if due.is_total(gradient):
                    self._arrived = due if is_leaf else None
                    continue
                if due.is_overwritten():
                    self.astray.append(Astray(due.giver or node, WRONG, OVERWRITTEN))
                else:
                    self.astray.append(
                        Astray(self.names.get(node.variable, node) if is_leaf else node, UNJUDGED, HOOKED)
                    )

        return hook

    def _accumulate(self, node: Node, parameter: torch.Tensor) -> None:
        """Follows what is added to a parameter's `grad`, and whether it stays there."""
        name, adding = self.names[parameter], dict[int, _Sum]()
        self._left[parameter] = fingerprint(parameter.grad)

        def arriving(gradients: tuple[torch.Tensor | None, ...]) -> None:
            self._compare(parameter)
            if gradients[0] is None:
                return
            if self.passes.is_inside and (
                self._running is None
                or any(behind is node for behind, _ in self._running.next_functions)
                or not self.is_judged(name)
            ):
                self.astray.append(Astray(name, UNJUDGED, NESTED))
            due, self._arrived = self._arrived or _Sum.of(gradients[0], None), None
            if parameter.grad is not None:
                due.add(parameter.grad)
            due.only = None  # autograd may take its memory for `grad`
            adding[torch._C._current_graph_task_id()] = due

        def added(*_: Any) -> None:
            due = adding.pop(torch._C._current_graph_task_id(), None)
            is_known = parameter._post_accumulate_grad_hooks
            if due is not None and not is_known and not due.is_total(parameter.grad):
                self.astray.append(Astray(name, UNJUDGED, LATER))
            self._left[parameter] = fingerprint(parameter.grad)

        self._hooks += [node.register_prehook(on_one_thread(arriving)), node.register_hook(on_one_thread(added))]

    def _compare(self, parameter: torch.Tensor) -> None:
        """Compares what a parameter's `grad` holds with what was left in it."""
        now, before = fingerprint(parameter.grad), self._left[parameter]
        if (now and now[0]) == (before and before[0]):  # a norm may be NaN, which is equal to nothing
            return
        held, due = (f"a gradient of norm {figure(own[1])}" if own is not None else "none" for own in (now, before))
        said = (
            f"other code changes it during the backward pass: the parameter has {held}, where autograd had left {due}"
        )
        self.astray.append(Astray(self.names[parameter], WRONG, said))
        self._left[parameter] = now

    def close(self) -> None:
        """Compares what all parameters hold at the end of the backward pass."""
        for parameter in self.names:
            if parameter in self._left:
                self._compare(parameter)

    def release(self) -> None:
        """Releases autograd's graph, whose nodes hold these hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._sums.clear()
        self._left.clear()
        self.astray.clear()
        self._running = self._arrived = self.not_finite = None


def fingerprint(gradient: torch.Tensor | None) -> tuple[int, float] | None:
    """A checksum of a gradient's numbers, and their norm."""
    if gradient is None:
        return None
    own = dense(gradient)
    norm = torch.linalg.vector_norm(own, dtype=torch.promote_types(own.dtype, torch.float32))
    return zlib.crc32(np.ascontiguousarray(array(own)).reshape(-1).view(np.uint8).data), float(norm)


def _largest(gradient: torch.Tensor) -> float:
    """The largest magnitude among the numbers that are finite."""
    if not gradient.numel():
        return 0.0
    if not _is_finite(gradient):
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    return max(abs(float(gradient.amax())), abs(float(gradient.amin())))


def _is_finite(gradient: torch.Tensor) -> bool:
    # Unlike aminmax and isfinite, these need no memory, however the tensor is laid out.
    return not gradient.numel() or bool(gradient.amax().isfinite() & gradient.amin().isfinite())


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
