"""How the cost of judging grows with the size of a layer, and the cost for a large network."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from oracle import check_module
from oracle.bench.check_module import passes
from oracle.bench.section import Chart, Measurement, Result
from oracle.bench.timing import Action, interleaved
from oracle.case.case import Spec
from oracle.subjects.torch import module_of
from oracle.suite.architectures import resnet18
from oracle.suite.build import layer

# Multiply-adds of a layer's forward pass.
DECADES, QUICK_DECADES = (4, 5, 6, 7, 8), (4, 5, 6)
# The cost grows with the multiply-adds to this power, at most, over the upper decades.
POWER = 1.05
# ResNet-18: the side of its images, their number, and the most seconds and GiB that judging it may take.
SIZE, IMAGES, SECONDS, GIBIBYTES = 224, 2, 60.0, 8.0
ROUNDS = 5

Made = tuple[torch.nn.Module, torch.Tensor]


def linear(multiply_adds: float) -> Made:
    """A linear layer with equal numbers of samples, input and output features."""
    width = round(multiply_adds ** (1 / 3))
    return torch.nn.Linear(width, width), torch.randn(width, width)


def convolution(multiply_adds: float) -> Made:
    """A 3 x 3 convolution with 16 input and output channels, with images of the size needed."""
    side = max(1, round((multiply_adds / (4 * 16 * 16 * 9)) ** 0.5))
    return torch.nn.Conv2d(16, 16, 3, padding=1), torch.randn(4, 16, side, side)


LAYERS: dict[str, Callable[[float], Made]] = {"Linear": linear, "Conv2d": convolution}


def large() -> Made:
    """ResNet-18 in its form for large images: a 7 x 7 convolution and a pooling before the four stages."""
    stem = [layer("Conv2d", 3, 64, 7, stride=2, padding=3, bias=False), layer("BatchNorm2d", 64), layer("ReLU")]
    stages = resnet18(64)[len(stem) :]
    layers: list[Spec] = [*stem, layer("MaxPool2d", 3, stride=2, padding=1), *stages]
    return module_of(tuple(layers), torch.float32), torch.randn(IMAGES, 3, SIZE, SIZE)


class Scale:
    title = "Scale"
    about = (
        "oracle.check_module on single layers in float32, from 10⁴ to 10⁸ multiply-adds in the forward pass, and on ResNet-18 "
        f'with {IMAGES} images of {SIZE} × {SIZE}, float32, layer by layer, also with effort="sample". Memory is the largest '
        "resident size of the whole process, torch and its own passes included."
    )

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        torch.manual_seed(0)
        measurements: list[Measurement] = []
        details: list[dict[str, str | float]] = []
        if not quick:  # before anything else, so that the largest size is its own
            measurements += of_large_network(note)
        series: dict[str, tuple[tuple[float, float], ...]] = {}
        for kind, made in LAYERS.items():
            points: dict[str, list[tuple[float, float]]] = {"check_module": [], "module": []}
            for decade in QUICK_DECADES if quick else DECADES:
                module, x = made(10.0**decade)
                adds = float(multiply_adds(module, x))
                contenders: dict[str, Action] = {
                    "check_module": partial(check_module, module, x),
                    "module": passes(module, x),
                }
                times = interleaved(contenders, ROUNDS, most_seconds=60)
                row: dict[str, str | float] = {"layer": kind, "multiply-adds": adds}
                for who, own in times.items():
                    points[who].append((adds, float(np.median(own))))
                    row[f"{who}, ms"] = 1e3 * float(np.median(own))
                details.append(row)
                note(f"{kind}, 10^{decade} multiply-adds: {row['check_module, ms']:.1f} ms")
            series |= {f"{kind}, {who}": tuple(own) for who, own in points.items()}
            power = growth(points["check_module"][-3:])
            measurements.append(Measurement.of(f"{kind}, power of growth", [power], limit=POWER))
        chart = Chart("Judging a layer", "multiply-adds, forward", "seconds", series, logarithmic=True)
        return Result(tuple(measurements), tuple(details), charts=(chart,))


def multiply_adds(module: Any, x: torch.Tensor) -> int:
    return int(module(x).numel() * module.weight[0].numel())


def growth(points: list[tuple[float, float]]) -> float:
    """The slope of log(seconds) over log(multiply-adds)."""
    adds, seconds = np.log(np.array(points)).T
    return float(np.polyfit(adds, seconds, 1)[0])


def of_large_network(note: Callable[[str], None]) -> list[Measurement]:
    module, x = large()
    begin = time.perf_counter()
    report = check_module(module, x)
    seconds = time.perf_counter() - begin
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    note(
        f"resnet18: {seconds:.1f} s, {size:.2f} GiB, {len(report.table)} rows, {'passed' if report.passed else 'failed'}"
    )
    name = f"resnet18, {IMAGES} images of {SIZE} × {SIZE}"
    contenders: dict[str, Action] = {
        "sample": partial(check_module, module, x, effort="sample"),
        "module": passes(module, x),
    }
    times = interleaved(contenders, ROUNDS, most_seconds=SECONDS)
    return [
        Measurement.of(f"{name}, time", [seconds], limit=SECONDS, unit=" s"),
        Measurement.of(f"{name}, largest size", [size], limit=GIBIBYTES, unit=" GiB"),
        Measurement.of(f'{name}, check_module(effort="sample") / module', times["sample"] / times["module"]),
    ]
