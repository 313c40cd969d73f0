"""Every layer and loss beside torch's, and how its time grows with the size of its input."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch

from oracle.bench.examples import Example, examples
from oracle.bench.section import Measurement, Result
from oracle.bench.timing import Action, interleaved, milliseconds
from oracle.execution.network import LAYERS, LOSSES
from oracle.running_error import ErrorArray, ErrorModel

# refbp / torch, at most; TIGHT is for classes that are hardly more than a matrix product or a pass over windows.
TIMES, TIGHT = 3.0, 1.2
TIGHT_KINDS = ("Conv", "MaxPool", "AvgPool", "LPPool", "Linear")
# log(time) / log(elements), at most, between an input and one with GROWTH times as many elements.
EXPONENT, GROWTH = 1.1, 4
ROUNDS, QUICK_ROUNDS = 5, 3


class Layers:
    title = "Layers"
    about = (
        "Forward and backward of every layer and loss in float32, one thread, seconds of the thread's own work, refbp and "
        f"torch in turn. Beside it the exponent with which time grows between an input and one of {GROWTH} times as many "
        "elements, forward and backward, on plain arrays and on arrays that carry errors."
    )

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        measurements, details = [], []
        for example, smaller in islice(zip(examples(), examples(part=8), strict=True), 0, None, 20 if quick else 1):
            ratio, row = beside_torch(example, QUICK_ROUNDS if quick else ROUNDS)
            exponents = growth(smaller)
            measurements += [*ratio, Measurement.of(f"{example.name}, growth", max(exponents.values()), limit=EXPONENT)]
            details.append({**row, **exponents})
            note(", ".join(f"{name}: {shown(value)}" for name, value in details[-1].items()))
        return Result(tuple(measurements), tuple(details))


def shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def beside_torch(example: Example, rounds: int) -> tuple[list[Measurement], dict[str, str | float]]:
    """The time of forward and backward relative to torch's, and a row of times. A class that torch lacks has no ratio."""
    contenders = {"refbp": whole(*passes(example, lambda x: x))}
    if hasattr(torch.nn, example.kind):
        contenders["torch"] = torchs(example)
    times = interleaved(contenders, rounds, 0.02, clock=time.thread_time)
    row: dict[str, str | float] = {"layer": example.name}
    row |= {f"{name}, ms": milliseconds(own) for name, own in times.items()}
    if "torch" not in times:
        return [], row
    limit = TIGHT if example.kind.startswith(TIGHT_KINDS) else TIMES
    return [Measurement.of(f"{example.name}, refbp / torch", times["refbp"] / times["torch"], limit=limit)], row


def growth(example: Example) -> dict[str, float]:
    """The exponent by which the time of forward and backward grows, on plain arrays and on error arrays."""
    model = ErrorModel(np.dtype("float32"))
    large = example.grown(GROWTH)
    found = {}
    for kind, lift in {"plain": lambda x: x, "errors": lambda x: ErrorArray.exact(x, model)}.items():
        before, after = (tuple(map(fastest, passes(one, lift))) for one in (example, large))
        for way, less, more in zip(("forward", "backward"), before, after, strict=True):
            found[f"{way}, {kind}"] = math.log(more / less) / math.log(large.elements / example.elements)
    return found


def passes(example: Example, lift: Callable[[Any], Any]) -> tuple[Action, Action]:
    """A forward, and the backward of a random upstream gradient."""
    made = (
        LAYERS[example.kind](**example.options, dtype="float32")
        if example.kind in LAYERS
        else LOSSES[example.kind](**example.options)
    )
    given = [lift(x.astype(np.float32)) if x.dtype.kind == "f" else x for x in example.inputs]
    output, backward = made.apply(*given)
    delta = lift(np.random.default_rng(0).standard_normal(output.shape).astype(np.float32))
    return lambda: made.apply(*given), lambda: backward(delta)


def whole(forward: Action, backward: Action) -> Action:
    def run() -> None:
        forward()
        backward()

    return run


def torchs(example: Example) -> Action:
    """Forward and backward of the example by torch."""
    module = getattr(torch.nn, example.kind)(**example.options)
    input, *targets = (torch.from_numpy(x.astype(np.float32) if x.dtype.kind == "f" else x) for x in example.inputs)
    leaf = input.requires_grad_()
    delta = torch.randn_like(module(leaf, *targets))

    def run() -> None:
        module.zero_grad()
        leaf.grad = None
        module(leaf, *targets).backward(delta)

    return run


def fastest(action: Action) -> float:
    """The least of five calls' seconds of CPU time of this thread."""
    action()
    return min(seconds(action) for _ in range(5))


def seconds(action: Action) -> float:
    begin = time.thread_time()
    action()
    return max(time.thread_time() - begin, 1e-9)
