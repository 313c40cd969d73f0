"""Report: the results of a run as tables, and how they are saved and loaded."""

from __future__ import annotations

import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from oracle.blame import details
from oracle.blame.agreement import agreed
from oracle.blame.blame import blame, reproduce
from oracle.blame.details import Detail, capped
from oracle.case.arrays import SPECIAL
from oracle.case.case import Case
from oracle.exchange.numbers import shown, spelled
from oracle.judging.rows import Row
from oracle.judging.training import TrainingRun
from oracle.report import html, junit, markdown, placing, plots
from oracle.report.about import About
from oracle.report.described import described
from oracle.report.findings import Findings
from oracle.report.kinds import examples
from oracle.report.plain_text import for_spreadsheets, visible_about, visible_details, visible_rows
from oracle.report.stored import FORMAT, OtherFormat, Parts
from oracle.report.table import case_table, row_table
from oracle.wording.errors import Sentence, message, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Culprits that are shown where a report is printed.
MOST_BLAMES = 20


class Discrepancy(AssertionError):
    """Raised by `Report.raise_for_discrepancy`; its message names the culprits."""


class ReportError(Sentence):
    """A folder that cannot be written, or holds no report. The message is one sentence."""


@dataclass(frozen=True, repr=False)
class Report(Findings):
    """The results of a run.

    Attributes:
        table: one row per case, dtype, step, layer, quantity and mode; its columns are the attributes of
            `oracle.judging.rows.Row`.
        cases: one row per case and dtype: verdict, blamed layer and quantity, diagnosis.
        blame: the culprits, the most upstream cause first.
        about: a description of the run: subject, reference, versions, processor, seeds.
        environment: the same as plain values by name, as in report.json.
        training: the free training runs, if there were any.
        details: the arrays of some of the discrepancies, up to a fixed number.
        coverage: how much of the backward pass was judged, for `check_module`.
        described: a description of each case, by name.
    Units: z_max and z_rms are in derived standard deviations, bound_ratio in worst-case bounds, seconds are wall time.

    >>> report = oracle.run("refbp", cases="linear/*batch=2x3", dtypes=["float32"])
    >>> report
    refbp against torch: conforms in 8 runs of 8 cases (72 rows, 0 % undecided, largest z ...)
    >>> report.raise_for_discrepancy()  # for a test: the message names layer, quantity and worst element
    >>> sorted(set(report.table["quantity"]))
    ['grad.bias', 'grad.weight', 'grad_input', 'grad_output', 'output']
    """

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        about: About,
        seconds: Mapping[tuple[str, str], float],
        training: Iterable[TrainingRun] = (),
        details: Iterable[Detail] = (),
        cases: Iterable[Case] = (),
    ) -> Report:
        """A report from the judge's rows and the seconds per case and dtype; it finds the culprits and limits the details."""
        details = list(details)
        rows = list(visible_rows(agreed(rows, details)))
        kept = capped(visible_details(details), examples(rows))
        about = visible_about(about)
        seconds = {(visible(case), visible(dtype)): taken for (case, dtype), taken in seconds.items()}
        culprits = blame(rows, about.again or about.subject, kept)
        table, by_case = row_table(rows), case_table(rows, culprits, seconds)
        told = {visible(case.name): described(case) for case in cases}
        return cls(table, by_case, culprits, about, list(training), kept, described=told)

    def declaring(self, profile: Sequence[str]) -> Report:
        """The same report for a subject that declares something else than the run's subject did."""
        return replace(self, about=replace(self.about, profile=tuple(profile)))

    def reproduced_by(self, call: str, one: str = "") -> Report:
        """The same report for a check outside the suite. The Python call `call` repeats it; `one`, a text with {dtype} in it,
        repeats a single case in one dtype."""
        again = one or call
        culprits = [replace(own, reproduce=reproduce(again, own.case, own.dtype)) for own in self.blame]
        return replace(self, blame=culprits, about=replace(self.about, again=again)).by_command(call)

    def by_command(self, command: str) -> Report:
        """The same report for a run that the command line `command` repeats."""
        return replace(self, about=replace(self.about, command=command))

    @property
    def environment(self) -> dict[str, Any]:
        return self.about.to_json()

    def __repr__(self) -> str:
        """The culprits and the outcome."""
        more = len(self.blame) - MOST_BLAMES
        said = [culprit.in_full() for culprit in self.blame[:MOST_BLAMES]]
        return "\n".join([*said, *([f"and {more} more"] if more > 0 else []), self.conclusion])

    def raise_for_discrepancy(self) -> None:
        """Raises: Discrepancy unless `passed`. Its message names the culprits, or if there are none gives the outcome."""
        if not self.passed:
            raise Discrepancy("\n".join(culprit.in_full() for culprit in self.blame) or self.conclusion)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN and infinities are strings."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "environment": self.environment,
            "blame": [spelled(asdict(culprit), SPECIAL) for culprit in self.blame],
            "cases": _records(self.cases),
            "table": {str(name): _values(column) for name, column in self.table.items()},
            "training": [spelled(asdict(run), SPECIAL) for run in self.training],
            "details": [detail.place for detail in self.details],
            "coverage": self.coverage.to_json(),
            "described": {case: asdict(told) for case, told in self.described.items()},
        }

    def to_markdown(self) -> str:
        """The families, the culprits and the largest errors, as tables in Markdown."""
        return markdown.report(self)

    def to_junit(self) -> str:
        """JUnit XML."""
        return junit.document(self)

    def _repr_html_(self) -> str:
        """The form for a notebook: families, culprits and a limited number of the worst rows."""
        return html.excerpt(self)

    def plot_layers(self, case: str | None = None, dtype: str | None = None, figure: str = "max_rel") -> Figure:
        """A column of the table, layer by layer, as a matplotlib figure; by default for the first case with a culprit.

        Raises: ValueError for a case, dtype or column that the report does not hold; ImportError without matplotlib.
        """
        if self.table.empty:
            raise ValueError("the report holds no rows to draw")
        first = (
            (self.blame[0].case, self.blame[0].dtype) if self.blame else tuple(self.table.iloc[0][["case", "dtype"]])
        )
        case = first[0] if case is None else case
        if dtype is None:
            own = self.cases[self.cases["case"] == case]["dtype"].tolist()
            dtype = first[1] if first[1] in own or not own else own[0]
        return plots.layers(self.table, case, dtype, figure)

    def plot_errors(
        self, case: str, layer: str, quantity: str, dtype: str | None = None, step: int | None = None
    ) -> Figure:
        """A map of the errors in a tensor, as a matplotlib figure: the first that fits, local before end to end.

        Raises: ValueError if the report does not hold these arrays; ImportError without matplotlib.
        """
        for detail in self.details:
            place = detail.place
            if (
                (place.case, place.layer, place.quantity) == (case, layer, quantity)
                and dtype in (None, place.dtype)
                and step in (None, place.step)
            ):
                return plots.errors(detail)
        held = dict.fromkeys(f"{d.place.case}/{d.place.layer} {d.place.quantity}" for d in self.details)
        known = f"kept are {', '.join(list(held)[:6])}{' …' if len(held) > 6 else ''}" if held else "there are none"
        raise ValueError(
            f"no arrays of {case}/{layer} {quantity}: the report keeps those of discrepancies only; {known}"
        )

    def to_html(self, path: Path | str) -> None:
        """Write one HTML file that opens in any browser, without a network connection or other files.

        Raises: ReportError if it cannot be written.
        """
        write_file(path, html.render(self))

    def save(self, folder: Path | str) -> None:
        """Write table.parquet, table.csv, cases.csv, details.npz, report.json, report.md and report.html.

        All files are replaced together. After an error, or if the process is killed, the folder holds the old files or the new
        ones, never a mixture: `load_report` and the next `save` complete an interrupted move.

        Raises: ReportError if the folder cannot be written.
        """
        folder = writable(folder)
        staging = placing.begun(folder)
        try:
            (staging / "table.parquet").write_bytes(self.table.to_parquet(index=False))
            (staging / "table.csv").write_bytes(_csv(for_spreadsheets(self.table)))
            cases = for_spreadsheets(self.cases.drop(columns="seconds"))
            cases.to_csv(staging / "cases.csv", index=False, encoding="utf-8")
            # json.dumps makes one text. json.dump would write it in pieces, and take several times as long.
            (staging / "report.json").write_text(json.dumps(self.to_json(), allow_nan=False), encoding="utf-8")
            details.save(self.details, staging / "details.npz")
            (staging / "report.md").write_text(self.to_markdown(), encoding="utf-8")
            (staging / "report.html").write_text(html.render(self), encoding="utf-8")
            placing.put_in_place(staging, folder)
        except OSError as error:
            raise ReportError(f"folder {folder} cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def write_file(path: Path | str, text: str) -> None:
    """Write a file. Raises: ReportError if it cannot be written."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"file {path} cannot be written: {error.strerror}") from error


def writable(folder: Path | str) -> Path:
    """The folder, created if it is missing. Raises: ReportError if it cannot be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ReportError(f"folder {folder} cannot be written: {error.strerror}") from error
    return folder


def load_report(folder: Path | str) -> Report:
    """A report that `save` wrote. Raises: ReportError if the folder holds none, or one of another format."""
    folder = Path(folder)
    try:
        placing.finish(folder)
        kept = Parts(folder)
    except OtherFormat as error:
        (found,) = error.args
        raise ReportError(
            f"{folder} holds a report of format {shown(found)}, this version reads format {FORMAT}"
        ) from error
    except OSError as error:
        raise ReportError(
            f"{folder} holds no report: {error.strerror or error} ({Path(error.filename or folder).name})"
        ) from error
    except Exception as error:  # a library may raise anything for a damaged file
        said = visible(" ".join(message(error).split()))
        raise ReportError(f"{folder} holds no report: its files are damaged ({said[:300]})") from error
    return Report(
        kept.table, kept.cases, kept.blame, kept.about, kept.training, kept.details, kept.coverage, kept.described
    )


def _csv(table: pd.DataFrame) -> bytes:
    """A long table as CSV, by Arrow, which takes a sixth of pandas' time; every text is quoted."""
    from pyarrow import Table, csv

    written = io.BytesIO()
    csv.write_csv(Table.from_pandas(table, preserve_index=False, nthreads=1), written)
    return written.getvalue()


def _values(column: pd.Series[Any]) -> list[Any]:
    """A column as JSON holds it."""
    if column.dtype.kind != "f":
        return column.tolist()
    numbers = column.to_numpy()
    values = numbers.astype(object)
    for special in (math.nan, math.inf, -math.inf):
        values[np.isnan(numbers) if math.isnan(special) else numbers == special] = spelled(special, SPECIAL)
    return list(values)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [spelled(record, SPECIAL) for record in frame.to_dict(orient="records")]
