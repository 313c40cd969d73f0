"""The expected value of an element counts the reference's own rounding beside the subject's."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.judging.derived import expected_of
from oracle.running_error import ErrorArray, ErrorModel


@pytest.mark.parametrize(("dtype", "variances", "bounds"), [("float64", 2, 2), ("float32", 1, 1), ("bfloat16", 1, 1)])
def test_the_reference_rounds_as_a_float64_implementation_does(dtype: str, variances: int, bounds: int) -> None:
    """Two implementations in float64 err independently; beside a narrower one the reference is exact."""
    rng = np.random.default_rng(0)
    model = ErrorModel(np.dtype(dtype), bounds=True)
    made = ErrorArray.exact(rng.standard_normal((5, 30)), model) @ ErrorArray.exact(rng.standard_normal((30, 4)), model)
    expected = expected_of(made)
    np.testing.assert_allclose(np.square(expected.sigma), variances * np.square(made.sigma), rtol=1e-8)
    assert expected.bound is not None and made.bound is not None
    np.testing.assert_allclose(expected.bound, bounds * made.bound, rtol=1e-8)
