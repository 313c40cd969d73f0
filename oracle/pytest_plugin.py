"""The suite as pytest items, and a fixture for your own tests.

pytest --pyargs oracle.suite --oracle-subject my_package:subject

runs every case in every dtype as a test, `oracle.suite::lenet5/random[float32]`. The module imports little, because pytest loads
it at every start wherever this package is installed.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import pytest

from oracle.wording import extra

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from oracle.case.case import Case
    from oracle.report.report import Report

P = ParamSpec("P")
SUITE = Path(__file__).parent / "suite"
NODE = "oracle.suite"


class StaleId(pytest.PytestWarning):
    """A known failure is listed whose id belongs to no case of the suite."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("oracle", "conformance of an implementation of backpropagation (--pyargs oracle.suite)")
    group.addoption("--oracle-subject", metavar="NAME", help="The subject that is tested: a name, or module:object.")
    group.addoption("--oracle-reference", metavar="NAME", default="torch", help="torch (default) or refbp.")
    group.addoption(
        "--oracle-cases", metavar="PATTERN", default="all", help="Part of a name, or a pattern with * and ?."
    )
    group.addoption(
        "--oracle-dtype",
        action="append",
        metavar="DTYPE",
        help="A dtype to test in; may be given several times. Default: float64 and float32.",
    )
    group.addoption(
        "--oracle-time-limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="Seconds that your own subject may take for a case. Default: 60.",
    )
    group.addoption(
        "--oracle-known-failures",
        metavar="FILE",
        help="Ids of tests that are known to fail, one per line. A listed test that passes fails the run; an unknown id warns.",
    )


def pytest_configure(config: pytest.Config) -> None:
    subject, known = config.option.oracle_subject, config.option.oracle_known_failures
    if subject:
        try:
            extra.require("--oracle-subject")
        except extra.MissingExtra as error:
            raise pytest.UsageError(str(error)) from error
    if config.option.pyargs and not subject and any(own.startswith(NODE) for own in config.args):
        raise pytest.UsageError(f"{NODE} needs --oracle-subject, a name or module:object")
    if known and not subject:
        raise pytest.UsageError("--oracle-known-failures needs --oracle-subject")
    if known and not Path(known).is_file():
        raise pytest.UsageError(f"--oracle-known-failures: there is no file {known}")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if path == SUITE and parent.config.option.oracle_subject:
        return Suite.from_parent(parent, path=path, nodeid=NODE, name=NODE)
    return None


class Suite(pytest.Directory):
    """Collects all cases for one subject."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.name, self._nodeid = NODE, NODE
        # A user's subject has a process of its own: it may end that, and not the tests.
        self.pool: Executor | None = None
        self.resources = ExitStack()
        self.config.add_cleanup(self.resources.close)

    def collect(self) -> Iterator[CaseItem]:
        from oracle import suite
        from oracle.harness import apart
        from oracle.harness.run import DTYPES, check_names

        option = self.config.option
        dtypes = tuple(option.oracle_dtype or DTYPES)
        try:
            check_names(option.oracle_reference, dtypes)
            self.pool = self.resources.enter_context(apart.workers(option.oracle_subject, 1, option.oracle_time_limit))
            apart.named(self.pool, option.oracle_subject)
            cases = list(suite.matching(option.oracle_cases))
        except ValueError as error:
            raise self.CollectError(str(error)) from error
        known = known_failures(option.oracle_known_failures)
        self._warn_of_stale(sorted(own for own in known if not is_test(own)))
        for case in cases:
            for dtype in dtypes:
                item = CaseItem.from_parent(self, name=test_id(case.name, dtype), case=case, dtype=dtype)
                if item.name in known:
                    reason = f"known failure, listed in {option.oracle_known_failures}"
                    item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
                yield item

    def _warn_of_stale(self, ids: list[str]) -> None:
        worker = getattr(self.config, "workerinput", {}).get("workerid", "gw0")
        for stale in ids if worker == "gw0" else ():  # under xdist each worker collects, and one says it
            path = self.config.option.oracle_known_failures
            named = "" if stale.endswith("]") else f": a test is named case[dtype], such as {test_id(stale, 'float32')}"
            warnings.warn(StaleId(f"{path} lists {stale}, and the suite has no such test{named}"), stacklevel=2)


class CaseItem(pytest.Item):
    """A case in one dtype as a test."""

    def __init__(self, *, case: Case, dtype: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.case, self.dtype = case, dtype

    def runtest(self) -> None:
        from oracle.blame.blame import blame
        from oracle.harness.work import Job, judged_apart
        from oracle.judging.rows import DISCREPANCIES, FAILED, UNDECIDED, UNSUPPORTED
        from oracle.report.report import Discrepancy

        option = self.config.option
        job = Job(self.case.astype(self.dtype), option.oracle_subject, option.oracle_reference, False, False)
        assert isinstance(self.parent, Suite)
        done = judged_apart(job, self.parent.pool)
        for row in done.rows:
            if row.verdict == FAILED:
                raise RuntimeError(f"the harness itself failed, please report this: {row.diagnosis}")
        if any(row.verdict in DISCREPANCIES for row in done.rows):
            culprits = blame(done.rows, option.oracle_subject, done.details)
            raise Discrepancy("\n".join(culprit.in_full() for culprit in culprits))
        if all(row.verdict in (UNSUPPORTED, UNDECIDED) for row in done.rows):
            pytest.skip(f"{done.rows[0].verdict}: {done.rows[0].diagnosis}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The blame alone, without a traceback into this package, which would not help."""
        from oracle.report.report import Discrepancy

        return str(excinfo.value) if isinstance(excinfo.value, Discrepancy) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def test_id(case: str, dtype: str) -> str:
    return f"{case}[{dtype}]"


test_id.__test__ = False  # type: ignore[attr-defined]


def is_test(own: str) -> bool:
    """Whether a test of the suite has this id."""
    from oracle import suite
    from oracle.case.case import CaseError
    from oracle.running_error import UNIT_ROUNDOFF

    name, _, dtype = own.removesuffix("]").rpartition("[")
    try:
        return dtype in UNIT_ROUNDOFF and test_id(suite.named(name).name, dtype) == own
    except CaseError:
        return False


def known_failures(path: str | None) -> set[str]:
    """The ids in a file, one per line, with or without "oracle.suite::" in front, without blank lines and comments after #."""
    if not path:
        return set()
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {line.removeprefix(f"{NODE}::") for line in lines if line}


class OracleCheck:
    """`oracle.run`, `check_module`, `check_network` and `check_op` for a test: a discrepancy raises, which fails the test."""

    def __init__(self) -> None:
        import oracle

        self.run = _failing(oracle.run)
        self.check_module = _failing(oracle.check_module)
        self.check_network = _failing(oracle.check_network)
        self.check_op = _failing(oracle.check_op)


def _failing(check: Callable[P, Report]) -> Callable[P, Report]:
    @functools.wraps(check)
    def checked(*arguments: P.args, **options: P.kwargs) -> Report:
        report = check(*arguments, **options)
        report.raise_for_discrepancy()
        return report

    return checked


@pytest.fixture
def oracle_check() -> OracleCheck:
    """Compares with the reference and fails the test where something differs: .run(…), .check_module(…),
    .check_network(…), .check_op(…)."""
    return OracleCheck()
