"""Runs the rules of other tools on a published bug, on the same cases as the bug's own check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from oracle import suite
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.profile import Profile, profile_of
from oracle.ops.check_op import OpSubject
from oracle.ops.given import own_case
from oracle.ops.suite_cases import Op as Known
from oracle.ops.suite_cases import cases_of
from oracle.selftest.corpus.entry import Module, Op, Run, Step, Wiring
from oracle.selftest.rivals.compared import Incomparable, comparisons, kind_of
from oracle.selftest.rivals.finite import NotDifferentiable, refuses
from oracle.selftest.rivals.rules import GRADCHECK, RULES, ThreeArrays
from oracle.trace import Subject, Unsupported

DTYPES = ("float64", "float32")
# gradcheck is slow, so it runs on this many of the smallest cases that it can run on, all with random data.
FEW = 4


def caught_by(wiring: Wiring) -> list[str]:
    """The names of the rules that refuse the bug on at least one of its cases, in float64 or float32.

    gradcheck counts if it refuses the bug and accepts its repaired twin, on one of the smallest cases.
    """
    found: dict[str, None] = {}
    with np.errstate(all="ignore"):
        tried = _of_cases(wiring) if not isinstance(wiring, Module) else ((d, _of_module(wiring, d)) for d in DTYPES)
        for dtype, compared in tried:
            for rule in RULES:
                if rule.name not in found and dtype in rule.dtypes and rule.catches(compared):
                    found[rule.name] = None
        if _gradcheck(wiring):
            found[GRADCHECK] = None
    return list(found)


def subject_and_cases(wiring: Wiring, fixed: bool) -> tuple[Subject, list[Case], tuple[str, ...]]:
    """The subject, cases and dtypes that `check_op` or `oracle.run` would use for this wiring."""
    if isinstance(wiring, Op):
        known = Known.named(wiring.name)
        given = known.sorted_out(wiring.options)
        cases = [own_case(known, given)] if "input" in given.arrays else cases_of(known, given)
        return OpSubject(known, wiring.make(fixed), Profile()), cases, wiring.dtypes
    assert isinstance(wiring, Run)
    chosen = suite.matching(wiring.cases) if isinstance(wiring.cases, str) else wiring.cases
    return wiring.make(fixed), list(chosen), DTYPES


def _of_cases(wiring: Wiring) -> Iterator[tuple[str, list[ThreeArrays]]]:
    subject, cases, dtypes = subject_and_cases(wiring, False)
    shows = profile_of(subject).shows
    for case in cases:
        for dtype in dtypes:
            try:
                subject.run(case.astype(dtype))
            except Unsupported:
                break
            except Exception:  # a bug that raises is judged by the results before the exception
                pass
            try:
                yield dtype, comparisons(subject.run, case.astype(dtype), shows)
            except Incomparable:
                continue


def _gradcheck(wiring: Wiring) -> bool:
    if isinstance(wiring, Module):
        return _module_refused(wiring.make(False)) and not _module_refused(wiring.make(True))
    bug, cases, _ = subject_and_cases(wiring, False)
    twin, _, _ = subject_and_cases(wiring, True)
    usable = [case for case in cases if case.inputs and case.inputs[0].size > 1 and not case.tags]
    return any(_refused(bug, case) and not _refused(twin, case) for case in sorted(usable, key=_size)[:FEW])


def _size(case: Case) -> int:
    return sum(array.size for array in (*case.inputs, *case.params.values()))


def _refused(subject: Subject, case: Case) -> bool:
    try:
        return refuses(subject.run, case.astype("float64"))
    except (NotDifferentiable, Unsupported):
        return False
    except Exception:  # a user of gradcheck would see the exception
        return True


def _module_refused(step: Step) -> bool:
    params = {
        name: p.detach().clone().requires_grad_() for name, p in step.module.named_parameters() if p.requires_grad
    }

    def forward(x: torch.Tensor, *values: torch.Tensor) -> Any:
        torch.manual_seed(0)
        given = {name: value.clone() for name, value in zip(params, values, strict=True)}
        kept = {name: value.clone() for name, value in step.module.named_buffers()}
        y = torch.func.functional_call(step.module, {**given, **kept}, (x,))
        return y if step.loss is None else step.loss(y, step.target)

    try:
        inputs = (step.x.detach().clone().requires_grad_(), *params.values())
        return not torch.autograd.gradcheck(forward, inputs, fast_mode=True, raise_exception=False)
    except Exception:
        return True


def _of_module(wiring: Module, dtype: str) -> list[ThreeArrays]:
    """The results of the module, compared with those of its repaired twin, which takes torch's place."""
    kind = getattr(torch, dtype)
    got, eager, exact = (
        _step(wiring.make(fixed), own) for fixed, own in ((False, kind), (True, kind), (True, torch.float64))
    )
    return [
        ThreeArrays(kind_of(name), int(name[-1]), got.get(name), value, exact[name]) for name, value in eager.items()
    ]


def _step(step: Step, dtype: torch.dtype) -> Mapping[str, Array]:
    """The module's output, gradients and state; the keys name the quantity and the step."""
    module = step.module.to(dtype)
    optimizer = step.optimizer
    found: dict[str, Array] = {}
    for number in range(step.steps):
        torch.manual_seed(0)
        module.zero_grad()
        x = step.x.detach().to(dtype).requires_grad_(step.x.requires_grad)
        y = module(x)
        found[f"output {number}"] = y.detach().numpy().copy()
        upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
        value = (y * upstream).sum() if step.loss is None else step.loss(y, step.target)
        if value.requires_grad:
            value.backward()
        for name, tensor in (("x", x), *module.named_parameters()):
            if tensor.grad is not None:
                found[f"grad {name} {number}"] = tensor.grad.numpy().copy()
        if optimizer is not None:
            optimizer.step()
        for name, state in module.state_dict().items():
            if state.is_floating_point():
                found[f"state {name} {number}"] = state.detach().numpy().copy()
    return found
