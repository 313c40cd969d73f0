"""A large layer is judged a block at a time: with the rows of the whole, in memory that does not grow with the layer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

import oracle
from oracle.judging import blocks, case_rows
from oracle.judging.comparison import Bench
from oracle.judging.parts import Part
from oracle.judging.rows import PASS, Row

LAYERS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "GELU": (torch.nn.GELU, (6, 5, 40)),
    "GELU in 16 bits": (torch.nn.GELU, (6, 5, 40)),
    "ReLU": (torch.nn.ReLU, (7, 150)),
    "MaxPool2d": (lambda: torch.nn.MaxPool2d(3, 2, 1), (5, 3, 9, 8)),
    "AvgPool1d": (lambda: torch.nn.AvgPool1d(3), (5, 4, 60)),
    "BatchNorm2d": (lambda: torch.nn.BatchNorm2d(12), (8, 12, 10, 12)),
    "BatchNorm1d of features": (lambda: torch.nn.BatchNorm1d(150, affine=False), (8, 150)),
    "InstanceNorm1d": (lambda: torch.nn.InstanceNorm1d(12, affine=True, track_running_stats=True), (4, 12, 40)),
    "Linear": (lambda: torch.nn.Linear(70, 48), (8, 70)),
    "Linear of positions": (lambda: torch.nn.Linear(300, 160, bias=False), (2, 1, 300)),
    "Conv2d of the whole image": (lambda: torch.nn.Conv2d(12, 160, (3, 4)), (2, 12, 3, 4)),
    "Conv2d of few features": (lambda: torch.nn.Conv2d(12, 8, 5), (2, 12, 5, 5)),
}
OF_THE_WORST = ("max_abs", "max_rel", "max_ulp", "worst_index", "got", "expected", "tolerance")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"BLOCK": 400, "LARGE": 900, "WEIGHT_BLOCK": 600, "LARGE_WEIGHT": 2000}.items():
        monkeypatch.setattr(blocks, name, size)


def made(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    dtype = torch.bfloat16 if "16 bits" in name else torch.float32
    return make(), torch.randn(shape, dtype=dtype).requires_grad_()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", LAYERS)
def test_blocks_give_the_rows_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts, figures and the worst element; sums over all elements to their rounding.

    Whether the sums of a norm look ordered is judged by those of a block: with so few in each the figures differ a little.
    """
    alike = 0.1 if "Norm" in name else 1e-9
    judged = []

    def seen(part: Part, bench: Bench) -> list[Row] | None:
        judged.append((len(list(blocks.blocks_of(part.case))), blocks.rows_in_blocks(part, bench)))
        return judged[-1][1]

    monkeypatch.setattr(case_rows, "rows_in_blocks", seen)
    in_blocks = oracle.check_module(*made(name)).table.to_dict("records")
    assert judged[0][0] > 2 and judged[0][1] is not None
    monkeypatch.setattr(case_rows, "rows_in_blocks", lambda part, bench: None)
    whole = oracle.check_module(*made(name)).table.to_dict("records")
    assert len(whole) == len(in_blocks) > 1
    for one, other in zip(whole, in_blocks, strict=True):
        for figure, value in one.items():
            if "Norm" in name and figure in OF_THE_WORST:  # which another element may be
                continue
            if isinstance(value, float):
                assert np.isclose(value, other[figure], rtol=alike, atol=0, equal_nan=True), (one["quantity"], figure)
            else:
                assert value == other[figure], (one["quantity"], figure)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("name", "place"), [("GELU", (4, 3, 2)), ("Linear", (2, 61))])
def test_a_wrong_element_is_found_in_its_block(name: str, place: tuple[int, ...]) -> None:
    """With its index in the whole, and a cause, which only the whole shows."""
    layer, x = made(name)

    def spoilt(grad: torch.Tensor) -> torch.Tensor:
        wrong = grad.clone()
        wrong[place] *= 1.01
        return wrong

    class Spoilt(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
            return spoilt(grad)

    original = layer.forward
    layer.forward = lambda given: original(Spoilt.apply(given))  # type: ignore[no-untyped-call]
    report = oracle.check_module(layer, x, unjudged="allow")
    wrong = report.table[report.table.verdict != PASS]
    assert list(wrong.n_outside) == [1] and list(wrong.worst_index) == [" ".join(map(str, place))]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("dim", "shape"), [(0, "(7, 5, 40)"), (2, "(6, 5, 41)")])
def test_an_output_that_is_larger_than_all_blocks_is_wrong(
    dim: int, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.gelu
    monkeypatch.setattr(
        torch.nn.functional, "gelu", lambda x, approximate: torch.cat([right(x), right(x.narrow(dim, 0, 1))], dim)
    )
    table = oracle.check_module(torch.nn.GELU(), made("GELU")[1].detach()).table
    assert f"shape {shape}, expected (6, 5, 40)" in table.diagnosis.tolist()


@pytest.mark.usefixtures("small_blocks")
def test_a_layer_is_judged_as_a_whole_where_its_blocks_have_other_partial_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's tolerance would not be that of the whole."""
    found: list[int] = []

    def seen(part: Part, bench: Bench) -> list[Row] | None:
        found.append(len(list(blocks.blocks_of(part.case))))
        return blocks.rows_in_blocks(part, bench)

    monkeypatch.setattr(case_rows, "rows_in_blocks", seen)
    assert oracle.check_module(torch.nn.Conv2d(4, 160, (3, 4)), torch.randn(2, 4, 3, 4)).passed
    assert found == [0]


@pytest.mark.parametrize(
    ("layer", "shape", "bytes"),
    [(torch.nn.Linear(4096, 2048), (2, 4096), 12), (torch.nn.GELU(), (32, 2**16), 32)],
    ids=["Linear", "GELU"],
)
def test_the_memory_of_a_large_layer(layer: torch.nn.Module, shape: tuple[int, ...], bytes: int) -> None:
    """For each element of the weight less than two numbers of float64; of the input less than four, with what is recorded."""
    x = torch.randn(shape).requires_grad_()
    size = max(own.numel() for own in (x, *layer.parameters()))
    oracle.check_module(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU()), torch.randn(2, 2))  # loads modules
    tracemalloc.start()
    try:
        assert oracle.check_module(layer, x).passed
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bytes * size
