"""The arrays that a report keeps of what went wrong, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import oracle
from oracle.blame import maps
from oracle.blame.details import MOST_ELEMENTS, MOST_PER_REPORT, Detail, RowKey, capped, window
from oracle.blame.search import MOST_PER_CASE

from .. import planted

PLACE = RowKey("case", "float32", 0, "layer", "grad.weight", "local")


def of(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-6, place: RowKey = PLACE) -> Detail:
    return Detail(place, got, expected, np.full(got.shape, tolerance), got.shape, (0,) * got.ndim)


@pytest.fixture(scope="module")
def report() -> oracle.Report:
    return planted.turned()


def test_arrays_agree_with_the_rows_they_belong_to(report: oracle.Report) -> None:
    """Shape, number outside, worst element with its expectation and tolerance: as the judge saw them."""
    assert 0 < len(report.details) <= MOST_PER_CASE
    for detail in report.details:
        same = np.logical_and.reduce([report.table[name] == value for name, value in detail.place._asdict().items()])
        (row,) = report.table[same].to_dict(orient="records")
        assert int(np.count_nonzero(detail.ratio > 1)) == row["n_outside"]
        worst = maps.worst(detail)[0]
        assert " ".join(map(str, worst.index)) == row["worst_index"]
        np.testing.assert_array_equal(
            (worst.got, worst.expected, worst.tolerance), (row["got"], row["expected"], row["tolerance"])
        )


def test_the_culprit_comes_first(report: oracle.Report) -> None:
    """Local discrepancies before those that are wrong end to end only."""
    first = report.details[0].place
    assert (first.layer, first.quantity, first.mode) == ("conv2", "grad.weight", "local")


def test_a_conforming_run_keeps_nothing() -> None:
    assert oracle.run(cases="worked-example/plain", dtypes=("float64",)).details == ()


def test_arrays_survive_saving(report: oracle.Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    back = oracle.load_report(tmp_path)
    assert [detail.place for detail in back.details] == [detail.place for detail in report.details]
    for ours, theirs in zip(back.details, report.details, strict=True):
        np.testing.assert_array_equal(ours.ratio, theirs.ratio)
        assert (ours.shape, ours.origin, ours.got.dtype) == (theirs.shape, theirs.origin, theirs.got.dtype)


@pytest.mark.parametrize("name, damage", [("details.npz", b"no archive"), ("details.npz", None)])
def test_damaged_arrays_end_in_a_sentence(
    report: oracle.Report, tmp_path: Path, name: str, damage: bytes | None
) -> None:
    report.save(tmp_path)
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(ValueError, match=r"details\.npz"):
        oracle.load_report(tmp_path)


@pytest.mark.parametrize("shape", [(7,), (100_000,), (64, 3, 32, 32), (2, 300, 300), (0, 4), ()])
def test_what_is_kept_of_a_large_array_is_a_block_around_the_worst_element(shape: tuple[int, ...]) -> None:
    around = tuple(size - 1 for size in shape)
    start, stop = window(shape, around)
    assert np.prod([b - a for a, b in zip(start, stop, strict=True)], dtype=int) <= MOST_ELEMENTS
    assert all(a >= 0 and b <= size for a, b, size in zip(start, stop, shape, strict=True))
    assert all(a <= place < b for a, b, place in zip(start, stop, around, strict=True) if place >= 0)


def test_no_case_crowds_out_another() -> None:
    """Each case's first detail before any case's second."""
    one = of(np.ones((2, 2)), np.zeros((2, 2)))
    many = [replace(one, place=PLACE._replace(case=f"c{i}")) for i in range(MOST_PER_REPORT - 1) for _ in range(3)]
    kept = capped([*many, replace(one, place=PLACE._replace(case="last"))])
    assert len(kept) == MOST_PER_REPORT and kept[-1].place.case == "last"


def test_errors_that_are_no_numbers_are_seen() -> None:
    """NaN against a number is infinitely wrong; NaN against NaN and infinity against infinity are alike."""
    detail = of(np.array([np.nan, np.nan, np.inf, 1.0, 0.5]), np.array([1.0, np.nan, np.inf, 1.0, 0.0]))
    np.testing.assert_array_equal(detail.ratio[:4], [np.inf, 0, 0, 0])
    counted = maps.histogram(detail)
    assert (counted.exact, counted.infinite, sum(counted.counts)) == (3, 1, 1)
    zero = replace(detail, tolerance=np.zeros(5))
    assert zero.ratio[4] == np.inf and zero.ratio[3] == 0


def test_a_map_shows_the_one_element_that_is_off() -> None:
    """Of a kernel: at its position, and at its channels; also where the map is drawn coarser."""
    expected = np.zeros((4, 3, 4, 4))
    got = expected.copy()
    got[2, 1, 3, 0] = 1.0
    kernel, channels, wide = maps.maps(of(got, expected))
    assert np.argwhere(kernel.values > 1).tolist() == [[3, 0]]
    assert np.argwhere(channels.values > 1).tolist() == [[2, 1]]
    assert np.argwhere(wide.values > 1).tolist() == [[2, 1 * 16 + 12]]
    large = np.zeros((1, 1000))
    large[0, 999] = 1.0
    (found,) = maps.maps(of(large, np.zeros((1, 1000))))
    assert found.values.shape == (1, maps.MOST_CELLS) and np.argmax(found.values) == maps.MOST_CELLS - 1


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_every_number_of_axes_can_be_drawn(shape: tuple[int, ...]) -> None:
    detail = of(np.ones(shape), np.zeros(shape))
    assert all(found.values.ndim == 2 and (found.values > 1).all() for found in maps.maps(detail))
    assert maps.worst(detail)[0].index == (0,) * len(shape)
    expected, got = maps.points(detail)
    assert len(expected) == len(got) == detail.got.size
