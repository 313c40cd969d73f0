"""A report in a notebook: its excerpt, its figures, and a notebook that is really executed."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import oracle
from oracle.report.html.excerpt import MOST_ROWS

from .. import planted


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    return planted.turned()


def test_the_excerpt_names_the_culprit_and_stays_short(report: oracle.Report) -> None:
    text = report._repr_html_()
    assert "lenet5/random/conv2 (Conv2d) grad.weight wrong" in text and "discrepancies found" in text
    assert text.count("<td>lenet5/random</td>") <= MOST_ROWS
    assert "<script" not in text and len(text) < 20_000
    assert "more rows" in replace(report, table=pd.concat([report.table] * 3))._repr_html_()


def test_what_a_subject_says_is_text_not_markup() -> None:
    class Crashing:
        name = "<b>crashing</b>"

        def run(self, case: oracle.Case) -> oracle.Trace:
            raise RuntimeError("</script><script>alert(1)</script>")

    crashed = oracle.run(Crashing(), cases="worked-example/plain", dtypes=("float64",))
    assert "<script" not in crashed._repr_html_() and "<b>crashing" not in crashed._repr_html_()


def test_figures_are_drawn(report: oracle.Report) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    drawn = report.plot_layers()
    assert "lenet5/random" in drawn.axes[0].get_title()
    assert report.plot_layers("lenet5/random", figure="effective_bits").axes
    (marks,) = report.plot_layers("lenet5/random", "float32", "z_max").axes
    assert "λ" in [text.get_text() for text in marks.get_legend().get_texts()]
    errors = report.plot_errors("lenet5/random", "conv2", "grad.weight")
    assert {"kernel", "kernel × channels", "got against expected"} <= {axes.get_title() for axes in errors.axes}
    plt.close("all")


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda report: report.plot_layers("nope"), "holds no case 'nope'"),
        (lambda report: report.plot_layers(figure="verdict"), "unknown figure 'verdict'"),
        (lambda report: replace(report, table=report.table[:0]).plot_layers(), "the report holds no rows to draw"),
        (
            lambda report: report.plot_errors("lenet5/random", "fc1", "output"),
            "kept are lenet5/random/conv2 grad.weight",
        ),
    ],
)
def test_what_there_is_not_is_said_in_a_sentence(report: oracle.Report, call: object, sentence: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call(report)


def test_without_matplotlib_a_sentence_says_what_to_install(
    report: oracle.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'refbp\[plot\]'"):
        report.plot_layers()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_a_notebook_shows_a_report(report: oracle.Report, tmp_path: Path) -> None:
    """Executed by a kernel as a user would: the table as HTML, the figures as pictures."""
    report.save(tmp_path / "saved")
    cells = [
        "%matplotlib inline",
        f"import sys\nsys.path.insert(0, {str(Path(oracle.__file__).parents[1])!r})\n"
        "import oracle\nreport = oracle.load_report('saved')\nreport",
        "report.plot_layers()",
        "report.plot_errors('lenet5/random', 'conv2', 'grad.weight');",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", {})]
    assert "text/html" in outputs and outputs.count("image/png") >= 2
