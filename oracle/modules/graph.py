"""A module's autograd graph, and whether the compiler made it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch

from oracle.modules.calls import Node


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether some of it was handed to torch.compile."""
    compiler = sys.modules.get("torch._dynamo")
    if compiler is None:
        return False
    return any(
        isinstance(own, compiler.OptimizedModule) or own._compiled_call_impl is not None for own in module.modules()
    )


def nodes_behind(nodes: Iterable[Node], leaves: bool = False) -> set[Node]:
    """These nodes and all behind them; those that add a gradient to a leaf only if asked for."""
    waiting = list(nodes)
    found = set(waiting)
    while waiting:
        for behind, _ in waiting.pop().next_functions:
            if behind is not None and behind not in found and (leaves or not hasattr(behind, "variable")):
                found.add(behind)
                waiting.append(behind)
    return found
