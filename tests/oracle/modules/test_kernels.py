"""16-bit layers are judged by how torch's kernels compute them: torch is never accused, and what adds up in 16 bits is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import oracle
from oracle.execution.predict import predict
from oracle.judging.kernels import predicted
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.kernels import BY_CLASS, kernels_of
from oracle.running_error.kernels.table import Kernels
from oracle.suite.build import layer, network_case
from oracle.trace import Key

from .layers_in_16_bits import DTYPES, LAYERS, checked

# There oneDNN adds up convolutions in float32 throughout, which is within what the table allows.
HAS_16_BITS = torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_linear_layer_of_rows_that_are_not_contiguous(dtype: torch.dtype) -> None:
    """As behind an LSTM: torch stores the product and adds the bias, so an output near zero errs as its larger product does."""
    torch.manual_seed(0)
    layer, x = nn.Linear(32, 61).to(dtype), torch.randn(16, 40, 32).to(dtype).transpose(0, 1)
    with torch.no_grad():
        product = nn.functional.linear(x, layer.weight)
        layer.bias.copy_(-product[3, 5])  # so that a row of the output is the rounding of its product
    report = oracle.check_module(layer, x)
    assert report.passed, report.blame


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_single_products_that_underflow(dtype: torch.dtype) -> None:
    """Of a layer with one output the gradient of the input is one product for each element, stored in 16 bits."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 1).to(dtype)
    with torch.no_grad():
        layer.weight.mul_(1e-5 if dtype == torch.float16 else 1e-38)
    report = oracle.check_module(layer, torch.randn(1, 8).to(dtype).requires_grad_())
    assert not report.blame, report.blame


class Standardized(nn.Module):
    """Standardises its weights by the function that normalises batches, as timm's ScaledStdConv2d does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(16, 8, 3, 3) + 0.3), nn.Parameter(torch.rand(16) + 0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.weight.reshape(1, 16, -1)
        rows = nn.functional.batch_norm(rows, None, None, weight=self.gain, training=True)
        return nn.functional.conv2d(x, rows.reshape_as(self.weight))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_batch_norm_as_a_function_in_16_bits(dtype: torch.dtype) -> None:
    """Torch keeps the mean and 1/σ in 16 bits: an output near zero, and both gradients, err as these do, and no more."""
    for seed in range(4):
        torch.manual_seed(seed)
        report = oracle.check_module(Standardized().to(dtype), torch.randn(4, 8, 6, 6).to(dtype))
        assert report.passed, report.blame
        decided = report.table.set_index(["layer", "quantity"])["decided"]["batch_norm"]
        assert decided["output"] > 0.95
        assert decided["grad_input#0"] > 0.9


class Normalized(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_batch_norm_of_two_elements_as_a_function_in_16_bits(dtype: torch.dtype) -> None:
    """The terms of its gradient cancel, and what is left is the rounding of the mean and of 1/σ."""
    for seed in range(4):
        torch.manual_seed(seed)
        x = (torch.randn(2, 500, 1, 1) + 3).to(dtype).requires_grad_()
        report = oracle.check_module(Normalized(), x, unjudged="allow")
        assert not report.blame, report.blame


@pytest.mark.parametrize("offset", [0.0, 1.0, 5.0])
def test_numbers_whose_spread_is_that_of_the_stored_mean(offset: float) -> None:
    """Torch takes σ around the mean as it stored it, in 16 bits, which is then as far off as the numbers are apart."""
    for seed in range(2):
        torch.manual_seed(seed)
        x = (torch.randn(2, 300) * 0.004 + 0.58 + offset).bfloat16().requires_grad_()
        report = oracle.check_module(nn.BatchNorm1d(300).bfloat16(), x)
        assert not report.blame, report.blame


class Joined(nn.Module):
    """Norms side by side: the gradient that arrives at each is a slice, for which torch has other kernels."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3) for _ in range(2))
        self.one, self.two = make(), make()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(self.convs[0](x)), self.two(self.convs[1](x))], 1)


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(8), lambda: nn.GroupNorm(2, 8)], ids=["batch", "group"])
@pytest.mark.parametrize("how", ["bfloat16", "float16", "autocast"])
def test_norms_whose_gradient_is_a_slice(make: Callable[[], nn.Module], how: str) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        module, x = Joined(make), torch.randn(2, 3, 5, 5)
        if how == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                report = oracle.check_module(module, x)
        else:
            report = oracle.check_module(module.to(getattr(torch, how)), x.to(getattr(torch, how)))
        assert not report.blame, report.blame


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sum_in_16_bits_that_stops_growing(dtype: torch.dtype) -> None:
    """LayerNorm's kernel adds up row after row in 16 bits: terms below half a unit of the sum are all lost, with one sign."""
    torch.manual_seed(0)
    layer, x = nn.LayerNorm(64).to(dtype), torch.randn(400, 64).to(dtype).requires_grad_()
    upstream = torch.full((400, 64), -0.08 * torch.finfo(dtype).eps, dtype=dtype)
    upstream[0] = 0.25
    report = oracle.check_module(layer, x, loss=lambda y, grad: (y * grad).sum(), target=upstream)
    assert not report.blame, report.blame


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels"])
def test_the_places_of_a_window_are_added_up_in_either_order(layout: torch.memory_format) -> None:
    """Torch begins with the last place where channels are last in memory: a large number there is then in every partial sum."""
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 11, padding=5, groups=8, bias=False).bfloat16()
    with torch.no_grad():
        conv.weight.mul_(0.01)
        for place in ((0, 0), (10, 10)):
            conv.weight[:, :, *place] = 1
            x = torch.randn(2, 8, 12, 12).bfloat16().to(memory_format=layout).requires_grad_()
            report = oracle.check_module(conv, x)
            assert not report.blame, report.blame


def test_a_running_mean_whose_two_terms_cancel() -> None:
    """Torch stores both products in 16 bits before it adds them: the sum errs as the larger of them does."""
    torch.manual_seed(0)
    layer, x = nn.BatchNorm2d(8).bfloat16(), (torch.randn(4, 8, 6, 6) + 1).bfloat16()
    layer.running_mean.copy_(-x.float().mean((0, 2, 3)) / 9)
    report = oracle.check_module(layer, x)
    assert report.passed, report.blame


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_torch_is_never_accused_in_16_bits(name: str, dtype: torch.dtype) -> None:
    """Each exception in the table, and each class that is in none, in a small batch and a larger one."""
    for batch in (2, 24):
        report = checked(name, dtype, batch)
        assert report.passed, report.blame


@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        ("Conv2d", "grad.weight"),
        ("Conv2d", "grad_input"),
        ("ConvTranspose2d", "output"),
        ("LayerNorm", "grad.weight"),
        ("MaxPool2d", "grad_input"),
        ("AvgPool1d", "grad_input"),
    ],
)
def test_each_exception_adds_up_in_16_bits(name: str, quantity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its line in the table torch would be accused: no line is wider than it has to be."""
    if HAS_16_BITS and name.startswith("Conv"):
        pytest.skip("this processor has 16-bit instructions, with which oneDNN adds up in float32")
    report = checked(name, torch.bfloat16, 24)
    assert report.passed
    kept = BY_CLASS["cpu"][name]
    monkeypatch.setitem(BY_CLASS["cpu"], name, type(kept)(inside=(*kept.inside, quantity)))
    table = checked(name, torch.bfloat16, 24).table.set_index("quantity")
    assert table["verdict"][quantity] in ("wrong", "imprecise")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_16_BITS, reason="this processor has no 16-bit instructions to be left out")
def test_convolutions_of_a_processor_without_16_bit_instructions() -> None:
    """In a process that uses none: the same tests of convolutions pass, and those that this processor skips are run."""
    chosen = "Conv and (never_accused or each_exception)"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen]
    older = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(command, env=older, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout[-3000:]


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "ConvTranspose2d", "BatchNorm2d", "InstanceNorm2d"])
def test_sums_of_kernels_that_compute_in_float32_are_decided(name: str) -> None:
    """In bfloat16 as in float32: their error is that of float32, and a rounding when the result is stored."""
    table = checked(name, torch.bfloat16, 8).table.set_index("quantity")
    for quantity in ("output", "grad.weight", *(own for own in table.index if own == "buffer.running_var")):
        assert table["decided"][quantity] > 0.9, quantity


def test_a_profile_says_what_is_added_up_in() -> None:
    """It overrides the table in both directions, and the report says so."""
    known = checked("Linear", torch.bfloat16, 24).table["decided"].min()
    declared = checked("Linear", torch.bfloat16, 24, oracle.Profile(accumulate="bfloat16"))
    assert known > 0.9
    assert declared.table["decided"].min() < 0.1
    assert "adds up in bfloat16" in str(declared)
    accused = checked("LayerNorm", torch.bfloat16, 24, oracle.Profile(accumulate="float32"))
    assert not accused.passed


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_epsilon_of_16_bit_numbers_is_that_of_float32(dtype: torch.dtype) -> None:
    """By default torch's RMSNorm adds the epsilon of the dtype in which it computes: beside small numbers their own is large."""
    torch.manual_seed(0)
    x = (torch.randn(4, 64) * 0.03).to(dtype).requires_grad_()
    report = oracle.check_module(nn.RMSNorm(64).to(dtype), x)
    assert report.passed, report.blame


class Picked(nn.Module):
    """A product, and rows that are picked often: torch adds up the product in float32, and the gradients of a row in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.weight = nn.Parameter(torch.randn(4, 64)), nn.Parameter(torch.randn(64, 8))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.table[index] @ self.weight


class Taken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.take(x, torch.arange(60) % 5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_elements_that_are_taken_several_times(dtype: torch.dtype) -> None:
    """Their gradients are added up in 16 bits, as those of an index are."""
    torch.manual_seed(0)
    report = oracle.check_module(Taken(), torch.randn(40, 8).to(dtype).requires_grad_())
    assert not report.blame, report.blame


def test_a_profile_says_what_operations_add_up_in() -> None:
    """As for layers, in both directions."""
    torch.manual_seed(0)
    module, index = Picked().bfloat16(), torch.randint(4, (3000,))

    def table(accumulate: str | None) -> pd.DataFrame:
        profile = None if accumulate is None else oracle.Profile(accumulate=accumulate)
        return oracle.check_module(module, index, profile=profile).table.set_index(["layer", "quantity"])

    known, narrow, wide = table(None), table("bfloat16"), table("float32")
    assert set(known["verdict"]) <= {"pass", "undecided"}
    product, picked = ("mm", "grad.weight"), ("index", "grad.table")
    assert known["decided"][product] > 0.9 > narrow["decided"][product]
    assert narrow["verdict"][picked] == "undecided" and wide["verdict"][picked] == "imprecise"


def test_a_profile_is_one() -> None:
    """One sentence for anything else; declared conventions hold for a module's layers as they do for a subject's."""
    with pytest.raises(ValueError, match=r"profile is an oracle\.Profile, got str"):
        oracle.check_module(nn.ReLU(), torch.ones(2), profile="float32")  # type: ignore[arg-type]


def test_devices_that_nobody_measured_may_add_up_in_16_bits() -> None:
    """The tables for the CPU and for CUDA say nothing about another device."""
    assert kernels_of("Linear", "cpu") != kernels_of("Linear", "cuda")
    assert kernels_of("Linear", "mps") is None


def test_only_elements_that_a_padding_repeats_are_added_up_once_more() -> None:
    """Elsewhere the gradient errs as it does under zeros; between the edges that circular padding repeats nothing is added."""

    def sigma(mode: str) -> np.ndarray:
        conv = layer("Conv1d", 2, 3, 3, padding=1, padding_mode=mode, name="layer")
        case = network_case("kernels/conv", "", [conv], (2, 2, 9)).astype("bfloat16")
        model = ErrorModel(np.dtype(case.dtype), False, "float32")
        kernels = Kernels(by_place=("grad_input",))
        found = predicted(kernels, case, model, lambda own: predict(case, own))[Key(0, "layer", "grad_input")]
        assert isinstance(found, ErrorArray)
        return found.sigma

    zeros, circular = sigma("zeros"), sigma("circular")
    np.testing.assert_allclose(circular[..., 1:-1], zeros[..., 1:-1], rtol=1e-12)
    assert (circular[..., [0, -1]] > zeros[..., [0, -1]]).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_norm_of_small_gradients_that_are_not_contiguous(dtype: torch.dtype) -> None:
    """torch stores each product g (x - μ), which for small spreads is below float16's normal range, and then divides by σ."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm((x * 1.0).transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]

    for seed in range(8):
        torch.manual_seed(seed)
        x = (0.1 * torch.randn(4, 4, 16)).to(dtype).requires_grad_()
        upstream = (1e-4 * torch.randn(4, 4, 16)).to(dtype)
        report = oracle.check_module(Turned().to(dtype), x, loss=lambda y, grad: (y * grad).sum(), target=upstream)
        assert not report.blame, report


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(8), lambda: nn.BatchNorm2d(8)])
def test_a_variance_around_a_mean_stored_in_16_bits_is_right(make: Callable[[], nn.Module]) -> None:
    """Far from zero the mean that a bfloat16 kernel stores is off by up to two, which adds its square to the variance."""
    for seed in range(3):
        torch.manual_seed(seed)
        layer = make()
        shape = (3, 8) if isinstance(layer, nn.BatchNorm1d) else (3, 8, 2, 1)
        x = (torch.randn(shape) + 1000).bfloat16()
        report = oracle.check_module(nn.Sequential(layer.bfloat16()), x)
        report.raise_for_discrepancy()
