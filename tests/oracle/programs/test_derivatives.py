"""Gradients that are differentiated again: every rule held against torch's own second derivatives, and in whole modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle
from oracle.judging.derived import expected_of
from oracle.judging.rows import DISCREPANCIES, LOCAL, PASS, Row
from oracle.judging.verdict import compare
from oracle.programs.execution import Plain, WithErrors
from oracle.programs.table import NoRule
from oracle.running_error import ErrorArray, ErrorModel
from oracle.subjects.torch import array

from .test_rules import run, torch_gradients

TARGET, WEIGHT, KERNEL = torch.linspace(-2, 2, 48).reshape(2, 4, 6), torch.linspace(0.5, 1.5, 6), torch.randn(3, 4, 3)
LABELS = torch.tensor([0, 5, 2, 3, 1, 4, 2, 0])
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 1.5),
    "elu in place": lambda x: F.elu_(x + 0, 1.5),
    "selu": F.selu,
    "selu in place": lambda x: F.selu_(x + 0),
    "celu": lambda x: F.celu(x, 0.7),
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda x: F.softplus(8 * x, 1.5, 10),
    "logsigmoid": F.logsigmoid,
    "hardswish": lambda x: F.hardswish(3 * x),
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "threshold": lambda x: F.threshold(x, 0.1, 0.2),
    "prelu": lambda x: F.prelu(x, WEIGHT[:4].to(x.dtype)),
    "softsign": F.softsign,
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "mse_loss": lambda x: F.mse_loss(x, TARGET.to(x.dtype)),
    "mse_loss, each": lambda x: F.mse_loss(x, TARGET.to(x.dtype), reduction="none"),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, TARGET.to(x.dtype), beta=0.7),
    "smooth_l1_loss, sum": lambda x: F.smooth_l1_loss(x, TARGET.to(x.dtype), reduction="sum", beta=0.0),
    "huber_loss": lambda x: F.huber_loss(x, TARGET.to(x.dtype), delta=0.7),
    "huber_loss, each": lambda x: F.huber_loss(x, x.flip(0), reduction="none"),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(x.sigmoid(), TARGET.sigmoid().to(x.dtype)),
    "binary_cross_entropy, weighted": lambda x: F.binary_cross_entropy(
        x.sigmoid(), x.flip(1).sigmoid(), WEIGHT.to(x.dtype), reduction="sum"
    ),
    "cross_entropy": lambda x: F.cross_entropy(x.flatten(0, 1), LABELS, WEIGHT.to(x.dtype), ignore_index=2),
    "cross_entropy, each": lambda x: F.cross_entropy(x, LABELS[:6].expand(2, 6) % 4, reduction="none"),
    "nll_loss2d": lambda x: F.nll_loss(x[..., None], LABELS[:6].reshape(6, 1).expand(2, 6, 1) % 4, reduction="sum"),
    "glu": lambda x: F.glu(x, 1),
    "conv1d": lambda x: F.conv1d(x, KERNEL.to(x.dtype), stride=2, padding=1),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x, KERNEL.mT.reshape(4, 3, 3).to(x.dtype), stride=2),
    "layer_norm": lambda x: F.layer_norm(x, (6,), WEIGHT.to(x.dtype), WEIGHT.to(x.dtype)),
    "layer_norm, two": lambda x: F.layer_norm(x, (4, 6)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, WEIGHT[:4].to(x.dtype), training=True),
    "group_norm": lambda x: F.group_norm(x, 2, WEIGHT[:4].to(x.dtype)),
    "avg_pool1d": lambda x: F.avg_pool1d(x, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2, 1, 1, count_include_pad=False),
    "avg_pool3d": lambda x: F.avg_pool3d(x[None], 2, 1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2, 1),
    "max_pool3d": lambda x: F.max_pool3d(x[None], 2, 1),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "upsample nearest": lambda x: F.interpolate(x, scale_factor=2),
    "upsample linear": lambda x: F.interpolate(x, 11, mode="linear"),
    "upsample bilinear": lambda x: F.interpolate(x[None], (7, 5), mode="bilinear", align_corners=True),
    "upsample trilinear": lambda x: F.interpolate(x[None, None], scale_factor=1.5, mode="trilinear"),
    "reflection_pad1d": lambda x: F.pad(x, (2, 1), "reflect"),
    "replication_pad2d": lambda x: F.pad(x[None], (2, 1, 1, 0), "replicate"),
    "embedding": lambda x: F.embedding(torch.tensor([[1, 0, 3], [1, 2, 1]]), x[0], padding_idx=2),
    "unfold": lambda x: x.unfold(1, 3, 1).square().sum(-1) + x.unfold(2, 4, 2)[:, :2].sum((2, 3))[..., None],
    "unfold the first dimension": lambda x: x.transpose(0, 2).unfold(0, 3, 2).square(),
    "slices": lambda x: x[:, 1::2, 2:-1].square() * x[0, 3, 1],
    "lp_pool1d": lambda x: F.lp_pool1d(x + 3, 2, 2),
    "local_response_norm": lambda x: F.local_response_norm(x, 2),
    "linear": lambda x: F.linear(x, KERNEL.reshape(6, 6).to(x.dtype)),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "normalize": F.normalize,
}


def differentiated(f: Callable[[Tensor], Tensor], dtype: torch.dtype) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The gradient of f as a function of x and of the gradient that it receives, and two such."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6).to(dtype)

    def gradient(x: Tensor, g: Tensor) -> Tensor:
        return torch.autograd.grad(f(x), x, g, create_graph=True)[0]

    return gradient, [x, torch.randn_like(f(x))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_of_a_gradient(name: str) -> None:
    """The mathematics is torch's: in float64 the two differ by rounding alone."""
    fn, given = differentiated(FUNCTIONS[name], torch.float64)
    inputs, upstream, expected = torch_gradients(lambda *own: [fn(*own)], given)
    outputs, grads = run(lambda *own: [fn(*own)], inputs, upstream, Plain())
    for got, due in zip([*outputs, *grads], [fn(*inputs), *expected], strict=True):
        shown = np.zeros(tuple(due.shape)) if got is None and due is not None else got
        if due is not None:
            np.testing.assert_allclose(shown, due.detach().numpy(force=True), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_is_not_accused(name: str, dtype: torch.dtype) -> None:
    if name == "avg_pool3d" and dtype == torch.bfloat16:
        pytest.skip("torch has no avg_pool3d in bfloat16")
    fn, given = differentiated(FUNCTIONS[name], dtype)
    inputs, upstream, expected = torch_gradients(lambda *own: [fn(*own)], given)
    outputs, grads = run(lambda *own: [fn(*own)], inputs, upstream, WithErrors(ErrorModel(np.dtype("float32"))))
    for place, (made, got) in enumerate(zip([*outputs, *grads], [fn(*inputs), *expected], strict=True)):
        if isinstance(made, ErrorArray) and got is not None:
            row = Row(name, str(dtype).removeprefix("torch."), 0, name, "", str(place), LOCAL, PASS)
            row = compare(row, array(got.detach() + 0), expected_of(made), structured=True, no_terms=False)
            assert row.verdict not in DISCREPANCIES, row


ROWS, VOLUME, FEATURES = torch.randn(6), torch.randn(3, 4, 3), torch.randn(4)
# Functions of x and parameters, and these parameters.
LEARNT: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "prelu": (F.prelu, (FEATURES.abs(),)),
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, padding=1), (VOLUME, FEATURES[:3])),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b), (ROWS, ROWS.flip(0))),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (FEATURES, FEATURES.flip(0))),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (FEATURES, FEATURES.flip(0))),
}


def by(wanted: tuple[int, ...], f: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """The gradients of f by these of its arguments, as a function of all of them and of the gradient that it receives."""

    def gradients(*given: Tensor) -> list[Tensor]:
        *own, g = given
        own = [value if value.requires_grad else value.detach().requires_grad_() for value in own]
        return list(torch.autograd.grad(f(*own), [own[place] for place in wanted], g, create_graph=True))

    return gradients


@pytest.mark.parametrize(
    "name, wanted",
    [
        (name, wanted)
        for name, (_, params) in LEARNT.items()
        for wanted in ((0,), (1,), (0, 1), (2,), (0, 1, 2))
        if max(wanted) <= len(params)
    ],
)
def test_the_gradients_of_parameters_gradients(name: str, wanted: tuple[int, ...]) -> None:
    """As a gradient penalty or meta-learning needs them: whichever of a layer's gradients is differentiated, the others not."""
    f, params = LEARNT[name]
    torch.manual_seed(0)
    given = [torch.randn(2, 4, 6).double(), *(own.double() for own in params)]
    given.append(torch.randn_like(f(*given)))
    fn = by(wanted, f)
    inputs, upstream, expected = torch_gradients(fn, given)
    outputs, grads = run(fn, inputs, upstream, Plain())
    for got, due in zip([*outputs, *grads], [*fn(*inputs), *expected], strict=True):
        if due is not None:
            shown = np.zeros(tuple(due.shape)) if got is None else got
            np.testing.assert_allclose(shown, due.detach().numpy(), rtol=1e-8, atol=1e-9)


def test_what_has_no_second_derivative_here_is_refused_in_words() -> None:
    """A batch norm in evaluation has another backward than in training, whose rule would give other numbers."""
    statistics = torch.zeros(4).double(), torch.ones(4).double()
    fn, given = differentiated(lambda x: F.batch_norm(x, *statistics), torch.float64)
    inputs, upstream, _ = torch_gradients(lambda *own: [fn(*own)], given)
    with pytest.raises(NoRule, match="a batch norm in evaluation, differentiated again"):
        run(lambda *own: [fn(*own)], inputs, upstream, Plain())


class Penalized(nn.Module):
    """The critic of a WGAN: its mean, and how far the norm of its gradient is from one."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(x).sum(), x, create_graph=True)
        norm: Tensor = gradient.flatten(1).norm(2, 1)
        return self.critic(x).mean() + 10 * (norm - 1).square().mean()


class Wave(nn.Module):
    """The residual of a differential equation with second derivatives, as in a physics-informed network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        u = self.net(x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 0].sum(), x, create_graph=True)
        residual: Tensor = first[:, 1:] + u * first[:, :1] - 0.01 * second[:, :1]
        return residual


def critic(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), activation(), nn.GroupNorm(2, 4), nn.Conv1d(4, 4, 3, stride=2)),
        *(nn.Flatten(), nn.LayerNorm(8), activation(), nn.Linear(8, 1)),
    )


def solution(activation: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 16), activation(), nn.Linear(16, 16), activation(), nn.Linear(16, 1))


ACTIVATIONS: list[Callable[[], nn.Module]] = [nn.Tanh, nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.LeakyReLU, nn.Softsign]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_module_that_differentiates_itself(activation: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    """A gradient of a gradient reaches a layer by what it kept for its backward, not by its output alone."""
    torch.manual_seed(0)
    for module, shape in ((Penalized(critic(activation)), (6, 8)), (Wave(solution(activation)), (12, 2))):
        report = oracle.check_module(module.to(dtype), torch.randn(shape).to(dtype), unjudged="fail")
        assert report.passed, report


def test_a_wrong_gradient_beside_a_gradient_of_a_gradient() -> None:
    """What was handed to the operations is still judged: a wrong derivative of one of them is found there."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return torch.tanh(x)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            (x,) = ctx.saved_tensors
            result: Tensor = g * (1 - torch.tanh(x) ** 2) * 1.01
            return result

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = Wrong.apply(x)  # type: ignore[no-untyped-call]
            return made

    torch.manual_seed(0)
    report = oracle.check_module(Wave(solution(Own)).double(), torch.randn(12, 2).double(), unjudged="allow")
    assert not report.passed
    assert any("Wrong" in str(culprit) for culprit in report.blame), report
