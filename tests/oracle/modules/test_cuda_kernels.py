"""The tables of torch's CUDA kernels, held against emulations: there is no GPU here, so numbers are said to come from one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import oracle
import refbp
from oracle.modules import step
from oracle.modules.as_parts import Observed
from oracle.modules.operations import Operation
from oracle.programs.table import RULES
from oracle.running_error.kernels import BY_CLASS, BY_DEVICE, Kernels, kernels_of, operations_on
from oracle.running_error.kernels.layers import OF_IMAGES
from oracle.subjects.torch import array

from .layers_in_16_bits import DTYPES, LAYERS

Arrays = Mapping[str, torch.Tensor]
FINE = {"pass", "undecided"}


@contextmanager
def said_to_come_from(device: str, made: Arrays | None = None) -> Iterator[None]:
    """Inside, layers and operations count as computed on this device, with these results in place of their own."""
    judged_part, judged, changed = (
        step.judged_part,
        step.judged,
        {name: array(own) for name, own in (made or {}).items()},
    )

    def of_part(observed: Observed, *args: Any) -> Any:
        own = {(layer, name): changed.get(name, value) for (layer, name), value in observed.made.items()}
        return judged_part(replace(observed, device=device, made=own), *args)

    def of_operation(operation: Operation, *args: Any) -> Any:
        operation.device = device
        if "grad_input" in changed and operation.computes:
            operation.gradients[0] = changed["grad_input"]
        if "output" in changed and operation.computes:
            held = operation.outputs[0]
            held._numbers, held._read, held.kept = changed["output"], None, None
        return judged(operation, *args)

    with pytest.MonkeyPatch.context() as within:
        within.setattr(step, "judged_part", of_part)
        within.setattr(step, "judged", of_operation)
        yield


def table(module: nn.Module, x: torch.Tensor, device: str, made: Arrays | None = None) -> pd.DataFrame:
    with said_to_come_from(device, made):
        return oracle.check_module(module, x).table.set_index("quantity")


def entries() -> Iterator[tuple[str, str]]:
    for device, classes in BY_CLASS.items():
        yield from ((f"{device} {name}", own.source) for name, own in classes.items())
    for device, own in BY_DEVICE.items():
        for kind in (own.in_16_bits, own.gradients_in_16_bits, own.step_by_step, own.outputs_step_by_step):
            yield from ((f"{device} {name}", source) for name, source in kind.items())
        yield from ((f"{device} {name}", sliced.source) for name, sliced in own.by_slices.items())


def test_every_name_is_known() -> None:
    """A class of refbp's layers or losses, or an operation that has a rule."""
    images = {OF_IMAGES.format(name) for name in ("NLLLoss", "CrossEntropyLoss")}
    for classes in BY_CLASS.values():
        assert {name for name in classes if not hasattr(refbp, name)} <= images
    for own in BY_DEVICE.values():
        steps = {*own.step_by_step, *own.outputs_step_by_step}
        names = {*own.in_16_bits, *own.gradients_in_16_bits, *steps, *own.by_slices}
        assert names <= RULES.keys()
        assert not own.in_16_bits.keys() & own.gradients_in_16_bits.keys()


def test_every_entry_has_a_source() -> None:
    """Files of torch's sources, one of them the device's own."""
    for entry, source in entries():
        files = source.split(", ")
        assert all(file.endswith((".cpp", ".cu", ".cuh", ".h", ".yaml")) for file in files), (entry, source)
        if entry.startswith("cpu"):
            assert not all(file.startswith("cuda/") for file in files), entry


def test_devices_have_tables_of_their_own() -> None:
    assert kernels_of("ReLU", "cuda") == Kernels() and kernels_of("ReLU", "xpu") is None
    assert operations_on("cuda") is not operations_on("cpu") is operations_on("xpu")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_kernel_that_computes_in_float32_conforms(name: str, dtype: torch.dtype) -> None:
    """It rounds its results once, which is the best that a GPU can do."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    narrow, wide = make().to(dtype), make()
    wide.load_state_dict({key: own.float() for key, own in narrow.state_dict().items()})
    x = (torch.randn(24, *shape) + 0.3).to(dtype).requires_grad_()
    made = results(wide, x.detach().float().requires_grad_(), dtype)
    found = table(narrow, x, "cuda", made)
    assert set(found["verdict"]) <= FINE, found["diagnosis"].to_dict()


def results(module: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The results of a step in float32, rounded to this dtype, with the upstream gradient of check_module."""
    output = module(x)
    output.backward(step.upstream([output.detach().to(dtype)])[0].float())
    assert x.grad is not None
    found = {f"grad.{name}": own.grad for name, own in module.named_parameters() if own.grad is not None}
    moving = {f"buffer.{name}": own for name, own in module.named_buffers() if own.is_floating_point()}
    every = {"output": output, "grad_input": x.grad, **found, **moving}
    return {name: own.detach().to(dtype) for name, own in every.items()}


class Gathered(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.gather(0, (torch.arange(900) % 3).reshape(-1, 1).expand(900, x.shape[1]))


class Selected(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, torch.arange(900) % 3)


class Padded(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x, (4, 4, 4, 4), self.mode)


ADDED_UP_ON_BOTH: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "gather": (Gathered, (3, 16)),
    "index_select": (Selected, (3, 16)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(7), (4, 4, 5, 5)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(7), (4, 4, 5, 5)),
    "reflection": (lambda: Padded("reflect"), (4, 4, 5, 5)),
    "replication": (lambda: Padded("replicate"), (4, 4, 5, 5)),
    "MaxPool3d": (lambda: nn.MaxPool3d(3, 1), (2, 2, 7, 7, 7)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ADDED_UP_ON_BOTH)
def test_gradients_that_atomic_additions_add_up_conform(name: str, dtype: torch.dtype) -> None:
    """Torch adds them up in 16 bits on the CPU as well, in another order."""
    torch.manual_seed(0)
    make, shape = ADDED_UP_ON_BOTH[name]
    x = torch.randn(shape).to(dtype).requires_grad_()
    for device in ("cpu", "cuda"):
        found = table(make(), x, device)
        assert set(found["verdict"]) <= FINE, (device, found["diagnosis"].to_dict())


class Enlarged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=40, mode="bilinear")


def test_interpolation_is_differentiated_in_16_bits_by_cuda_alone() -> None:
    """By atomic additions of shares that were rounded; the CPU adds them up in float32."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2).bfloat16().requires_grad_()
    upstream = step.upstream([Enlarged()(x)])[0].detach()
    ones = torch.eye(4).reshape(4, 1, 2, 2)
    shares = Enlarged()(ones)[:, 0] * upstream.float()[:, :, None]  # (2, 3, 4, 80, 80)
    total = in_16_bits(shares.bfloat16().flatten(3).movedim(3, 0)).reshape(x.shape)
    assert table(Enlarged(), x, "cuda", {"grad_input": total})["verdict"]["grad_input"] in FINE
    assert table(Enlarged(), x, "cpu", {"grad_input": total})["verdict"]["grad_input"] == "imprecise"


def in_16_bits(terms: torch.Tensor) -> torch.Tensor:
    """The sum over the first axis in its own dtype, term after term."""
    total = terms[0]
    for own in terms[1:]:
        total = total + own
    return total


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_in_16_bits_where_cuda_has_float32_are_imprecise(dtype: torch.dtype) -> None:
    """The weight gradient of a linear layer, and the parameter gradients of LayerNorm, which the CPU does add up in 16 bits."""
    torch.manual_seed(0)
    x = torch.randn(2000, 16).to(dtype).requires_grad_()
    linear, norm = nn.Linear(16, 8).to(dtype), nn.LayerNorm(16).to(dtype)
    grad = step.upstream([linear(x)])[0].detach()
    made = {"grad.weight": in_16_bits(grad[:, :, None] * x.detach()[:, None])}
    for device in ("cpu", "cuda"):
        found = table(linear, x, device, made)
        assert found["verdict"]["grad.weight"] == "imprecise", device
        assert "behaves like sums or other intermediate results in" in found["diagnosis"]["grad.weight"]
    made = {"grad.bias": in_16_bits(step.upstream([norm(x)])[0].detach())}
    assert table(norm, x, "cuda", made)["verdict"]["grad.bias"] == "imprecise"
    assert table(norm, x, "cpu", made)["verdict"]["grad.bias"] in FINE


def test_padding_layers_add_up_gradients_in_16_bits() -> None:
    """By atomic additions, or by autograd, whose gradients are stored."""
    torch.manual_seed(0)
    x = torch.randn(4, 4, 5, 5).bfloat16().requires_grad_()
    for layer in (nn.ReflectionPad2d(4), nn.ReplicationPad2d(4), nn.CircularPad2d(4)):
        found = table(layer, x, "cuda")
        assert set(found["verdict"]) <= FINE, found["diagnosis"].to_dict()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [2, 8, 64])
def test_slices_of_a_product_may_be_stored(dtype: torch.dtype, count: int) -> None:
    """As cuBLAS adds up products and layer norm's kernel many rows: in float32 within a slice."""
    torch.manual_seed(0)
    x = torch.randn(2048, 16).to(dtype).requires_grad_()
    linear, norm = nn.Linear(16, 8).to(dtype), nn.LayerNorm(16).to(dtype)
    grads, rows = step.upstream([linear(x)])[0].detach().float(), x.detach().float()
    shares = [(g.T @ own).to(dtype) for g, own in zip(grads.chunk(count), rows.chunk(count), strict=True)]
    for whole in (in_16_bits(torch.stack(shares)), torch.stack(shares).float().sum(0).to(dtype)):
        found = table(linear, x, "cuda", {"grad.weight": whole})
        assert set(found["verdict"]) <= FINE, found["diagnosis"].to_dict()
        assert found["decided"]["grad.weight"] > 0.95
    made = results(nn.LayerNorm(16), x.detach().float().requires_grad_(), dtype)
    of_norm = torch.stack([own.sum(0).to(dtype) for own in step.upstream([norm(x)])[0].detach().float().chunk(count)])
    found = table(norm, x, "cuda", made | {"grad.bias": of_norm.float().sum(0).to(dtype)})
    assert set(found["verdict"]) <= FINE, found["diagnosis"].to_dict()


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def test_operations_add_up_products_in_slices_too() -> None:
    """The output of a product of matrices, whose slices were stored; a processor has none."""
    torch.manual_seed(0)
    module = Product().bfloat16()
    with torch.no_grad():
        module.weight.data = torch.randn(4096, 8).bfloat16()
    x = torch.randn(64, 4096).bfloat16().requires_grad_()
    parts = [
        a.float() @ b.float() for a, b in zip(x.detach().chunk(8, 1), module.weight.detach().chunk(8), strict=True)
    ]
    made = {"output": in_16_bits(torch.stack(parts).bfloat16())}
    assert table(module, x, "cuda", made)["verdict"]["output"] in FINE
    assert table(module, x, "cpu", made)["verdict"]["output"] == "imprecise"
    terms = x.detach()[:, :, None] * module.weight.detach()
    made = {"output": in_16_bits(terms.transpose(0, 1))}
    assert table(module, x, "cuda", made)["verdict"]["output"] == "imprecise"


def test_a_profile_overrides_the_tables_of_cuda() -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 16).bfloat16().requires_grad_()
    norm = nn.LayerNorm(16).bfloat16()
    made = {"grad.bias": in_16_bits(step.upstream([norm(x)])[0].detach())}
    with said_to_come_from("cuda", made):
        report = oracle.check_module(norm, x, profile=oracle.Profile(accumulate="bfloat16"))
    assert set(report.table["verdict"]) <= FINE


@pytest.mark.parametrize("shape", [(40, 10), (6, 10, 8, 8)], ids=["rows", "images"])
def test_the_loss_of_images_is_added_up_from_stored_shares(shape: tuple[int, ...]) -> None:
    """Each block of the kernel for images adds its share to a number in 16 bits; of rows there is one block."""
    torch.manual_seed(0)
    x = torch.randn(shape).bfloat16().requires_grad_()
    target = torch.randint(10, (shape[0], *shape[2:]))
    with said_to_come_from("cuda"):
        report = oracle.check_module(nn.Identity(), x, nn.CrossEntropyLoss(), target)
    assert set(report.table["verdict"]) <= FINE, report.blame


def test_a_recorded_call_knows_its_device() -> None:
    """Tensors on the device meta stand for those on a GPU."""
    from oracle.programs.torch_calls import Recording

    with Recording() as recording:
        torch.zeros(2, device="meta") + 1
        torch.zeros(2) + 1
    assert [own.device for own in recording.events] == ["meta", "meta", "cpu", "cpu"]


def test_numbers_that_come_from_a_gpu_are_judged_by_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device goes from the recorded call to the arithmetic."""
    seen: list[str] = []

    def judged(operation: Operation, *args: Any) -> Any:
        seen.append(operation.device)
        return before(operation, *args)

    before = step.judged
    monkeypatch.setattr(step, "judged", judged)
    monkeypatch.setattr("oracle.programs.torch_calls._device_of", lambda *_: "cuda")
    report = oracle.check_module(Product(), torch.randn(4, 16))
    assert report.passed and set(seen) == {"cuda"}
    assert np.isfinite(report.table["z_max"]).all()
