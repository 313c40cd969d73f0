"""The models as Markdown: rendering only."""

from __future__ import annotations

import pandas as pd

from oracle.report.markdown import table
from oracle.selftest.models.names import NAMES
from oracle.selftest.models.score import BATCH, DTYPES, MODES, Models
from oracle.wording.figures import exact_share

LIMITS = (
    "Random weights, drawn anew where they are created constant; random images, "
    f"{BATCH} a batch, as small as the architecture takes; one step of SGD under cross entropy, on the processor."
)


def markdown(result: Models, about: str) -> str:
    parts = [
        f"# Other people's models: {'nobody accused' if result.passed else 'targets missed'}",
        about,
        table(summary_table(result)),
        LIMITS,
        "## What went wrong",
        failures(result),
        "## Models",
        table(by_model(result)),
    ]
    return "\n\n".join(parts) + "\n"


def summary_table(result: Models) -> pd.DataFrame:
    """The figures that matter, a line each."""
    frame = result.table()
    parameters, elements = int(frame["parameters"].sum()), int(frame["elements"].sum())
    kinds = " and ".join(sorted(set(frame["dtype"]))), " and ".join(sorted(set(frame["mode"]), reverse=True))
    lines = [
        (
            f"{frame['name'].nunique()} architectures, {kinds[0]}, {kinds[1]}: accused",
            f"{(frame['accused'] > 0).sum()} of {len(frame)} runs",
        ),
        ("false alarms", f"{int(frame['accused'].sum())} rows in {elements:,} elements"),
        ("parameters whose gradient was judged", exact_share(frame["judged"].sum() / max(parameters, 1))),
        ("rows that say nothing, mean", exact_share(frame["undecided"].mean())),
        ("tried, of all", f"{len(frame)} of {len(NAMES) * len(DTYPES) * len(MODES)} runs"),
        ("did not run", f"{(frame['failure'] != '').sum()} of {len(frame)} runs"),
        ("seconds a run, median", f"{frame['seconds'].median():.1f}"),
    ]
    return pd.DataFrame(lines, columns=["", "result"])


def failures(result: Models) -> str:
    lines = [f"- accused: {own.name} ({own.dtype}, {own.mode}): {own.first}" for own in result.outcomes if own.accused]
    lines += [
        f"- did not run: {own.name} ({own.dtype}, {own.mode}): {own.failure}" for own in result.outcomes if own.failure
    ]
    return "\n".join(lines) or "Nothing."


def by_model(result: Models) -> pd.DataFrame:
    """One row per architecture, over its dtypes and modes."""
    rows = []
    for name, own in result.table().groupby("name", sort=False):
        rows.append(
            {
                "model": name,
                "runs": len(own),
                "px": int(own["side"].max()),
                "accused": int((own["accused"] > 0).sum()),
                "gradients judged": exact_share(own["judged"].sum() / max(int(own["parameters"].sum()), 1)),
                "undecided": exact_share(own["undecided"].mean()),
                "elements": f"{int(own['elements'].sum()):,}",
                "s a run": f"{own['seconds'].mean():.1f}",
            }
        )
    return pd.DataFrame(rows)
