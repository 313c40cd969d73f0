"""A user's code, for a type checker: it is never run. In strict mode an `ignore` that nothing needs is an error."""

from __future__ import annotations

from typing import assert_type

import numpy as np
import torch

import oracle
import refbp
from oracle.pytest_plugin import OracleCheck

assert_type(oracle.run(subject="refbp", cases="lenet5", dtypes=("float32",)), oracle.Report)
assert_type(oracle.check_module(torch.nn.Linear(2, 3), torch.ones(4, 2)), oracle.Report)
assert_type(oracle.check_op("linear", oracle.from_torch(torch.nn.functional.linear)), oracle.Report)
assert_type(oracle.run().passed, bool)
assert_type(oracle.__version__ + refbp.__version__, str)
oracle.run(subjekt="refbp")  # type: ignore[call-arg]
oracle.check_module(torch.nn.Linear(2, 3))  # type: ignore[call-arg]
oracle.check_op("linear")  # type: ignore[call-arg]
oracle.rnu()  # type: ignore[attr-defined]

layer = refbp.Linear(2, 3)
assert_type(layer.params, dict[str, np.ndarray])
assert_type(layer(np.ones((4, 2))), np.ndarray)
optimizer = refbp.SGD(layer, lr=0.1)
refbp.Linear(in_feature=2, out_features=3)  # type: ignore[call-arg]
refbp.SGD(layer, momentun=0.9)  # type: ignore[call-arg]
refbp.functional.linear("x", layer.params["weight"])  # type: ignore[arg-type]


def test_mine(oracle_check: OracleCheck) -> None:
    assert_type(oracle_check.run("refbp", cases="lenet5"), oracle.Report)
    oracle_check.run(subjekt="refbp")  # type: ignore[call-arg]
    oracle_check.check_module(torch.nn.Linear(2, 3))  # type: ignore[call-arg]
    oracle_check.check_op()  # type: ignore[call-arg]
