"""A pool of processes that judge cases side by side, a thread each."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor


def pool() -> Executor:
    """As many workers as there are processors."""
    return ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), single_threaded)


def single_threaded() -> None:
    """Before NumPy or a framework is imported: their own threads would only get in each other's way."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
