"""Whatever numbers, shapes and dtypes a trace holds, there are rows: nothing raises, and nothing is warned of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle import suite
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.harness.work import judged_case
from oracle.judging.long_runs import stretch
from oracle.judging.rows import DISCREPANCIES
from oracle.subjects import refbp as refbp_subject
from oracle.subjects import torch as torch_subject
from oracle.trace import Trace

CHANGES: dict[str, Callable[[Array], Any]] = {
    "not a number": lambda own: own * np.nan,
    "infinite": lambda own: own + np.inf,
    "huge": lambda own: (own * 1e30).astype(own.dtype),
    "negative": lambda own: ~own if own.dtype.kind == "b" else -own,
    "zero": lambda own: own * 0,
    "wide": lambda own: own.astype(np.float64),
    "half": lambda own: own.astype(np.float16),
    "integers": lambda own: np.nan_to_num(own).astype(np.int64),
    "a number": lambda own: np.asarray(own.sum(), own.dtype),
    "flat": np.ravel,
    "empty": lambda own: own[:0] if own.ndim else own[None][:0],
    "one axis more": lambda own: own[None],
    "shorter": lambda own: own[..., :-1] if own.ndim else own,
}
CASES = (
    "activation/PReLU,init=0.25",
    "norm/BatchNorm3d,eps=0.01,momentum=None,affine=False,track_running_stats=True,eval",
    "norm/BatchNorm1d*",
    "dropout/Dropout2d,p=0.5",
    "dropout/Dropout,imposed",
    "optimizer/Adam,*",
    "optimizer/RMSprop,*",
    "conv/ConvTranspose2d*",
    "loss/CrossEntropyLoss*",
    "mlp/Tanh+MSELoss",
)


class Changed:
    """refbp, every array of which, or of some quantity, is another one."""

    name = "changed"

    def __init__(self, change: Callable[[Array], Any], quantity: str = "") -> None:
        self.change, self.quantity = change, quantity

    def run(self, case: Case) -> Trace:
        trace = Trace()
        for key, array in refbp_subject.run(case).arrays.items():
            with np.errstate(all="ignore"):
                trace.record(*key, self.change(array) if key.quantity.startswith(self.quantity) else array)
        return trace


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("pattern", CASES)
def test_whatever_a_trace_holds_has_rows(pattern: str, change: Callable[[Array], Any]) -> None:
    """Every array changed; what goes in alone, which all else is then judged on; the counts and masks alone. A second step
    follows the first where there is one."""
    case = next(iter(suite.matching(pattern))).astype("float32")
    case = stretch(case, 0, min(case.steps, 2))
    rows, _ = judged_case(case, Changed(change), torch_subject)
    assert any(row.verdict in DISCREPANCIES for row in rows)
    shown = {key.quantity for key in refbp_subject.run(case)}
    for quantity in ("input", "buffer.", "step.", "mask"):
        if any(own.startswith(quantity) for own in shown):
            assert judged_case(case, Changed(change, quantity), torch_subject)[0]
