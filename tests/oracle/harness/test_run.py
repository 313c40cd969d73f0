"""`oracle run` and its siblings as a user meets them: what they print, write, return, and say to wrong input."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import oracle
from oracle import suite
from oracle.case.case import Case
from oracle.cli import main
from oracle.judging.witness import WITNESS
from oracle.report.table import layer_lines
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Trace

from ..planted import Altered

SMALL = "worked-example/plain"
CONTRACT_COLUMNS = (
    "case dtype step layer layer_type quantity mode shape n max_abs max_rel max_ulp cosine z_max z_rms bound_ratio "
    "effective_bits n_outside worst_index got expected tolerance verdict"
)


class Raising:
    name = "raising"

    def run(self, case: Case) -> Trace:
        raise ZeroDivisionError("no luck")


class Lacking:
    name = "lacking"

    def run(self, case: Case) -> Trace:
        raise oracle.Unsupported("has no layers at all")


class Leaving:
    name = "leaving"

    def run(self, case: Case) -> Trace:
        raise SystemExit(7)


class Interrupting:
    name = "interrupting"

    def run(self, case: Case) -> Trace:
        raise KeyboardInterrupt


class Wordy:
    name = "wordy"

    def run(self, case: Case) -> Trace:
        trace = Trace()
        trace.record(0, "hidden1", "output", np.array(["a", "b"]))
        return trace


class Silent:
    name = "silent"

    def run(self, case: Case) -> Trace:
        return Trace()


raising, lacking, leaving, wordy, silent, interrupting = (
    Raising(),
    Lacking(),
    Leaving(),
    Wordy(),
    Silent(),
    Interrupting(),
)


def test_the_report_has_the_columns_that_are_promised() -> None:
    """Users write code against these names."""
    report = oracle.run(cases=SMALL)
    assert set(CONTRACT_COLUMNS.split()) <= set(report.table.columns)
    assert report.passed and report.blame == []
    report.raise_for_discrepancy()
    assert set(report.table["verdict"]) == {"pass"}
    assert {"local", "end to end"} == set(report.table["mode"])


@pytest.mark.parametrize("subject, reference", [("torch", "refbp"), ("torch", "torch"), ("refbp", "refbp")])
def test_subject_and_reference_can_be_exchanged(subject: str, reference: str) -> None:
    """torch held against refbp is judged like refbp against torch."""
    report = oracle.run(subject=subject, reference=reference, cases="lenet5", dtypes=("float32",))
    assert report.passed, report.blame


def flipped_corner(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    result[0, 0, 0, 0] ^= True
    return result


def test_a_report_survives_saving(tmp_path: Path) -> None:
    """Everything comes back, NaN and infinities included."""
    report = oracle.run(Altered("output", "grad.bias", lambda g: g * np.nan), cases=SMALL)
    report.save(tmp_path)
    back = oracle.load_report(tmp_path)
    pd.testing.assert_frame_equal(back.table, report.table)
    assert back.blame == report.blame and not back.passed
    assert (back.environment, list(back.cases["verdict"])) == (report.environment, list(report.cases["verdict"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cases.csv",
        "details.npz",
        "report.html",
        "report.json",
        "report.md",
        "table.csv",
        "table.parquet",
    ]
    csv = pd.read_csv(tmp_path / "table.csv")
    np.testing.assert_array_equal(csv["z_max"], report.table["z_max"])
    assert json.loads((tmp_path / "report.json").read_text())["format"] == 2
    assert "worked-example/plain/output (Linear) grad.bias wrong" in (tmp_path / "report.md").read_text()


def test_nothing_is_left_of_a_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all: the report that was there stays."""
    first = oracle.run(cases=SMALL, dtypes=("float64",))
    first.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(ValueError, match="No space left"):
        first.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "layer, quantity",
    [
        ("hidden2", "output"),
        ("hidden1", "grad.weight"),
        ("sigmoid2", "grad_input"),
        ("loss", "grad_input"),
        ("output", "param.bias"),
    ],
)
def test_an_altered_quantity_is_blamed(layer: str, quantity: str) -> None:
    """The layer and the quantity that were touched come first, whatever followed from them."""
    report = oracle.run(Altered(layer, quantity, lambda g: g * 1.001), cases=SMALL)
    assert (report.blame[0].layer, report.blame[0].quantity) == (layer, quantity)
    assert report.blame[0].reproduce == f"oracle.run(subject, cases='{SMALL}', dtypes=('float64',))"


def test_a_layer_that_was_handed_something_else_is_blamed() -> None:
    """The wiring is judged to the bit: an upstream gradient that nobody sent."""
    report = oracle.run(Altered("hidden2", "grad_output", lambda g: np.nextafter(g, np.inf)), cases=SMALL)
    assert (report.blame[0].layer, report.blame[0].quantity) == ("hidden2", "grad_output")


def test_wrong_shape_dtype_and_missing_are_told_apart() -> None:
    """Each has its own words."""
    shaped = oracle.run(Altered("hidden1", "grad.weight", np.transpose), cases=SMALL, dtypes=("float64",))
    assert "shape (2, 3), expected (3, 2)" in shaped.blame[0].diagnosis
    assert (shaped.blame[0].cause_name, shaped.blame[0].cause) == ("shape", "its dimensions are in another order")
    single = oracle.run(Altered("loss", "output", lambda v: v.astype(np.float32)), cases=SMALL, dtypes=("float64",))
    assert "dtype float32, expected float64" in single.blame[0].diagnosis

    class Silent(Altered):
        def run(self, case: Case) -> Trace:
            trace = refbp_subject.run(case)
            trace.arrays = {key: array for key, array in trace.arrays.items() if key.quantity != "grad.bias"}
            return trace

    report = oracle.run(Silent("", "", None), cases=SMALL, dtypes=("float64",))
    assert {blame.verdict for blame in report.blame} == {"missing"} and not report.passed


def test_a_precision_that_is_widened_is_named_where_it_is() -> None:
    """Once: what is computed from a float64 array may be float64; its numbers are judged, and end to end it is wrong."""

    class Widened(Altered):
        def run(self, case: Case) -> Trace:
            trace, wide = refbp_subject.run(case), False
            for key, array in trace.arrays.items():
                wide = wide or key[:3] == (0, "hidden2", "grad_input")
                if wide and array.dtype.kind == "f" and key.quantity != "input":
                    trace.arrays[key] = array.astype(np.float64) * (1.5 if key.quantity == self.quantity else 1)
            return trace

    report = oracle.run(Widened("", "", None), cases=SMALL, dtypes=("float32",))
    first = next(blame for blame in report.blame if "dtype" in blame.diagnosis)
    assert (first.layer, first.quantity, first.diagnosis) == (
        "hidden2",
        "grad_input",
        "dtype float64, expected float32",
    )
    assert not any(blame.layer == "hidden1" and blame.quantity.startswith("grad") for blame in report.blame)
    whole = report.table[(report.table["mode"] == "end to end") & (report.table["layer"] == "hidden1")]
    assert set(whole[whole["quantity"].str.startswith("grad")]["verdict"]) == {"wrong"}
    report = oracle.run(Widened("", "grad.weight", None), cases=SMALL, dtypes=("float32",))
    assert ("hidden1", "grad.weight") in {(blame.layer, blame.quantity) for blame in report.blame}


def test_other_conventions_at_kinks_are_no_discrepancy() -> None:
    """ReLU'(0) = 1, or the last of equal elements winning, is another valid choice."""

    def passes_at_zero(case: Case) -> Any:
        upstream, given = case.grad_outputs[0], case.inputs[0]
        return lambda _: np.where(given >= 0, upstream, 0.0).astype(case.dtype)

    class Other(Altered):
        def run(self, case: Case) -> Trace:
            self.change = passes_at_zero(case)
            return super().run(case)

    report = oracle.run(Other("0", "grad_input", None), cases="kink/ReLU", dtypes=("float64",))
    local = report.table[(report.table["mode"] == "local") & (report.table["quantity"] == "grad_input")]
    assert set(local[local["case"] == "kink/ReLU"]["verdict"]) == {"convention"}


@pytest.mark.parametrize(
    "change", [np.ones_like, np.array, flipped_corner], ids=["keeps all", "as drawn", "breaks a channel"]
)
def test_a_wrong_dropout_mask_is_found(change: Any) -> None:
    """Its rate by a binomial test on independent draws, and whole channels as whole channels."""
    case = "dropout/Dropout2d,p=0.5"
    full = Altered("0", "mask", lambda mask: change(np.broadcast_to(mask, (6, 8, 7, 9)) & np.ones((7, 9), bool)))
    report = oracle.run(full, cases=case, dtypes=("float64",))
    rows = report.table[report.table["quantity"] == "mask"]
    expected = "pass" if change is np.array else "wrong"
    assert set(rows["verdict"]) == {expected}


@pytest.mark.slow
def test_the_third_witness_agrees_with_refbp_on_every_class() -> None:
    """Derivatives from the forward pass alone: for each class, at least one gradient is confirmed and none refuted.

    No reference takes part but refbp itself, so that a class that torch lacks is confirmed like any other.
    """
    families = ("linear", "conv", "pool", "norm", "activation", "reshape", "dropout", "loss")
    of_class: dict[str, list[Case]] = {}
    for case in suite.all_cases().values():
        if case.name.startswith(tuple(f"{family}/" for family in families)):
            *_, kind = (spec.type for spec in (*case.layers, case.loss) if spec is not None)
            of_class.setdefault(kind, []).append(case)
    chosen = [case for cases in of_class.values() for case in cases[:3]]
    report = oracle.run(cases=chosen, dtypes=("float64",), reference="refbp", witness=True)
    rows = report.table[report.table["mode"] == WITNESS]
    assert "wrong" not in set(rows["verdict"]), rows[rows["verdict"] == "wrong"]
    confirmed = set(rows[rows["verdict"] == "pass"]["layer_type"])
    from oracle.execution.network import LAYERS, LOSSES

    assert (LAYERS.keys() | LOSSES.keys()) - confirmed == {"Sequential", "Residual", "Concat"}


def test_the_third_witness_can_disagree() -> None:
    """It refutes a gradient that is off by a thousandth, and says with whom it sides."""
    report = oracle.run(
        Altered("0", "grad.weight", lambda g: g * 1.001),
        cases="conv/Conv2d,unbatched",
        dtypes=("float64",),
        witness=True,
    )
    rows = report.table[report.table["quantity"] == "grad.weight"]
    assert set(rows["verdict"]) == {"wrong"} and WITNESS in set(rows["mode"])
    assert "agree with the reference" in report.blame[0].diagnosis


def command(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(list(arguments))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


WRONG_INPUT = {
    "run --cases nonsense": "no case matches 'nonsense'",
    "run --subject nonsense": "unknown subject 'nonsense'",
    "run --subject no_such_module:thing": "no_such_module",
    "run --subject ./mine.py": "is a path, expected module:object, such as mine:subject in the folder of mine.py",
    "run --subject mine.py:net": "is a path, expected module:object, such as mine:net in the folder of mine.py",
    "fuzz --subject there/mine.py": "is a path, expected module:object, such as mine:subject",
    "run --subject json:nothing": "has no 'nothing'",
    "run --subject json:dumps": "needs a string `name`",
    "run --reference jax": "unknown reference 'jax'",
    "run --dtype float8": "unknown dtype 'float8'",
    "run --case-file /no/such/file.json": "cannot be read",
    "run --cases worked-example --out /proc/nowhere": "cannot be written",
    "list nonsense": "unknown list 'nonsense'",
    "list cases --cases nonsense": "no case matches",
    "list layers --cases conv": "--cases chooses from the list of cases, got --cases conv for the list of layers",
    "explain nonsense": "no case matches",
    "explain worked-example/plain --step 5": "steps 0 to 0",
    "explain worked-example/plain --dtype int8": "unknown dtype",
    "report /no/such/folder": "holds no report",
}


@pytest.mark.parametrize("line", WRONG_INPUT)
def test_wrong_input_ends_in_one_sentence_and_status_2(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names the thing, what was expected and what came; nothing on standard output, no traceback, no folder left behind."""
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*line.split(), capsys=capsys)
    assert (status, out) == (2, "")
    (sentence,) = [text for text in err.splitlines() if text.startswith("oracle: ")]
    assert WRONG_INPUT[line] in sentence
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_crash_is_a_row_and_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A subject that raises is a finding; the report is written."""
    typed = ["run", "--cases", "worked-example", "--subject", f"{__name__}:raising", "--reference", "refbp"]
    status, out, _ = command(*typed, "--out", str(tmp_path), capsys=capsys)
    assert status == 1 and "crashed: ZeroDivisionError: no luck" in out
    kept = oracle.load_report(tmp_path)
    assert list(kept.cases["verdict"]) == ["crashed"] * 4


@pytest.mark.parametrize(
    "subject, said", [(leaving, "SystemExit: 7"), (wordy, "hidden1 output at step 0 holds <U1, expected real numbers")]
)
def test_leaving_and_showing_words_are_crashes_too(subject: Any, said: str) -> None:
    """A subject cannot end the run, nor the judge with what are no numbers."""
    report = oracle.run(subject, cases="worked-example/plain", dtypes=("float32",))
    assert set(report.table["verdict"]) == {"crashed"} and said in report.blame[0].diagnosis


def test_an_interrupted_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is the user's, with the status that shells give it."""
    monkeypatch.setattr(refbp_subject, "run", interrupting.run)
    status, _, err = command("run", "--cases", SMALL, "--out", str(tmp_path), capsys=capsys)
    assert status == 130 and err.endswith("oracle: interrupted\n")


def test_a_job_whose_process_ends_is_a_row() -> None:
    """Of an executor that does not say where the process was: nothing is known about the subject."""

    class Broken(Executor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(BrokenExecutor("went away"))
            return future

    report = oracle.run(raising, cases=SMALL, dtypes=("float64",), executor=Broken())
    assert list(report.table["verdict"]) == ["failed"]
    assert report.table["diagnosis"][0] == "the process that it ran in went away"


def test_what_is_to_be_run_again_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of a case of one's own names its file, not a case that the suite does not have; the reference is named."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.json"
    replace(suite.named(SMALL), name="own/case").save(file)
    for options in (["--case-file", str(file)], ["--cases", SMALL]):
        typed = ["run", *options, "--dtype", "float32", "--subject", f"{__name__}:raising", "--reference", "refbp"]
        status, _, _ = command(*typed, "--out", "first", capsys=capsys)
        (culprit,) = oracle.load_report("first").blame
        program, *again = shlex.split(culprit.reproduce)
        assert (status, program) == (1, "oracle")
        again = [*again, "--out", "second"] if "--out" not in again else again
        assert command(*again, capsys=capsys)[0] == 1 and "--reference" in again


def test_what_is_missing_hints_at_no_name_that_the_case_has() -> None:
    """A trace that begins to count at 1: the steps that there are hold nothing strange, the one after the last does."""

    class FromOne(Altered):
        def run(self, case: Case) -> Trace:
            trace = Trace()
            for key, array in refbp_subject.run(case).arrays.items():
                trace.record(key.step + 1, key.layer, key.quantity, array)
            return trace

    report = oracle.run(FromOne("", "", None), cases="mlp/Tanh+MSELoss", dtypes=("float64",))
    missing = report.table[report.table["verdict"] == "missing"]["diagnosis"]
    assert len(missing) and not missing.str.contains("at step [01]").any() and missing.str.contains("at step 2").all()


def test_a_misspelt_name_is_shown_where_the_right_one_is_missing() -> None:
    """What a subject shows beyond the case is no fault, but the likely reason for what it does not show."""

    class Misspelt:
        name = "misspelt"

        def run(self, case: Case) -> Trace:
            trace = refbp_subject.run(case)
            found = trace.arrays
            renamed = {key: key._replace(quantity=key.quantity.replace("grad.", "grads.")) for key in found}
            trace.arrays = {renamed[key]: array for key, array in found.items()}
            return trace

    report = oracle.run(Misspelt(), cases="linear/*bias=False,batch=2x3", dtypes=["float32"])
    missing = report.table[report.table["verdict"] == "missing"]
    assert set(missing["quantity"]) == {"grad.weight"}
    assert (
        missing["diagnosis"]
        .str.endswith("; it shows names that the case does not have: 0 grads.weight at step 0")
        .all()
    )
    assert "likely cause: it is not delivered" in repr(report)


def test_what_a_subject_lacks_is_no_failure() -> None:
    """`unsupported` is shown and blames nobody; but a run in which nothing was judged does not say that anything conforms."""
    report = oracle.run(lacking, cases="worked-example")
    assert not report.blame and set(report.table["verdict"]) == {"unsupported"}
    assert not report.passed
    with pytest.raises(oracle.Discrepancy, match="nothing was judged"):
        report.raise_for_discrepancy()
    assert "nothing was judged (4 runs of 2 cases, all unsupported)" in report.conclusion
    assert "lacking against torch: nothing was judged" in report.to_markdown().splitlines()[0]
    assert "nothing was judged" in report._repr_html_()


@pytest.mark.parametrize("subject", [raising, silent, lacking])
def test_no_figure_says_0_where_nothing_was_measured(subject: Any) -> None:
    """What crashed, is missing or unsupported has no error of 0."""
    table = oracle.run(subject, cases="worked-example/plain", dtypes=("float32",)).table
    assert table[["max_abs", "max_rel", "max_ulp", "z_max", "z_rms"]].isna().all(axis=None)
    _, lines = layer_lines(table, "worked-example/plain", "float32")
    assert sum(line["at_fault"] for line in lines) == (0 if subject is lacking else 1)


EXPLAIN = ("explain", "worked-example/plain", "--reference", "refbp")


@pytest.mark.parametrize(
    "subject, said",
    [
        ("raising", "raising cannot run worked-example/plain: ZeroDivisionError: no luck (test_run.py:…, in run)"),
        ("lacking", "lacking cannot run worked-example/plain: has no layers at all"),
        ("leaving", "leaving cannot run worked-example/plain: SystemExit: 7 (test_run.py:…, in run)"),
    ],
)
def test_explain_says_in_a_sentence_why_a_subject_cannot_be_walked(
    subject: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The subject's fault is none of the harness's."""
    status, _, err = command(*EXPLAIN, "--subject", f"{__name__}:{subject}", capsys=capsys)
    assert (status, re.sub(r"py:\d+", "py:…", err)) == (2, f"oracle: {said}\n")


def test_explain_names_what_a_subject_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    """Left out without a word it would look as if there were no such number."""
    status, out, _ = command(*EXPLAIN, "--subject", f"{__name__}:silent", capsys=capsys)
    assert status == 0 and out.count("silent does not show it") == 29


def test_json_on_standard_output_is_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else is printed there."""
    status, out, _ = command("run", "--cases", SMALL, "--json", "--out", str(tmp_path), capsys=capsys)
    assert status == 0 and json.loads(out)["passed"] is True
    status, out, _ = command("list", "layers", "--json", capsys=capsys)
    assert {"Conv2d", "MSELoss", "SGD"} <= {entry["class"] for entry in json.loads(out)}


def test_explain_walks_the_example_beside_torch(capsys: pytest.CaptureFixture[str]) -> None:
    """Forward, loss, backward from the last layer to the first, update; both values on every line."""
    status, out, _ = command("explain", "worked-example/decay", capsys=capsys)
    assert status == 0
    stages = [
        line.split()[0] for line in out.splitlines() if line.startswith(("forward", "loss", "backward", "update"))
    ]
    assert list(dict.fromkeys(stages)) == ["forward", "loss", "backward", "update"]
    assert out.index("given     target: t") < out.index("forward   hidden1 (Linear): z = W n + b")
    assert out.index("backward  output (Linear): δ") < out.index("backward  hidden1 (Linear): δ")
    assert "hidden1.weight: the new value, eq. (6) with its weight decay" in out
    assert "hidden1.bias: the new value, eq. (6) without decay" in out
    numbers = [line.split()[-2:] for line in out.splitlines() if line.startswith("  δ[")]
    np.testing.assert_allclose(*np.array(numbers, dtype=float).T, rtol=1e-14)


def test_a_saved_report_shows_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`oracle report` reads what `oracle run` wrote, also layer by layer."""
    command("run", "--cases", "lenet5", "--dtype", "float32", "--out", str(tmp_path), capsys=capsys)
    status, out, _ = command("report", str(tmp_path), capsys=capsys)
    assert status == 0 and "conforms" in out
    status, out, _ = command("report", str(tmp_path), "--case", "lenet5/random", capsys=capsys)
    assert out.index("loss (CrossEntropyLoss)") < out.index("fc2 (Linear)") < out.index("conv1 (Conv2d)")
    status, _, err = command("report", str(tmp_path), "--case", "nope", capsys=capsys)
    assert status == 2 and "holds no case 'nope' in float32, but 1 case, such as lenet5/random" in err


IMPORTS = {
    "import refbp": ("torch", "pandas", "oracle"),
    "import oracle": ("torch", "pandas"),
    "from oracle.cli import main; main(['--help'])": ("torch", "pandas"),
}


@pytest.mark.parametrize("code", IMPORTS)
def test_imports_stay_light(code: str) -> None:
    """refbp knows neither torch nor pandas nor oracle; help comes without torch."""
    check = f"{code}\nimport sys\nprint([m for m in {IMPORTS[code]!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_import_test_can_fail() -> None:
    """Its twin: a module that is imported is seen."""
    check = "import oracle.subjects.torch\nimport sys\nprint([m for m in ('torch',) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['torch']"
