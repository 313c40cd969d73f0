"""A page for each group of discrepancies, with the smallest case and its script; and the report of a campaign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from oracle.case.case import Case
from oracle.fuzz import draw
from oracle.fuzz.campaign import Campaign, Group, pace
from oracle.fuzz.outcome import Job, quiet
from oracle.harness import apart
from oracle.harness.script import script
from oracle.harness.shrink import Shrunk, shrink
from oracle.judging.known import FINDINGS
from oracle.report.environment import environment
from oracle.subjects import SubjectError
from oracle.wording.figures import counted

REPORT, PAGES = "fuzz.md", "groups"
MOST_NAMES = 8


def write(campaign: Campaign, folder: Path, executor: Executor | None = None, most: int = 20) -> list[Path]:
    """Writes the report, and a page for each of the first `most` groups of discrepancies."""
    found = [group for group in campaign.groups if group.is_discrepancy][:most]
    pages = []
    for number, group in enumerate(found):
        (folder / PAGES).mkdir(exist_ok=True)
        stem = f"{number:02}-{re.sub(r'[^A-Za-z0-9.]+', '-', group.what)}"[:60].rstrip("-")
        page = folder / PAGES / f"{stem}.md"
        page.write_text(_page(campaign, group, page, executor), encoding="utf-8")
        pages.append(page)
    (folder / REPORT).write_text(markdown(campaign), encoding="utf-8")
    return pages


def _page(campaign: Campaign, group: Group, page: Path, executor: Executor | None) -> str:
    """The page of a group; the smallest case and its script are written beside it."""
    settings, own = campaign.settings, group.first
    lines = [f"# {group.what}", "", f"**Who errs.** {own.owner}: {own.words}.", ""]
    lines += [f"**Cases.** {len(group.outcomes)} of {len(campaign.outcomes)}: {_names(campaign, group)}.", ""]
    if known := known_as(group):
        lines += [f"**Known.** Perhaps {', '.join(f'reports/findings/{name}.md' for name in known)}.", ""]
    job = Job(settings, own.number)
    if job.is_program:
        text = apart.done(executor, script_of_program, job)
        page.with_suffix(".py").write_text(text + "\n", encoding="utf-8")
        return "\n".join([*lines, "```python", text, "```", ""])
    try:
        shrunk = _shrunk(campaign, group, executor)
    except ValueError as error:  # it cannot be shrunk, or ended its process
        return "\n".join([*lines, f"It was not shrunk: {error}", ""])
    file = page.with_suffix(".json")
    shrunk.case.save(file)
    text = script(shrunk, file.name, settings.subject)
    page.with_suffix(".py").write_text(text + "\n", encoding="utf-8")
    return "\n".join([*lines, "```python", text, "```", ""])


def script_of_program(job: Job) -> str:
    from oracle.fuzz import program_trial

    return program_trial.script(job)


def _shrunk(campaign: Campaign, group: Group, executor: Executor | None) -> Shrunk:
    settings = campaign.settings
    case = draw.drawn(settings.seed, group.first.number, settings.kinds).case
    try:
        return apart.done(executor, quietly, case, settings.subject, settings.reference)
    except SubjectError:
        raise
    except Exception as error:
        raise ValueError(str(error)) from error


def quietly(case: Case, subject: str | Any, reference: str) -> Shrunk:
    """`shrink` without warnings."""
    with quiet():
        return shrink(case, subject, reference)


def _names(campaign: Campaign, group: Group) -> str:
    settings = campaign.settings
    names = [draw.named(settings.seed, own.number, settings.kinds) for own in group.outcomes[:MOST_NAMES]]
    more = len(group.outcomes) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def known_as(group: Group) -> list[str]:
    """The findings about the same implementation, class and quantity."""
    own = group.first
    found = [
        finding.report
        for finding in FINDINGS
        if finding.implementation.partition(".")[0] == own.owner
        and fnmatchcase(own.operation, finding.layer_type)
        and fnmatchcase(own.quantity, finding.quantity)
    ]
    return list(dict.fromkeys(found))


def markdown(campaign: Campaign) -> str:
    """The report: how many cases of each verdict, how fast the last run was, and all groups."""
    settings, found = campaign.settings, environment()
    return "\n".join(
        [
            f"# Random cases: {settings.subject} against {settings.reference}",
            "",
            f"{counted(len(campaign.outcomes), 'case')} of {', '.join(dict.fromkeys(settings.kinds))}, seed {settings.seed}. "
            f"The last run judged {pace(campaign.fresh, campaign.seconds)}.",
            f"{found.software}; Python {found.python}; {found.blas}, {found.processors} processors.",
            "",
            "| verdict | cases |",
            "|---|---|",
            *(f"| {verdict} | {count:,} |" for verdict, count in campaign.verdicts.most_common()),
            "",
            "| cases | what | who errs | the first | its diagnosis |",
            "|---|---|---|---|---|",
            *_rows(campaign),
            "",
        ]
    )


def _rows(campaign: Campaign) -> Iterator[str]:
    settings = campaign.settings
    for group in campaign.groups:
        own = group.first
        name = draw.named(settings.seed, own.number, settings.kinds)
        words = own.words.replace("|", "\\|")
        yield f"| {len(group.outcomes):,} | {group.what} | {own.owner or '–'} | {name}, {own.dtype} | {words} |"
