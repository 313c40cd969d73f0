"""The cost of judging a module, compared with its own forward and backward pass and with torch.autograd.gradcheck."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import torch

from oracle import check_module
from oracle.bench import networks
from oracle.bench.section import Measurement, Result
from oracle.bench.timing import Action, interleaved, milliseconds
from oracle.case.case import Case
from oracle.subjects import torch as adapter

IMAGES = 4
# gradcheck / check_module, at least; numerical derivatives along one random direction, and along every axis.
FAST, SLOW = 1.0, 2500.0
# check_module / (forward and backward), at most, after a constant in seconds. The judge computes in float64 in both cases.
TIMES, CONSTANT = {"float64": 6.0, "float32": 10.0}, 5e-3
# Peak of what is allocated while judging / size of the trace, at most.
MEMORY = 6.0
ROUNDS, QUICK_ROUNDS = 15, 3
SECONDS = 8.0


class Judge:
    title = "Judging a module"
    about = (
        "oracle.check_module, which judges every layer on its own inputs, beside the module's own forward and backward pass, "
        f"and on LeNet-5 ({IMAGES} images, float64) beside torch.autograd.gradcheck with respect to input and parameters. "
        "The contenders take turns; a ratio is the median over the rounds of the quotient within a round, with quartiles. "
        "For larger networks the constant of 5 ms is subtracted first. Memory is the peak of NumPy's allocations, compared "
        "with the size of all arrays of the trace."
    )

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        measurements, details = beside_gradcheck(quick, note)
        for name in ("mlp", "lenet5") if quick else networks.NETWORKS:
            for dtype in ("float64", "float32"):
                case = networks.network(name, dtype)
                found, row = beside_itself(case, QUICK_ROUNDS if quick else ROUNDS)
                for one in found:
                    note(f"{one.what}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f})")
                measurements += found
                details.append(row)
        for dtype in () if quick else TIMES:
            one, row = beside_passes("gpt", dtype, *gpt(dtype), ROUNDS)
            note(f"{one.what}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f})")
            measurements.append(one)
            details.append(row)
        return Result(tuple(measurements), tuple(details))


class Blocks(torch.nn.Module):
    """The blocks of a GPT: a norm before attention to earlier places and before two linear layers with GELU, four times."""

    def __init__(self, width: int = 128, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        block = torch.nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = torch.nn.TransformerEncoder(block, depth, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        later = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        made: torch.Tensor = self.blocks(x, mask=later, is_causal=True)
        return made


def gpt(dtype: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """The blocks of a GPT, and embedded words: 8 texts of 64 places."""
    kind = getattr(torch, dtype)
    return Blocks().to(kind), torch.randn(8, 64, 128, dtype=kind)


def module_and_input(case: Case) -> tuple[torch.nn.Module, torch.Tensor]:
    module = adapter.module_of(case.layers, getattr(torch, case.dtype))
    module.load_state_dict({name: adapter.tensor(value) for name, value in case.params.items()})
    return module, adapter.tensor(case.inputs[0])


def passes(module: torch.nn.Module, x: torch.Tensor) -> Action:
    """A forward pass, and a backward pass of a random upstream gradient to the input and all parameters."""
    x = x.clone().requires_grad_()
    upstream = torch.randn_like(module(x))

    def run() -> None:
        module.zero_grad()
        x.grad = None
        module(x).backward(upstream)

    return run


def gradcheck(module: torch.nn.Module, x: torch.Tensor, fast: bool) -> Action:
    names, values = zip(*module.named_parameters(), strict=True)

    def output(x: torch.Tensor, *parameters: torch.Tensor) -> Any:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    given = x.clone().requires_grad_()
    return lambda: torch.autograd.gradcheck(output, (given, *values), fast_mode=fast, raise_exception=False)


def beside_gradcheck(
    quick: bool, note: Callable[[str], None]
) -> tuple[list[Measurement], list[dict[str, str | float]]]:
    """Compared with gradcheck on LeNet-5 with few images, with torch's default number of threads and with one."""
    case = networks.network("lenet5", "float64")
    module, x = module_and_input(case)
    x = x[:IMAGES]
    measurements: list[Measurement] = []
    details: list[dict[str, str | float]] = []
    threads = torch.get_num_threads()
    for used in dict.fromkeys((threads, 1)):
        torch.set_num_threads(used)
        said = f"lenet5, {IMAGES} images, {used} thread{'s' if used > 1 else ''}"
        contenders = {
            "check_module": lambda: check_module(module, x),
            "module": passes(module, x),
            "gradcheck, fast": gradcheck(module, x, fast=True),
        }
        times = interleaved(contenders, QUICK_ROUNDS if quick else ROUNDS, most_seconds=SECONDS)
        row: dict[str, str | float] = {"network": said, "dtype": case.dtype}
        row |= {f"{who}, ms": milliseconds(own) for who, own in times.items()}
        what = f"{said}, gradcheck fast / check_module"
        goal = {"limit": FAST, "at_least": True}
        measurements.append(Measurement.of(what, times["gradcheck, fast"] / times["check_module"], **goal))
        if used == 1 and not quick:
            slow = interleaved({"slow": gradcheck(module, x, fast=False)}, 1, 0, most_seconds=0)["slow"]
            row["gradcheck, slow, ms"] = milliseconds(slow)
            what = f"{said}, gradcheck slow / check_module"
            goal = {"limit": SLOW, "at_least": True}
            measurements.append(Measurement.of(what, slow / milliseconds(times["check_module"]) * 1e3, **goal))
        for one in measurements[-2:]:
            note(f"{one.what}: {one.value:.1f}")
        details.append(row)
    torch.set_num_threads(threads)
    return measurements, details


def beside_itself(case: Case, rounds: int) -> tuple[list[Measurement], dict[str, str | float]]:
    """Time and memory of judging a network, compared with the network's own."""
    module, x = module_and_input(case)
    found, row = beside_passes(case.name, case.dtype, module, x, rounds)
    trace = sum(array.nbytes for array in adapter.run(case).arrays.values())
    tracemalloc.start()
    check_module(module, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    row |= {"trace, MiB": trace / 2**20, "peak, MiB": peak / 2**20}
    what = f"{case.name} {case.dtype}, peak memory / trace"
    return [found, Measurement.of(what, [peak / trace], limit=MEMORY)], row


def beside_passes(
    name: str, dtype: str, module: torch.nn.Module, x: torch.Tensor, rounds: int
) -> tuple[Measurement, dict[str, str | float]]:
    """The time of judging a module, compared with its own passes."""
    contenders = {"check_module": lambda: check_module(module, x), "module": passes(module, x)}
    times = interleaved(contenders, rounds, most_seconds=SECONDS)
    ratios = (times["check_module"] - CONSTANT) / times["module"]
    row: dict[str, str | float] = {"network": name, "dtype": dtype}
    row |= {f"{who}, ms": milliseconds(own) for who, own in times.items()}
    return Measurement.of(f"{name} {dtype}, (check_module - 5 ms) / module", ratios, limit=TIMES[dtype]), row
