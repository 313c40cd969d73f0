"""References of the user: what custom autograd.Functions, modules and hooks are meant to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import oracle


def culprits(report: oracle.Report) -> list[tuple[str, str]]:
    return [(blame.layer, blame.quantity) for blame in report.blame]


class Round(torch.autograd.Function):
    """A straight-through estimator, which differs from the derivative of its forward on purpose."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rate: float) -> torch.Tensor:
        ctx.rate = rate
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.rate * grad, None


class Outside(torch.autograd.Function):
    """A function whose work no ATen call shows, like that of an extension."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.detach().numpy() @ weight.detach().numpy())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors
        return grad @ weight.T, x.T @ grad


bound_before = Round.apply


class OnPurpose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Outside.apply(Reverse.apply(bound_before(3 * self.first(x)), 0.5), self.weight)  # type: ignore[no-any-return]


def test_what_is_meant_is_said_by_references() -> None:
    """Straight-through, reversed and opaque: wrong or unjudged without the user's word, and wrong where it is another."""
    net, x = OnPurpose().double(), torch.randn(5, 4).double()
    report = oracle.check_module(net, x)
    assert culprits(report) == [("Reverse", "grad_input"), ("Round", "grad_input")]
    assert "its backward is not the derivative of its forward" in report.blame[0].diagnosis
    assert [(own.place, own.reason.partition(" (")[0]) for own in report.coverage.unjudged] == [
        ("Outside", "no ATen call makes its output: it is opaque")
    ]
    references = {
        Round: lambda x: (np.rint(x), lambda g: g),
        Reverse: lambda x, rate: (x, lambda g: g * -rate),
        Outside: lambda x, weight: x @ weight,
    }
    assert oracle.check_module(net, x, references=references).passed
    forward = Round.forward
    other = oracle.check_module(net, x, references={**references, Reverse: lambda x, rate: (x, lambda g: g * rate)})
    assert culprits(other) == [("Reverse", "grad_input")] and Round.forward is forward


class Scaled(nn.Module):
    """A kernel that shows no ATen calls, with a parameter."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.randn(4, 4)), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Outside.apply(x, self.weight * self.factor)  # type: ignore[no-any-return, no-untyped-call]


def with_backward(x: Any, weight: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    return x @ weight, lambda g: (g @ weight.T, x.T @ g)


@pytest.mark.parametrize("key", [Scaled, "1"])
@pytest.mark.parametrize(
    "reference", [with_backward, lambda x, weight: x @ weight, lambda x, *, weight: torch.mm(x, weight)]
)
def test_a_module_is_held_against_its_reference(key: Any, reference: Callable[..., Any]) -> None:
    """By class or by name; the reference takes the parameters that it names, in NumPy or in torch."""
    torch.manual_seed(0)
    x = torch.randn(5, 4).double()
    net = nn.Sequential(nn.Linear(4, 4), Scaled(), nn.ReLU(), Scaled()).double()
    alone = oracle.check_module(net, x)
    assert not alone.passed and {own.place for own in alone.coverage.unjudged} == {"1.Outside", "3.Outside"}
    report = oracle.check_module(net, x, references={key: reference})
    shown = set(report.table.loc[report.table.layer == "1", "quantity"])
    assert shown == {"output", "grad_input#0", "grad.weight"} and not report.blame
    assert report.passed == (key is Scaled)
    net[1].factor = 1.001
    wrong = oracle.check_module(net, x, references={key: reference})
    assert {layer for layer, _ in culprits(wrong)} == {"1"} and ("1", "output") in culprits(wrong)


class Hooked(nn.Module):
    def __init__(self, hook: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
        super().__init__()
        self.first, self.last, self.hook = nn.Linear(4, 4), nn.Linear(4, 2), hook

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x) * 2
        h.register_hook(self.hook)
        return self.last(h) + h.sum(1, keepdim=True)  # type: ignore[no-any-return]


def clipped(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.clamp(-0.1, 0.1)


def test_a_hook_that_changes_a_gradient_is_held_against_its_reference() -> None:
    """Without a reference it is unjudged, so that an unintended hook is seen. A hook that only looks is not reported."""
    torch.manual_seed(0)
    x, seen = torch.randn(5, 4).double(), list[torch.Tensor]()
    assert oracle.check_module(Hooked(seen.append).double(), x).passed and seen
    net = Hooked(clipped).double()
    (unjudged,) = oracle.check_module(net, x).coverage.unjudged
    assert unjudged.place == "hook" and "a hook changes the gradient here" in unjudged.reason
    assert oracle.check_module(net, x, references={clipped: lambda x: (x, lambda g: np.clip(g, -0.1, 0.1))}).passed
    other = oracle.check_module(net, x, references={clipped: lambda x: (x, lambda g: np.clip(g, -0.2, 0.2))})
    assert culprits(other) == [("hook", "grad_input")]
    net = nn.Sequential(nn.Linear(4, 2)).double()
    net[0].weight.register_hook(clipped)
    (unjudged,) = oracle.check_module(net, x).coverage.unjudged
    assert unjudged.place == "0.weight.hook"
    assert len(net[0].weight._backward_hooks) == 1  # type: ignore[arg-type]


def doubled(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(2)


def taken(parameter: torch.Tensor) -> None:
    parameter.grad = None


@pytest.mark.parametrize("hook", [doubled, taken])
def test_a_hook_after_accumulation_is_seen(hook: Callable[[Any], Any]) -> None:
    """What it leaves in `grad` is what the optimizer takes. A hook that only looks is not reported."""
    net, seen = nn.Sequential(nn.Linear(4, 2)), list[torch.Tensor]()
    net[0].weight.register_post_accumulate_grad_hook(seen.append)
    assert oracle.check_module(net, torch.randn(5, 4)).passed and seen
    net[0].weight.register_post_accumulate_grad_hook(hook)
    report = oracle.check_module(net, torch.randn(5, 4))
    (unjudged,) = report.coverage.unjudged
    assert unjudged.place == "0.weight.hook" and "after it was added up" in unjudged.reason and not report.passed


@torch.library.custom_op("oracle_tests::sine", mutates_args=())
def sine(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sin(x.numpy()))


def keep_input(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    (ctx.x,) = inputs


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("key", [sine, torch.ops.oracle_tests.sine, torch.ops.oracle_tests.sine.default], ids=str)
def test_an_operation_of_a_library_has_a_reference(key: Any, factor: float) -> None:
    """As for a kernel in another language, of which torch sees one call."""
    sine.register_autograd(lambda ctx, g: factor * g * ctx.x.cos(), setup_context=keep_input)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = sine(self.linear(x))
            return made

    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 4)
    assert "there is no rule for oracle_tests::sine" in oracle.check_module(net, x).coverage.unjudged[0].reason
    report = oracle.check_module(net, x, references={key: torch.sin})
    assert report.passed == (factor == 1) and report.coverage.gradients == 1
    assert [own.quantity for own in report.blame] == ([] if factor == 1 else ["grad_input"])


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (lambda x: x.nothing, "its reference raises AttributeError: a recorded array has no nothing"),
        (lambda x: (torch.sign(x), lambda g: g.nothing), "the backward of its reference raises AttributeError"),
        (lambda x: None, "its reference gives 0 results, and the call 1"),
        (lambda x: 1 / 0, "its reference raises ZeroDivisionError"),
    ],
)
def test_a_reference_that_cannot_be_used_says_why(reference: Callable[..., Any], said: str) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = Sign.apply(x)  # type: ignore[no-untyped-call]
            return made

    x = torch.randn(5, 4, requires_grad=True)
    (unjudged,) = oracle.check_module(Net(), x, references={Sign: reference}).coverage.unjudged
    assert unjudged.reason.startswith(said)


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ({nn.Linear: abs}, "no part is a Linear"),
        ({"second": abs}, "references names 'second', and the module has no such part"),
        ({"0": 3}, "the reference of 0 is a function, got int"),
        ({"0": oracle.from_torch(torch.relu)}, "the reference of 0 is made by from_torch: give the function"),
        ({3: abs}, "references are of custom autograd.Functions, modules and hooks, got 3"),
        ({Sign.apply: abs}, "references takes the class Sign itself, got its method apply"),
        (lambda net: {net[0]: abs}, "references takes its class ReLU or its name '0' for a module, got the module"),
        (lambda net: {net: abs}, "references takes its class Sequential for a module, got the module itself"),
        ([], "references is a mapping, got list"),
    ],
)
def test_references_that_stand_for_nothing_are_refused(references: Any, said: str) -> None:
    """A misspelt name would leave a part unjudged, or judged as what it is not."""
    net = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match=said):
        given = references(net) if callable(references) else references
        oracle.check_module(net, torch.randn(2, requires_grad=True), references=given)


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, x.sign()


class Tripled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 3


class Used(nn.Module):
    """A part that has a reference, and what a network makes of it after a linear layer."""

    def __init__(self, part: nn.Module, use: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.part, self.use, self.linear = part, use, nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.use(self.part, self.linear(x))


def doubled(x: Any) -> Any:
    return x * 2, np.sign(x)


@pytest.mark.parametrize(
    ("part", "use", "reference", "wrong", "unjudged"),
    [
        (Pair(), lambda m, h: m(h)[0], lambda x: (x * 2, torch.sign(x)), [], []),
        (Pair(), lambda m, h: m(h)[0], lambda x: (x * 3, torch.sign(x)), ["output", "grad_input"], []),
        (Pair(), lambda m, h: m(h)[0], lambda x: (doubled(x), lambda a, b: 2 * a), [], []),
        (nn.Identity(), lambda m, h: m(h), lambda x: x, [], ["it hands its input through"]),
        (Tripled(), lambda m, h: m(h.detach()) + h, lambda x: x * 3, [], []),
        (Tripled(), lambda m, h: (m(h), h)[1], lambda x: x * 4, [], []),
        (Tripled(), lambda m, h: m(h) + m(h), lambda x: x * 3, [], []),
        (Tripled(), lambda m, h: m(h), lambda x: x * 4, ["output", "grad_input"], []),
    ],
    ids=["a part", "wrong", "meant", "through", "constant", "unused", "twice", "wrong alone"],
)
def test_a_part_is_held_against_its_reference_as_far_as_a_gradient_reaches_it(
    part: nn.Module, use: Any, reference: Any, wrong: list[str], unjudged: list[str]
) -> None:
    """By the outputs that have a gradient; where there is none, or nothing to compute, it says so or is silent."""
    torch.manual_seed(0)
    report = oracle.check_module(Used(part, use), torch.randn(5, 4), references={"part": reference}, unjudged="allow")
    assert [own.quantity.partition("#")[0] for own in report.blame] == wrong
    assert len(report.coverage.unjudged) == len(unjudged)
    assert all(said in own.reason for own, said in zip(report.coverage.unjudged, unjudged, strict=True))


class Stitch(torch.autograd.Function):
    """As in vector quantization: the numbers of one argument, with the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
        return nearest

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None


def test_a_function_that_returns_a_constant_says_what_is_to_be_given() -> None:
    """Its forward has no derivative, and with a reference it is judged."""
    net, x = Applied(lambda x: Stitch.apply(x, x.detach().round())).double(), torch.randn(5, 4).double()
    (unjudged,) = oracle.check_module(net, x).coverage.unjudged
    assert unjudged.reason.startswith("it returns an array that an earlier call computed")
    right, wrong = (lambda x, q, f=factor: (q, lambda g: (f * g, None)) for factor in (1, 2))
    assert oracle.check_module(net, x, references={Stitch: right}).passed
    assert culprits(oracle.check_module(net, x, references={Stitch: wrong})) == [("Stitch", "grad_input")]


class Unlike(Sign):
    """A custom function that is never called."""


def calls_sign(x: torch.Tensor) -> torch.Tensor:
    return Sign.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def seen_by_two_hooks(x: torch.Tensor) -> torch.Tensor:
    x.register_hook(clipped)
    x.register_hook(lambda g: None)
    return calls_sign(x)


class Applied(nn.Module):
    """A function with a custom one in it, and a part that is never called."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear, self.function, self.rest = nn.Linear(4, 4), function, Tripled()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.linear(x)) * 2


@pytest.mark.parametrize(
    ("function", "key", "name", "said"),
    [
        (calls_sign, calls_sign, "calls_sign", "no tensor has it as a hook"),
        (calls_sign, nn.Tanh(), "Tanh()", "no tensor has it as a hook"),
        (calls_sign, Unlike, "Unlike", "no call of it was seen"),
        (calls_sign, "rest", "rest", "no call of it was seen"),
        (calls_sign, sine, "oracle_tests::sine", "no operation with a gradient is a call of it"),
        (seen_by_two_hooks, clipped, "clipped", "a tensor has several hooks"),
        (lambda x: checkpoint(calls_sign, x, use_reentrant=True), Sign, "Sign", "give use_reentrant=False"),
    ],
)
def test_a_reference_that_was_not_used_is_told(function: Any, key: Any, name: str, said: str) -> None:
    """A report that passes without it would pass for one that compared the call with its reference."""
    net, x = Applied(function).double(), torch.randn(5, 4).double()
    references = {Sign: lambda x: (np.sign(x), lambda g: g), key: lambda x: (np.sign(x), lambda g: g)}
    report = oracle.check_module(net, x, references=references, steps=2)
    assert [own.place for own in report.coverage.unjudged if own.kind == "reference"] == [name]
    assert [own for own in report.unjudged if said in own] and not report.passed
    assert report.table.loc[report.table["layer_type"] == "reference", "layer"].tolist() == [name]


def test_a_module_in_a_reentrant_checkpoint_is_not_held_against_its_reference() -> None:
    """And says so, instead of passing without a comparison; in another checkpoint it is compared."""
    x = torch.randn(5, 4)
    for reentrant in (True, False):
        net = Used(Tripled(), lambda part, h, reentrant=reentrant: checkpoint(part, h, use_reentrant=reentrant))
        report = oracle.check_module(net, x, references={"part": lambda x: x * 3})
        assert [own.place for own in report.coverage.unjudged] == (["part"] if reentrant else [])
        assert report.passed != reentrant


def test_a_reference_that_is_used_in_one_of_several_steps_counts_as_used() -> None:
    """As of a part that is called in turn with another."""

    class InTurn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.part, self.count = nn.Linear(4, 4), Tripled(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            made: torch.Tensor = self.part(self.linear(x)) if self.count % 2 else self.linear(x) * 2
            return made

    report = oracle.check_module(InTurn(), torch.randn(5, 4), references={"part": lambda x: x * 3}, steps=2)
    assert report.passed, report


class Activation(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x / 2**0.5)) / 2


@pytest.mark.parametrize(("reference", "is_right"), [(nn.functional.gelu, True), (nn.functional.softplus, False)])
def test_a_builtin_function_is_a_reference(reference: Callable[..., Any], is_right: bool) -> None:
    """It says no names of its arguments, so it is called with those of the call, by position."""
    net = nn.Sequential(nn.Linear(4, 4), Activation()).double()
    report = oracle.check_module(net, torch.randn(5, 4).double(), references={Activation: reference})
    assert report.passed == is_right and not report.coverage.unjudged
    assert {layer for layer, _ in culprits(report)} == (set() if is_right else {"1"})
