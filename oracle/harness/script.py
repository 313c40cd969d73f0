"""Writes a shrunk case as a short program that a person can read and run."""

from __future__ import annotations

import json
import textwrap

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.harness.shrink import Shrunk
from oracle.subjects.process import ChildProgram

# The largest array that is shown in full. Of a larger one only the worst element is shown.
MOST_ELEMENTS = 36


def script(shrunk: Shrunk, file: str, subject: str | ChildProgram) -> str:
    """A program of less than 30 lines that shows the discrepancy with NumPy and the subject only; it holds the expected numbers.

    Args:
        file: the file of the case.
        subject: as for `oracle.run`, by name (your own is looked for in the folder where the script runs), or a program.
    """
    culprit, case = shrunk.culprit, shrunk.case
    comparison = _comparison(shrunk) if culprit.quantity else []
    own = isinstance(subject, str) and ":" in subject
    module = "subjects" if isinstance(subject, str) else "process"
    made = f"subjects.load({quoted(subject)})" if isinstance(subject, str) else f"process.program({subject.command!r})"
    return "\n".join(
        [
            *(["import sys", ""] if own else []),
            *(["import numpy as np", ""] if any("np." in line for line in comparison) else []),
            "import oracle",
            f"from oracle{'' if isinstance(subject, str) else '.subjects'} import {module}",
            "",
            *(['sys.path.insert(0, "")  # where the subject lies: run this in the same folder'] if own else []),
            *textwrap.wrap(str(culprit), 110, initial_indent="# ", subsequent_indent="#   "),
            *textwrap.wrap(
                f"likely cause: {culprit.cause or 'not known'}", 110, initial_indent="# ", subsequent_indent="#   "
            ),
            *textwrap.wrap(described(case), 110, initial_indent="# ", subsequent_indent="#   "),
            f"case = oracle.Case.load({quoted(file)})",
            f"trace = {made}.run(case)",
            *comparison,
        ]
    )


def _comparison(shrunk: Shrunk) -> list[str]:
    culprit, got, expected = shrunk.culprit, shrunk.got, shrunk.expected
    lines = [f"got = trace.get({culprit.step}, {quoted(culprit.layer)}, {quoted(culprit.quantity)})"]
    if expected is None:
        return [*lines, 'print("got", got)']
    if expected.size > MOST_ELEMENTS and got is not None and got.shape == expected.shape:
        with np.errstate(invalid="ignore"):
            error = np.abs(got.astype(np.float64) - expected)
        index = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), expected.shape)
        place = ", ".join(map(str, index))
        return [*lines, f'print("got", got[{place}], "expected", {written(expected[index], got)})']
    numbers = ", ".join(written(number, expected) for number in expected.ravel())
    made = f"expected = np.array([{numbers}]).reshape({expected.shape})"
    return [
        *lines,
        *textwrap.wrap(made, 110, subsequent_indent="    "),
        'print("got", got, "expected", expected, sep="\\n")',
    ]


def quoted(name: str) -> str:
    """A name as a Python string in double quotes, with all special characters escaped."""
    return json.dumps(name)


def written(number: Array, like: Array) -> str:
    """A value as Python code, with the digits of the array's dtype."""
    text = f"{float(number):.{9 if like.dtype.itemsize < 8 else 17}g}"
    return text if text[-1].isdigit() else f"float({text!r})"


def described(case: Case) -> str:
    """A description of the case: layers with their options, the loss or the optimizer, and the shapes of their inputs."""
    specs = [*case.layers, *(spec for spec in (case.loss, case.optimizer) if spec is not None)]
    parts = [f"{spec.type}({', '.join(f'{name}={value!r}' for name, value in spec.options.items())})" for spec in specs]
    shapes = [array.shape for array in (*case.inputs, *(case.grads[0].values() if case.grads else ()))]
    return f"{', '.join(parts)} on {' and '.join(map(str, shapes))}"
