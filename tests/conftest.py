"""What holds for every test."""

from __future__ import annotations

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # workers take all cores; threads of several would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from oracle.wording import errors


@pytest.fixture(autouse=True)
def a_failure_of_the_harness_fails_the_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on after one, and would show it as a row that a test may not look at."""

    def raise_it(error: BaseException) -> str:
        raise error

    if "contained" not in request.keywords:
        monkeypatch.setattr(errors, "failure", raise_it)
