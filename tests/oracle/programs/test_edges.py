"""Rules on a number without dimensions, on nothing, on bags of a table's rows, and on a part: their numbers are torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oracle.programs.execution import Arithmetic, Plain, Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.subjects.torch import array

FIRST, SECOND, NONE = torch.tensor(0), torch.tensor(1), torch.zeros(0, dtype=torch.long)
ROWS, STARTS = torch.tensor([2, 0, 2, 1]), torch.tensor([0, 2])
NUMBER, THREE, TABLE = (), (3,), (3, 2)

# An operation, and the shapes of its arguments.
NUMBERS: dict[str, tuple[Any, ...]] = {
    "scatter": (lambda x, y: x.scatter(0, FIRST, y), NUMBER, NUMBER),
    "scatter a value": (lambda x: x.scatter(0, FIRST, 5.0), NUMBER),
    "scatter into one of three": (lambda x, y: x.scatter(0, SECOND, y), THREE, NUMBER),
    "scatter_add": (lambda x, y: x.scatter_add(0, FIRST, y), NUMBER, NUMBER),
    "scatter_add to one of three": (lambda x, y: x.scatter_add(0, SECOND, y), THREE, NUMBER),
    "gather": (lambda x: x.gather(0, FIRST), NUMBER),
    "gather one of three": (lambda x: x.gather(0, SECOND), THREE),
    "index_select": (lambda x: x.index_select(0, FIRST), NUMBER),
    "index_copy": (lambda x, y: x.index_copy(0, FIRST, y), NUMBER, NUMBER),
    "index_add": (lambda x, y: x.index_add(0, FIRST, y), NUMBER, NUMBER),
    "index_add, twice": (lambda x, y: x.index_add(0, FIRST, y, alpha=2), NUMBER, NUMBER),
    "index_fill": (lambda x: x.index_fill(0, FIRST, 2.0), NUMBER),
    "index_put": (lambda x, y: x.index_put((FIRST,), y), THREE, NUMBER),
    "masked_fill": (lambda x: x.masked_fill(x > -9, 2.0), NUMBER),
    "sort": (lambda x: x.sort(0)[0], NUMBER),
    "topk": (lambda x: x.topk(1)[0], NUMBER),
    "cumsum": (lambda x: x.cumsum(0), NUMBER),
    "flip": (lambda x: x.flip(0), NUMBER),
    "roll": (lambda x: x.roll(1), NUMBER),
    "repeat": (lambda x: x.repeat(3), NUMBER),
    "stack": (lambda x, y: torch.stack([x, y]), NUMBER, NUMBER),
    "softmax": (lambda x: x.softmax(0), NUMBER),
    "mean": (lambda x: x.mean(0), NUMBER),
    "amax": (lambda x: x.amax(0), NUMBER),
    "power zero": (lambda x: x**0, NUMBER),
    "reflected in a single pixel": (
        lambda x, grid: F.grid_sample(
            x.reshape(1, 1, 1, 1), grid.reshape(1, 1, 1, 2), padding_mode="reflection", align_corners=True
        ),
        NUMBER,
        (2,),
    ),
}
EMPTY: dict[str, tuple[Any, ...]] = {
    "scatter a value": (lambda x: x.scatter(0, NONE, 5.0), THREE),
    "scatter_add": (lambda x, y: x.scatter_add(0, NONE, y), THREE, (0,)),
    "gather": (lambda x: x.gather(0, NONE), THREE),
    "index": (lambda x: x[NONE], THREE),
    "index_select": (lambda x: x.index_select(0, NONE), TABLE),
    "index_add": (lambda x, y: x.index_add(0, NONE, y), TABLE, (0, 2)),
    "index_put": (lambda x, y: x.index_put((NONE,), y), TABLE, (0, 2)),
    "cat": (lambda x, y: torch.cat([x, y]), TABLE, (0,)),
    "scatter_reduce": (lambda x, y: x.scatter_reduce(0, NONE, y, "sum"), THREE, (0,)),
    "logcumsumexp": (lambda x: x.logcumsumexp(0), (0, 3)),
    "median": (lambda x: x.median(1)[0], (0, 3)),
    "sum of no products": (lambda x, a, b: torch.addbmm(x, a, b, beta=0), TABLE, (0, 3, 4), (0, 4, 2)),
}


def bag(mode: str, starts: torch.Tensor = STARTS, **options: Any) -> Callable[..., torch.Tensor]:
    return lambda table, *weights: F.embedding_bag(
        ROWS, table, starts, mode=mode, per_sample_weights=weights[0] if weights else None, **options
    )


TABLES: dict[str, tuple[Any, ...]] = {
    "rows by how often they are read": (lambda x: F.embedding(ROWS, x, scale_grad_by_freq=True), TABLE),
    "rows but the last": (lambda x: F.embedding(ROWS, x, padding_idx=-1), TABLE),
    "sums, weighted": (bag("sum"), TABLE, (4,)),
    "sums, weighted, but one row": (bag("sum", padding_idx=0), TABLE, (4,)),
    "sums by how often they are read": (bag("sum", scale_grad_by_freq=True), TABLE),
    "means but one row": (bag("mean", padding_idx=2), TABLE),
    "means with the last end": (bag("mean", torch.tensor([0, 2, 4]), include_last_offset=True), TABLE),
    "maxima with an empty bag": (bag("max", torch.tensor([0, 2, 2])), TABLE),
}
PARTS: dict[str, tuple[Any, ...]] = {
    "one of the copies": (lambda x: torch.unbind_copy(x)[1], TABLE),
    "the variance and not the mean": (lambda x: torch.var_mean(x, 0)[0], TABLE),
    "the mean and not the variance": (lambda x: torch.var_mean(x, 0)[1], TABLE),
    "a product in the place of what is there": (lambda x, a, b: torch.addmm(x, a, b, beta=0), TABLE, (3, 4), (4, 2)),
    "a solution from the right": (lambda a, b: torch.linalg.solve(a, b, left=False), (2, 2), TABLE),
    "the distances of rows": (lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist"), TABLE, (4, 2)),
    "a grid of a single row": (lambda x: F.affine_grid(x, (1, 1, 1, 3), align_corners=False), (1, 2, 3)),
    "a picture made a single pixel": (
        lambda x: F.interpolate(x, (1, 1), mode="bicubic", align_corners=True),
        (1, 1, 3, 4),
    ),
    "many rows added to the first": (lambda x, y: x.index_add(0, torch.zeros(50, dtype=torch.long), y), TABLE, (50, 2)),
    "the rest to tenths": (lambda x: x - x.round(decimals=1) * x, THREE),
    "the first of the polygammas": (lambda x: torch.polygamma(0, x.exp()).detach() * x, THREE),
}
ALL = {
    f"{what}: {name}": entry
    for what, entries in (("a number", NUMBERS), ("an empty index", EMPTY), ("a table", TABLES), ("a part", PARTS))
    for name, entry in entries.items()
}


def both(name: str, dtype: torch.dtype, arithmetic: Arithmetic) -> list[tuple[Any, Any]]:
    """What the rule and torch give for the result, and for the gradient of each argument."""
    function, *shapes = ALL[name]
    torch.manual_seed(0)
    given = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    due = function(*given)
    upstream = torch.randn_like(due)
    grads = torch.autograd.grad(due, given, upstream, allow_unused=True)
    run = Run(record(function, *given)[0], arithmetic)
    got = [run.outputs[0], *run.gradients([arithmetic.lifted(array(upstream))])]
    return list(zip(got, [due.detach(), *grads], strict=True))


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients_are_torchs(name: str) -> None:
    """In double precision to rounding, and in float32 within the derived tolerance."""
    for got, due in both(name, torch.float64, Plain()):
        nothing = 0.0 if due is None else np.zeros(due.shape)
        np.testing.assert_allclose(nothing if got is None else got, nothing if due is None else due, rtol=1e-12)
    for got, due in both(name, torch.float32, WithErrors(ErrorModel(np.dtype("float32")))):
        if isinstance(got, ErrorArray) and due is not None:
            assert (np.abs(due.double().numpy() - got.value) <= LAMBDA * got.sigma).all()
