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
FAST, SLOW = 25.0, 2500.0
# check_module / (forward and backward), at most, after a constant in seconds.
TIMES, CONSTANT = 6.0, 5e-3
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
        return Result(tuple(measurements), tuple(details))


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
    contenders = {"check_module": lambda: check_module(module, x), "module": passes(module, x)}
    times = interleaved(contenders, rounds, most_seconds=SECONDS)
    ratios = (times["check_module"] - CONSTANT) / times["module"]
    trace = sum(array.nbytes for array in adapter.run(case).arrays.values())
    tracemalloc.start()
    check_module(module, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    name = f"{case.name} {case.dtype}"
    row: dict[str, str | float] = {"network": case.name, "dtype": case.dtype}
    row |= {f"{who}, ms": milliseconds(own) for who, own in times.items()}
    row |= {"trace, MiB": trace / 2**20, "peak, MiB": peak / 2**20}
    return [
        Measurement.of(f"{name}, (check_module - 5 ms) / module", ratios, limit=TIMES),
        Measurement.of(f"{name}, peak memory / trace", [peak / trace], limit=MEMORY),
    ], row
