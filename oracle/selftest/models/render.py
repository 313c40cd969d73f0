"""Renders the models' results as Markdown."""

from __future__ import annotations

import numpy as np
import pandas as pd

from oracle.report.markdown import table
from oracle.selftest.models.names import CLOSELY, LANGUAGE, NAMES, PUBLISHED
from oracle.selftest.models.score import BATCH, LARGER, WRONG, Job, Models, all_jobs, job_of
from oracle.wording.figures import counted, exact_share, figure

LIMITS = (
    "Random weights, drawn anew where they are created constant; random images, as small as the architecture takes from 48 "
    "pixels on, and random words; one step of SGD under cross entropy, on the processor. So nothing here is said of trained "
    "weights, of natural images, of large sizes, or of another device."
)
HOW = (
    "torch itself runs each model, and those that are known to be wrong are left out, so an accusation is a false alarm unless "
    "it finds another such model. `judged` is the share of the gradient's elements that was "
    "compared with the reference, `least` the smallest share of a run. `undecided` is the share of rows that say nothing, "
    "because a wrong value could hide in their tolerance or because everything in them is zero. `judged` and `undecided` are "
    "means over runs. `cost` is the processor time of the check divided by that of the model's own forward and backward pass, as "
    "the median over runs."
)


def markdown(result: Models, about: str) -> str:
    parts = [
        f"# Other people's models: {'nobody accused' if result.passed else 'targets missed'}",
        about,
        table(summary_table(result)),
        LIMITS,
        "## By precision, mode and batch",
        HOW,
        table(by_kind(result)),
        "## What went wrong",
        failures(result),
        "## What is left out, because it is wrong itself",
        left_out(),
        "## What was not tried",
        not_tried(result),
        "## Models",
        table(by_model(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _about(frame: pd.DataFrame) -> dict[str, str]:
    """The figures of a set of runs."""
    ran = frame[frame["failure"] == ""]
    cost = (ran["seconds"] / ran["step"].where(ran["step"] > 0)).median()
    return {
        "runs": str(len(frame)),
        "accused": f"{(ran['accused'] > 0).sum()} of {len(ran)}",
        "judged": exact_share(ran["gradients"].mean()) if len(ran) else "-",
        "least": exact_share(ran["gradients"].min()) if len(ran) else "-",
        "undecided": exact_share(ran["undecided"].mean()) if len(ran) else "-",
        "elements": f"{int(ran['elements'].sum()):,}",
        "largest z": figure(float(ran["z_max"].max())) if len(ran) else "-",
        "cost": f"{figure(float(cost))} ×" if np.isfinite(cost) else "-",
    }


def summary_table(result: Models) -> pd.DataFrame:
    """The main figures, one per line."""
    frame = result.table()
    names = list(dict.fromkeys(frame["name"]))
    words, published = (sum(name in own for name in names) for own in (LANGUAGE, PUBLISHED))
    said = _about(frame)
    lines = [
        (
            f"{counted(len(names) - words, 'architecture')}, {published} of them of transformers, and "
            f"{counted(words, 'language model')} by torch: accused",
            f"{said['accused']} runs",
        ),
        ("false alarms", f"{int(frame['accused'].sum())} rows in {said['elements']} elements"),
        ("largest error, in units of its derived standard deviation", said["largest z"]),
        ("elements of gradients that were judged, mean and least of a run", f"{said['judged']}, {said['least']}"),
        ("rows that say nothing, mean", said["undecided"]),
        ("processor time of the check / of the model's own step, median", said["cost"]),
        ("run, of all that are listed", f"{len(frame)} of {len(all_jobs())}"),
        ("did not run", f"{(frame['failure'] != '').sum()} of {len(frame)}"),
    ]
    return pd.DataFrame(lines, columns=["", "result"])


def by_kind(result: Models) -> pd.DataFrame:
    """One row per precision, mode and batch."""
    grouped = result.table().groupby(["dtype", "mode", "batch"], sort=False)
    return pd.DataFrame([{"precision, mode, batch": ", ".join(map(str, kind)), **_about(own)} for kind, own in grouped])


def failures(result: Models) -> str:
    lines = [f"- accused: {own.name} ({_kind(job_of(own))}): {own.first}" for own in result.outcomes if own.accused]
    lines += [
        f"- did not run: {own.name} ({_kind(job_of(own))}): {own.failure}" for own in result.outcomes if own.failure
    ]
    lines += [
        f"- judged {exact_share(own.gradients)}: {own.name} ({_kind(job_of(own))}): {own.unjudged}"
        for own in result.outcomes
        if own.gradients < 1 and not own.failure
    ]
    return "\n".join(lines) or "Nothing."


def _kind(job: Job) -> str:
    return f"{job.dtype}, {job.mode}, batch {job.batch}"


def left_out() -> str:
    """Lists the models that are wrong themselves."""
    return "\n".join(f"- {name}, {dtype}: reports/findings/{page}.md" for (name, dtype), page in WRONG.items())


def not_tried(result: Models) -> str:
    """Lists the listed runs that were not tried, by kind, so that a partial run is not taken for a complete one."""
    left: dict[str, list[str]] = {}
    done = {job_of(own) for own in result.outcomes}
    for job in all_jobs():
        if job not in done:
            left.setdefault(_kind(job), []).append(job.name)
    closely = f"The {len(CLOSELY)} that are tried most closely are tried with batches of {BATCH} and of {LARGER}."
    if not left:
        return f"Nothing of what is listed. {closely}"
    lines = [
        f"- {kind}: {len(names)} of the models" + (f": {', '.join(names)}" if len(names) <= 6 else "")
        for kind, names in left.items()
    ]
    return "\n".join([f"{closely} Of what is listed the run had no time for:", "", *lines])


def by_model(result: Models) -> pd.DataFrame:
    """One row per model, over all of its runs."""
    rows = []
    frame = result.table()
    order = {name: number for number, name in enumerate(NAMES)}
    for name, own in sorted(frame.groupby("name", sort=False), key=lambda pair: order[str(pair[0])]):
        side = int(own["side"].max())
        rows.append({"model": name, "px": str(side) if side else "-", **_about(own)})
    return pd.DataFrame(rows)
