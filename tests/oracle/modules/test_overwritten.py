"""Tensors that are overwritten before they are used, unseen by autograd: what an operation read then is what it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle


def clamp_data(self: Scaled, y: Tensor) -> Tensor:
    self.scale.data.clamp_(min=0)
    return y * self.scale


def divide_without_gradients(self: Scaled, y: Tensor) -> Tensor:
    with torch.no_grad():
        self.scale.div_(self.scale.norm())
    return y * self.scale


def reassign(self: Scaled, y: Tensor) -> Tensor:
    self.scale.data = self.scale.data / self.scale.data.norm()
    return y * self.scale


def clamp_a_result(self: Scaled, y: Tensor) -> Tensor:
    z = y * self.scale
    with torch.no_grad():
        z.clamp_(-1, 1)
    return z * y


def round_straight_through(self: Scaled, y: Tensor) -> Tensor:
    z = y * self.scale
    z.data.round_()
    return z * y


def zero_a_row(self: Scaled, y: Tensor) -> Tensor:
    z = torch.empty_like(y).copy_(y)
    z.detach()[0] = 0
    return z * self.scale


def move_a_mean(self: Scaled, y: Tensor) -> Tensor:
    with torch.no_grad():
        self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
    return y * self.scale - self.mean


def near_zero(self: Scaled, y: Tensor) -> Tensor:
    """torch's formula raises the norms to at least eps without gradients."""
    return F.cosine_similarity(y * 1e-9, self.scale[None] * 1e-9, dim=1)


def shift_rows(self: Scaled, y: Tensor) -> Tensor:
    """autograd refuses to say what made such a row after its first change."""
    z = y * self.scale
    with torch.no_grad():
        for row in z:
            row.sub_(1)
            row[1] = self.identity(row).mean()
            row.detach().mul_(0.5)
    return z * y


class Scaled(nn.Module):
    def __init__(self, use: Callable[[Scaled, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.scale, self.use = nn.Linear(6, 6), nn.Parameter(torch.randn(6)), use
        self.identity = nn.Identity()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, self.linear(x))


USES = (
    *(clamp_data, divide_without_gradients, reassign, clamp_a_result, round_straight_through, zero_a_row),
    *(move_a_mean, near_zero, shift_rows),
)


@pytest.mark.parametrize("use", USES, ids=lambda own: own.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_what_is_overwritten_before_its_use(use: Callable[[Scaled, Tensor], Tensor], dtype: torch.dtype) -> None:
    """Weights are clipped or renormalised so at the start of many a forward pass, and running means are moved."""
    torch.manual_seed(0)
    report = oracle.check_module(Scaled(use).to(dtype), torch.randn(5, 6).to(dtype))
    assert not report.blame, report
    assert report.coverage.gradients == 1


@pytest.mark.parametrize("use", USES, ids=lambda own: own.__name__)
def test_a_change_that_the_gradient_ignores_is_told(use: Callable[[Scaled, Tensor], Tensor]) -> None:
    """`y.data.mul_(2)` between two layers passed without a word, although the gradient lacks the factor 2."""
    torch.manual_seed(0)
    report = oracle.check_module(Scaled(use), torch.randn(5, 6))
    changed = (clamp_a_result, round_straight_through, zero_a_row, near_zero, shift_rows)
    assert ("gradients ignore what is changed unnoticed by autograd, at test_overw" in str(report)) == (use in changed)


class Between(nn.Module):
    """Two layers, and a change between them."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.change = nn.Linear(4, 5), nn.Linear(5, 3), change

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.change(self.first(x)))
        return result


def doubled(y: Tensor) -> Tensor:
    y.data.mul_(2)
    return y


def replaced(y: Tensor) -> Tensor:
    y.data = y.data.sign()
    return y


def masked(y: Tensor) -> Tensor:
    with torch.no_grad():
        y[y < 0] = 0
    return y


def of_a_view(y: Tensor) -> Tensor:
    y[:, :2].data.mul_(3)
    return y


def masked_with_gradients(y: Tensor) -> Tensor:
    y[y < 0] = 0
    return y


def clamped_beyond(y: Tensor) -> Tensor:
    with torch.no_grad():
        return y.clamp_(-1e4, 1e4)


def copied_data(y: Tensor) -> Tensor:
    y.data = y.data.clone()
    return y


def overwritten_later(y: Tensor) -> Tensor:
    z = y * 2 + 1
    with torch.no_grad():
        y.zero_().add_(1)
    return z


@pytest.mark.parametrize("change", [doubled, replaced, masked, of_a_view], ids=lambda own: own.__name__)
@pytest.mark.parametrize("effort", ["full", "sample"])
def test_a_change_between_two_layers_is_told_and_accuses_neither(change: Any, effort: str) -> None:
    """The second layer was blamed, as if it had written to its input: the output of the first was copied before the change."""
    torch.manual_seed(0)
    report = oracle.check_module(Between(change), torch.randn(6, 4), effort=effort)
    assert not report.blame and "gradients ignore what is changed unnoticed by autograd" in str(report)


@pytest.mark.parametrize(
    "change", [masked_with_gradients, clamped_beyond, copied_data, overwritten_later], ids=lambda own: own.__name__
)
def test_nothing_is_told_of_changes_that_the_gradient_knows_or_that_change_no_number(change: Any) -> None:
    torch.manual_seed(0)
    report = oracle.check_module(Between(change), torch.randn(6, 4))
    assert report.passed and "gradients ignore" not in str(report), report


@pytest.mark.parametrize("options", [{"max_norm": 0.5}, {"sparse": True}], ids=str)
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_with_options(kind: Callable[..., nn.Module], options: dict[str, float]) -> None:
    """max_norm rescales rows in place when they are read; a sparse gradient has zeros that are not stored."""
    torch.manual_seed(0)
    net = nn.Sequential(kind(7, 4, **options), nn.Linear(4, 3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    report = oracle.check_module(net, torch.tensor([[1, 2, 2], [5, 2, 0]]), optimizer=optimizer)
    assert report.passed, report


def test_a_wrong_gradient_of_what_was_overwritten() -> None:
    """The twin of the tests above: a gradient by the number before it was overwritten is found."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, w: Tensor, before: Tensor) -> Tensor:
            ctx.save_for_backward(before)
            return w.square()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
            (before,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return 2 * before * g, None

    def use(self: Scaled, y: Tensor) -> Tensor:
        before = self.scale.detach().clone()
        self.scale.data.clamp_(min=0)
        made: Tensor = y * Square.apply(self.scale, before)  # type: ignore[no-untyped-call]
        return made

    torch.manual_seed(0)
    report = oracle.check_module(Scaled(use), torch.randn(5, 6))
    assert [own.quantity for own in report.blame] == ["grad.scale"], report


class Doubled(torch.autograd.Function):
    """Doubles its input in place, row by row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        for row in x:
            row.mul_(2)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g * 2


class WronglyDoubled(Doubled):
    """The same with a gradient that is a twentieth too large."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g * 2.1


def test_a_function_that_changes_its_input_row_by_row() -> None:
    """It is judged, and a wrong one is blamed."""
    torch.manual_seed(0)
    report = oracle.check_module(Scaled(lambda self, y: Doubled.apply(y * self.scale)), torch.randn(5, 6))
    assert report.coverage.operations == 1 and not report.blame, report
    report = oracle.check_module(Scaled(lambda self, y: WronglyDoubled.apply(y * self.scale)), torch.randn(5, 6))
    assert [(own.layer, own.quantity) for own in report.blame] == [("WronglyDoubled", "grad_input")], report


def test_a_reference_of_a_part_that_reads_a_row_changed_without_gradients() -> None:
    """Nothing crashes, and the rest is judged."""
    torch.manual_seed(0)
    report = oracle.check_module(Scaled(shift_rows), torch.randn(5, 6), references={"identity": lambda x: x})
    assert report.passed and report.coverage.operations == 1, report


class Viewed(nn.Module):
    """A view that is read after the tensor that it shows was changed in place."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.read = nn.Linear(6, 6), read

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x) * 1.0
        view, other = h.unsqueeze(1), h.flatten()[2:]
        h.mul_(0.7)
        h[..., 0] += 1.5
        return self.read(view) + other.exp().sum() * h.sum()


@pytest.mark.parametrize(
    "read",
    [
        lambda view: view.sum(),
        lambda view: view.clamp(-3, 3).exp(),
        lambda view: view.transpose(0, 2)[1:].abs().log(),
        lambda view: torch.cat([view, view.flip(0)]).softmax(-1),
        nn.Softplus(),
        lambda view: F.linear(view, torch.ones(2, 6)).tanh(),
        lambda view: torch.utils.checkpoint.checkpoint(torch.tanh, view, use_reentrant=False),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_reads_a_view_of_a_changed_tensor_is_judged(read: Callable[[Tensor], Tensor], seed: int) -> None:
    """autograd makes the view's node again, between the node that reads it and that node's call."""
    torch.manual_seed(seed)
    report = oracle.check_module(Viewed(read), torch.randn(4, 6))
    assert report.passed, str(report)
