"""Programs as users of torch write them: right ones are not accused, and go on working after the check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev, vmap

import oracle


class Program(nn.Module):
    """Layers, and a function that calls them."""

    def __init__(self, body: Callable[[Any, Tensor], Any], **layers: Any) -> None:
        super().__init__()
        self.body = body
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def test_a_teacher_in_inference_mode_is_judged() -> None:
    """Its tensors count no versions. A layer that works in place changes what it is given there too, as it is meant to."""

    def distil(own: Any, x: Tensor) -> Tensor:
        with torch.inference_mode():
            taught = own.teacher(x)
        return F.kl_div(own.student(x).log_softmax(1), taught.clone().softmax(1), reduction="batchmean")

    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).requires_grad_(False)
    report = oracle.check_module(Program(distil, student=nn.Linear(4, 3), teacher=teacher), torch.randn(5, 4))
    report.raise_for_discrepancy()
    assert report.coverage.parameters == report.coverage.operations == 1


def test_memory_that_was_recorded_can_still_be_resized() -> None:
    """Buffers that grow with what is seen, as those of an observer do, grow during the check and after it."""

    class Observer(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))
            self.register_buffer("seen", torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            scale = self.seen.sum()
            torch.amax(x.detach(), 0, out=self.seen.resize_(0))
            return x * self.weight * scale

    torch.manual_seed(0)
    observer, x = Observer(), torch.randn(5, 4)
    oracle.check_module(observer, x, steps=2).raise_for_discrepancy()
    assert observer.seen.tolist() == [1, 1]
    observer(x)
    assert observer.seen.shape == (4,)


def slopes(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """tanh(x w), and the sum over its outputs of their derivatives, taken by autograd as in a continuous normalizing flow."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        y = torch.tanh(x @ w)
    return y, torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0].sum(-1)


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_gradient_inside_of_a_function_is_differentiated_too(factor: float) -> None:
    """The second one is taken at a number that the first one made, which requires no gradient inside of a Function."""

    class Traced(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
            ctx.save_for_backward(x, w)
            y, first = slopes(x, w)
            return first + slopes(x + y / 2, w)[1]

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            x, w = (own.detach().requires_grad_() for own in ctx.saved_tensors)
            with torch.enable_grad():
                y = torch.tanh(x @ w)
                both = (1 - y**2) @ w.T + (1 - torch.tanh((x + y / 2) @ w) ** 2) @ w.T
                dx, dw = torch.autograd.grad(both.sum(-1), (x, w), grad)
            return dx, dw * factor

    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 3).double())
    module = Program(
        lambda own, x: Traced.apply(own.layer(x), own.weight), layer=nn.Linear(3, 3).double(), weight=weight
    )
    report = oracle.check_module(module, torch.randn(4, 3).double())
    assert [own.quantity for own in report.blame] == ([] if factor == 1 else ["grad.weight"]), report
    assert report.coverage.operations == 1


def test_a_codebook_that_is_written_after_it_chose_is_not_accused() -> None:
    """Its numbers were read by what leads to an index alone. A write to what another operation has read is named."""

    class Codebook(nn.Module):
        def __init__(self, chooses_only: bool) -> None:
            super().__init__()
            self.encoder, self.decoder, self.code = nn.Linear(4, 3), nn.Linear(3, 4), nn.Embedding(6, 3)
            self.chooses_only = chooses_only

        def forward(self, x: Tensor) -> Tensor:
            z = self.encoder(x)
            distances = z @ self.code.weight.T
            chosen = F.one_hot(distances.argmax(-1), 6).to(z.dtype)
            means = chosen.T @ z.detach() / 9
            self.code.weight.data.mul_(0.9).add_(means)
            q = z + (chosen @ self.code.weight - z).detach()
            loss = F.mse_loss(self.decoder(q), x)
            return loss if self.chooses_only else loss + distances.square().mean()

    torch.manual_seed(0)
    module = Codebook(True)
    module.code.weight.requires_grad_(False)
    for learns in (False, True):
        module.code.weight.requires_grad_(learns)
        report = oracle.check_module(module, torch.randn(5, 4))
        assert not any(own.quantity == "input" for own in report.blame), report
    report = oracle.check_module(Codebook(False), torch.randn(5, 4))
    (written,) = [own for own in report.blame if own.quantity == "input"]
    assert written.layer == "Codebook" and "test_wild_programs.py:" in written.diagnosis


def test_a_second_derivative_with_more_rows_than_its_activation_is_judged() -> None:
    """torch.func takes all rows of a Hessian in one backward pass, whose gradients have an axis more than the activation."""
    for activation in (nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.ELU(), nn.LeakyReLU()):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 5), activation, nn.Linear(5, 1)).double()
        hessian = Program(lambda own, x: vmap(jacrev(jacrev(lambda z: own.net(z)[0])))(x), net=net)
        report = oracle.check_module(hessian, torch.randn(3, 2).double())
        assert not report.coverage.unjudged and not report.blame, report


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("place", ["layer", "net"])
def test_a_module_s_backward_hook_that_changes_a_gradient_is_unjudged(register: str, place: str) -> None:
    """The layer is not accused of it. A hook that only looks leaves everything judged."""

    def halved(module: nn.Module, *gradients: Any) -> Any:
        return tuple(0.5 * own for own in gradients[0])

    for hook in (halved, lambda *_: None):
        torch.manual_seed(0)
        layer = nn.Linear(4, 3)
        net = nn.Sequential(layer, nn.Tanh())
        getattr(layer if place == "layer" else net, register)(hook)
        report = oracle.check_module(nn.Sequential(nn.Linear(4, 4), net), torch.randn(5, 4))
        assert not report.blame, report
        reasons = [own.reason for own in report.coverage.unjudged]
        assert len(reasons) == (hook is halved) and all("a backward hook of a module" in own for own in reasons)
        assert report.passed is (hook is not halved)


def test_a_hook_of_the_output_itself_is_told_of_once() -> None:
    """No call reads the output, and the hook is a tensor's all the same, not one on autograd's node."""

    def clipped(own: Any, x: Tensor) -> Tensor:
        y = own.layer(x)
        y.register_hook(lambda g: g.clamp(-0.01, 0.01))
        return y  # type: ignore[no-any-return]

    ((place, _, reason),) = oracle.check_module(
        Program(clipped, layer=nn.Linear(4, 3)), torch.randn(5, 4)
    ).coverage.unjudged
    assert place == "hook" and "a hook changes the gradient here" in reason


def test_parameters_that_nothing_trains_are_named() -> None:
    """Those that the optimizer was not given, and those of layers in a plain list, which the module does not hold."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.rest = nn.Linear(4, 4), nn.Linear(4, 3), [nn.Linear(4, 4)]

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rest[0](self.first(x)))  # type: ignore[no-any-return]

    net = Hidden()
    said = str(oracle.check_module(net, torch.randn(5, 4), optimizer=torch.optim.SGD(net.first.parameters())))
    assert "the optimizer does not hold last.weight, last.bias" in said
    assert "parameters are used that the module does not hold, at test_wild_programs.py:" in said
    net.rest = nn.ModuleList(net.rest)  # type: ignore[assignment]
    said = str(oracle.check_module(net, torch.randn(5, 4), optimizer=torch.optim.SGD(net.parameters())))
    assert "does not hold" not in said


def test_a_compiled_function_is_judged_as_it_was_written_and_stays_compiled() -> None:
    """Its compiled form is unjudged. Neither does the compiler take the recording for a part of it, nor give up on it."""
    ran = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        ran.append("compiled")
        return lambda *args: ran.append("ran") or graph.forward(*args)

    compiled = torch.compile(lambda x, w: F.gelu(x @ w.T) * 2, backend=backend)
    module = Program(lambda own, x: compiled(x, own.weight), weight=nn.Parameter(torch.randn(3, 4)))
    x = torch.randn(5, 4)
    for before in ([], ["compiled", "ran"]):
        report = oracle.check_module(module, x, steps=2)
        ((_, kind, reason),) = report.coverage.unjudged
        assert kind == "a function of torch.compile" and "as it was written" in reason and not report.blame
        assert {"mm", "gelu", "mul"} <= set(report.table["layer"]) and ran == before
        module(x)
    assert ran == ["compiled", "ran", "ran"]


def test_gradients_in_each_other_s_place_are_named() -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            a, b = ctx.saved_tensors
            return grad * a, grad * b

    torch.manual_seed(0)
    module = Program(lambda own, x: Product.apply(own.a(x), own.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 3))
    report = oracle.check_module(module, torch.randn(5, 4))
    assert [(own.quantity, own.cause_name, own.cause) for own in report.blame] == [
        ("grad_input#0", "another quantity", "it holds the right grad_input#1"),
        ("grad_input#1", "another quantity", "it holds the right grad_input#0"),
    ]


class TwoResults(torch.autograd.Function):
    """Two results of the same shape."""

    swaps = False

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        return x.sin(), x.exp()

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        first, second = (second, first) if TwoResults.swaps else (first, second)
        return first * x.cos() + second * x.exp()


@pytest.mark.parametrize("swaps", [False, True])
def test_gradients_of_several_outputs_differ(swaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that takes one for the other would pass if they were equal."""
    monkeypatch.setattr(TwoResults, "swaps", swaps)
    torch.manual_seed(0)
    report = oracle.check_module(Program(lambda _, x: TwoResults.apply(x)), torch.randn(3, 4, requires_grad=True))
    assert report.passed is not swaps
    assert [own.quantity for own in report.blame] == ["grad_input"] * swaps


class Tagged(torch.Tensor):
    """A subclass of tensors that changes nothing."""


def written(x: Tensor) -> Tensor:
    x[0] = x[1] * 2
    return x + 1


@pytest.mark.parametrize(
    "body",
    [
        lambda own, x: own.layer(x.as_subclass(Tagged)).relu().as_subclass(Tensor) * 2,
        lambda own, x: own.layer(x).as_subclass(Tagged).view(5, 3).t().contiguous().t(),
        lambda own, x: own.layer(x).as_subclass(Tagged).as_subclass(Tensor).as_subclass(Tagged),
        lambda own, x: written(own.layer(x).as_subclass(Tagged)).as_subclass(Tensor),
    ],
)
def test_subclasses_of_tensors_are_judged(body: Callable[[Any, Tensor], Tensor]) -> None:
    """Autograd hands a tensor on to its other class over a node that no ATen call stands for."""
    torch.manual_seed(0)
    report = oracle.check_module(Program(body, layer=nn.Linear(4, 3)), torch.randn(5, 4))
    report.raise_for_discrepancy()
    assert report.coverage.parameters == report.coverage.operations == 1


def test_a_wrong_gradient_between_subclasses_is_found() -> None:
    """The tensor before a change of class is taken from behind it: a mistake there has to show all the same."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 1.5

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return grad * 3

    torch.manual_seed(0)
    module = Program(lambda own, x: Doubled.apply(own.layer(x).as_subclass(Tagged).tanh()) * 2, layer=nn.Linear(4, 3))
    report = oracle.check_module(module, torch.randn(5, 4))
    assert [(own.layer, own.quantity) for own in report.blame] == [("Doubled", "grad_input")], report


@pytest.mark.parametrize("way", ["torch", "by hand"])
def test_an_average_that_is_kept_in_the_forward_pass_is_not_missing_its_gradient(way: str) -> None:
    """It is written through a detached view of its parameters, and read without gradients. A detached use is still found."""

    class Averaged(nn.Module):
        def __init__(self, uses: bool) -> None:
            super().__init__()
            self.layer, self.uses = nn.Linear(4, 3), uses
            self.mean = torch.optim.swa_utils.AveragedModel(self.layer)

        def forward(self, x: Tensor) -> Tensor:
            if way == "torch":
                self.mean.update_parameters(self.layer)
            else:
                for kept, now in zip(self.mean.module.parameters(), self.layer.parameters(), strict=True):
                    kept.detach().mul_(0.9).add_(now.detach(), alpha=0.1)
            with torch.no_grad():
                taught = self.mean(x)
            more = x @ self.mean.module.weight.detach().T if self.uses else 0.0
            return self.layer(x) - taught + more

    torch.manual_seed(0)
    x = torch.randn(5, 4)
    oracle.check_module(Averaged(False), x).raise_for_discrepancy()
    assert [own.verdict for own in oracle.check_module(Averaged(True), x).blame] == ["missing"]
