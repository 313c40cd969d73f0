"""check_module(effort="sample"): elements that are drawn are judged as all are, and the chances that a report states are true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import oracle
from oracle.case.case import Spec
from oracle.case.foreign import numpy_of
from oracle.judging import comparison
from oracle.modules import ModuleError
from oracle.modules.sampled import convolutions, operations, plans, sampler
from oracle.modules.sampled.draws import Cells, Draw
from oracle.modules.sampled.plans import DRAWN
from oracle.modules.sampled.sampler import PLANNERS, Sampler
from oracle.running_error import LAMBDA


class Attending(nn.Module):
    """Operations between layers: broadcast, joined, viewed, overwritten, attended and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 65, 32))
        self.gain, self.qkv = nn.Parameter(torch.randn(32)), nn.Linear(32, 96)
        self.mix, self.shift = nn.Parameter(torch.randn(32, 32)), nn.Parameter(torch.randn(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        q, k, v = self.qkv(x * self.gain).reshape(len(x), 65, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return F.gelu((F.linear(x + attended, self.mix, self.shift) @ self.mix).softmax(-1)).mean(1)


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    return {
        "convolutions": (
            nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(inplace=True),
                nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=2),
                nn.PReLU(32),
                nn.MaxPool2d(3, 1, 1),
                nn.Conv2d(32, 32, (3, 2), stride=(2, 1), dilation=(1, 2), padding_mode="reflect", padding=1),
                nn.GroupNorm(8, 32),
                nn.Hardswish(),
                nn.Conv2d(32, 32, 5, padding="same", groups=32, bias=False),
                nn.InstanceNorm2d(32, affine=True, track_running_stats=True),
                nn.Dropout(0.2),
                nn.AdaptiveAvgPool2d(5),
                nn.Flatten(),
                nn.Linear(800, 40),
                nn.LogSoftmax(1),
            ),
            (6, 3, 30, 32),
        ),
        "attention": (Attending(), (4, 32, 8, 8)),
        "sequence": (
            nn.Sequential(
                nn.Conv1d(4, 32, 7, stride=3, padding=2), nn.Softmax(1), nn.LayerNorm(171), nn.Linear(171, 60)
            ),
            (3, 4, 514),
        ),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", networks())
def test_a_correct_network_is_not_accused(name: str, dtype: torch.dtype) -> None:
    """Every layer and operation is judged, and none is wrong; one that no element was drawn of would be unjudged."""
    torch.manual_seed(1)
    net, shape = networks()[name]
    report = oracle.check_module(net.to(dtype), torch.randn(shape, dtype=dtype, requires_grad=True), effort="sample")
    assert report.passed, report
    assert report.coverage.operations == report.coverage.parameters == 1 and 0 < report.coverage.gradients < 1


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_seed_accuses_a_correct_network(seed: int) -> None:
    """The same seed draws the same elements."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Sigmoid()), torch.randn(4, 3, 40, 40)
    one, two = (oracle.check_module(net, x.requires_grad_(), effort="sample", seed=seed) for _ in range(2))
    assert one.passed and one.coverage == two.coverage
    assert one.table.drop(columns="case").equals(two.table.drop(columns="case"))


def test_elements_are_judged_as_they_are_judged_among_all() -> None:
    """The worst drawn element has the place and the expected value that it has where everything is judged, and the same tolerance
    but for what the order of a long sum adds to it, which is estimated from several elements."""
    torch.manual_seed(2)
    layers = [
        nn.Conv2d(8, 24, 3, 2, 1, groups=2),
        nn.BatchNorm2d(24),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(864, 90),
    ]
    net, x = nn.Sequential(*layers).double(), torch.randn(7, 8, 24, 24).double().requires_grad_()
    kept: dict[tuple[str, str], tuple[Any, Any]] = {}
    real = comparison.compare

    def watching(row: Any, got: Any, expected: Any, **more: Any) -> Any:
        kept[row.layer, row.quantity] = got, expected
        return real(row, got, expected, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "compare", watching)
        oracle.check_module(net, x)
    table = oracle.check_module(net, x, effort="sample").table
    compared = 0
    for row in table[table["n"] > 0].to_dict("records"):
        got, expected = kept[row["layer"], row["quantity"]]
        place = tuple(map(int, row["worst_index"].split()))
        assert float(got[place]) == row["got"]
        assert math.isclose(expected.value[place], row["expected"], rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(LAMBDA * expected.sigma[place], row["tolerance"], rel_tol=0.2, abs_tol=1e-18), row
        compared += row["n"] < got.size
    assert compared > 12


class Faulty(torch.autograd.Function):
    """The identity, whose gradient of one channel is a hundredth too large."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        wrong = grad.clone()
        wrong[:, 3] *= 1.01
        return wrong


class Passing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = Faulty.apply(x)  # type: ignore[no-untyped-call]
        return made


def test_a_fault_of_a_channel_between_layers_is_found() -> None:
    net, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Passing(), nn.Tanh()), torch.randn(4, 3, 40, 40)
    report = oracle.check_module(net, x, effort="sample")
    assert [(own.layer, own.quantity) for own in report.blame] == [("1.Faulty", "grad_input")]
    assert report.table.query("layer == '1.Faulty' and quantity == 'grad_input'")["n"].item() == DRAWN


@pytest.mark.parametrize("name", ["conv2d", "batch_norm", "gelu"])
def test_a_kernel_that_is_wrong_in_one_channel_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For these layers the report says that hardly any fault of a channel is missed."""
    layer = {"conv2d": nn.Conv2d(4, 12, 3, padding=1), "batch_norm": nn.BatchNorm2d(4), "gelu": nn.GELU()}[name]
    kernel = getattr(F, name)

    def wrong(*args: Any, **options: Any) -> torch.Tensor:
        made: torch.Tensor = kernel(*args, **options)
        with torch.no_grad():
            made[:, 2] *= 1.001
        return made

    monkeypatch.setattr(F, name, wrong)
    x = torch.randn(4, 4, 20, 20, requires_grad=True)
    report = oracle.check_module(nn.Sequential(layer, nn.Tanh()), x, effort="sample")
    assert ("0", "output", "wrong") in {(own.layer, own.quantity, own.verdict) for own in report.blame}
    sample = report.coverage.sample
    assert sample is not None
    assert all(own.channel < 1e-8 for own in sample.tensors if (own.place, own.quantity) == ("0", "output"))


CONV = {"in_channels": 6, "out_channels": 8, "kernel_size": 3, "stride": 2, "padding": 1, "bias": False}


def fault(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Any:
    """The index of an element, of a row, or of a channel: of the axis for which the report gives the chance."""
    place = [int(rng.integers(size)) for size in shape]
    return tuple(place) if kind == "element" else tuple(place[:-1])


@pytest.mark.parametrize("kind", ["element", "row", "channel"])
@pytest.mark.parametrize("quantity", ["output", "grad_input", "grad.weight"])
def test_the_chance_to_miss_a_fault_is_true(quantity: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements of a convolution with a stride are drawn again and again: how often a fault is not among them is as stated."""
    for module in (convolutions, plans):
        monkeypatch.setattr(module, "DRAWN", 24)
        monkeypatch.setattr(module, "READ", 200)
    shapes = {"output": (2, 8, 5, 6), "grad_input": (2, 6, 10, 12), "grad.weight": (8, 6, 3, 3)}
    shape, rng, missed, rounds = shapes[quantity], np.random.default_rng(5), 0, 600
    numbers = torch.arange(math.prod(shape)).reshape(shape)
    for seed in range(rounds):
        spec, state = Spec("Conv2d", CONV, "layer"), {"weight": (8, 6, 3, 3)}
        layer = plans.LayerToCut(spec, (2, 6, 10, 12), state, Sampler(seed).generator("conv"))
        drawn = next(own.draws[quantity] for own in PLANNERS["Conv2d"](layer) or [] if quantity in own.draws)
        assert drawn.count(shape) == drawn.of(numbers).numel() == len(set(drawn.of(numbers).ravel().tolist()))
        stated = getattr(drawn.misses(shape), kind)
        if kind == "channel":
            axis = max(range(len(shape)), key=lambda own: drawn._misses((own,), shape))
            touched = numbers.select(axis, int(rng.integers(shape[axis])))
        else:
            touched = numbers[fault(rng, shape, kind)]
        missed += not set(touched.ravel().tolist()) & set(drawn.of(numbers).ravel().tolist())
    assert abs(missed / rounds - stated) <= 4 * math.sqrt(stated * (1 - stated) / rounds) + 1e-9, (
        missed / rounds,
        stated,
    )


def test_the_chance_follows_a_hypergeometric_distribution() -> None:
    """Three of ten elements in two rows are drawn: a row is missed with 5·4·3 / (10·9·8)."""
    drawn = Draw((Cells.drawn(np.random.default_rng(0), (0, 1), (2, 5), 3),))
    assert drawn.misses((2, 5)).element == pytest.approx(0.7) and drawn.misses((2, 5)).row == pytest.approx(60 / 720)


def test_only_what_is_drawn_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted are the elements of all tensors that become arrays, with which the cost of recording grows."""
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    x, counted = torch.randn(2, 3, 96, 96, requires_grad=True), [0]

    def counting(tensor: Any) -> Any:
        counted[0] += tensor.numel()
        return numpy_of(tensor)

    monkeypatch.setattr("oracle.subjects.torch.numpy_of", counting)
    found = {}
    for effort in ("full", "sample"):
        counted[0] = 0
        oracle.check_module(net, x, effort=effort)
        found[effort] = counted[0]
    assert found["sample"] < found["full"] / 10, found


def test_what_is_overwritten_is_judged_by_what_was_copied_before() -> None:
    """A norm by its channels, a product as a whole, an addition by elements."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.weight = nn.BatchNorm2d(16), nn.Parameter(torch.randn(16, 16, 1, 1) / 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            norm = self.norm
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training)
            y = F.conv2d(F.relu_(x), self.weight).mul_(2)
            return (x + y).add_(1).relu_()

    torch.manual_seed(0)
    x = torch.randn(4, 16, 20, 20, requires_grad=True)
    for training in (True, False):
        net = Overwriting().train(training)
        report = oracle.check_module(net, x, effort="sample", unjudged="allow")
        assert report.passed and not report.coverage.unjudged, report.coverage.unjudged
        sample = report.coverage.sample
        assert sample is not None and {"batch_norm", "relu"} <= {own.place for own in sample.tensors}
        assert sample.drawn < sample.elements * 0.75
        norm = report.table.query("layer == 'batch_norm' and quantity in ('output', 'grad_input#0', 'grad.weight')")
        assert len(norm) == 3 and (norm["decided"] > 0.9).all()


def test_a_view_of_which_a_part_was_judged_is_listed() -> None:
    """The instance norm of one sample is judged by its operations, whose views of the sample are large."""
    x = torch.randn(32, 20, 20, requires_grad=True)
    report = oracle.check_module(nn.Sequential(nn.Tanh(), nn.InstanceNorm2d(32)), x, effort="sample")
    sample = report.coverage.sample
    assert report.passed and sample is not None and 0 < sample.drawn < sample.elements
    assert report.coverage.gradients < 1 and any(own.place.startswith("1.") for own in sample.tensors)
    assert "no tensor was large enough" not in report.conclusion


def test_an_argument_that_is_neither_word_is_refused_in_one_sentence() -> None:
    net, x = nn.Linear(2, 2), torch.randn(3, 2)
    with pytest.raises(ModuleError, match=r"^effort is 'full' or 'sample', got 'half'$"):
        oracle.check_module(net, x, effort="half")
    with pytest.raises(ModuleError, match=r"^unjudged is 'fail' or 'allow', got 'ignore'$"):
        oracle.check_module(net, x, unjudged="ignore")
    with pytest.raises(ModuleError, match=r"^seed is a whole number from 0 on, got -1$"):
        oracle.check_module(net, x, effort="sample", seed=-1)


def test_each_step_draws_other_elements_and_the_report_says_how_many(tmp_path: Any) -> None:
    """Every form of the report states seed, numbers and chances, also once it was saved and loaded."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(80, 70), nn.ReLU()), torch.randn(90, 80)
    optimizer = torch.optim.Adam(net.parameters())
    report = oracle.check_module(net, x, optimizer=optimizer, steps=2, effort="sample", seed=7)
    assert report.passed
    updated = report.table.query("layer == '0' and quantity == 'param.weight'")
    assert set(updated["n"]) == {DRAWN} and set(updated["shape"]) == {"70 80"}
    worst = report.table.query("layer == '0' and quantity == 'grad.weight'")["worst_index"].tolist()
    assert len(worst) == 2 and worst[0] != worst[1]
    report.save(tmp_path / "report")
    again = oracle.load_report(tmp_path / "report")
    assert again.coverage == report.coverage
    for text in (report.conclusion, report.to_markdown(), report._repr_html_()):
        assert "were judged, drawn by seed 7 in " in text and "to miss a fault of one element" in text


def test_a_layer_of_which_nothing_is_drawn_and_that_is_too_large_is_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report gives the reason; nothing counts as judged that was not."""
    monkeypatch.setattr(sampler, "WHOLE", 5000)
    monkeypatch.setattr(operations, "WHOLE", 5000)
    monkeypatch.setattr(operations, "MOST", 5000)
    report = oracle.check_module(
        nn.Sequential(nn.LayerNorm(60)), torch.randn(100, 60, requires_grad=True), effort="sample"
    )
    assert not report.passed and report.coverage.operations == 0
    assert "too large to be judged whole" in report.coverage.unjudged[0].reason


def test_what_only_moves_numbers_is_judged_whole_up_to_a_larger_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computing it costs a copy. An index is such an operation; beyond both limits it is unjudged."""
    monkeypatch.setattr(operations, "MOST", 5000)
    x = torch.randn(100, 60, requires_grad=True)

    class Reversed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[torch.arange(len(x) - 1, -1, -1)]

    report = oracle.check_module(Reversed(), x, effort="sample")
    assert report.passed and report.coverage.operations == 1
    monkeypatch.setattr(operations, "WHOLE", 5000)
    report = oracle.check_module(Reversed(), x, effort="sample")
    assert not report.passed and "too large to be judged whole" in report.coverage.unjudged[0].reason
