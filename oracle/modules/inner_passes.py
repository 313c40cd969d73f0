"""Records what custom autograd.Functions receive and pass on where the module differentiates itself in its forward pass."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import GradientEdge

from oracle.case.arrays import Array
from oracle.modules.calls import Node, copy_of
from oracle.modules.graph import Edge, is_ours, nodes_behind
from oracle.modules.operations import Operation
from oracle.modules.sampled.operations import parts_of
from oracle.modules.sampled.sampler import Sampler


@dataclass
class Twice:
    """The gradients that a Function passed on, differentiated once more with respect to its inputs.

    Attributes:
        along: by edge, the gradient of these gradients with which the second pass starts.
        found: the results of the second pass, by edge.
    """

    along: dict[int, Array]
    found: dict[int, Array]


@dataclass
class _Pass:
    """A run of a Function's backward.

    Attributes:
        edges: the Function's edges; one that occurs several times counts at its first place.
        asked: the edges over which a gradient was asked for.
        upstream, gradients: copies of the gradients that arrived and that were passed on.
        graph: these gradients as a part of autograd's graph, until the pass has ended.
        is_differentiated: whether they are a part of it (create_graph=True).
        twice: their derivative; None if there is none.
    """

    edges: dict[int, Edge]
    asked: frozenset[int]
    upstream: dict[int, torch.Tensor]
    gradients: dict[int, torch.Tensor]
    graph: tuple[list[torch.Tensor], dict[int, torch.Tensor]] | None
    is_differentiated: bool
    twice: Twice | None = None


class InnerPasses:
    """Follows the backward passes that run while the module's forward pass runs.

    Attributes:
        passes: the passes through each Function's node, in order; those that `add` was called with are taken out.
        operations: the Functions with the gradients of a pass, and the derivative of these; filled by `add`.
    """

    def __init__(self) -> None:
        self.passes: dict[Node, list[_Pass]] = {}
        self.operations: list[tuple[Operation, bool, Twice | None]] = []
        self._is_open = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, backward passes are followed."""
        run = torch.autograd._engine_run_backward  # type: ignore[attr-defined]

        def following(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_open:
                return run(outputs, *args, **kwargs)
            self._is_open, made = True, list[tuple[Node, _Pass]]()
            roots = [own.grad_fn if torch.is_tensor(own) else own.node for own in outputs]
            nodes = nodes_behind(own for own in roots if own is not None)
            hooks = [hook for node in nodes if _is_custom(node) for hook in _recording(node, made)]
            try:
                found = run(outputs, *args, **kwargs)
                for hook in hooks:
                    hook.remove()
                with torch.utils._python_dispatch._disable_current_modes():
                    for node, own in made:
                        _differentiate(own)
                        self.passes.setdefault(node, []).append(own)
                return found
            finally:
                self._is_open = False
                for hook in hooks:
                    hook.remove()

        torch.autograd._engine_run_backward = following  # type: ignore[attr-defined, assignment]
        try:
            yield
        finally:
            torch.autograd._engine_run_backward = run  # type: ignore[attr-defined]

    def add(self, node: Node, operation: Operation, sampler: Sampler | None) -> None:
        """Adds the operations of a node that ran in such passes, each as this one with the gradients of the pass."""
        for number, own in enumerate(self.passes.pop(node, ()), 1):
            layer = f"{operation.layer}.inner" + (f"#{number}" if number > 1 else "")
            inner = replace(
                operation, layer=layer, names=dict.fromkeys(operation.names, ""), hidden={}, upstream={}, gradients={}
            )
            inner.sizes, inner.dtypes, inner.parts = dict(inner.sizes), dict(inner.dtypes), []
            inner.judged_edges = own.asked
            if sampler is not None:
                inner.parts = parts_of(inner, sampler)
                for part in inner.parts:
                    edges = part.operation.judged_edges
                    part.operation.judged_edges = own.asked if edges is None else edges & own.asked
            inner.arrive(own.upstream)
            for edge, gradient in own.gradients.items():
                inner.add(edge, gradient)
            self.operations.append((inner, own.is_differentiated, own.twice))

    def release(self) -> None:
        """Releases autograd's graph."""
        self.passes.clear()
        self.operations.clear()


def _is_custom(node: Node) -> bool:
    cls = getattr(node, "_forward_cls", None)
    return cls is not None and not is_ours(node) and not cls.__module__.startswith("torch.")


def _recording(node: Node, made: list[tuple[Node, _Pass]]) -> Iterator[Any]:
    """Hooks that record the passes through a node."""
    first: dict[Edge, int] = {}
    places = [first.setdefault(edge, place) for place, edge in enumerate(node.next_functions)]
    edges = {place: edge for edge, place in first.items() if edge[0] is not None}
    arrived: list[dict[int, torch.Tensor]] = []

    def arriving(gradients: tuple[torch.Tensor | None, ...]) -> None:
        arrived.append({number: own for number, own in enumerate(gradients) if own is not None})

    def leaving(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
        given, passed = arrived.pop(), dict[int, torch.Tensor]()
        with torch.utils._python_dispatch._disable_current_modes():
            for place, gradient in zip(places, gradients, strict=False):
                if gradient is not None and place in edges:
                    passed[place] = passed[place] + gradient if place in passed else gradient
            own = _Pass(
                edges,
                frozenset(place for place, edge in edges.items() if torch._C._will_engine_execute_node(edge[0])),
                {number: tensor.detach().clone() for number, tensor in given.items()},
                {place: tensor.detach().clone() for place, tensor in passed.items()},
                (list(given.values()), passed) if torch.is_grad_enabled() else None,
                torch.is_grad_enabled(),
            )
        made.append((node, own))

    yield node.register_prehook(arriving)
    yield node.register_hook(leaving)


def _differentiate(own: _Pass) -> None:
    """Differentiates what a pass has passed on, if it is a part of the graph."""
    if own.graph is None:
        return
    (given, passed), own.graph = own.graph, None
    if not _are_independent(own.edges.values()) or any(tensor.is_complex() for tensor in [*given, *passed.values()]):
        return
    draw = np.random.default_rng(zlib.crc32(b"twice"))
    along = {
        place: torch.from_numpy(draw.standard_normal(tuple(tensor.shape))).to(tensor)
        for place, tensor in passed.items()
    }
    ends = [GradientEdge(*edge) for edge in own.edges.values()]
    try:
        joined = [place for place, tensor in passed.items() if tensor.requires_grad]
        between = [tensor for tensor in given if tensor.requires_grad]
        found = _gradients([passed[place] for place in joined], [*ends, *between], [along[place] for place in joined])
        # Without the way through the upstream gradients, which may depend on the inputs too.
        reached = [
            (tensor, slope) for tensor, slope in zip(between, found[len(ends) :], strict=True) if slope is not None
        ]
        beside = _gradients([tensor for tensor, _ in reached], ends, [slope for _, slope in reached])
    except RuntimeError:  # such as of a backward that can be differentiated only once
        return
    slopes = dict[int, Array]()
    for place, total, part in zip(own.edges, found, beside, strict=False):
        if total is not None:
            slopes[place] = copy_of(total if part is None else total - part)
    own.twice = Twice({place: copy_of(tensor) for place, tensor in along.items()}, slopes)


def _gradients(
    outputs: list[torch.Tensor], ends: Sequence[Any], upstream: list[torch.Tensor]
) -> Sequence[torch.Tensor | None]:
    if not outputs:
        return [None] * len(ends)
    return torch.autograd.grad(outputs, ends, upstream, retain_graph=True, allow_unused=True)


def _are_independent(edges: Iterable[Edge]) -> bool:
    """Whether none of these is computed from another."""
    nodes = {node for node, _ in edges}
    return not any(
        nodes & nodes_behind((behind for behind, _ in node.next_functions if behind is not None), leaves=True)
        for node in (nodes if len(nodes) > 1 else ())
    )
