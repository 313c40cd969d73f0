"""Known errors of implementations, which a run names instead of reporting them as new discrepancies.

Each is described, with a script that reproduces it, under reports/findings/.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from oracle.judging.rows import CONVENTION, DISCREPANCIES, Row


class Finding(NamedTuple):
    """A known error.

    Attributes:
        implementation: a subject's name, or that of an optimizer ("torch.optim.NAdam").
        layer_type, quantity: patterns of the place where it appears; both are empty for a crash.
        max_rel: the largest relative difference between finite values that it explains, in addition to rounding.
        report: the name of the page that describes it.
        cases: a pattern of the cases where it is known.
        infinite: whether it also explains a NaN or an infinity on one side only.
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
ALL = (*BOTH, "float16", "bfloat16")
FINDINGS = (
    *(
        # In a module, an operation's argument may be a parameter.
        Finding("torch", own, "grad*" if own.startswith("aten.") else "grad_input", ("float64",), most, report)
        for names, most, report in (
            (("Hardsigmoid", "aten.hardsigmoid"), 2.0**-24, "torch-hardsigmoid-float64"),
            (("CELU", "aten.celu"), 2.0**-19, "torch-celu-float64"),
            (("aten.digamma", "aten.polygamma"), 2.0**-30, "torch-polygamma"),
        )
        for own in names
    ),
    Finding("torch", "aten.polygamma", "output", ("float64",), 2.0**-30, "torch-polygamma"),
    Finding("torch", "aten.fake_quantize*", "output", ("float64",), 2.0**-23, "torch-fake-quantize-float64"),
    Finding("torch", "CosineEmbeddingLoss", "*", ("float64",), 2.0**-20, "torch-cosine-embedding-float64"),
    *(
        Finding("torch", own, "grad.target", ALL, 0.0, report, infinite=True)
        for own, report in (("PoissonNLLLoss", "torch-poisson-nll-target"), ("KLDivLoss", "kl-div-target-zero"))
    ),
    *(
        Finding("torch", own, "output", ALL[1:], 2.0**-20, "torch-gelu-infinity", infinite=True)
        for own in ("GELU", "aten.gelu")
    ),
    *(
        Finding(f"torch.optim.{own}", "*", quantity, ("float64",), 2.0**-20, "torch-optim-numbers-in-float32")
        for own, kinds in {"NAdam": ("mu_product", "param"), "ASGD": ("eta", "mu", "ax", "param")}.items()
        for quantity in (f"{kind}.*" for kind in kinds)
    ),
    *(
        Finding("torch", "aten.linalg_matrix_exp", "*", (dtype,), most, "torch-matrix-exp-degree-8")
        for dtype, most in (("float64", 2.0**-20), ("float32", 2.0**-8))
    ),
    Finding("torch", "aten.addc*", "grad*", ("float64",), 2.0**-23, "torch-addcmul-integer-factor"),
    Finding("torch", "", "", BOTH, 0.0, "torch-empty-pixel-shuffle", "batch/Pixel*huffle,batch=0"),
)


def with_known(rows: Iterable[Row], implementations: Collection[str]) -> list[Row]:
    """The rows; a discrepancy that a finding about one of these implementations explains becomes a `convention` that names it."""
    return [_known(row, implementations) for row in rows]


def _known(row: Row, implementations: Collection[str]) -> Row:
    if row.verdict not in DISCREPANCIES:
        return row
    for finding in FINDINGS:
        if finding.implementation in implementations and explains(finding, row):
            report = f"reports/findings/{finding.report}.md"
            return row.found(CONVENTION, f"known error of {finding.implementation}: {report}")
    return row


def explains(finding: Finding, row: Row) -> bool:
    place = ((row.layer_type, finding.layer_type), (row.quantity, finding.quantity), (row.case, finding.cases))
    if row.dtype not in finding.dtypes or not all(fnmatchcase(value, pattern) for value, pattern in place):
        return False
    if finding.layer_type == "":  # a crash, without a difference
        return True
    if row.max_abs == math.inf and not finding.infinite:
        return False
    return row.max_rel <= finding.max_rel or (row.max_abs == math.inf and math.isnan(row.max_rel))
