"""A row with other figures is a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oracle.judging.rows import LOCAL, PASS, WRONG, Row

ROW = Row("case", "float64", 0, "0", "Linear", "output", LOCAL, PASS)


def test_a_row_takes_other_figures_as_replace_does() -> None:
    """The quick way to change a row gives the same as the slow one, and leaves the row as it was."""
    changed = ROW.having(z_max=2.0, verdict=WRONG)
    assert repr(changed) == repr(replace(ROW, z_max=2.0, verdict=WRONG)) != repr(ROW)  # NaN differs from itself
    assert (ROW.z_max, ROW.verdict) != (2.0, WRONG)


def test_a_figure_that_no_row_has_is_refused() -> None:
    """A misspelt one would be lost."""
    with pytest.raises(TypeError, match="a row has no zmax"):
        ROW.having(zmax=2.0)
