"""The speed of judging the suite, the harness's own cost per case, and the response time of the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from threadpoolctl import threadpool_limits

from oracle import subjects, suite
from oracle.bench.section import Chart, Measurement, Result
from oracle.bench.timing import interleaved
from oracle.case.case import Case
from oracle.harness.work import judged_case
from oracle.trace import Subject, Trace

# Families of small cases: a layer, a loss or an update each.
FAMILIES = (
    "linear",
    "conv",
    "pool",
    "norm",
    "activation",
    "nonfinite",
    "kink",
    "reshape",
    "dropout",
    "loss",
    "tie",
    "exact",
    "batch",
    "layout",
)
DTYPES = ("float64", "float32")
# Cases in both precisions per second and core, at least; milliseconds of the harness per case and precision, at most.
RATE, OVERHEAD = 60.0, 3.0
# `oracle --help` / importing pandas and rich, at most.
HELP = 1.5
ROUNDS, QUICK_ROUNDS = 5, 2


class Suite:
    title = "The suite"
    about = (
        "Small cases (a layer or a loss each) of refbp against torch, judged locally and end to end, on one thread. The "
        "harness's share is everything but the two implementations' own runs. Beside it `oracle --help`, as a process, "
        "beside one that imports pandas and rich."
    )

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        with threadpool_limits(1):
            torch.set_num_threads(1)
            rounds = QUICK_ROUNDS if quick else ROUNDS
            families = {family: ClockedRun.of(family) for family in (FAMILIES[:2] if quick else FAMILIES)}
            found = {family: [clocked.seconds() for _ in range(rounds)] for family, clocked in families.items()}
        details: list[dict[str, str | float]] = []
        bars: list[tuple[str, float]] = []
        for family, clocked in families.items():
            runs = len(clocked.cases)
            milliseconds = [1e3 * sum(own[i] for own in found[family]) / rounds / runs for i in range(3)]
            whole, subject, reference = milliseconds
            names = ("ms a run", "refbp, ms", "torch, ms", "harness, ms")
            harness = whole - subject - reference
            details.append({"family": family, "runs": runs, **dict(zip(names, (*milliseconds, harness), strict=True))})
            bars.append((family, harness))
            note(f"{family}: {harness:.2f} ms of {whole:.2f}")
        runs = sum(len(clocked.cases) for clocked in families.values())
        totals = [[sum(found[family][number][i] for family in families) for i in range(3)] for number in range(rounds)]
        measurements = [
            Measurement.of(
                "small cases, both precisions, per second and core",
                [runs / len(DTYPES) / whole for whole, _, _ in totals],
                limit=RATE,
                at_least=True,
            ),
            Measurement.of(
                "harness, per case and precision",
                [1e3 * (whole - subject - reference) / runs for whole, subject, reference in totals],
                limit=OVERHEAD,
                unit=" ms",
            ),
            Measurement.of("oracle --help / importing pandas and rich", help_beside_imports(rounds), limit=HELP),
        ]
        chart = Chart("Harness, per case and precision", "", "ms", {"harness": tuple(bars)}, mark=OVERHEAD)
        return Result(tuple(measurements), tuple(details), charts=(chart,))


class Stopwatch:
    """Wraps a subject and adds up the seconds of its runs."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.name, self.seconds = subject, subject.name, 0.0

    def run(self, case: Case) -> Trace:
        begin = time.perf_counter()
        try:
            return self.subject.run(case)
        finally:
            self.seconds += time.perf_counter() - begin


class ClockedRun:
    """The cases of a family, ready to be judged."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.seconds()  # the first call sets up what later ones share

    @classmethod
    def of(cls, family: str) -> ClockedRun:
        return cls([case.astype(dtype) for case in suite.matching(f"{family}/*") for dtype in DTYPES])

    def seconds(self) -> tuple[float, float, float]:
        """The seconds of judging all cases, and the part of subject and reference in it."""
        subject, reference = Stopwatch(subjects.load("refbp")), Stopwatch(subjects.load("torch"))
        begin = time.perf_counter()
        for case in self.cases:
            judged_case(case, subject, reference)
        return time.perf_counter() - begin, subject.seconds, reference.seconds


def help_beside_imports(rounds: int) -> list[float]:
    def process(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)

    contenders = {"help": process("-m", "oracle", "--help"), "imports": process("-c", "import pandas, rich")}
    times = interleaved(contenders, max(rounds, 5), least_seconds=0)
    return list(times["help"] / times["imports"])
