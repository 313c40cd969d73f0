"""The suite as pytest items, in runs of pytest of their own: in this process, which has imported what they need, except where
the process is what is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import oracle
from oracle.harness import apart, run
from oracle.report import report

# A run in this process forgets what it imports first, and NumPy and others cannot be imported twice.
IMPORTED = apart, run, report
pytest_plugins = ["pytester"]
ROOT = Path(oracle.__file__).parents[1]
SUITE = ("-p", "oracle.pytest_plugin", "--pyargs", "oracle.suite")
WORKED = ("--oracle-reference", "refbp", "--oracle-cases", "worked-example/")
SUBJECTS = """
import numpy as np
import oracle
from oracle.subjects import refbp

class Doubled:
    name = "doubled"

    def run(self, case):
        trace = refbp.run(case)
        for key in trace:
            if key.quantity == "grad.bias":
                trace.arrays[key] = trace.arrays[key] * 2
        return trace

class Linear:
    name = "linear only"

    def run(self, case):
        if case.loss is not None:
            raise oracle.Unsupported("no losses here")
        return refbp.run(case)

doubled, linear = Doubled(), Linear()
"""
BIASED = "linear/Linear,in_features=1,out_features=1,bias=True,batch=none"
PLAIN = "linear/Linear,in_features=1,out_features=1,bias=False,batch=none"


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with subjects, where runs of pytest find them."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(pytester.path)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(
        "PYTEST_ADDOPTS", "-p no:hypothesispytest"
    )  # each run would import hypothesis, which takes a second
    pytester.makepyfile(mine=SUBJECTS)
    return pytester


def test_cases_are_items_with_readable_ids(folder: pytest.Pytester) -> None:
    """Each case in each dtype; all pass for refbp."""
    result = folder.runpytest_subprocess(*SUITE, "--oracle-subject", "refbp", "--oracle-cases", "worked-example/", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["oracle.suite::worked-example/plain[[]float32[]] PASSED*"])


def test_a_discrepancy_fails_its_item_with_the_blame_alone(folder: pytest.Pytester) -> None:
    subject = ("--oracle-subject", "mine:doubled", "--oracle-reference", "refbp")
    result = folder.runpytest_inprocess(*SUITE, *subject, "--oracle-cases", BIASED)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([f"{BIASED}/0 (Linear) grad.bias wrong, float64: *", "  likely cause: *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_dtypes_cases_and_keywords_choose(folder: pytest.Pytester) -> None:
    """--oracle-dtype, --oracle-cases, -k."""
    subject = ("--oracle-subject", "refbp", *WORKED)
    narrow = folder.runpytest_inprocess(*SUITE, *subject, "--oracle-dtype", "float32", "-v")
    narrow.assert_outcomes(passed=2)
    chosen = folder.runpytest_inprocess(*SUITE, *subject, "-k", "plain and float64")
    chosen.assert_outcomes(passed=1, deselected=3)


def test_what_a_subject_lacks_is_skipped(folder: pytest.Pytester) -> None:
    subject = ("--oracle-subject", "mine:linear", "--oracle-reference", "refbp")
    result = folder.runpytest_inprocess(*SUITE, *subject, "--oracle-cases", "loss/MSELoss*", "-rs")
    outcomes = result.parseoutcomes()
    assert outcomes["skipped"] == sum(outcomes.values())
    result.stdout.fnmatch_lines(["*unsupported: no losses here*"])


LEAVING = """
import os
from oracle.subjects import refbp

class Leaving:
    name = "leaving"

    def run(self, case):
        if "plain" in case.name:
            os._exit(0)
        return refbp.run(case)

leaving = Leaving()
"""


def test_a_subject_that_ends_its_process_fails_its_test(folder: pytest.Pytester) -> None:
    """And no other's; one that does so where it is imported fails the collection. pytest never ends with 0 because of it."""
    folder.makepyfile(leaving=LEAVING, ending="import os; os._exit(0)", exiting="raise SystemExit(0)")
    result = folder.runpytest_inprocess(
        *SUITE, *WORKED, "--oracle-dtype", "float64", "--oracle-subject", "leaving:leaving"
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*the process that it ran in ended with exit status 0*"])
    for name, said in (("ending", "ended with exit status 0"), ("exiting", "cannot be imported: SystemExit: 0")):
        result = folder.runpytest_inprocess(*SUITE, *WORKED, "--oracle-subject", f"{name}:subject")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines([f"*{said}*"])


def test_known_failures_are_strict(folder: pytest.Pytester) -> None:
    """One that fails is expected, one that passes again fails the run, one that is no test any more warns."""
    folder.path.joinpath("known.txt").write_text(
        f"# what is known\n\n{BIASED}[float64]  # a doubled bias\noracle.suite::{BIASED}[float32]\n"
    )
    pattern = "linear/Linear,in_features=1,out_features=1,bias=*,batch=none"
    known = ("--oracle-subject", "mine:doubled", "--oracle-known-failures", "known.txt")
    options = (*SUITE, *known, "--oracle-reference", "refbp", "--oracle-cases", pattern)
    result = folder.runpytest_inprocess(*options)
    result.assert_outcomes(xfailed=2, passed=2)
    assert result.ret == 0
    with folder.path.joinpath("known.txt").open("a") as file:
        file.write(f"{PLAIN}[float32]\ngone/away[float64]\n{PLAIN}[bfloat16]\n{PLAIN}\n")
    result = folder.runpytest_inprocess("-W", "default", *options)
    result.assert_outcomes(xfailed=2, passed=1, failed=1, warnings=2)
    result.stdout.fnmatch_lines(["*XPASS(strict)*known failure, listed in known.txt*"])
    result.stdout.fnmatch_lines(["*known.txt lists gone/away[[]float64[]], and the suite has no such test"])
    result.stdout.fnmatch_lines([f"*no such test: a test is named case[[]dtype[]], such as {PLAIN}[[]float32[]]"])


def test_it_runs_under_xdist_and_warns_once(folder: pytest.Pytester) -> None:
    folder.path.joinpath("known.txt").write_text("gone/away[float64]\n")
    known = ("--oracle-subject", "refbp", "--oracle-known-failures", "known.txt")
    result = folder.runpytest_subprocess(*SUITE, "-n", "2", *known, *WORKED)
    result.assert_outcomes(passed=4, warnings=1)


def test_junit_xml_names_the_cases(folder: pytest.Pytester) -> None:
    subject = ("--oracle-subject", "mine:doubled", "--oracle-reference", "refbp")
    folder.runpytest_inprocess(
        *SUITE, *subject, "--oracle-cases", BIASED, "--oracle-dtype", "float32", "--junit-xml=r.xml"
    )
    (case,) = ET.parse(folder.path / "r.xml").getroot().iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("oracle.suite", f"{BIASED}[float32]")
    failure = case.find("failure")
    assert failure is not None and "grad.bias wrong" in str(failure.text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--oracle-subject", "nobody"), "unknown subject 'nobody'"),
        (("--oracle-subject", "refbp", "--oracle-dtype", "float8"), "unknown dtype 'float8'"),
        (("--oracle-subject", "refbp", "--oracle-reference", "jax"), "unknown reference 'jax'"),
        (("--oracle-subject", "refbp", "--oracle-cases", "nothing"), "no case matches 'nothing'"),
        (("--oracle-subject", "refbp", "--oracle-known-failures", "absent"), "there is no file absent"),
        (("--oracle-known-failures", "absent"), "needs --oracle-subject"),
        ((), "oracle.suite needs --oracle-subject, a name or module:object"),
    ],
)
def test_what_a_user_gets_wrong_is_said_in_one_sentence(
    folder: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    result = folder.runpytest_inprocess(*SUITE, *options)
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    assert message in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_ordinary_runs_are_not_disturbed(folder: pytest.Pytester) -> None:
    """That the plugin is installed changes nothing."""
    folder.makepyfile(test_own="def test_own(): pass")
    folder.runpytest_inprocess("-p", "oracle.pytest_plugin", "test_own.py").assert_outcomes(passed=1)
    both = folder.runpytest_inprocess("-p", "oracle.pytest_plugin", "--oracle-subject", "refbp", "test_own.py")
    both.assert_outcomes(passed=1)


def test_the_fixture_fails_a_test_whose_subject_differs(folder: pytest.Pytester) -> None:
    """A run, a module, layers and an op, each right and wrong; what is right gives its report."""
    folder.makepyfile(
        test_own="""
        import numpy as np
        import pytest, torch, refbp, mine

        def test_run(oracle_check):
            assert oracle_check.run("refbp", "refbp", "worked-example/", ("float64",)).passed

        def test_wrong_run(oracle_check):
            oracle_check.run(mine.doubled, "refbp", "worked-example/", ("float64",))

        def test_module(oracle_check):
            assert oracle_check.check_module(torch.nn.Linear(2, 3), torch.ones(4, 2) / 3).passed

        def test_wrong_module(oracle_check):
            class Doubled(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x):
                    return 2 * x

                @staticmethod
                def backward(ctx, grad):
                    return grad

            class Wrong(torch.nn.Linear):
                def forward(self, input):
                    return Doubled.apply(super().forward(input))
            oracle_check.check_module(Wrong(2, 3), torch.rand(4, 2))

        class Doubling:
            def __init__(self, slope):
                self.slope = slope

            def forward(self, x):
                return 2 * x

            def backward(self, grad):
                return self.slope * grad

        def test_network(oracle_check):
            assert oracle_check.check_network([Doubling(2)], np.ones((2, 3))).passed

        def test_wrong_network(oracle_check):
            oracle_check.check_network([Doubling(3)], np.ones((2, 3)))

        def test_op(oracle_check):
            assert oracle_check.check_op("tanh", refbp.functional.tanh).passed

        def test_wrong_op(oracle_check):
            oracle_check.check_op("tanh", refbp.functional.sigmoid)
        """
    )
    result = folder.runpytest_subprocess("-p", "oracle.pytest_plugin", "test_own.py")
    result.assert_outcomes(passed=4, failed=4)
    result.stdout.fnmatch_lines(["FAILED test_own.py::test_wrong_module - *Discrepancy*"])


def test_it_is_found_when_installed_and_with_p_alike(folder: pytest.Pytester) -> None:
    """The entry point has the module's name, so that asking for it as well does not register it twice."""
    info = folder.path / "refbp-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: refbp\nVersion: 0.1.0\n")
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.entry-points.pytest11]\n")[2]
    (point,) = [line for line in declared.partition("\n[")[0].splitlines() if "=" in line]
    (info / "entry_points.txt").write_text(f"[pytest11]\n{point.replace(chr(34), '')}\n")
    options = ("--pyargs", "oracle.suite", "--oracle-subject", "refbp", *WORKED)
    folder.runpytest_subprocess(*options).assert_outcomes(passed=4)
    folder.runpytest_subprocess("-p", "oracle.pytest_plugin", *options).assert_outcomes(passed=4)


def test_the_plugin_is_light_to_import() -> None:
    """pytest loads it at every start: nothing heavy comes along. The twin shows that the test can fail."""
    heavy = "sorted({'torch', 'pandas', 'numpy', 'scipy', 'oracle.case.case'} & sys.modules.keys())"
    for module, expected in (("oracle.pytest_plugin", "[]"), ("oracle.case.case", "['numpy', 'oracle.case.case']")):
        code = f"import sys, pytest, {module}; print({heavy})"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
