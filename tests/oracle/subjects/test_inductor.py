"""torch.compile as a subject."""

from __future__ import annotations

import shutil

import pytest

import oracle


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++")
def test_a_compiled_layer_conforms() -> None:
    """Forward and backward: the layer is really compiled, and everything is judged as of any subject."""
    report = oracle.run("oracle.subjects.inductor", cases="batch/Linear,batch=1", dtypes=["float32"])
    assert report.passed and {"output", "grad.weight", "grad_input"} <= set(report.table["quantity"])
    from torch._dynamo.utils import counters

    assert counters["stats"]["unique_graphs"] > 0
