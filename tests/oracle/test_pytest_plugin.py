"""The suite as pytest items, in runs of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import oracle

pytest_plugins = ["pytester"]
ROOT = Path(oracle.__file__).parents[1]
SUITE = ("-p", "oracle.pytest_plugin", "--pyargs", "oracle.suite")
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
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with subjects, and runs in a process of their own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(pytester.path)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makepyfile(mine=SUBJECTS)
    return pytester


def test_cases_are_items_with_readable_ids(run: pytest.Pytester) -> None:
    """Each case in each dtype; all pass for refbp."""
    result = run.runpytest_subprocess(*SUITE, "--oracle-subject", "refbp", "--oracle-cases", "worked", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["oracle.suite::worked-example/plain[[]float32[]] PASSED*"])


def test_a_discrepancy_fails_its_item_with_the_blame_alone(run: pytest.Pytester) -> None:
    result = run.runpytest_subprocess(*SUITE, "--oracle-subject", "mine:doubled", "--oracle-cases", BIASED)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([f"{BIASED}/0 (Linear) grad.bias wrong, float64: *", "  likely cause: *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_dtypes_cases_and_keywords_choose(run: pytest.Pytester) -> None:
    """--oracle-dtype, --oracle-cases, -k."""
    subject = ("--oracle-subject", "refbp", "--oracle-reference", "refbp")
    narrow = run.runpytest_subprocess(*SUITE, *subject, "--oracle-cases", "worked", "--oracle-dtype", "float32", "-v")
    narrow.assert_outcomes(passed=2)
    chosen = run.runpytest_subprocess(*SUITE, *subject, "--oracle-cases", "worked", "-k", "plain and float64")
    chosen.assert_outcomes(passed=1, deselected=3)


def test_what_a_subject_lacks_is_skipped(run: pytest.Pytester) -> None:
    result = run.runpytest_subprocess(
        *SUITE, "--oracle-subject", "mine:linear", "--oracle-cases", "loss/MSELoss*", "-rs"
    )
    outcomes = result.parseoutcomes()
    assert outcomes["skipped"] == sum(outcomes.values())
    result.stdout.fnmatch_lines(["*unsupported: no losses here*"])


def test_known_failures_are_strict(run: pytest.Pytester) -> None:
    """One that fails is expected, one that passes again fails the run, one that is no test any more warns."""
    run.path.joinpath("known.txt").write_text(
        f"# what is known\n\n{BIASED}[float64]  # a doubled bias\noracle.suite::{BIASED}[float32]\n"
    )
    pattern = "linear/Linear,in_features=1,out_features=1,bias=*,batch=none"
    known = ("--oracle-subject", "mine:doubled", "--oracle-known-failures", "known.txt")
    options = (*SUITE, *known, "--oracle-cases", pattern)
    result = run.runpytest_subprocess(*options)
    result.assert_outcomes(xfailed=2, passed=2)
    assert result.ret == 0
    with run.path.joinpath("known.txt").open("a") as file:
        file.write(f"{PLAIN}[float32]\ngone/away[float64]\n{PLAIN}[bfloat16]\n")
    result = run.runpytest_subprocess(*options)
    result.assert_outcomes(xfailed=2, passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*known failure, listed in known.txt*"])
    result.stdout.fnmatch_lines(["*known.txt lists gone/away[[]float64[]], and the suite has no such test*"])


def test_it_runs_under_xdist_and_warns_once(run: pytest.Pytester) -> None:
    run.path.joinpath("known.txt").write_text("gone/away[float64]\n")
    result = run.runpytest_subprocess(
        *SUITE,
        "-n",
        "2",
        "--oracle-subject",
        "refbp",
        "--oracle-cases",
        "worked",
        "--oracle-known-failures",
        "known.txt",
    )
    result.assert_outcomes(passed=4, warnings=1)


def test_junit_xml_names_the_cases(run: pytest.Pytester) -> None:
    run.runpytest_subprocess(
        *SUITE,
        "--oracle-subject",
        "mine:doubled",
        "--oracle-cases",
        BIASED,
        "--oracle-dtype",
        "float32",
        "--junit-xml=r.xml",
    )
    (case,) = ET.parse(run.path / "r.xml").getroot().iter("testcase")
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
    run: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    result = run.runpytest_subprocess(*SUITE, *options)
    assert result.ret in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERRUPTED)
    assert message in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_ordinary_runs_are_not_disturbed(run: pytest.Pytester) -> None:
    """That the plugin is installed changes nothing."""
    run.makepyfile(test_own="def test_own(): pass")
    run.runpytest_subprocess("-p", "oracle.pytest_plugin", "test_own.py").assert_outcomes(passed=1)
    both = run.runpytest_subprocess("-p", "oracle.pytest_plugin", "--oracle-subject", "refbp", "test_own.py")
    both.assert_outcomes(passed=1)


def test_the_fixture_fails_a_test_whose_subject_differs(run: pytest.Pytester) -> None:
    """A run, a module and an op, each right and wrong; what is right gives its report."""
    run.makepyfile(
        test_own="""
        import pytest, torch, refbp, mine

        def test_run(oracle_check):
            assert oracle_check.run("refbp", cases="worked", dtypes=("float64",)).passed

        def test_wrong_run(oracle_check):
            oracle_check.run(mine.doubled, cases="worked", dtypes=("float64",))

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

        def test_op(oracle_check):
            assert oracle_check.check_op("tanh", refbp.functional.tanh).passed

        def test_wrong_op(oracle_check):
            oracle_check.check_op("tanh", refbp.functional.sigmoid)
        """
    )
    result = run.runpytest_subprocess("-p", "oracle.pytest_plugin", "test_own.py")
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines(["FAILED test_own.py::test_wrong_module - *Discrepancy*"])


def test_it_is_found_when_installed_and_with_p_alike(run: pytest.Pytester) -> None:
    """The entry point has the module's name, so that asking for it as well does not register it twice."""
    info = run.path / "refbp-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: refbp\nVersion: 0.1.0\n")
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.entry-points.pytest11]\n")[2]
    (point,) = [line for line in declared.partition("\n[")[0].splitlines() if "=" in line]
    (info / "entry_points.txt").write_text(f"[pytest11]\n{point.replace(chr(34), '')}\n")
    options = ("--pyargs", "oracle.suite", "--oracle-subject", "refbp", "--oracle-cases", "worked")
    run.runpytest_subprocess(*options).assert_outcomes(passed=4)
    run.runpytest_subprocess("-p", "oracle.pytest_plugin", *options).assert_outcomes(passed=4)


def test_the_plugin_is_light_to_import() -> None:
    """pytest loads it at every start: nothing heavy comes along. The twin shows that the test can fail."""
    heavy = "sorted({'torch', 'pandas', 'numpy', 'scipy', 'oracle.case.case'} & sys.modules.keys())"
    for module, expected in (("oracle.pytest_plugin", "[]"), ("oracle.case.case", "['numpy', 'oracle.case.case']")):
        code = f"import sys, pytest, {module}; print({heavy})"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
