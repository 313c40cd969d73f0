"""Hypotheses about an operation inside a layer: refbp runs again with that operation replaced."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import refbp
from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.case.arrays import Array
from oracle.case.case import Spec


@contextmanager
def operation(path: str, other: Callable[[Any], Any]) -> Iterator[None]:
    """A context in which the function at "module:name" is replaced by other(function)."""
    module, _, name = path.partition(":")
    owner = importlib.import_module(module)
    right = getattr(owner, name)
    setattr(owner, name, other(right))
    try:
        yield
    finally:
        setattr(owner, name, right)


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    if not e.case.layers:
        return
    spec = e.case.layers[0]
    for prefixes, cause, words, path, other in OPERATIONS:
        if spec.type.startswith(prefixes) and (cause != "overwritten" or overlap(spec)):
            with operation(path, other):
                found = e.rerun(cause, words)
            yield from found


def overlap(spec: Spec) -> bool:
    """Whether windows overlap, so that one can overwrite what another has written."""
    rank, kernel = int(spec.type[-2]), spec.options["kernel_size"]
    stride = spec.options.get("stride") or (1 if spec.type.startswith("Conv") else kernel)
    sizes = (np.broadcast_to(own, rank) for own in (kernel, stride, spec.options.get("dilation", 1)))
    return any((k - 1) * d + 1 > s for k, s, d in zip(*sizes, strict=True))


def overwritten(add: Any) -> Any:
    def other(result: Array, grads: Array, kernel: Any, stride: Any, dilation: Any, first: int = 0) -> None:
        counts = grads.shape[-2 * len(kernel) : -len(kernel)]
        for tap, positions in refbp.windows.taps(kernel, stride, dilation, counts, first):
            own: Any = (..., *tap)
            result[positions] = grads[own]

    return other


def to_all(shares: Any) -> Any:
    def other(rounds: list[Any], grad: Array) -> Iterator[Array]:
        for _ in range(len(rounds) + 1):
            yield grad

    return other


def to_the_loser(shares: Any) -> Any:
    return lambda rounds, grad: shares([~better for better in rounds], grad)


def whole_windows(divisors: Any) -> Any:
    return lambda g, count_include_pad, divisor_override: np.full(g.counts, int(np.prod(g.kernel)), dtype=np.int64)


def _by_window(max_pool: Any, handed_back: Any) -> Any:
    """Max pooling with the backward handed_back(x, output, grad_output, g), where x is padded as g says."""

    def other(rank: int, input: Any, *arguments: Any) -> Any:
        result, _ = max_pool(rank, input, *arguments)
        kernel, stride, padding, dilation, ceil_mode, return_indices = arguments
        output = result[0] if return_indices else result
        g = refbp.windows.pool_geometry(input, rank, kernel, stride, padding, dilation, ceil_mode, "max_pool")
        return result, lambda grad_output: handed_back(
            refbp.windows.padded(input, g.sides, -np.inf), output, grad_output, g
        )

    return other


def equal_winners(max_pool: Any) -> Any:
    """Every element that equals the maximum of its window gets the whole gradient."""

    def handed_back(x: Any, output: Any, grad_output: Any, g: Any) -> Any:
        result = np.zeros_like(grad_output, shape=x.shape)
        for positions in g.taps():
            result[positions] += np.where(x[positions] == output, grad_output, 0.0)
        return result[refbp.windows.inside(g.inner, g.sides)]

    return _by_window(max_pool, handed_back)


def largest_written(max_pool: Any) -> Any:
    """Each window in turn overwrites the gradient in its whole extent, also with zeros."""

    def handed_back(x: Any, output: Any, grad_output: Any, g: Any) -> Any:
        return written(x, g, (np.where(x[own] == output, grad_output, 0.0) for own in reversed(g.taps())))

    return _by_window(max_pool, handed_back)


def gates_overwritten(max_pool: Any) -> Any:
    """A mask with one entry for each element says whether it won; the last of the windows that hold it decides."""

    def handed_back(x: Any, output: Any, grad_output: Any, g: Any) -> Any:
        gate = np.zeros_like(x)
        for positions in reversed(g.taps()):
            gate[positions] = np.where(x[positions] == output, 1.0, 0.0)
        result = np.zeros_like(grad_output, shape=x.shape)
        for positions in g.taps():
            result[positions] += gate[positions] * grad_output
        return result[refbp.windows.inside(g.inner, g.sides)]

    return _by_window(max_pool, handed_back)


def share_written(avg_pool: Any) -> Any:
    def other(rank: int, input: Any, *arguments: Any) -> Any:
        result, _ = avg_pool(rank, input, *arguments)
        kernel, stride, padding, ceil_mode, *divisor = arguments
        g = refbp.windows.pool_geometry(input, rank, kernel, stride, padding, 1, ceil_mode, "avg_pool")
        divisors = refbp.avg_pooling._divisors(g, *divisor)

        def backward(grad_output: Any) -> Any:
            share = grad_output / divisors.astype(grad_output.dtype)
            return written(refbp.windows.padded(input, g.sides), g, (share for _ in g.taps()))

        return result, backward

    return other


def written(x: Any, g: Any, shares: Iterator[Any]) -> Any:
    """Writes the parts of all taps over each other, from the last tap to the first: of two windows, the later one has the smaller
    tap there."""
    result = np.zeros_like(x)
    for positions, share in zip(reversed(g.taps()), shares, strict=True):
        result[positions] = share
    return result[refbp.windows.inside(g.inner, g.sides)]


OPERATIONS: tuple[tuple[tuple[str, ...] | str, str, str, str, Callable[[Any], Any]], ...] = (
    (
        "Conv",
        "overwritten",
        "windows that overlap overwrite each other instead of adding up",
        "refbp.columns:add_windows",
        overwritten,
    ),
    (
        "Conv",
        "padding offset",
        "the offset of the padding is forgotten",
        "refbp.conv:inside",
        lambda right: lambda inner, sides: right(inner, [(0, before + after) for before, after in sides]),
    ),
    (
        "Conv",
        "padding offset",
        "the odd element of the padding goes before instead of after",
        "refbp.conv:padding_sides",
        lambda right: lambda *arguments: [(after, before) for before, after in right(*arguments)],
    ),
    (
        "MaxPool",
        "overwritten",
        "windows that overlap overwrite each other instead of adding up",
        "refbp.max_pooling:max_pool",
        largest_written,
    ),
    (
        "MaxPool",
        "overwritten",
        "whether an element has won is overwritten by the next window that it lies in",
        "refbp.max_pooling:max_pool",
        gates_overwritten,
    ),
    (
        "AvgPool",
        "overwritten",
        "windows that overlap overwrite each other instead of adding up",
        "refbp.avg_pooling:avg_pool",
        share_written,
    ),
    ("MaxPool", "tie", "every element of a window gets the gradient", "refbp.max_pooling:shares", to_all),
    (
        "MaxPool",
        "winner",
        "the gradient goes to the loser of each comparison",
        "refbp.max_pooling:shares",
        to_the_loser,
    ),
    ("MaxPool", "tie", "every winner of a tie gets the whole gradient", "refbp.max_pooling:max_pool", equal_winners),
    (
        "MaxPool",
        "padding counted",
        "the padding counts as zeros instead of minus infinity",
        "refbp.max_pooling:padded",
        lambda right: lambda x, sides, value=0.0: right(x, sides, 0.0 if value == -np.inf else value),
    ),
    ("AvgPool", "divisor", "every window is divided by its whole size", "refbp.avg_pooling:_divisors", whole_windows),
)
