"""A wrong shape gets its likely reason."""

from __future__ import annotations

import pytest

from oracle.judging.misshapen import looks_like


@pytest.mark.parametrize(
    "got, due, said",
    [
        ((1, 8), (8,), "dimensions of size 1 are kept"),
        ((), (1,), "dimensions of size 1 are lost"),
        ((4, 1), (1, 4), "dimensions of size 1 are moved"),
        ((3, 2, 5), (5, 3, 2), "its dimensions are in another order"),
        ((6, 4), (4,), "not summed over dimension 0"),
        ((6, 4, 2, 2), (4,), "not summed over dimensions 0, 2, 3"),
        ((), (4, 2), "it lacks dimensions 0, 1 of the expected shape, or is summed over it"),
        ((8,), (4, 2), "the same number of elements in another shape"),
        ((2, 3, 6, 6), (2, 3, 4, 7), "2 too many along dimension 2 and 1 too few along dimension 3"),
        ((3, 3), (5,), "2 dimensions instead of 1"),
        ((3, 5), (3, 1), "not summed over dimension 1"),
        ((1, 5, 4), (1, 1, 1), "not summed over dimensions 1, 2"),
        ((3, 1), (3, 5), "4 too few along dimension 1"),
        ((8, 8), (8, 1), "(8, 1) and (8,) are broadcast to (8, 8), as a column minus a row"),
    ],
)
def test_what_another_shape_looks_like(got: tuple[int, ...], due: tuple[int, ...], said: str) -> None:
    """What is most often done to a gradient: a sum or a kept dimension too few, a transposition, padding not taken off."""
    assert looks_like(got, due) == said
