"""Judges the choices of a subject: the side of a kink or tie, and the elements that dropout keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import special

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec, named_layers
from oracle.judging.comparison import Bench
from oracle.judging.rows import PASS, UNDECIDED, WRONG, Row
from oracle.running_error.branches import BranchLog

CHANNEL_DROPOUTS = {"Dropout1d": 1, "Dropout2d": 2, "Dropout3d": 3}
# If chance makes a mask less likely than this, the dropout rate is called wrong: once in a million correct masks.
LEAST_LIKELY = 1e-6


def channel_positions(type: str, ndim: int) -> tuple[int, ...]:
    """The dimensions over which a dropout of whole channels makes one decision; Dropout2d takes three dimensions as (N, C, L)."""
    return tuple(range(2 if type == "Dropout2d" else ndim - CHANNEL_DROPOUTS[type], ndim))


def judge_branches(branches: BranchLog, bench: Bench) -> Iterator[Row]:
    """A row for each layer that compares values: how many branches rounding can flip, and whether rounding explains each branch
    that was adopted from the subject."""
    for layer, seen in branches.by_place.items():
        if layer not in bench.types or not seen.compared:
            continue
        row = replace(
            bench.row(layer, "branches"),
            n=seen.compared,
            n_outside=seen.inadmissible,
            decided=1 - seen.widened / seen.compared,
            n_ambiguous=seen.ambiguous,
            n_adopted=seen.adopted,
        )
        if seen.inadmissible:
            said = f"{seen.inadmissible} of {seen.compared:,} branches differ by more than rounding explains"
            row = row.found(WRONG, said)
        elif seen.adopted:
            said = f"{seen.adopted} of {seen.compared:,} branches were decided by rounding, and taken from the subject"
            row = replace(row, diagnosis=said)
        yield row


def judge_masks(case: Case, bench: Bench) -> Iterator[Row]:
    """Rows for dropout masks: for an imposed mask if the subject used another, and for every mask that it drew itself."""
    for name, spec in named_layers(case.layers):
        mask = bench.trace.get(bench.blank.step, name, "mask")
        given = bench.trace.get(bench.blank.step, name, "input")
        if mask is None or given is None:
            continue
        row, imposed = bench.row(name, "mask"), case.masks.get(name)
        ranks = CHANNEL_DROPOUTS.get(spec.type, 0)
        if mask.dtype.kind != "b":
            yield row.found(WRONG, f"dtype {mask.dtype}, expected bool")
        elif not broadcasts(mask, given) or (ranks and mask.ndim <= ranks):
            yield row.found(WRONG, f"shape {mask.shape}, expected {given.shape}")
        elif not case.training:  # where dropout keeps all that it is given
            if not mask.all():
                said = f"drops {int((~mask).sum()):,} of {mask.size:,} elements in evaluation"
                yield row.found(WRONG, said, shape=mask.shape, n=mask.size)
        elif imposed is None:
            if mask.size:
                yield mask_row(row, spec, np.broadcast_to(mask, given.shape), np.ones(given.shape, bool))
        elif broadcasts(imposed, given):
            other = np.broadcast_to(mask, given.shape) != np.broadcast_to(imposed, given.shape)
            if other.any():
                said = f"differs from the mask that the case imposes at {int(other.sum()):,} of {other.size:,} elements"
                yield row.found(WRONG, said, shape=mask.shape, n=mask.size)


def broadcasts(mask: Array, given: Array) -> bool:
    """Whether a mask broadcasts to the layer's input."""
    return mask.ndim == given.ndim and all(m in (1, n) for m, n in zip(mask.shape, given.shape, strict=True))


def mask_row(row: Row, spec: Spec, mask: Array, known: Array) -> Row:
    """The row of a dropout mask: a binomial test, over the known elements, of the share that it keeps."""
    row = replace(row, shape=mask.shape, n=mask.size)
    if spec.type in CHANNEL_DROPOUTS:  # its draws are whole channels
        positions = channel_positions(spec.type, mask.ndim)
        kept, lost = (np.asarray((drawn & known).any(positions)) for drawn in (mask, ~mask))
        if (kept & lost).any():
            row = row.found(WRONG, "drops some positions of a channel and keeps others")
        mask, known = kept, kept | lost
    kept_draws, draws, p = int(np.count_nonzero(mask & known)), int(known.sum()), 1 - float(spec.options.get("p", 0.5))
    if not draws:
        return row.found(UNDECIDED, "nothing shows what was drawn")
    row = replace(row, got=kept_draws / draws, expected=p)
    if row.verdict == PASS and _chance(kept_draws, draws, p) < LEAST_LIKELY:
        said = f"keeps {kept_draws} of {draws} draws, which is very unlikely with a dropout probability of {p:g}"
        return row.found(WRONG, said)
    return row


def _chance(kept: int, draws: int, p: float) -> float:
    """The chance that so many draws or fewer, or so many or more, are kept: twice the smaller of both tails of the binomial."""
    fewer, more = float(special.bdtr(kept, draws, p)), float(special.bdtrc(kept - 1, draws, p))
    return min(1.0, 2 * min(fewer, more))
