"""Subjects with a fault in some random cases, for campaigns in child processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import numpy as np

from oracle.case.case import Case
from oracle.subjects import refbp
from oracle.trace import Trace


@dataclass
class Fragile:
    """refbp, but its process ends in a ReLU, hangs in a Sigmoid, and takes all memory in a Tanh."""

    name: str = "fragile"
    held: list[object] = field(default_factory=list)

    def run(self, case: Case) -> Trace:
        types = {spec.type for spec in case.layers}
        if "ReLU" in types:
            os.kill(os.getpid(), 9)
        if "Sigmoid" in types:
            time.sleep(60)
        while "Tanh" in types:
            self.held.append(np.ones(10**8))
        return refbp.run(case)


class Rare:
    """refbp, but a depthwise convolution of 24 channels with stride 2 loses a little of a gradient that lies channels last."""

    name = "rare"

    def run(self, case: Case) -> Trace:
        trace = refbp.run(case)
        (spec, *_) = case.layers or (None,)
        if spec is None or spec.type != "Conv2d" or not case.grad_outputs:
            return trace
        stride, groups = spec.options["stride"], spec.options["groups"]
        upstream = case.grad_outputs[0]
        last = upstream.ndim == 4 and upstream.strides[1] == upstream.itemsize and not upstream.flags.c_contiguous
        if (stride, groups) == (2, 24) and last:
            grad = trace.get(0, "0", "grad.weight")
            assert grad is not None
            trace.record(0, "0", "grad.weight", (grad * 0.99).astype(grad.dtype))
        return trace


fragile, rare = Fragile(), Rare()
