"""The report names the options with which a subject was never tried."""

from __future__ import annotations

from pathlib import Path

import oracle
from oracle.case.case import Case, Spec
from oracle.subjects import refbp
from oracle.suite.tried import never_tried, options_of, set_apart
from oracle.trace import Trace


class Plain:
    """Convolutions of kernel, stride and padding alone."""

    name = "plain"

    def run(self, case: Case) -> Trace:
        known = {"in_channels", "out_channels", "kernel_size", "stride", "padding"}
        if any(set_apart(spec) - known or isinstance(options_of(spec).get("padding"), str) for spec in case.layers):
            raise oracle.Unsupported("kernel, stride and padding only")
        return refbp.run(case)


def test_a_report_names_the_options_that_were_not_tried(tmp_path: Path) -> None:
    """In its conclusion, in Markdown, as a page and in a notebook; with the share of settings in everyday use."""
    report = oracle.run(Plain(), cases="usual/Conv1d*", dtypes=["float32"])
    said = "Conv1d: bias, dilation, groups not tried; tried in 6 of 11 usual settings"
    assert report.passed and report.conclusion.endswith(said)
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (report.to_markdown(), page, report._repr_html_()):
        assert f"Of everything in the suite: {said}." in text


def test_nothing_is_said_of_a_subject_that_supports_everything() -> None:
    report = oracle.run("refbp", cases="usual/Conv1d*", dtypes=["float32"])
    assert "not tried" not in report.conclusion and "usual" not in report.conclusion


def test_an_option_at_its_default_is_none() -> None:
    """Given or not; in a group as well."""
    plain = Spec("SGD", {"lr": 0.1, "momentum": 0}, groups=({"params": ["a"], "nesterov": True},))
    assert set_apart(plain) == {"lr", "nesterov"}
    assert never_tried([], ()) == ([], "")
