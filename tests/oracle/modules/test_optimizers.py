"""check_module judges torch's optimizers with their options, and finds a kernel that leaves parameters as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import oracle

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True, "foreach": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "fused": True}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1, "foreach": True}),
    ("Adam", {"lr": 0.01, "fused": True, "maximize": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.2, "betas": (0.5, 0.6), "eps": 1e-3}),
    ("NAdam", {"lr": 0.01, "momentum_decay": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.01, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.01, "fused": True}),
    ("Adadelta", {"lr": 0.9, "rho": 0.8, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5}),
    ("Rprop", {"lr": 0.01, "etas": (0.4, 1.3)}),
    ("ASGD", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.01, "weight_decay": 0.1}),
]


def judged(optimizer: str, options: dict[str, Any], dtype: torch.dtype) -> oracle.Report:
    """Three steps of a small net, whose first parameter has a rate of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    first, *rest = net.parameters()
    groups = [{"params": [first], "lr": 0.03}, {"params": rest}]
    made = getattr(torch.optim, optimizer)(groups, **options)
    x, target = torch.randn(5, 4, dtype=dtype), torch.randn(5, 3, dtype=dtype)
    return oracle.check_module(net, x, nn.MSELoss(), target, made, steps=3)


@pytest.mark.parametrize(("optimizer", "options"), OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_s_optimizers_conform_with_their_options(
    optimizer: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    judged(optimizer, options, dtype).raise_for_discrepancy()


def test_a_fused_update_that_does_nothing_is_wrong() -> None:
    """torch 2.13 leaves 16-bit parameters as they are, which no tolerance hides."""
    if not torch.__version__.startswith("2.13."):
        pytest.skip("later versions of torch have mended it")
    table = judged("SGD", {"lr": 0.1, "fused": True}, torch.bfloat16).table
    wrong = table[table.verdict == "wrong"]
    assert set(wrong.quantity) == {"param.weight"} and set(wrong.layer) == {"0", "2"}


class Averaged(torch.optim.Adam):
    """Adam that keeps an average of each parameter, and from the second step on moves the parameter towards it."""

    towards = 0.0

    def step(self, closure: Any = None) -> Any:
        found = super().step(closure)
        for group in self.param_groups:
            for own in group["params"]:
                average = self.state[own].setdefault("average", own.detach().clone())
                own.data.lerp_(average, self.towards)
                average.lerp_(own.detach(), 0.1)
        return found


class TowardsAverage(Averaged):
    towards = 0.01


@pytest.mark.parametrize("kind", [Averaged, TowardsAverage])
def test_an_optimizer_that_keeps_more_than_torch_s_is_judged_in_every_step(kind: type[Averaged]) -> None:
    """The reference refused the state that it does not know: nothing was judged from the second step on, and it passed."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    report = oracle.check_module(net, torch.randn(5, 4), optimizer=kind(net.parameters(), lr=0.01), steps=3)
    rows = report.table
    assert set(rows[rows["quantity"] == "param.weight"]["step"]) == {0, 1, 2}
    assert {own.quantity for own in report.blame} == ({"param.weight", "param.bias"} if kind.towards else set())


def test_an_update_that_the_reference_refuses_is_unjudged() -> None:
    """It had no row at all, and the report passed."""
    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = -0.1
    report = oracle.check_module(net, torch.randn(5, 4), optimizer=optimizer)
    assert not report.passed and not report.blame
    assert "the reference does not make it" in report.coverage.unjudged[0].reason
    assert "SGD expects lr of at least 0, got -0.1" in str(report)


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_hooks_beside_a_step_are_no_part_of_it(when: str) -> None:
    """Clipping before and averaging after are the user's: what reaches the optimizer's own step is judged."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def clip(*_: Any) -> None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)

    def clamp(*_: Any) -> None:
        net.weight.data.clamp_(-0.3, 0.3)

    if when != "after":
        optimizer.register_step_pre_hook(clip)
    if when != "before":
        optimizer.register_step_post_hook(clamp)
    report = oracle.check_module(net, torch.randn(5, 4), optimizer=optimizer, steps=3)
    assert report.passed, report
    assert ("changes gradients before the update" in report.conclusion) == (when != "after")
    assert set(report.table[report.table["quantity"] == "param.weight"]["step"]) == {0, 1, 2}
    assert len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks) == 1 + (when == "both")


class Clipping(torch.optim.SGD):
    """A step that clips gradients first; `more` is what it does beside that."""

    more = ""

    def step(self, closure: Any = None) -> Any:
        own = [own for group in self.param_groups for own in group["params"]]
        torch.nn.utils.clip_grad_norm_(own, 0.1)
        if self.more == "before":
            own[0].data.mul_(0.99)
        found = super().step(closure)
        if self.more == "after":
            own[0].data.mul_(0.99)
        if self.more == "twice":
            super().step(closure)
        return found


@pytest.mark.parametrize("more", ["", "before", "after", "twice"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_derived_step_may_change_gradients_alone(more: str, beside: bool) -> None:
    """Clipping in the step of a derived class made the update wrong. It still is if the class changes parameters too. Torch wraps
    the step of a class when the first optimizer of it is made, so there may be one."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = type("Own", (Clipping,), {"more": more})(net.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(nn.Linear(1, 1).parameters()) if beside else None
    plain = torch.optim.SGD.step
    report = oracle.check_module(net, torch.randn(5, 4), optimizer=optimizer, steps=3)
    assert bool(report.blame) == bool(more), report
    said = "changes gradients before the update, which is not judged: Linear.weight, Linear.bias"
    assert more or said in report.conclusion
    assert set(report.table[report.table["quantity"] == "param.weight"]["step"]) == {0, 1, 2}
    assert torch.optim.SGD.step is plain and (other is None or not other.state)


def test_a_wrong_step_between_hooks_is_found() -> None:
    net = nn.Linear(4, 3)
    optimizer = TowardsAverage(net.parameters(), lr=0.01)
    optimizer.register_step_pre_hook(lambda *_: None)
    assert oracle.check_module(net, torch.randn(5, 4), optimizer=optimizer, steps=3).blame


def test_a_class_of_torch_is_left_as_it_was() -> None:
    """AdamW inherits its step from Adam. While a class derived from it is judged, AdamW has a step of its own."""

    class Clipping(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.1)
            return super().step(closure)

    layer, before = torch.nn.Linear(3, 2), dict(vars(torch.optim.AdamW))
    optimizer = Clipping(layer.parameters())
    assert oracle.check_module(layer, torch.randn(4, 3), torch.nn.MSELoss(), torch.randn(4, 2), optimizer).passed
    assert dict(vars(torch.optim.AdamW)).keys() == before.keys()
