"""The command in surroundings that fail: devices that are full, pipes that close, signals, kill -9."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import oracle
from oracle import suite
from oracle.harness import executors
from oracle.harness.work import Job, judged_apart
from oracle.subjects import process
from oracle.subjects.child import ProgramFailed

from . import subjects

ROOT = Path(oracle.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
RUN = ("run", "--cases", "worked-example/plain", "--reference", "refbp", "--dtype", "float64", "--out", "out")
RUDE = Path(__file__).parents[1] / "subjects" / "rude.py"
KILLS = int(os.environ.get("ORACLE_KILLS", "10"))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "oracle", *words]


FULL = {
    "standard output": ("stdout", ("list", "causes")),
    "standard error": ("stderr", ("list", "nothing")),
    "the output of a run": ("stdout", RUN),
}


@pytest.mark.parametrize("what", FULL)
def test_a_device_that_is_full_ends_in_2(what: str, tmp_path: Path) -> None:
    """With a sentence where there is room for one; a run's files are whole."""
    stream, words = FULL[what]
    with Path("/dev/full").open("wb") as full:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(command(*words), env=ENVIRONMENT, cwd=tmp_path, text=True, check=False, **pipes)
    assert done.returncode == 2
    said = (done.stderr if stream == "stdout" else done.stdout) or ""
    assert said.splitlines()[-1].startswith("oracle: ") and "Traceback" not in said
    if words == RUN:
        assert "standard output or standard error cannot be written: No space left on device" in said
        assert oracle.load_report(tmp_path / "out").passed


def test_a_pipe_that_closes_is_no_success() -> None:
    """As `| head -1` does it."""
    with subprocess.Popen(
        command("list", "causes"), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        err = run.stderr.read()
    assert run.returncode == 2 and b"Traceback" not in err


def processes_of(folder: Path) -> list[int]:
    """Those whose current folder it is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")) == folder and "resource_tracker" not in (entry / "cmdline").read_text():  # noqa: PTH115
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    shutil.copy(str(subjects.__file__), tmp_path / "attacks.py")
    yield tmp_path.resolve()
    for number in processes_of(tmp_path.resolve()):
        os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_a_signal_ends_the_workers_too(number: int, status: int, folder: Path) -> None:
    """Also those that hang; and whatever ended the run."""
    words = command(*RUN, "--subject", "attacks:hangs", "--time-limit", "600")
    heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, above the tests, makes everybody ignore it
    with subprocess.Popen(words, env=ENVIRONMENT, cwd=folder, stderr=subprocess.PIPE, text=True) as run:
        signal.signal(signal.SIGHUP, heard)
        deadline = time.monotonic() + 120
        while len(processes_of(folder)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.5)
        run.send_signal(number)
        assert run.stderr is not None
        err = run.stderr.read() if number != signal.SIGKILL else ""
    assert run.returncode == status
    if err:
        assert err.splitlines()[-1] == f"oracle: ended by {signal.Signals(number).name}"
    deadline = time.monotonic() + 30
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.1)


KILLED = str(Path(__file__).with_name("killed.py"))


def test_a_run_that_is_killed_leaves_a_whole_report(tmp_path: Path) -> None:
    """At any moment, and before each move of a file: the earlier report, byte by byte, or the new one; and the same again is
    complete."""
    words = [sys.executable, KILLED, str(tmp_path), str(KILLS // 3)]
    done = subprocess.run(words, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_that_is_killed_costs_one_case() -> None:
    """At any moment, also while it starts; the next case has another."""
    program = process.program(f"{shlex.quote(sys.executable)} -S {shlex.quote(str(RUDE))} nothing", 60)
    case = suite.named("worked-example/plain")
    start = time.monotonic()
    program.end()
    program.run(case)
    took, lost = time.monotonic() - start, 0

    def kill() -> None:
        for dialogue in list(process._DIALOGUES.values()):
            with suppress(ProcessLookupError):
                os.kill(dialogue.child.process.pid, signal.SIGKILL)

    for moment in range(KILLS // 3):
        program.end()
        timer = threading.Timer(random.Random(moment).uniform(0, 1.2 * took), kill)
        timer.start()
        while timer.is_alive():
            lost += was_lost(program, case)
        lost += was_lost(program, case)
        assert not was_lost(program, case)
    program.end()
    assert lost


def was_lost(program: process.ChildProgram, case: oracle.Case) -> bool:
    try:
        assert not program.run(case).faults
    except ProgramFailed as error:
        assert "signal 9 (SIGKILL)" in str(error)
        return True
    return False


def test_a_worker_that_is_killed_costs_one_case() -> None:
    """At any moment, also while it starts; each case has its rows, and those that were not killed are right."""
    case = suite.named("worked-example/plain")
    job = Job(case, "refbp", "refbp", False, False)
    lost = 0
    with executors.pool(1) as pool:
        assert isinstance(pool, executors.Workers)
        for moment in range(KILLS - 2 * (KILLS // 3)):
            future = pool.submit(judged_apart, job, None)
            time.sleep(random.Random(moment).uniform(0, 0.05))
            for worker in list(pool._workers):
                if worker.process.pid is not None:
                    os.kill(worker.process.pid, signal.SIGKILL)
            try:
                assert {row.verdict for row in future.result().rows} == {"pass"}
            except executors.Lost as error:
                lost += 1
                assert "signal 9 (SIGKILL)" in str(error)
        assert {row.verdict for row in pool.submit(judged_apart, job, None).result().rows} == {"pass"}
    assert lost
