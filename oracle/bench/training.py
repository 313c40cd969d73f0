"""A training step on refbp, compared with other libraries and with the bare matrix products that it needs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from oracle.bench import networks, profile, steps
from oracle.bench.section import Chart, Measurement, Result
from oracle.bench.timing import Action, Times, interleaved, milliseconds
from oracle.case.case import Case

DTYPES = ("float64", "float32")
# refbp / torch, at most.
LIMITS = {(name, dtype): 1.0 for name in networks.NETWORKS for dtype in DTYPES}
# The networks of whose layers a peer has all; a step of the vgg would take autograd a minute. A peer / refbp, at least.
PEERS = {"lenet5": ("mygrad", "autograd"), "vgg": ("mygrad",)}
PEERS_SLOWER = 3.0
ROUNDS, QUICK_ROUNDS = 25, 3
PASSES = 5  # the profile is their mean
# After so long a network in one precision begins no further round.
SECONDS = 25.0


def reshaped_max_pool(framework: Any) -> Any:
    """Max pooling over windows as further dimensions, as in the library's own example of a convolutional network."""

    def pool(layer: Any, x: Any) -> Any:
        k = layer.options["kernel_size"]
        n, c, height, width = x.shape
        return framework.max(framework.reshape(x, (n, c, height // k, k, width // k, k)), axis=(3, 5))

    return pool


class Training:
    limits: ClassVar[Mapping[tuple[str, str], float]] = LIMITS
    title = "Training step"
    about = (
        "zero_grad, forward, loss, backward and an SGD step with momentum, eager, in one process with as many threads for "
        "each as there are cores. The contenders take turns; a ratio is the median over the rounds of the quotient "
        "within a round, with quartiles. refbp also computes the gradient of the network's input, the others only where "
        "that is said. "
        "The table lists the time of its layers, forward and backward, by class. All but the matrix products is element-wise "
        "work, for which NumPy passes over memory once for each operation, with one core. "
        "The bare products are the step's matrix products alone, by NumPy's BLAS on arrays that are ready."
    )

    def clock(self) -> float:
        return time.perf_counter()

    def by_kind(self, case: Case) -> dict[str, str | float]:
        """The milliseconds of refbp's step by class of layer."""
        return {f"{kind}, ms": 1e3 * own for kind, own in profile.by_kind(case, PASSES, self.clock).items()}

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        measurements: list[Measurement] = []
        details: list[dict[str, str | float]] = []
        bars: dict[str, list[tuple[str, float]]] = {dtype: [] for dtype in DTYPES}
        for name in ("mlp",) if quick else networks.NETWORKS:
            for dtype in DTYPES:
                case = networks.network(name, dtype)
                times = interleaved(
                    contenders(case), QUICK_ROUNDS if quick else ROUNDS, most_seconds=SECONDS, clock=self.clock
                )
                found = list(ratios(name, dtype, times, self.limits.get((name, dtype))))
                for one in found:
                    note(f"{one.what}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f})")
                measurements += found
                bars[dtype].append((name, found[0].value))
                details.append(absolute(name, dtype, case, times) | self.by_kind(case))
        chart = Chart(
            self.title,
            "",
            "refbp / torch, time",
            {dtype: tuple(points) for dtype, points in bars.items()},
            mark=1.0,
        )
        return Result(tuple(measurements), tuple(details), charts=(chart,))


class OneThread(Training):
    limits: ClassVar[Mapping[tuple[str, str], float]] = {}
    title = "Training step on one thread"
    about = (
        "The same with one thread for each, in processor time instead of time: what the arithmetic costs, whatever else the "
        "machine is doing, and without the second core, which torch uses for everything and NumPy for matrix products only."
    )

    def clock(self) -> float:
        return time.process_time()


def contenders(case: Case) -> Mapping[str, Action]:
    found: dict[str, Action] = {
        "refbp": steps.refbp(case).step,
        "torch": steps.torch(case).step,
        "torch, input too": steps.torch(case, input_gradient=True).step,
    }
    found |= {name: peer(name, case).step for name in PEERS.get(case.name, ())}
    return found | {"products": networks.bare(case)}


def peer(name: str, case: Case) -> steps.Contender:
    """The training step on a library that differentiates NumPy code."""
    pooling = {"autograd": {"MaxPool2d": reshaped_max_pool(importlib.import_module("autograd.numpy"))}}
    return steps.peer(importlib.import_module(f"oracle.subjects.{name}").FRAMEWORK, case, pooling.get(name, {}))


def ratios(name: str, dtype: str, times: Mapping[str, Times], limit: float | None) -> list[Measurement]:
    found = [
        Measurement.of(f"{name} {dtype}, refbp / torch", times["refbp"] / times["torch"], limit=limit),
        Measurement.of(
            f"{name} {dtype}, the same with the input's gradient", times["refbp"] / times["torch, input too"]
        ),
    ]
    for peer in PEERS.get(name, ()):
        quotient = times[peer] / times["refbp"]
        found.append(Measurement.of(f"{name} {dtype}, {peer} / refbp", quotient, limit=PEERS_SLOWER, at_least=True))
    return found


def absolute(name: str, dtype: str, case: Case, times: Mapping[str, Times]) -> dict[str, str | float]:
    """The milliseconds of all contenders, and the share of the bare products in the step."""
    row: dict[str, str | float] = {"network": name, "dtype": dtype}
    row |= {f"{who}, ms": milliseconds(own) for who, own in times.items()}
    flops = 2 * sum(product.multiply_adds for product in networks.products(case))
    row["products, Gflop/s"] = flops / milliseconds(times["products"]) / 1e6
    row["products / refbp"] = milliseconds(times["products"]) / milliseconds(times["refbp"])
    row["products / torch"] = milliseconds(times["products"]) / milliseconds(times["torch"])
    return row
