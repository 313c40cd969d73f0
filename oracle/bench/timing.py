"""Times contenders in turn, so that a slower machine slows all of them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Action = Callable[[], object]
Clock = Callable[[], float]
Times = npt.NDArray[np.float64]

# Idle threads of a BLAS or OpenMP pool spin for some 20 ms after their last work. They must not slow down the next contender.
PAUSE = 0.05


def interleaved(
    contenders: Mapping[str, Action],
    rounds: int,
    least_seconds: float = 0.05,
    most_seconds: float = math.inf,
    clock: Clock = time.perf_counter,
) -> dict[str, Times]:
    """The seconds per call of each contender, with one sample per round; samples of the same round belong together.

    In every round each contender is called once untimed, then repeatedly for at least `least_seconds`. Every second round takes
    them in reverse order. After `most_seconds` no further round begins, but there are at least three. `clock` reads the time.
    """
    calls = {name: _calls(action, least_seconds, clock) for name, action in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begin > most_seconds:
            break
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            time.sleep(PAUSE)
            contenders[name]()
            samples[name].append(_seconds(contenders[name], calls[name], clock))
    return {name: np.array(values) for name, values in samples.items()}


def _calls(action: Action, least_seconds: float, clock: Clock) -> int:
    action()  # the first call sets up what later ones share
    return max(1, math.ceil(least_seconds / _seconds(action, 1, clock)))


def _seconds(action: Action, calls: int, clock: Clock) -> float:
    gc.collect()
    gc.disable()
    try:
        begin = clock()
        for _ in range(calls):
            action()
        return (clock() - begin) / calls
    finally:
        gc.enable()


def milliseconds(samples: Any) -> float:
    return float(np.median(samples)) * 1e3
