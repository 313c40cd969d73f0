"""The rule of PROTOCOL.md, "How to judge", by somebody who has the files and that text: neither oracle nor torch is imported.

python vectors_by_hand.py DIR RESULTS prints {"case.dtype": {"step/layer/quantity": verdict}} as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

LAMBDA = 6.5
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}


def verdict(got: np.ndarray | None, what: dict[str, np.ndarray], dtype: str, is_max_pool: bool, is_empty: bool) -> str:
    expected = what["expected"]
    if got is None:
        return "missing"
    if expected.dtype == np.int64:
        return "pass" if np.array_equal(got, expected) else "wrong"
    if got.shape != expected.shape or got.dtype != dtype:
        return "wrong"
    outside = not_inside(got.astype(np.float64), expected, what["tolerance"], np.finfo(dtype).max)
    if not outside.any():
        return "pass" if is_decided(expected, what["tolerance"], what["scale"], is_empty) else "undecided"
    return verdict_outside(got.astype(np.float64), outside, what, UNIT[dtype], is_max_pool)


def not_inside(got: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, largest: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        near = abs(got - expected) <= tolerance
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    overflow = np.isinf(got) & np.isfinite(expected) & (np.sign(got) == np.sign(expected))
    return ~(same | near | (overflow & (abs(expected) + tolerance > largest)))


def is_decided(expected: np.ndarray, tolerance: np.ndarray, scale: np.ndarray, is_empty: bool) -> bool:
    if not expected.size:
        return True
    if not (scale > 0).any() and np.isfinite(expected).all() and not is_empty:
        return False
    return np.mean((tolerance == 0) | (tolerance <= 0.1 * scale) | ~np.isfinite(expected)) >= 0.5


def verdict_outside(
    got: np.ndarray, outside: np.ndarray, what: dict[str, np.ndarray], unit: float, is_max_pool: bool
) -> str:
    expected = what["expected"]
    with np.errstate(invalid="ignore"):
        error = abs(got - expected)
    if "flipped" in what and (error[outside] <= what["flipped"][outside]).all():
        return "undecided"
    if "low" in what and ((what["low"] <= got) & (got <= what["high"]))[outside].all():
        excess, size = abs(got.sum() - expected.sum()), abs(expected).sum()
        if not is_max_pool or excess <= np.sqrt((what["tolerance"] ** 2).sum()) + LAMBDA * unit * size:
            return "convention"
    return "wrong"


def judged(folder: Path, results: Path, entry: dict[str, str]) -> dict[str, str]:
    expected: dict[str, dict[str, np.ndarray]] = {}
    for name, array in load_file(folder / entry["expected"]).items():
        result, _, part = name.rpartition("/")
        expected.setdefault(result, {})[part] = array
    case = json.loads((folder / entry["description"]).read_text())
    arrays = load_file(folder / entry["arrays"])
    max_pools = {layer["name"] for layer in flat(case["layers"]) if "MaxPool" in layer["type"]}
    is_empty = "inputs/0" in arrays and arrays["inputs/0"].size == 0
    got = load_file(results / entry["results"])
    return {
        name: verdict(
            got.get(name),
            what,
            entry["dtype"],
            name.split("/")[1] in max_pools and name.endswith("/grad_input"),
            is_empty,
        )
        for name, what in expected.items()
    }


def flat(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for layer in layers for one in (layer, *flat(layer.get("layers", [])))]


if __name__ == "__main__":
    folder, results = Path(sys.argv[1]), Path(sys.argv[2])
    cases = json.loads((folder / "manifest.json").read_text())["cases"]
    said = {f"{entry['case']}.{entry['dtype']}": judged(folder, results, entry) for entry in cases}
    assert not {"torch", "oracle", "refbp"} & sys.modules.keys()
    print(json.dumps(said))
