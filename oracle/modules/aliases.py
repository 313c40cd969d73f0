"""What is known of tensors that no recorded call reads, because a subclass of tensors hands them on.

`as_subclass`, and each call with a subclass, hands its result on over a node of autograd for which there is no ATen call. The
tensor before such a node has the same numbers as the one behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oracle.modules.calls import Node
from oracle.modules.graph import Edge, age_of
from oracle.programs.program import Snapshot


def held_at(edge: Edge, edges: Mapping[Edge, tuple[Snapshot, int]], leaves: Mapping[int, Snapshot]) -> Snapshot | None:
    """What was recorded of the tensor on an edge, which may be a leaf."""
    variable = getattr(edge[0], "variable", None)
    return leaves.get(id(variable)) if variable is not None else edges.get(edge, (None,))[0]


def hand_on(nodes: Iterable[Node], edges: dict[Edge, tuple[Snapshot, int]], leaves: Mapping[int, Snapshot]) -> None:
    """Takes the tensor on one side of such a node for the other where only one of them is known."""
    aliases = sorted((own for own in nodes if own.name() == "AliasBackward0"), key=age_of)
    for node in reversed(aliases):
        before = node.next_functions[0]
        if (node, 0) in edges and before[0] is not None and held_at(before, edges, leaves) is None:
            edges[before] = edges[node, 0]
    last = max((number for _, number in edges.values()), default=0)
    for node in aliases:
        before = node.next_functions[0]
        if (node, 0) not in edges and before[0] is not None:
            held = held_at(before, edges, leaves)
            if held is not None:
                edges[node, 0] = held, edges.get(before, (held, last))[1]
