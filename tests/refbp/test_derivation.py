"""DERIVATION.md stays true: its lines of code stand in the files it names, and its two longest claims hold by brute force."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import refbp
from refbp.functional import avg_pool1d, conv1d

HERE = Path(refbp.__file__).parent
TEXT = (HERE / "DERIVATION.md").read_text()


def quoted() -> list[tuple[str, str]]:
    """(file, line) for every line of every python block; the file is the one last named before it."""
    found, file = [], ""
    for part in re.split(r"(```python\n.*?```)", TEXT, flags=re.DOTALL):
        if part.startswith("```python"):
            found += [(file, line.strip()) for line in part.splitlines()[1:-1]]
        elif names := re.findall(r"`(\w+\.py)`", part):
            file = names[-1]
    return found


@pytest.mark.parametrize("file, line", quoted())
def test_every_quoted_line_stands_in_its_file(file: str, line: str) -> None:
    """The document cannot go stale unnoticed."""
    assert line in [own.strip() for own in (HERE / file).read_text().splitlines()]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_input_gradient_is_the_full_convolution_with_the_turned_kernel(stride: int, dilation: int) -> None:
    """(9) as a cross-correlation of the widened delta with the widened, turned kernel, by plain loops."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 1, 12)), rng.standard_normal((1, 1, 3))
    z, backward = conv1d(x, w, stride=stride, dilation=dilation)
    delta = rng.standard_normal(z.shape)
    wide_delta = np.zeros(stride * (z.shape[2] - 1) + 1)
    wide_delta[::stride] = delta[0, 0]
    turned = np.zeros(dilation * 2 + 1)
    turned[::dilation] = w[0, 0, ::-1]
    full = np.pad(wide_delta, len(turned) - 1)
    expected = np.zeros(12)
    for i in range(len(full) - len(turned) + 1):
        expected[i] = sum(full[i + t] * turned[t] for t in range(len(turned)))
    np.testing.assert_allclose(backward(delta)[0][0, 0], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_average_pooling_spreads_and_adds_up(stride: int) -> None:
    """Every window gives each of its elements an equal share, by plain loops."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 1, 10))
    y, backward = avg_pool1d(x, 3, stride)
    delta = rng.standard_normal(y.shape)
    expected = np.zeros(10)
    for o in range(y.shape[2]):
        for t in range(3):
            expected[o * stride + t] += delta[0, 0, o] / 3
    np.testing.assert_allclose(backward(delta)[0, 0], expected, rtol=1e-13, atol=1e-14)


def table() -> list[tuple[str, str]]:
    """(ops, file) of every row of the one-page table."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(\w+\.py)` \|$", TEXT, re.MULTILINE)
    return [(ops.partition(",")[0] if "," in ops and "=" in ops else ops, file) for ops, file in rows]


def test_every_row_of_the_table_names_a_file_that_has_the_op() -> None:
    """A reader who follows it finds the code."""
    assert len(table()) > 20
    for ops, file in table():
        named = [
            word
            for word in re.findall(r"[a-z0-9_]+", ops)
            if hasattr(refbp.functional, word) or hasattr(refbp.functional, f"{word}2d")
        ]
        code = (HERE / file).read_text()
        assert all(re.search(rf"\b{word}(2d)?\b", code) for word in named), (ops, file)


def test_the_picture_shows_the_worked_example() -> None:
    """Its numbers are those that `oracle explain` prints, and those that the text checks by hand."""
    picture = (HERE.parent / "reports" / "worked-example.svg").read_text()
    for number in ("0.128", "0.532", "0.489", "-0.205", "0.559", "-0.154", "-0.038", "0.75"):
        assert f">{number}<" in picture or f"∂ {number}<" in picture, number


def test_the_norms_gradient_is_that_of_the_derivation() -> None:
    """r (g - mean g - x̂ mean (g x̂)), written out."""
    rng = np.random.default_rng(0)
    x, weight, delta = rng.standard_normal((3, 8)), rng.standard_normal(8), rng.standard_normal((3, 8))
    _, backward = refbp.functional.layer_norm(x, (8,), weight, None)
    r = 1 / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x_hat, g = (x - x.mean(axis=1, keepdims=True)) * r, delta * weight
    expected = r * (g - g.mean(axis=1, keepdims=True) - x_hat * (g * x_hat).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(backward(delta)[0], expected, rtol=1e-12, atol=1e-14)
