"""Renders a self-test as Markdown."""

from __future__ import annotations

from dataclasses import asdict, fields

import pandas as pd

from oracle.report.markdown import table
from oracle.selftest.controls import FAILS, PASSES
from oracle.selftest.narrow.planted import Found
from oracle.selftest.result import SelfTest
from oracle.wording.figures import figure


def markdown(result: SelfTest, about: str) -> str:
    """The whole report; it lists everything that went wrong by name."""
    parts = [
        f"# How good the checker is: {'every target met' if result.passed else 'targets missed'}",
        about,
        summary(result),
        "## What went wrong",
        failures(result),
        "## Planted bugs",
        "Each is a small change to a correct implementation; it counts as placed when the report blames its layer, and its "
        "quantity there, before anything else.",
        table(result.families()),
        "## Legal variants",
        "Correct implementations that add up in other orders and use other formulas. An alarm is an element outside its "
        "tolerance; `width` is the median of tolerance / largest true error: how many times wider than needed.",
        table(result.legal_families(), figures=("width",)),
        "## Ordinary programs",
        "Small networks, data and losses as people use them, drawn at random and run by torch itself; `width` as above.",
        table(result.ordinary_kinds(), figures=("width",)),
        "## Between layers",
        "Additions, gates, reductions, rearrangements, softmax and masks, indices, and code that detaches or overwrites: each is "
        "an operation with a wrong backward, or wrong code beside a right reference, in a small module of torch. Its repaired "
        "twin must not be accused.",
        table(between(result)),
        "## 16 bits",
        "Kernels that add up in 16 bits where float32 is due have to be `imprecise`, and the report has to say why. Those that "
        "are wrong by 2 % have to be `wrong`. The twin computes in float32 and stores once, and must not be accused; `width` is "
        "the median of its tolerance / largest error. Mixed is a module in float32 whose activations are stored in bfloat16.",
        table(narrow(result), figures=("width",)),
        "## Controls",
        "Every case of the suite, with its upstream gradient exchanged: the gradients of the whole step must be found wrong. "
        "A control says nothing where it changes no gradient.",
        table(result.control_counts()),
    ]
    return "\n\n".join(parts) + "\n"


def summary_table(result: SelfTest) -> pd.DataFrame:
    """The main figures, one per line."""
    bugs, elements = len(result.bugs), sum(variant.elements for variant in result.variants)
    alarms = sum(variant.alarms for variant in result.variants)
    outcomes = [control.outcome for control in result.controls]
    widths = pd.Series([variant.width for variant in result.variants]).median()
    distinct, legal = len({bug.bug for bug in result.bugs}), len({own.variant for own in result.variants})
    lines = [
        (
            f"{distinct} planted bugs, in each precision: caught",
            f"{sum(bug.caught for bug in result.bugs):,} of {bugs:,}",
        ),
        ("right layer blamed", f"{sum(bug.layer_right for bug in result.bugs):,} of {bugs:,}"),
        ("right quantity blamed", f"{sum(bug.quantity_right for bug in result.bugs):,} of {bugs:,}"),
        ("right cause named first", f"{sum(bug.cause_right for bug in result.bugs):,} of {bugs:,}"),
        ("wrong cause named first", f"{len(result.misnamed):,} of {bugs:,}"),
        (f"{legal} legal variants, in each precision: accused", f"{len(result.alarmed)} of {len(result.variants)}"),
        (
            f"{len(result.plain)} wrong options in a subject of plain options: found",
            f"{len(result.plain) - len(result.overlooked)} of {len(result.plain)}",
        ),
        (
            f"{len(result.between)} bugs in operations between layers: caught, operation and quantity named",
            f"{sum(own.named for own in result.between)} of {len(result.between)}",
        ),
        (
            f"{len(result.narrow)} bugs in 16-bit kernels, sums and formulas: caught, and of the right kind",
            f"{sum(own.named for own in result.narrow)} of {len(result.narrow)}",
        ),
        ("16-bit kernels: tolerance / largest error, median", figure(result.narrow_width)),
        ("false alarms", f"{alarms:,} in {elements:,} elements"),
        (f"{len(result.programs):,} ordinary programs by torch: accused", f"{len(result.accused):,}"),
        (
            "largest z of an ordinary program",
            figure(max((program.z_max for program in result.programs), default=0.0)),
        ),
        ("largest z of a legal variant", figure(max((variant.z_max for variant in result.variants), default=0.0))),
        ("tolerance / largest true error, median", figure(float(widths))),
        (
            "controls that fail, as they must",
            f"{outcomes.count(FAILS):,} of {outcomes.count(FAILS) + outcomes.count(PASSES):,}",
        ),
    ]
    return pd.DataFrame(lines, columns=["", "result"])


def summary(result: SelfTest) -> str:
    return table(summary_table(result))


def between(result: SelfTest) -> pd.DataFrame:
    """One row per operation: number of bugs, of those named, and of accused repaired twins."""
    rows: dict[str, dict[str, int]] = {}
    for own in result.between:
        row = rows.setdefault(own.operation, {"planted": 0, "named": 0, "twins accused": 0})
        row["planted"] += 1
        row["named"] += own.named
        row["twins accused"] += bool(own.twin)
    return pd.DataFrame([{"operation": operation, **row} for operation, row in rows.items()])


def narrow(result: SelfTest) -> pd.DataFrame:
    """One row per precision and kind: number of bugs, of those named, of accused twins, and the twins' median width."""
    frame = pd.DataFrame([asdict(own) for own in result.narrow], columns=[own.name for own in fields(Found)])
    frame["twins accused"] = frame["twin"] != ""
    grouped = frame.groupby(["precision", "kind"], sort=False)
    return grouped.agg(
        **{
            "planted": ("named", "size"),
            "named": ("named", "sum"),
            "twins accused": ("twins accused", "sum"),
            "width": ("width", "median"),
        }
    ).reset_index()


def failures(result: SelfTest) -> str:
    """Everything that missed its target, by name."""
    lines = [f"- missed: {bug.bug} ({bug.dtype})" for bug in result.missed]
    lines += [
        f"- misplaced: {bug.bug} ({bug.dtype}) is at {bug.layer} {bug.quantity}, blamed is {bug.blamed}"
        for bug in result.misplaced
    ]
    lines += [
        f"- accused: {own.variant} ({own.dtype}), {own.alarms:,} elements, largest z {figure(own.z_max)}"
        for own in result.alarmed
    ]
    lines += [f"- accused: program {own.seed}, {own.program} ({own.dtype}): {own.accused}" for own in result.accused]
    lines += [f"- found by none of {own.supported} cases: {own.bug}" for own in result.overlooked]
    lines += [
        f"- between layers: {own.name} is at {own.operation} {own.quantity}, blamed is {own.blamed or 'nobody'}"
        for own in result.between
        if not own.named
    ]
    lines += [f"- accused: the repaired twin of {own.name}: {own.twin}" for own in result.between if own.twin]
    lines += [f"- 16 bits: {own.name} is {own.verdict or 'not caught'}" for own in result.narrow if not own.named]
    lines += [f"- accused: the twin of {own.name}: {own.twin}" for own in result.narrow if own.twin]
    lines += [f"- let through: {own.control} on {own.case}" for own in result.let_through]
    lines += [f"- wrong cause: {bug.bug} ({bug.dtype}) is called {bug.cause!r}" for bug in result.misnamed]
    unnamed = dict.fromkeys(bug.bug for bug in result.unnamed)
    lines += [f"- no cause named: {name}" for name in unnamed]
    return "\n".join(lines) or "Nothing."
