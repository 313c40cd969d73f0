"""The third witness: derivatives of refbp's forward pass by finite differences in extended precision.

It uses no backward code, neither refbp's nor torch's, so that it can decide which of the two is wrong. For each quantity it takes
random directions d, and compares the central difference of <grad_output, forward> along d with <gradient, d>.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import Network, build_loss, layer_types
from oracle.execution.predict import predict
from oracle.judging.parts import Part, local_parts
from oracle.judging.rows import LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.running_error import LAMBDA, ErrorModel
from oracle.suite.build import generator
from oracle.trace import Key, Trace

WITNESS = "witness"
DIRECTIONS = 3
STEPS = (2.0**-10, 2.0**-17, 2.0**-24)
# A doubt above this share of the derivative's size: not converged.
CONVERGED = 1e-3
Extended = np.longdouble


def judge_by_witness(case: Case, trace: Trace) -> list[Row]:
    """A row per gradient of the first step: does it agree with the differences of the forward pass?"""
    types = layer_types(case)
    blank = Row(case.name, case.dtype, 0, "", "", "", WITNESS, PASS)
    parts = [part for part in local_parts(case, trace, 0) if not part.case.grads]
    return [row for part in parts for row in _judge_part(part, trace, blank, types)]


def with_sides(rows: Iterable[Row], testimony: Iterable[Row]) -> list[Row]:
    """The rows; where subject and reference disagree, the diagnosis says with which of them the witness agrees."""
    said = {(row.step, row.layer, row.quantity): row.verdict for row in testimony}
    sides = {
        PASS: "finite differences agree with the subject: the reference errs",
        WRONG: "finite differences agree with the reference",
    }

    def sided(row: Row) -> Row:
        side = sides.get(said.get((row.step, row.layer, row.quantity), ""))
        if row.mode != LOCAL or row.verdict != WRONG or side is None:
            return row
        return replace(row, diagnosis=f"{row.diagnosis}; {side}" if row.diagnosis else side)

    return [sided(row) for row in rows]


def _judge_part(part: Part, trace: Trace, blank: Row, types: dict[str, str]) -> Iterator[Row]:
    case = part.case
    model = ErrorModel(np.dtype(case.dtype))
    predicted = predict(case, model)
    inner = case.layers[0].name if case.layers else "loss"
    outer = part.names[inner]
    arguments = {"grad_input": "", **{f"grad.{name.partition('.')[2]}": name for name in case.params}}
    for quantity, argument in arguments.items():
        got = trace.get(blank.step, outer, quantity)
        key = Key(0, inner, quantity)
        if part.shared and argument:
            continue
        if got is None or key not in predicted or not got.size or got.shape != predicted[key].shape:
            continue
        sigma = predicted[key].sigma
        row = replace(blank, layer=outer, layer_type=types[outer], quantity=quantity)
        yield along_directions(case, argument, got, sigma, row)


def along_directions(case: Case, argument: str, got: Array, sigma: Array, row: Row) -> Row:
    """The row of a gradient with respect to an argument of the case, compared with differences of the forward pass."""
    rng = generator(f"{row.case}/{row.layer}/{row.quantity}/directions")
    row = row.found(PASS, shape=got.shape, n=DIRECTIONS)
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(got.shape)
        truth, doubt, smooth = directional_derivative(case, argument, direction)
        claimed = float(np.sum(got.astype(Extended) * direction))
        tolerance = LAMBDA * float(np.sqrt(np.sum(np.square(direction * sigma)))) + doubt
        error = np.inf if np.isnan(claimed) else abs(claimed - truth)
        scale = float(np.sqrt(np.sum(np.square(direction * got.astype(np.float64)))))
        if not smooth or not np.isfinite(truth) or doubt > CONVERGED * max(scale, abs(truth)):
            return row.found(UNDECIDED, "the forward pass has a kink here, or its difference quotients do not converge")
        z = 0.0 if error <= doubt else (error - doubt) * LAMBDA / (tolerance - doubt) if tolerance > doubt else np.inf
        if not z < row.z_max:  # the first, too, which is compared with none
            row = replace(row, z_max=z, got=claimed, expected=truth, tolerance=tolerance, max_abs=error)
        row = replace(row, n_outside=row.n_outside + (error > tolerance))
    if row.n_outside:
        return row.found(WRONG, "along a random direction; disagrees with the differences of the forward pass")
    return row


def directional_derivative(case: Case, argument: str, direction: Array) -> tuple[float, float, bool]:
    """d/dt of <grad_output, output> as `argument` (a parameter's name, or "" for the input) moves by t * direction.

    Returns: the derivative, its uncertainty, and whether both one-sided derivatives agree (at a kink they do not). There is no
    result if the forward pass refuses a moved argument, as at the border of a loss's domain.

    It takes central differences at t, t/2 and t/4 and extrapolates twice (error of order t^6). The uncertainty is three times
    the change by extrapolation, plus the rounding error of the quotient in extended precision.
    """
    value = _functional(case, argument, direction)
    here, _ = value(0.0)
    best = (float("nan"), float("inf"), False)
    for step in STEPS:
        central, bends = [], []
        lost = 0.0
        for t in (step, step / 2, step / 4):
            try:
                (ahead, size), (behind, _) = value(t), value(-t)
            except ValueError:
                return float("nan"), float("inf"), False
            central.append((ahead - behind) / (2 * t))
            bends.append(abs(ahead - 2 * here + behind) / t)  # O(t) where smooth; what the sides differ by at a kink
            lost = max(lost, float(size * np.finfo(Extended).eps / t))
        first = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(central)]
        second = (16 * first[1] - first[0]) / 15
        doubt = 3 * float(abs(second - central[2])) + 8 * lost
        # Each halving of t shrinks the change of the quotient fourfold for a smooth function, but only twofold beside a kink.
        slow = abs(central[1] - central[2]) > 0.35 * abs(central[0] - central[1]) + 16 * lost
        smooth = bool(bends[2] <= 0.75 * bends[0] + 16 * lost) and not slow
        if doubt < best[1]:
            best = (float(second), doubt, smooth)
    return best


def _functional(case: Case, argument: str, direction: Array) -> Callable[[float], tuple[Any, Any]]:
    """The function t -> <grad_output, output> and the sum of the sizes of its terms, in extended precision."""
    wide = case.astype("longdouble")
    network = Network(wide)
    upstream = wide.grad_outputs[0] if wide.grad_outputs else Extended(1.0)
    loss = build_loss(wide, wide.loss) if wide.loss is not None else None

    def value(t: float) -> tuple[Any, Any]:
        network.load(lambda array: array)
        network.prepare()
        x = wide.inputs[0]
        if argument:
            for _, own, short, full in network.state():
                if full == argument:
                    own[short] = own[short] + Extended(t) * direction
        else:
            x = x + Extended(t) * direction
        output, _ = network.root.apply(x)
        if loss is not None:
            output, _ = loss.apply(output, *wide.targets[0])
        terms = upstream * output
        return np.sum(terms), np.sum(np.abs(terms))

    return value
