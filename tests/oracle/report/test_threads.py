"""What saving and loading a report leaves behind in the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not show a process's threads")
def test_no_thread_is_left_by_saving_and_loading(tmp_path: Path) -> None:
    """Where one of Arrow's is still starting when the process ends, the process aborts, whatever it has found."""
    code = """
import os, sys
from oracle.report.about import About
from oracle.report.report import Report, load_report

before = len(os.listdir("/proc/self/task"))
Report.of([], About(subject="a", reference="b", dtypes=("float32",), cases=1), {}).save(sys.argv[1])
load_report(sys.argv[1])
print(len(os.listdir("/proc/self/task")) - before)
"""
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
    assert done.stdout.strip() == "0"
