"""What holds for every test."""

from __future__ import annotations

import pytest

from oracle.wording import errors


@pytest.fixture(autouse=True)
def a_failure_of_the_harness_fails_the_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on after one, and would show it as a row that a test may not look at."""

    def raise_it(error: BaseException) -> str:
        raise error

    if "contained" not in request.keywords:
        monkeypatch.setattr(errors, "failure", raise_it)
