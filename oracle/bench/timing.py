"""Times of contenders that run in turn, so that whatever slows the machine down slows all of them down."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Action = Callable[[], object]
Times = npt.NDArray[np.float64]

# Idle threads of a BLAS or OpenMP pool spin for some 20 ms after their last work: they must not slow down who comes next.
PAUSE = 0.05


def interleaved(
    contenders: Mapping[str, Action], rounds: int, least_seconds: float = 0.05, most_seconds: float = math.inf
) -> dict[str, Times]:
    """Seconds per call of each contender, one sample a round; samples of the same round belong together.

    Each contender is called once untimed in every round, then as often as fills `least_seconds`. The order turns round by
    round. After `most_seconds` no further round begins, but three are always made.
    """
    calls = {name: _calls(action, least_seconds) for name, action in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - begin > most_seconds:
            break
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            time.sleep(PAUSE)
            contenders[name]()
            samples[name].append(_seconds(contenders[name], calls[name]))
    return {name: np.array(values) for name, values in samples.items()}


def _calls(action: Action, least_seconds: float) -> int:
    action()  # what is set up once
    return max(1, math.ceil(least_seconds / _seconds(action, 1)))


def _seconds(action: Action, calls: int) -> float:
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in range(calls):
            action()
        return (time.perf_counter() - begin) / calls
    finally:
        gc.enable()


def milliseconds(samples: Any) -> float:
    return float(np.median(samples)) * 1e3
