"""The gradients of a layer that stands in a network more than once: the sum of what each place gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, named_layers
from oracle.case.names import TRANSPOSE
from oracle.judging.comparison import Comparison
from oracle.judging.figures import Expected
from oracle.judging.rows import LOCAL, Row
from oracle.judging.verdict import compare
from oracle.running_error.model import ROUNDOFF
from oracle.trace import Key


def added_up(case: Case, row: Row, got: Array | None, compared: Sequence[Comparison]) -> Row | None:
    """The row of a shared layer's gradient, judged on the subject's own inputs at all places; None if these are not all known.

    row: the gradient's row end to end.
    compared: the comparisons of all layers of the step.
    """
    specs = dict(named_layers(case.layers))
    places = [name for name, spec in specs.items() if row.layer in (name, spec.same_as)]
    own = [one for one in compared if one.part.shared and set(one.part.names.values()) & set(places)]
    is_whole = len(own) == len(places) > 1 and case.update_every == 1
    if got is None or not is_whole or any(specs[name].type == TRANSPOSE for name in places):
        return None
    keys = [Key(one.step, "layer", row.quantity) for one in own]
    if any(key not in one.predicted for key, one in zip(keys, own, strict=True)):
        return None
    for bounds in (False, True):
        parts = [
            replace(one.expected(key), bound=one.bound(key) if bounds else None)
            for key, one in zip(keys, own, strict=True)
        ]
        found = replace(row, mode=LOCAL)
        found = compare(found, got, _sum(parts, row.dtype), structured=case.structured, no_terms=False)
        if not found.n_outside:
            break
    return found


def _sum(parts: Sequence[Expected], dtype: str) -> Expected:
    """The sum of independent shares, each of whose partial sums is rounded."""
    partial = np.cumsum([own.value for own in parts], axis=0)
    rounding = ROUNDOFF[dtype] * np.abs(partial[1:])
    bounds = [own.bound for own in parts if own.bound is not None]
    return Expected(
        partial[-1],
        np.sqrt(np.sum([np.square(own.sigma) for own in parts], axis=0) + np.sum(np.square(rounding), axis=0)),
        np.sum([*bounds, *rounding], axis=0) if len(bounds) == len(parts) else None,
        np.sqrt(np.sum([np.square(own.scale) for own in parts], axis=0)),
    )
