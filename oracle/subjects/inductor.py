"""torch.nn with each layer compiled by inductor, as the subject `--subject oracle.subjects.inductor`. A case takes seconds.

It is not one of the built-in subjects, because it is a part of torch, and it needs a C++ compiler.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from oracle.case.case import Case
from oracle.subjects.torch import TorchRun
from oracle.trace import Trace, Unsupported

name = "torch.compile"
accumulates = True


class _Compiled(TorchRun):
    """A run in which a layer is compiled when it is called. Dropout is left as it is: a compiled one draws other masks."""

    def called(self, module: Any, given: torch.Tensor) -> torch.Tensor:
        if "Dropout" in type(module).__name__:
            return super().called(module, given)
        torch._dynamo.reset()
        made: Any = torch.compile(module, dynamic=False)
        output: torch.Tensor = made(given)
        return output


def run(case: Case) -> Trace:
    # Without `clean` of oracle.subjects.torch, which switches off the dispatch that the compiler traces with.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(0)
        try:
            return _Compiled(case).trace
        except NotImplementedError as error:
            raise Unsupported(f"torch has no such kernel: {error}") from error
