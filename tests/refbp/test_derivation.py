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
