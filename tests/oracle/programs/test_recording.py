"""A recorded program is the program: views, writing in place, and what has no gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle
from oracle.programs.execution import Plain, Run, WithErrors
from oracle.programs.table import NoRule
from oracle.programs.torch_calls import record
from oracle.running_error import LAMBDA, ErrorModel


def in_place(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 0] = y[:, 1].clone() * x[:, 0]
    y.t()[1].mul_(3)
    return y.add_(x)


def views(x: torch.Tensor) -> torch.Tensor:
    first, second = x.t().split(2)
    return (first.unsqueeze(0).expand(3, -1, -1) * second[None]).permute(2, 0, 1).reshape(4, -1)


def views_of_repeated_elements(x: torch.Tensor) -> torch.Tensor:
    """Each a node of its own, which begins with elements that are the same memory."""
    wide = x[:, None].expand(-1, 3, -1)
    turned = wide.permute(1, 2, 0)
    first, *others = wide.transpose(0, 2).unbind(2)
    slid = x.unfold(1, 2, 1).permute(2, 0, 1)
    return (turned.sum(2) * first.t()) @ others[1] + slid.square().sum() + wide.select(0, 2).mean()


def overlapping(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1).unfold(0, 4, 2) * 3


def filled(x: torch.Tensor) -> torch.Tensor:
    made = torch.empty(2, *x.shape, dtype=x.dtype)
    made[0], made[1] = x, x * x
    return made


def masked(x: torch.Tensor) -> torch.Tensor:
    """Masks of comparisons and of plain numbers, and places, each written in part."""
    mask, other = torch.ones(4, 4, dtype=torch.bool), x > 0
    mask[1] = False
    mask[2:, 1] = x[2:, 1] > 0
    other[0] = True
    other[:, 3] = mask[:, 3]
    places = torch.zeros(4, dtype=torch.long)
    places[2:] = 3
    return torch.where(mask, x * x, x)[places].masked_fill(other, 0.5)


def without_gradient(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        scale = x.mean() * x.square().sum()
    return x * scale + x.detach() * x


class Twice(torch.autograd.Function):
    """Its forward has the derivative 2, whatever its backward says."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, g: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return g * 2


def custom(x: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = Twice.apply(x.sin())  # type: ignore[no-untyped-call]
    return made * x


def random(x: torch.Tensor) -> torch.Tensor:
    return F.dropout(x, 0.5, training=True) * torch.rand_like(x)


@pytest.mark.parametrize(
    "fn", [in_place, views, views_of_repeated_elements, overlapping, filled, masked, without_gradient, custom, random]
)
def test_a_program_as_it_ran(fn: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Its values and gradients are torch's."""
    x = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    given = x.clone().requires_grad_()
    due = fn(given)
    upstream = torch.randn_like(due)
    (grad,) = torch.autograd.grad(due, given, upstream)
    torch.manual_seed(2)
    run = Run(record(fn, x.requires_grad_())[0], Plain())
    np.testing.assert_allclose(run.outputs[0], due.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(run.gradients([upstream.numpy()])[0], grad.numpy(), rtol=1e-12)


def test_expectations_follow_masks_that_are_written_in_part() -> None:
    """With errors too: what rounding leaves open is open in the elements that are kept, and in no others."""
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    oracle.assert_close(masked(x), oracle.expect(masked, x).output)


class Calls(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return views_of_repeated_elements(x)


def test_each_view_of_repeated_elements_is_an_operation() -> None:
    """As in relative position embeddings: memory does not tell which of several equal elements a view shows."""
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    report = oracle.check_module(Calls(), x)
    assert report.passed, report
    by_strides = torch.nn.Flatten()
    by_strides.forward = lambda x: x[:, None].expand(-1, 3, -1).as_strided((2, 2), (4, 1)) * 2  # type: ignore[method-assign]
    report = oracle.check_module(by_strides, x)
    assert not report.blame and "elements are repeated" in str(report.unjudged)


def gathered(x: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(x.gather(0, places.view(-1, 1).expand_as(x)) for _ in range(3))


def scattered(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Means over the nodes of a graph."""
    index = places.view(-1, 1)
    total = torch.zeros(5, 4).scatter_add(0, index.expand_as(x), x)
    return total / torch.zeros(5, 4).scatter_add(0, index.expand_as(x), torch.ones_like(x)).clamp(min=1)


def outer(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    one = places[1].float()
    return torch.outer(x[0, :3], one.expand(3)) + torch.outer(one.expand(4)[:3], x[1, :3])


@pytest.mark.parametrize("fn", [gathered, scattered, outer])
def test_a_constant_is_expanded_twice(fn: Callable[..., Any]) -> None:
    """It has no gradient, so it does not matter which of its equal elements a view shows."""

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor, places: torch.Tensor) -> Any:
            return fn(x * 1.5, places)

    report = oracle.check_module(Twice(), (torch.randn(4, 4, requires_grad=True), torch.tensor([0, 2, 1, 1])))
    assert report.passed and report.coverage.operations == 1, report


def in_parts(x: torch.Tensor, row: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    left, right = wide.chunk(2, 1)
    return x * wide + row * x + row.view(-1, 1) * x * left.sum() * right[:, :1] * wide.t()


def one_is_written(x: torch.Tensor, row: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    y = x * wide.clone() + row.clone()
    row[2] = 5
    return y * wide.clone() + row.clone() * wide[:, :2].sum()


def one_is_written_by_a_column(x: torch.Tensor, row: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    y = x * wide.clone() + wide[:, 0].clone()
    row.view(-1, 1)[1:3].mul_(x[0, 0])
    return y * wide.clone() * row.clone() * wide[:, 3].clone()


def all_are_written(x: torch.Tensor, row: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    y = x * wide.clone()
    row.mul_(x[0])
    return y * wide.clone() * row.clone()


@pytest.mark.parametrize("fn", [in_parts, one_is_written, one_is_written_by_a_column, all_are_written])
def test_a_constant_is_read_expanded_first(fn: Callable[..., torch.Tensor]) -> None:
    """A write to its memory shows in all of its equal elements."""

    def constants() -> tuple[torch.Tensor, torch.Tensor]:
        row = torch.arange(4, dtype=torch.float64) + 0.5
        return row, row.view(-1, 1).expand(4, 4)

    x, (row, wide) = torch.randn(4, 4, dtype=torch.float64, requires_grad=True), constants()
    due = fn(x, *constants())
    upstream = torch.randn_like(due)
    (grad,) = torch.autograd.grad(due, x, upstream)
    run = Run(record(lambda x: fn(x, row, wide), x)[0], Plain())
    np.testing.assert_allclose(run.outputs[0], due.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(run.gradients([upstream.numpy()])[0], grad.numpy(), rtol=1e-12)


def test_each_result_is_rounded_to_its_own_dtype() -> None:
    """A cast is exact or rounds once; a product of bfloat16 is added up in float32."""

    def fn(x: torch.Tensor, w: torch.Tensor) -> list[torch.Tensor]:
        narrow = x.to(torch.bfloat16)
        return [narrow, narrow.float(), narrow @ w.to(torch.bfloat16), (narrow @ w.bfloat16()).float() + x[:, :4]]

    torch.manual_seed(0)
    x, w = torch.randn(8, 64, requires_grad=True), torch.randn(64, 4)
    program, outputs = record(fn, x, w)
    run = Run(program, WithErrors(ErrorModel(np.dtype("float32"))))
    assert [own.dtype.name for own in run.outputs] == ["bfloat16", "float32", "bfloat16", "float32"]
    for own, due in zip(run.outputs, outputs, strict=True):
        error = np.abs(due.detach().double().numpy() - own.value)
        assert (error <= LAMBDA * own.sigma).all()
    assert not run.outputs[0].sigma.any() and not run.outputs[1].sigma.any()
    narrow = run.outputs[2]
    assert np.median(narrow.sigma / np.abs(narrow.value)) < 1.1 * 2.0**-8
    np.testing.assert_array_equal(run.gradients([None, run.outputs[1], None, None])[0].value, narrow_of(x))


def narrow_of(x: torch.Tensor) -> np.ndarray:
    return x.detach().bfloat16().double().numpy()


def test_an_operation_without_a_rule_is_said() -> None:
    """It is not skipped silently."""
    with pytest.raises(NoRule, match="no rule for special_bessel_j0"):
        Run(record(torch.special.bessel_j0, torch.ones(3))[0], Plain())


def test_numbers_whose_bits_were_changed_are_not_guessed() -> None:
    """Memory that was written in another dtype has no value here, and the program is refused."""

    def bits(x: torch.Tensor) -> torch.Tensor:
        made = x.clone()
        made.view(torch.int32)[0] = 0
        return made * 2

    with pytest.raises(NoRule, match="it reads memory that was written in another form"):
        record(bits, torch.ones(3))


def test_memory_that_nothing_has_filled_is_not_a_number() -> None:
    """An extension that writes without ATen calls must not look like one that gives what happens to be there."""
    run = Run(record(lambda x: torch.empty_like(x) + x, torch.ones(3))[0], Plain())
    assert np.isnan(run.outputs[0]).all()


def test_memory_that_code_without_a_recording_has_filled() -> None:
    """torch makes an array of the lengths that ctc_loss is given as lists, which no call shows; NumPy writes into a tensor."""
    labels = torch.tensor([[1, 1, 2], [3, 2, 0]])
    x = torch.randn(7, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.ctc_loss(x.log_softmax(-1), labels, [7, 5], [3, 2])

    def by_numpy(x: torch.Tensor) -> torch.Tensor:
        weight = torch.empty(5, dtype=x.dtype)
        weight.numpy()[:] = range(5)
        return (x * weight).sum()

    for fn in (loss, by_numpy):
        oracle.assert_close(fn(x), oracle.expect(fn, x).output)
        assert oracle.check_op(fn, oracle.from_torch(fn), x=x).passed
