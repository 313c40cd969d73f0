"""Random cases: each depends on its seed and number alone, what was not drawn comes before what was, and most can be run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.fuzz.draw import CLASSES, KINDS, drawn
from oracle.fuzz.layers import PLANS
from oracle.fuzz.outcome import quiet
from oracle.fuzz.walk import at
from refbp import functional as F

LEVELS = {
    "stride": (1, 2, 3),
    "padding": (0, 1),
    "groups": (1, 2, 4, 24),
    "bias": (True, False),
    "layout": tuple("abcde"),
}
WITHOUT_DRAWS = {"Sequential", "Residual", "Concat", "Identity"}


def in_words(number: int) -> str:
    with quiet():
        case, refusal = drawn(3, number)
    return json.dumps(case.to_json()) + refusal


@pytest.mark.parametrize("seed", [0, 7])
def test_every_combination_comes_once_before_any_comes_again(seed: int) -> None:
    count = math.prod(map(len, LEVELS.values()))
    for lap in (0, 1):
        points = [at(LEVELS, seed, "Conv2d", lap * count + own) for own in range(count)]
        assert {tuple(own[name] for name in LEVELS) for own in points} == set(product(*LEVELS.values()))


def test_pairs_come_sooner_than_at_random() -> None:
    """All pairs of two choices of 4 and 5 levels take 42 points on average; at random they take 72."""
    taken = []
    for seed in range(40):
        pairs: set[tuple[int, str]] = set()
        point = 0
        while len(pairs) < 20:
            own = at(LEVELS, seed, "Conv2d", point)
            pairs.add((own["groups"], own["layout"]))
            point += 1
        taken.append(point)
    assert sum(taken) / len(taken) < 55


def test_a_case_is_rebuilt_from_its_number_alone() -> None:
    """In another process, whose hashes differ, and without the cases before it."""
    numbers = (5, 17, 230, 4021, 99_999)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_draw\n"
    code += f"print(*map(test_draw.in_words, {numbers}), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(map(in_words, numbers))


def test_every_class_is_drawn() -> None:
    """A class that refbp gains is drawn too."""
    made = set(CLASSES["layers"]) | set(CLASSES["losses"]) | set(CLASSES["optimizers"])
    assert made == (LAYERS.keys() | LOSSES.keys() | OPTIMIZERS.keys()) - WITHOUT_DRAWS


def test_nearly_all_cases_are_legal() -> None:
    """Refusals are compared too, but a campaign of refusals tests little."""
    with quiet():
        cases = [drawn(11, number) for number in range(600)]
    assert sum(not own.refusal for own in cases) >= 570
    assert {own.case.dtype for own in cases} == {"float64", "float32", "float16", "bfloat16"}
    assert any(0 in own.case.inputs[0].shape for own in cases if own.case.inputs)
    assert any(not array.flags.c_contiguous for own in cases for array in own.case.grad_outputs)
    assert set(KINDS) == {"layers", "losses", "optimizers", "networks"}


def test_torch_reads_the_nearest_input_that_its_gradient_goes_to() -> None:
    """It does not where a factor leaves a side nearly as it is, or nearly doubles it, so no such factor is drawn."""
    plan, rng = PLANS["Upsample"], np.random.default_rng(5)
    near = 0
    for point in range(3_000):
        choice = at(plan.levels, 5, "Upsample", point)
        options, shape = plan.make(rng, choice)
        if options["mode"] != "nearest" or 0 in shape:
            continue
        for dtype in ("float64", "float32"):
            x = np.arange(math.prod(shape), dtype=dtype).reshape(shape)
            y, _ = F.upsample(x, **options)
            np.testing.assert_array_equal(torch.nn.functional.interpolate(torch.tensor(x), **options).numpy(), y)
        kept = any(m in (n, 2 * n) for n, m in zip(shape[2:], y.shape[2:], strict=True))
        near += choice["by"] == "factor" and kept
    assert near > 50
