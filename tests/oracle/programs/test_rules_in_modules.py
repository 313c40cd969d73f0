"""Operations as parts of a module: nothing is unjudged, torch conforms, and a gradient that is 1 % too large is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

Function = Callable[..., Tensor]
ALL = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
WIDE = (torch.float64, torch.float32)
NARROW = (torch.float32, torch.bfloat16, torch.float16)


def attention(**options: Any) -> Function:
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **options)


def heads(queries: int, keys: int, several: int = 4, few: int = 2) -> list[tuple[int, ...]]:
    return [(2, several, queries, 8), (2, few, keys, 8), (2, few, keys, 8)]


def grouped(*ends: int) -> Function:
    return lambda a, b: F.grouped_mm(a, b, offs=torch.tensor(ends, dtype=torch.int32))


def meeting(reduce: str, include_self: bool = True) -> Function:
    return lambda x, y: x.scatter_reduce(1, MEETING, y, reduce, include_self=include_self)


def sampled(mode: str, padding: str, align_corners: bool) -> Function:
    return lambda x, grid: F.grid_sample(x, grid.tanh() * 1.3, mode, padding, align_corners)


MEETING = torch.arange(21).reshape(3, 7) % 4
LABELS = torch.tensor([[1, 2, 2], [3, 3, 1]])
MASK = torch.arange(54).reshape(6, 9) % 5 > 0
# The function, the shapes of its arguments, and the dtypes in which torch has it.
FUNCTIONS: dict[str, tuple[Function, list[tuple[int, ...]], tuple[torch.dtype, ...]]] = {
    "attention in groups": (attention(), heads(6, 9), ALL),
    "attention in groups, causal": (attention(is_causal=True), heads(9, 9), ALL),
    "attention in groups, masked": (attention(attn_mask=MASK), heads(6, 9), ALL),
    "attention without keys for a query": (
        attention(attn_mask=MASK & (torch.arange(6) != 2)[:, None]),
        heads(6, 9),
        ALL,
    ),
    **{
        f"affine_grid, {align}": (lambda x, own=align: F.affine_grid(x, [2, 3, 5, 7], own), [(2, 2, 3)], ALL)
        for align in (True, False)
    },
    "affine_grid in three dimensions": (lambda x: F.affine_grid(x, [2, 3, 4, 5, 6], False), [(2, 3, 4)], ALL),
    "attention of one head of keys": (attention(scale=0.3), heads(6, 9, 6, 1), ALL),
    "attention in many blocks": (attention(), heads(700, 20, 8, 1), ALL),
    "grouped rows": (grouped(8, 8, 200), [(200, 16), (3, 16, 24)], NARROW),
    "grouped columns": (grouped(8, 8, 24), [(3, 8, 16), (16, 24)], NARROW),
    "grouped terms": (grouped(8, 8, 24), [(8, 24), (24, 16)], NARROW),
    **{
        f"scatter_reduce, {reduce}, {include_self}": (meeting(reduce, include_self), [(3, 5), (3, 7)], ALL)
        for reduce in ("sum", "mean", "prod", "amax", "amin")
        for include_self in (True, False)
    },
    "index_reduce": (lambda x, y: x.index_reduce(1, MEETING[0], y, "mean"), [(3, 5), (3, 7)], ALL),
    "segment_reduce": (lambda x: torch.segment_reduce(x, "mean", lengths=torch.tensor([3, 4])), [(7, 3)], ALL),
    **{
        f"grid_sample, {mode}, {padding}, {corners}": (
            sampled(mode, padding, corners),
            [(2, 3, 5, 6), (2, 4, 4, 2)],
            ALL,
        )
        for mode in ("bilinear", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for corners in (False, True)
    },
    "grid_sample in 3d": (sampled("bilinear", "zeros", False), [(2, 3, 5, 4, 3), (2, 4, 4, 3, 3)], ALL),
    "addbmm": (lambda c, a, b: torch.addbmm(c, a, b, beta=0.3, alpha=0.7), [(3, 4), (5, 3, 6), (5, 6, 4)], ALL),
    "addmv": (lambda c, a, v: torch.addmv(c, a, v, beta=0.3, alpha=0.7), [(3,), (3, 60), (60,)], ALL),
    "addr": (lambda c, u, v: torch.addr(c, u, v, beta=0.3, alpha=0.7), [(3, 6), (3,), (6,)], ALL),
    "cross": (torch.linalg.cross, [(5, 3), (1, 3)], ALL),
    "masked_select": (lambda x: x.masked_select(MASK), [(6, 9)], ALL),
    "masked_scatter": (lambda x, y: x.masked_scatter(MASK, y), [(6, 9), (60,)], ALL),
    "diag_embed": (lambda x: torch.diag_embed(x, 1), [(4, 3)], ALL),
    "rot90": (lambda x: x.rot90(), [(4, 3)], ALL),
    "block_diag": (torch.block_diag, [(4, 3), (2,), ()], ALL),
    **{
        f"cdist, p = {p}, {rows} rows": (lambda x, y, p=p: torch.cdist(x, y, p), [(2, rows, 3), (2, 4, 3)], WIDE)
        for p in (0.5, 1.0, 2.0, 3.0, math.inf)
        for rows in (5, 30)
    },
    "pdist": (F.pdist, [(7, 3)], WIDE),
    **{
        f"{mode} from {old} to {new}, antialiased, {corners}": (
            lambda x, new=new, mode=mode, corners=corners: F.interpolate(x, new, None, mode, corners, antialias=True),
            [(2, 3, *old)],
            WIDE,
        )
        for mode in ("bilinear", "bicubic")
        for old, new in (((7, 9), (3, 14)), ((14, 14), (8, 5)))
        for corners in (False, True)
    },
    "fractional_max_pool2d": (
        lambda x: F.fractional_max_pool2d(x, 2, (3, 4), _random_samples=torch.full((2, 3, 2), 0.3, dtype=x.dtype)),
        [(2, 3, 7, 9)],
        ALL,
    ),
    "max_unpool3d": (lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2), [(2, 4, 4, 6)], WIDE),
    "ctc_loss": (lambda x: F.ctc_loss(x.log_softmax(2), LABELS, (8, 7), (3, 2), reduction="none"), [(8, 2, 4)], WIDE),
    "ctc_loss without an alignment": (
        lambda x: F.ctc_loss(x.log_softmax(2), LABELS, (8, 3), (3, 3), reduction="sum", zero_infinity=True),
        [(8, 2, 4)],
        WIDE,
    ),
    "a stack of products": (F.grouped_mm, [(3, 8, 16), (3, 16, 24)], NARROW),
}


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs) * 1.0


class TooLarge(torch.autograd.Function):
    """A function with gradients that are 1 % too large."""

    @staticmethod
    def forward(ctx: Any, function: Function, *inputs: Tensor) -> Tensor:
        ctx.function, ctx.inputs = function, inputs
        return function(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            inputs = [own.detach().requires_grad_() for own in ctx.inputs]
            made = torch.autograd.grad(ctx.function(*inputs), inputs, grad)
        return None, *(own * 1.01 for own in made)


def given(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_conforms(name: str) -> None:
    function, shapes, dtypes = FUNCTIONS[name]
    for dtype in dtypes:
        report = oracle.check_module(Module(function), given(shapes, dtype))
        assert not report.blame and not report.unjudged, (dtype, report.blame, report.unjudged)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_that_is_too_large_is_found(name: str) -> None:
    function, shapes, dtypes = FUNCTIONS[name]
    for dtype in (own for own in dtypes if own in WIDE):
        report = oracle.check_module(Module(lambda *own: TooLarge.apply(function, *own)), given(shapes, dtype))  # type: ignore[no-untyped-call]
        assert {row.quantity.partition("#")[0] for row in report.blame} == {"grad_input"}


@pytest.mark.parametrize(
    ("function", "report"),
    [
        (
            lambda x: torch.zeros(2, dtype=x.dtype).scatter_reduce(
                0, MEETING[0] % 2, x.relu(), "amax", include_self=False
            ),
            "torch-scatter-reduce-excluded",
        ),
        (lambda x: torch.segment_reduce(x * 0.0, "max", lengths=torch.tensor([3, 4])), "torch-segment-reduce-ties"),
        (lambda x: x.as_strided_scatter(x.detach()[:3], (3,), (2,), 0), "torch-as-strided-scatter"),
    ],
)
def test_known_errors_of_torch_are_found(function: Function, report: str) -> None:
    """Each has a page in reports/findings."""
    x = torch.linspace(-2.0, -1.0, 7, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    blamed = oracle.check_module(Module(function), x).blame
    assert [(row.quantity, row.verdict) for row in blamed] == [("grad_input", "wrong")], report


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.as_strided_copy(x, (3,), (2,), 1), ""),
        (lambda x: torch.as_strided_copy(x[1:], (3,), (2,)), ""),
        (lambda x: torch.as_strided_copy(x.t(), (3,), (2,)), "not contiguous"),
        (lambda x: torch.as_strided_copy(x[1:], (3,), (2,), 0), "a part of another"),
        (lambda x: torch.as_strided_copy(x[:2], (3,), (6,)), "memory beyond the array"),
    ],
)
def test_a_copy_by_strides_is_judged_where_the_memory_is_its_inputs(function: Function, reason: str) -> None:
    """Small numbers: a comparison of values with a tolerance for all would not tell one memory from another."""
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).mul_(1e-3).requires_grad_()
    report = oracle.check_module(Module(function), x)
    assert not report.blame
    assert reason in "".join(report.unjudged) and bool(report.unjudged) == bool(reason)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("size", [(5, 7), (40, 60)])
def test_an_exact_grid_is_not_accused(size: tuple[int, int], dtype: torch.dtype, align_corners: bool) -> None:
    """Rounding decides on which side of a pixel each position is."""
    torch.manual_seed(0)
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 3, *size], align_corners=align_corners)
    for mode in ("bilinear", "nearest", "bicubic"):
        module = Module(lambda x, grid, mode=mode: F.grid_sample(x, grid, mode, align_corners=align_corners))
        report = oracle.check_module(
            module, (torch.randn(1, 3, *size).to(dtype).requires_grad_(), grid.to(dtype).requires_grad_())
        )
        assert not report.blame, (mode, report.blame)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1e-4, 1.0, 20.0])
def test_exponentials_of_matrices_of_any_norm_are_judged(size: float, dtype: torch.dtype) -> None:
    """Large ones are scaled and squared, where errors double with each product; both triangles of the gradient count."""

    class Exponential(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 6, 6, dtype=dtype) * size / 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.matrix_exp(self.weight) @ x

    torch.manual_seed(0)
    module, x = Exponential(), torch.randn(6, 3, dtype=dtype)
    report = oracle.check_module(module, x, lambda output, _: output.square().mean(), torch.zeros(1))
    report.raise_for_discrepancy()
    found = report.table[report.table["layer"].str.startswith("linalg_matrix_exp")]
    assert set(found["verdict"]) == {"pass"} and {"output", "grad.weight"} <= set(found["quantity"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_quantization_aware_training_is_judged(dtype: torch.dtype) -> None:
    """Of activations by one scale and of weights by one for each channel, with numbers at the limits and beyond them."""

    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.fake_quantize_per_tensor_affine(self.first(x), 0.05, 3, -10, 20)
            scales, zeros = torch.tensor([0.02, 0.013, 0.1]), torch.tensor([0, 1, 2], dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(self.second.weight, scales, zeros, 0, -8, 7)
            return F.linear(h.relu(), weight, self.second.bias)

    torch.manual_seed(0)
    module, x = Quantized().to(dtype), 2 * torch.randn(5, 8).to(dtype)
    report = oracle.check_module(module, x, nn.CrossEntropyLoss(), torch.tensor([0, 1, 2, 0, 1]))
    report.raise_for_discrepancy()
    found = report.table[report.table["layer"].str.startswith("fake_quantize")]
    assert set(found["quantity"]) == {"output", "grad_input", "grad.weight"}
    assert set(found["verdict"]) <= {"pass", "convention"} and report.coverage.gradients == 1


def test_a_wrong_straight_through_gradient_is_found() -> None:
    """A gradient that ignores the limits, as a bare straight-through estimator does, is not that of a fake quantization."""

    class Bare(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -10, 10)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return grad

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Bare.apply(self.layer(x)).square()  # type: ignore[no-any-return, no-untyped-call]

    torch.manual_seed(0)
    right = lambda x: torch.fake_quantize_per_tensor_affine(x, 0.05, 0, -10, 10)  # noqa: E731
    report = oracle.check_module(Module(), torch.randn(5, 8), references={Bare: right})
    assert [own.quantity for own in report.blame] == ["grad_input"] and report.blame[0].layer_type.endswith("Bare")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_binary_cross_entropy_is_rounded_step_by_step_in_16_bits(dtype: torch.dtype) -> None:
    """Its target's gradient is a difference of two rounded logarithms, which cancel where the probability is a half."""

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, second = self.layer(x).sigmoid().chunk(2)
            return F.binary_cross_entropy(first, second, reduction="none") * 2

    for seed in range(5):
        torch.manual_seed(seed)
        report = oracle.check_module(Module().to(dtype), torch.randn(20, 8).to(dtype))
        assert not report.blame, report


def test_equal_limits_of_a_clamp_are_no_discrepancy() -> None:
    """torch gives their gradient to neither where the number is below."""

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Parameter(torch.tensor([0.5, 1.0])), nn.Parameter(torch.tensor([0.5, 2.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.clamp(x, self.low, self.high) * 2

    x = torch.tensor([[0.0, 0.0], [0.5, 1.5], [3.0, 3.0]], requires_grad=True)
    oracle.check_module(Module(), x).raise_for_discrepancy()
