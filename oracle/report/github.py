"""A report for GitHub Actions: annotations in the log and a step summary, worst first, within GitHub's limits of length."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from oracle.blame.blame import Blame
from oracle.judging.rows import FAILED, GRAVITY, UNDECIDED
from oracle.report import markdown
from oracle.report.findings import Findings
from oracle.report.source import source_of
from oracle.report.table import HARNESS_FAILED, failed_runs
from oracle.wording.figures import counted, exact_share, figure

# A step shows ten annotations of a kind and a summary of one mebibyte; what is beyond is dropped or refused.
MOST_ANNOTATIONS = 10
LARGEST_SUMMARY = 1024 * 1024 - 4096


def worst_first(blames: Sequence[Blame]) -> list[Blame]:
    """The gravest verdict first; among equals the order of the report, most upstream first."""
    return sorted(blames, key=lambda blame: -GRAVITY[blame.verdict])


def workflow_commands(blames: Sequence[Blame], table: pd.DataFrame, subject: str = "") -> list[str]:
    """Workflow commands: an error per culprit (the last one counts those that do not fit), one for failures of the harness, and
    a warning for unjudged or undecided rows. A culprit is shown at the subject's file and line."""
    at = _at(subject)
    ordered = worst_first(blames)
    shown = ordered if len(ordered) <= MOST_ANNOTATIONS else ordered[: MOST_ANNOTATIONS - 1]
    lines = [_command("error", f"{blame.case} ({blame.dtype}) {blame.verdict}", blame.in_full(), at) for blame in shown]
    if len(shown) < len(ordered):
        left = len(ordered) - len(shown)
        lines.append(
            _command("error", f"{left} more discrepancies", f"and {left:,} more culprits: see the step's summary")
        )
    failed = table[table["verdict"] == FAILED]
    if not failed.empty:
        lines.append(_command("error", HARNESS_FAILED, failed_runs(failed)))
    undecided = int((table["verdict"] == UNDECIDED).sum())
    if undecided:
        share = exact_share(undecided / len(table))
        lines.append(_command("warning", "undecided", f"{undecided:,} of {len(table):,} rows ({share}) are undecided"))
    return lines


def summary(found: Findings) -> str:
    """Markdown for GITHUB_STEP_SUMMARY: the outcome, the culprits (worst first), the families."""
    ended = f"discrepancies: {counted(len(found.blame), 'culprit')}" if found.blame else found.outcome
    families, verdicts = found.families, found.table["verdict"].value_counts()
    largest = figure(float(families["z_max"].max())) if len(families) else ""
    parts = [
        f"## {_inline(found.title)}: {ended}",
        f"{found.judged}; "
        + ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
        + (f"; largest z {largest}." if largest else "."),
        *([f"Note: {said}."] if (said := found.about.declared) else []),
        *markdown.left_unjudged(found),
        *markdown.again(found),
        markdown.table(families),
    ]
    if found.training:
        parts += ["### Free training on digits", markdown.training(found.training)]
    text = "\n\n".join(parts) + "\n"
    lines = [
        f"- `{blame.verdict}` " + "\n  - ".join(_inline(text) for text in (str(blame), *blame.remarks))
        for blame in worst_first(found.blame)
    ]
    return text + ("\n### Culprits, worst first\n\n" + _fitting(lines, len(text.encode())) if lines else "")


def _fitting(lines: Sequence[str], used: int) -> str:
    kept: list[str] = []
    for number, line in enumerate(lines):
        used += len(line.encode()) + 1
        if used > LARGEST_SUMMARY:
            return "\n".join([*kept, f"- and {len(lines) - number:,} more, in the report's cases.csv"]) + "\n"
        kept.append(line)
    return "\n".join(kept) + "\n"


def _inline(text: str) -> str:
    return markdown.literal(" ".join(text.split()))


def _at(subject: str) -> dict[str, str]:
    """The file, relative to the repository's root, and line of a subject that is given as module:object."""
    source = source_of(subject)
    if source is None:
        return {}
    root = os.environ.get("GITHUB_WORKSPACE", ".")
    return {"file": os.path.relpath(source.file, root), "line": str(source.line)}


def _command(kind: str, title: str, message: str, at: Mapping[str, str] = MappingProxyType({})) -> str:
    def escaped(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    properties = {**at, "title": title}
    said = ",".join(
        f"{name}={escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items()
    )
    return f"::{kind} {said}::{escaped(message)}"
