"""A report as JUnit XML, for build servers: a suite per family, a test per case and dtype."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd

from oracle.blame.blame import Blame
from oracle.judging.rows import CRASHED, DISCREPANCIES, FAILED, PASS, UNDECIDED, UNJUDGED, UNSUPPORTED
from oracle.report.findings import Findings

# Characters that XML 1.0 cannot hold, not even escaped.
UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(found: Findings) -> str:
    """The XML document. Failures are discrepancies, and anything unjudged that the user did not allow. Errors are crashes, and
    failures of the harness itself. Undecided and unsupported cases are skipped, never passed."""
    blamed: dict[tuple[str, str], list[Blame]] = {}
    for blame in found.blame:
        blamed.setdefault((blame.case, blame.dtype), []).append(blame)
    reasons = _reasons(found.table)
    name = found.title + (f" ({said})" if (said := found.about.declared) else "")
    root = ET.Element("testsuites", name=_text(name))
    about = found.about
    properties = {"date": about.date, "commit": about.commit, "command": about.command, "judged": found.judged}
    for family, own in found.cases.groupby("family", sort=False):
        suite = ET.SubElement(root, "testsuite", name=_text(str(family)))
        listed = ET.SubElement(suite, "properties")
        for known, value in properties.items():
            if value:
                ET.SubElement(listed, "property", name=known, value=_text(value))
        for record in own.to_dict(orient="records"):
            key = str(record["case"]), str(record["dtype"])
            _case(suite, record, blamed.get(key, []), reasons.get(key, ""), found.is_open)
        _count(suite)
    _count(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, record: Mapping[Any, Any], blames: list[Blame], reasons: str, is_open: bool) -> None:
    seconds = float(record["seconds"])
    test = ET.SubElement(
        suite,
        "testcase",
        classname=_text(str(record["family"])),
        name=_text(f"{record['case']} [{record['dtype']}]"),
        time=f"{seconds:.3f}" if math.isfinite(seconds) else "0",
    )
    verdict = str(record["verdict"])
    if verdict in DISCREPANCIES:
        kind = "error" if verdict == CRASHED else "failure"
        first = str(blames[0]) if blames else str(record["diagnosis"]) or verdict
        found = ET.SubElement(test, kind, message=_text(first), type=verdict)
        found.text = _text("\n".join(blame.in_full() for blame in blames))
    elif verdict == UNJUDGED and is_open:
        ET.SubElement(test, "failure", message=_text(reasons), type=verdict)
    elif verdict == FAILED:
        ET.SubElement(test, "error", message=_text(reasons), type=verdict)
    elif verdict in (UNDECIDED, UNSUPPORTED):
        ET.SubElement(test, "skipped", message=_text(f"{verdict}: {reasons}"))
    elif verdict != PASS:
        ET.SubElement(test, "system-out").text = _text(f"{verdict}: {reasons}")


def _reasons(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The reasons of rows that do not simply pass, by case and dtype."""
    told = table[(table["verdict"] != PASS) & (table["diagnosis"] != "")]
    return {
        (str(case), str(dtype)): "; ".join(dict.fromkeys(rows["diagnosis"].astype(str)))
        for (case, dtype), rows in told.groupby(["case", "dtype"], sort=False)
    }


def _count(element: ET.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))
    element.set("time", f"{sum(float(test.get('time', 0)) for test in element.iter('testcase')):.3f}")


def _text(value: str) -> str:
    return UNPRINTABLE.sub("�", value)
