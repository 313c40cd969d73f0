"""Errors found in implementations, so that a run shows them as what they are and goes on meaning something.

Each is written up, with a reproducer, under reports/findings/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from oracle.diagnose import Blame
from oracle.verdict import CONVENTION, DISCREPANCIES, Row


class Finding(NamedTuple):
    """A known error: where it shows, and the largest relative difference between finite values that it explains.

    A crash has no layer type and no quantity; `cases` is a pattern that says where it is known; `infinite`: it explains
    a NaN or an infinity on one side too.
    """

    implementation: str
    layer_type: str
    quantity: str
    dtypes: tuple[str, ...]
    max_rel: float
    report: str
    cases: str = "*"
    infinite: bool = False


BOTH = ("float64", "float32")
FINDINGS = (
    Finding("torch", "Hardsigmoid", "grad_input", ("float64",), 2.0**-24, "torch-hardsigmoid-float64"),
    Finding("torch", "PoissonNLLLoss", "grad.target", BOTH, 2.0**-20, "torch-poisson-nll-target", infinite=True),
    Finding("torch", "KLDivLoss", "grad.target", BOTH, 2.0**-20, "kl-div-target-zero", infinite=True),
    Finding("torch", "GELU", "output", ("float32",), 2.0**-20, "torch-gelu-infinity", "nonfinite/GELU", infinite=True),
    Finding("torch", "", "", BOTH, 0.0, "torch-empty-pixel-shuffle", "batch/Pixel*huffle,batch=0"),
)


def mark_known(rows: Iterable[Row], implementations: set[str]) -> None:
    """A discrepancy that a known finding about one of these implementations explains is a `convention` that names it."""
    for row in rows:
        if row.verdict not in DISCREPANCIES:
            continue
        for finding in FINDINGS:
            if finding.implementation in implementations and explains(finding, row):
                row.verdict = CONVENTION
                row.diagnosis = f"known error of {finding.implementation}: reports/findings/{finding.report}.md"


def explains(finding: Finding, row: Row) -> bool:
    place = (row.layer_type, row.quantity) == (finding.layer_type, finding.quantity) and row.dtype in finding.dtypes
    if not (place and fnmatchcase(row.case, finding.cases)):
        return False
    crash = finding.layer_type == ""  # without a difference
    return crash or (row.max_rel <= finding.max_rel and (finding.infinite or row.max_abs < math.inf))


class Written(NamedTuple):
    """A page about an error of a library that is judged: where it shows. Nothing is excused by it."""

    page: str
    subjects: tuple[str, ...]
    layer_types: tuple[str, ...] = ("*",)
    quantities: tuple[str, ...] = ("*",)
    dtypes: tuple[str, ...] = BOTH
    cases: tuple[str, ...] = ("*",)


# The first that fits counts: what is narrow before what is wide.
ELUS = ("ELU", "CELU", "SELU")
LABELS = ("BCEWithLogitsLoss",), ("grad.target",)
GRAD_INPUT = ("grad_input",)
WRITTEN: tuple[Written, ...] = (
    Written("expm1-gradient", ("jax", "autograd"), ELUS, GRAD_INPUT),
    Written("binary-cross-entropy-labels", ("jax", "tinygrad"), *LABELS),
    Written("binary-cross-entropy-certain", ("mlx", "tinygrad"), ("BCELoss",), cases=("kink/*",)),
    Written("binary-cross-entropy-near-its-label", ("mlx", "tinygrad"), ("BCELoss",), GRAD_INPUT),
    Written("huber-small-errors", ("jax", "mlx"), ("HuberLoss", "SmoothL1Loss"), ("grad_input", "grad.target")),
    Written(
        "adam-correction-float32",
        ("mlx", "tinygrad"),
        quantities=("param.*",),
        cases=("optimizer/Adam*", "network/*adam"),
    ),
    Written(
        "autograd-logaddexp-infinity", ("autograd",), ("Softplus", "LogSigmoid"), GRAD_INPUT, cases=("nonfinite/*",)
    ),
    Written("mygrad-relu-infinity", ("mygrad",), ("ReLU",), cases=("nonfinite/*",)),
    Written("mygrad-elu", ("mygrad",), ELUS, ("output", "grad_input")),
    Written("mygrad-float64", ("mygrad",), dtypes=("float32",)),
    Written("sklearn-several-outputs", ("sklearn",), ("Linear",), cases=("*MSELoss*",)),
    Written(
        "mlx-conv-transpose-output-padding", ("mlx",), ("ConvTranspose*",), GRAD_INPUT, cases=("*output_padding=1*",)
    ),
    Written("mlx-equal-sides", ("mlx",), ("CELU", "PReLU"), GRAD_INPUT, cases=("kink/*",)),
    Written("mlx-equal-sides", ("mlx",), ("LeakyReLU",), GRAD_INPUT, cases=("nonfinite/*",)),
    Written("mlx-shrink-nan", ("mlx",), ("Hardshrink", "Softshrink"), ("output",), cases=("nonfinite/*",)),
    Written("mlx-hardswish-infinity", ("mlx",), ("Hardswish",), GRAD_INPUT, cases=("nonfinite/*",)),
    Written(
        "mlx-elu",
        ("mlx",),
        ELUS,
        dtypes=("float32",),
        cases=("*,tiny", "nonfinite/*", "mlp/*", "network/*", "layout/*"),
    ),
    Written("mlx-elu", ("mlx",), ELUS, cases=("*,tiny", "nonfinite/*")),
    Written(
        "exp-far-from-zero", ("mlx",), ("CELU", "Mish", "Sigmoid", "Softplus"), dtypes=("float32",), cases=("*,large",)
    ),
    Written("mlx-float64", ("mlx",), dtypes=("float64",)),
    Written("tinygrad-erf", ("tinygrad",), ("GELU",)),
    Written(
        "tinygrad-empty-batch", ("tinygrad",), ("",), cases=("batch/GroupNorm,batch=0", "batch/Reflection*,batch=0")
    ),
    Written("tinygrad-float64", ("tinygrad",), ("RMSNorm", "Upsample"), dtypes=("float64",)),
    Written("tinygrad-nan", ("tinygrad",), ("ReLU", "Hardshrink", "Threshold"), ("output",), cases=("nonfinite/*",)),
    Written("tinygrad-dropped-infinity", ("tinygrad",), ("Dropout",), cases=("nonfinite/*",)),
    Written("torch-hardsigmoid-float64", ("tinygrad",), ("Hardsigmoid",), GRAD_INPUT, ("float64",), ("kink/*",)),
    Written("tinygrad-relu6", ("tinygrad",), ("ReLU6", "Hardswish", "Hardsigmoid"), cases=("nonfinite/*", "*,large")),
    Written("exp-far-from-zero", ("tinygrad",), ("Sigmoid", "CrossEntropyLoss"), cases=("*,large", "*,extreme")),
    Written("exp-far-from-zero", ("tinygrad",), ("Softplus",), GRAD_INPUT, cases=("*,large",)),
    Written("tinygrad-logaddexp", ("tinygrad",), ("Softplus", "LogSigmoid")),
    Written("tinygrad-tanh", ("tinygrad",), ("Tanh", "Tanhshrink", "Mish", *ELUS)),
)


def page_of(subject: str, culprit: Blame) -> str:
    """The page under reports/findings that tells of what a subject is blamed for; empty where there is none."""
    for written in WRITTEN:
        seen = (
            (culprit.layer_type, written.layer_types),
            (culprit.quantity, written.quantities),
            (culprit.dtype, written.dtypes),
            (culprit.case, written.cases),
        )
        fits = all(any(fnmatchcase(value, pattern) for pattern in patterns) for value, patterns in seen)
        if fits and subject in written.subjects:
            return written.page
    return ""
