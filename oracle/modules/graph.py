"""Access to a module's autograd graph, and whether torch.compile made it."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch.autograd.graph import get_gradient_edge

from oracle.modules.calls import Node

Edge: TypeAlias = tuple[Node, int]

# The age of nodes that add a gradient to a leaf tensor; they belong to no call.
AGELESS = 2**63


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether a part of the module is compiled by torch.compile."""
    compiler = sys.modules.get("torch._dynamo")
    if compiler is None:
        return False
    return any(
        isinstance(own, compiler.OptimizedModule) or own._compiled_call_impl is not None for own in module.modules()
    )


def nodes_behind(nodes: Iterable[Node], leaves: bool = False) -> set[Node]:
    """These nodes and all that they lead to; nodes that accumulate a leaf's gradient only if asked for."""
    waiting = list(nodes)
    found = set(waiting)
    while waiting:
        for behind, _ in waiting.pop().next_functions:
            if behind is not None and behind not in found and (leaves or not hasattr(behind, "variable")):
                found.add(behind)
                waiting.append(behind)
    return found


def is_ours(node: Node) -> bool:
    """Whether a node comes from a custom function of this package, and not from the network."""
    cls = getattr(node, "_forward_cls", None)
    return cls is not None and cls.__module__.startswith("oracle.modules")


def is_scripted(node: Node) -> bool:
    """Whether a node stands for a part of a function of torch.jit.script, which torch differentiates as one."""
    return bool(node.name().endswith("::DifferentiableGraphBackward"))


def edge_of(tensor: torch.Tensor) -> Edge:
    """The destination of a tensor's gradient: a node, and the number of the node's output that the tensor is."""
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def age_of(node: Node) -> int:
    """The age of a node: the number of nodes that were created before it."""
    number: int = node._sequence_nr()
    return number


def calls_of(
    nodes: Iterable[Node], numbers: Sequence[int], elsewhere: Container[int]
) -> Iterator[tuple[Node, int, int]]:
    """The nodes by age, each with the first of its possible calls and the one after the last.

    numbers: for each call, the number of nodes that existed then.
    elsewhere: the ages of nodes of other threads, of whose calls nothing is known.
    """
    nodes = sorted(nodes, key=age_of)
    ages = [age_of(own) for own in nodes if age_of(own) not in elsewhere]
    remade_until = -1  # the first node of a thread has the number 0
    for node in nodes:
        age = age_of(node)
        if age in elsewhere:
            yield node, 0, 0
            continue
        ready, remade = ready_at(node, elsewhere), age <= remade_until
        remade_until = ready if ready > age else remade_until
        if node.name().endswith("CopySlices"):  # it is made after the call that it stands for
            yield node, bisect_left(numbers, age), bisect_right(numbers, age)
        elif remade:  # no call stands for it
            yield node, 0, 0
        else:
            after = bisect_right(ages, ready)
            until = ages[after] if after < len(ages) else numbers[-1] + 1 if numbers else age
            yield node, bisect_right(numbers, ready), bisect_right(numbers, until)


def ready_at(node: Node, elsewhere: Container[int]) -> int:
    """The age from which a node's calls run: its own, or that of its youngest input if this is younger.

    After a tensor was changed in place, autograd makes the nodes of its views again when they are read: while it makes the node
    that reads them, before that node's calls.
    """
    inputs = (age_of(behind) for behind, _ in node.next_functions if behind is not None)
    return max([age_of(node), *(own for own in inputs if own < AGELESS and own not in elsewhere)])


def nodes_as_young(node: Node, age: int) -> Iterator[Node]:
    """A node, and the nodes that it leads to that were created during the call."""
    found, waiting = {node}, [node]
    while waiting:
        own = waiting.pop()
        yield own
        for behind, _ in own.next_functions:
            if behind is not None and behind not in found and age <= age_of(behind) < AGELESS:
                found.add(behind)
                waiting.append(behind)


def unrecorded(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook whose own calls are not recorded as part of the program."""

    def quiet(*args: Any) -> None:
        with torch.utils._python_dispatch._disable_current_modes():
            hook(*args)

    return quiet
