"""Programs as people write them: all of their gradients are judged, and none is called wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import oracle


class Checkpointed(nn.Module):
    """With a mask that is drawn again, to the same numbers unless told otherwise."""

    def __init__(self, reentrant: bool, **how: Any) -> None:
        super().__init__()
        self.how = {"use_reentrant": reentrant, **how}
        self.a, self.b = nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 8))

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(lambda h: self.b(h) * torch.sigmoid(h), self.a(x), **self.how)


class Nested(nn.Module):
    """A reentrant checkpoint inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.inner = nn.Linear(6, 6), Checkpointed(True)

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self.inner, self.a(x), use_reentrant=True)


class NormFunctions(nn.Module):
    """Norms that are called as functions, whose statistics nobody asks for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.group_norm(x * 2, 2) + F.group_norm(x[..., 0], 4)[..., None]
        x = F.layer_norm(x, (5,)) + F.instance_norm(x) + F.batch_norm(x, None, None, training=True)
        return F.rms_norm(x, (5,))


class Mixed(nn.Module):
    """Each array in the precision that autocast gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()  # type: ignore[no-any-return]


class MixedNorm(nn.Module):
    """A norm of 16-bit numbers with weights of 32: its kernel adds up their gradients in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.out = kind(5, 6, 2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.cells(x)[0][:, -1])  # type: ignore[no-any-return]


class Functional(nn.Module):
    """Other parameters for a layer, and a layer over a batch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled = {"weight": self.fc.weight * 2, "bias": self.fc.bias}
        return torch.func.functional_call(self.fc, doubled, (x,)) + torch.vmap(self.fc)(x)


class Gpt(nn.Module):
    """Embedding, causal attention by hand, and a head that shares its weight."""

    def __init__(self, heads: int = 2, width: int = 8) -> None:
        super().__init__()
        self.heads, self.words, self.places = heads, nn.Embedding(11, width), nn.Parameter(torch.randn(6, width))
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.places
        n, t, c = x.shape
        q, k, v = (own.view(n, t, self.heads, -1).transpose(1, 2) for own in self.qkv(self.norm(x)).split(c, 2))
        scores = q @ k.transpose(-2, -1) / (c // self.heads) ** 0.5
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, c))
        return F.gelu(x) @ self.words.weight.T


TOKENS = torch.arange(18).remainder(11).reshape(3, 6)
PROGRAMS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "checkpoint": lambda: (Checkpointed(False), torch.randn(5, 6)),
    "reentrant checkpoint": lambda: (Checkpointed(True), torch.randn(5, 6)),
    "checkpoint of checkpoints": lambda: (Nested(), torch.randn(5, 6)),
    "norms as functions": lambda: (NormFunctions(), torch.randn(3, 4, 5).requires_grad_()),
    "autocast": lambda: (Mixed(), torch.randn(4, 3, 8, 8)),
    "autocast norm": lambda: (MixedNorm(), torch.randn(64, 8)),
    "LSTM": lambda: (Recurrent(nn.LSTM), torch.randn(3, 4, 5)),
    "GRU": lambda: (Recurrent(nn.GRU), torch.randn(3, 4, 5)),
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)),
    "functional": lambda: (Functional(), torch.randn(3, 4)),
    "GPT": lambda: (Gpt(), TOKENS),
    "export": lambda: (
        torch.export.export(nn.Sequential(nn.Linear(4, 3), nn.GELU()), (torch.randn(2, 4),)).module(),
        torch.randn(2, 4),
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*enable_nested_tensor", "ignore:None of the inputs")
@pytest.mark.parametrize("name", PROGRAMS)
def test_all_of_a_program_is_judged(name: str) -> None:
    """Also the operations inside torch's own modules, and those that torch's transforms make of them."""
    torch.manual_seed(0)
    module, x = PROGRAMS[name]()
    report = oracle.check_module(module, x)
    assert report.passed, report
    coverage = report.coverage
    assert coverage.parameters == coverage.gradients == coverage.operations == 1 and not coverage.unjudged


class Same(nn.Module):
    """Attention whose query, key and value are three views of the same memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x[None], x[None], x[None])[0]


def test_inputs_that_are_the_same_memory_share_their_gradient() -> None:
    """Each of the three views has a gradient of its own, and the recorded program one value for all."""
    torch.manual_seed(0)
    report = oracle.check_module(Same(), torch.randn(2, 3, 4).requires_grad_())
    assert report.passed, report


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_forward_pass_with_another_mask_is_wrong(reentrant: bool) -> None:
    """A checkpoint has to compute the same a second time."""
    torch.manual_seed(0)
    report = oracle.check_module(Checkpointed(reentrant, preserve_rng_state=False), torch.randn(5, 6))
    assert {(own.verdict, own.quantity[:4]) for own in report.blame} == {("wrong", "grad")}


def test_a_factor_inside_a_checkpoint_is_not_taken_for_a_lower_precision() -> None:
    """Only one branch has the wrong factor, so that the input's gradient shows no pattern; those of the parameters do."""

    class Five(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return grad * 2.008

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return x + Five.apply(torch.tanh(self.down(F.silu(self.up(x)))))  # type: ignore[no-untyped-call]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.first = Block(), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return checkpoint(self.block, self.first(x), use_reentrant=True)

    for seed in range(3):
        torch.manual_seed(seed)
        report = oracle.check_module(Net(), torch.randn(5, 4))
        found = {own.quantity: own for own in report.blame}
        assert {own.verdict for own in found.values()} == {"wrong"} and "bfloat16" not in str(report)
        assert "1.004" in found["grad.block.up.weight"].cause
        assert "some of its terms are wrong, as grad.block.up.weight is, by a factor" in found["grad_input#0"].diagnosis


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_gradients_that_a_reentrant_checkpoint_loses_are_missed() -> None:
    """Its parameters learn only if one of its inputs requires a gradient."""
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))

    class Lost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> Any:
            return net[1](checkpoint(net[0], x, use_reentrant=True))

    report = oracle.check_module(Lost(), torch.randn(3, 6))
    (blamed,) = report.blame
    assert (blamed.layer, blamed.verdict) == ("checkpoint", "missing") and "net.0.bias and 1 more" in blamed.diagnosis
    assert oracle.check_module(Lost(), torch.randn(3, 6).requires_grad_()).passed


def test_a_group_norm_of_single_values_is_accused_of_nothing() -> None:
    """Its terms cancel exactly in one formula, and but for their rounding in another."""
    torch.manual_seed(0)
    x = torch.randn(16, 8, 1, 1, requires_grad=True)
    assert oracle.check_module(nn.GroupNorm(8, 8, affine=False), x).passed


class Steps(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def of_two_views(x: torch.Tensor) -> torch.Tensor:
    v = x * 1.5
    v[1:].sub_(v[1:], alpha=0.3)
    return v * v


def of_one_view(x: torch.Tensor) -> torch.Tensor:
    v = x * 1.5
    columns = v[..., ::2]
    columns.add_(columns, alpha=0.5)
    return torch.sin(v) + columns.sum()


@pytest.mark.parametrize("function", [of_two_views, of_one_view])
def test_a_view_that_is_changed_by_itself_is_used_twice(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """torch differentiates what is written to by the whole tensor, and what is read by the view. Taken for one value, both
    gradients were expected in the view."""
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    report = oracle.check_module(Steps(function), x)
    assert report.passed
    operations = report.table[report.table["layer_type"].isin(["aten.sub", "aten.add"])]
    assert {"grad_input#0", "grad_input#1"} <= set(operations["quantity"])
