"""Each entry of the corpus in numbers, without the judge: its bug changes what it says, and its repaired twin is torch's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from oracle import subjects
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.selftest.corpus import score
from oracle.selftest.corpus.entry import Entry, Module, Step
from oracle.selftest.corpus.rivals import subject_and_cases
from oracle.trace import Subject, Trace, Unsupported

ENTRIES = score.all_entries()
MODULES = [source for source, entry in ENTRIES.items() if isinstance(entry.wiring, Module)]
# Far above the rounding errors of these small cases, in parts of the largest element; far below any of the bugs.
NEAR = {"float64": 1e-7, "float32": 1e-3}


def distance(got: Trace, exact: Trace, quantities: tuple[str, ...]) -> float:
    """The largest difference, in parts of the array's largest element; infinite for another shape or for nothing."""
    worst = 0.0
    for key, expected in exact.arrays.items():
        if key.quantity not in quantities or not expected.size:
            continue
        array = got.get(*key)
        if array is None or array.shape != expected.shape:
            return np.inf
        if not np.isfinite(array[np.isfinite(expected)]).all():
            return np.inf
        finite = np.isfinite(array) & np.isfinite(expected)
        apart, largest = np.abs(array - expected, where=finite, out=np.zeros(expected.shape)), np.abs(expected[finite])
        worst = max(worst, float(apart.max() / max(largest.max(initial=0), 1e-300)))
    return worst


def trace_of(subject: Subject, case: Case) -> Trace | Exception:
    try:
        return subject.run(case)
    except Exception as error:
        return error


def tried(entry: Entry) -> Iterator[tuple[str, Trace | Exception, Trace | Exception, Trace]]:
    """(dtype, the bug's trace, the twin's, torch's of the same numbers in float64), for each case that the subject can do."""
    bug, cases, dtypes = subject_and_cases(entry.wiring, False)
    twin, *_ = subject_and_cases(entry.wiring, True)
    for dtype in dtypes:
        for case in (own.astype(dtype) for own in cases):
            exact = subjects.load("torch").run(case.astype("float64"))
            masks = {key.layer: array for key, array in exact.arrays.items() if key.quantity == "mask"}
            traces = [trace_of(subject, replace(case, masks=masks)) for subject in (bug, twin)]
            if not any(isinstance(own, Unsupported) for own in traces):
                yield dtype, *traces, exact


@pytest.mark.parametrize("source", [source for source in ENTRIES if source not in MODULES])
def test_a_bug_changes_numbers_and_its_twin_does_not(source: str) -> None:
    """An entry whose bug computes the right numbers, or whose twin has a bug of its own, would make the counts of the corpus
    false: what is caught, and who is accused. A bug without quantities raises instead."""
    entry = ENTRIES[source]
    for dtype, bug, twin, exact in tried(entry):
        assert isinstance(twin, Trace), twin
        assert distance(twin, exact, entry.quantities or ("output", "grad_input")) <= NEAR[dtype]
        if isinstance(bug, Exception):
            if not entry.quantities:
                return
        elif distance(bug, exact, entry.quantities) > NEAR[dtype]:
            return
    pytest.fail(f"the bug of {source} is not seen in any case")


def gradients(step: Step) -> list[Array]:
    """The output and each parameter's gradient, empty where there is none, for an upstream gradient that is always the same."""
    output = step.module(step.x)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=output.dtype)
    value = (output * upstream).sum() if step.loss is None else step.loss(output, step.target)
    value.backward()
    grads = [torch.empty(0) if own.grad is None else own.grad for own in step.module.parameters()]
    return [own.detach().numpy().copy() for own in (output, *grads)]


@pytest.mark.parametrize("source", MODULES)
def test_a_module_with_a_bug_has_other_gradients_than_its_twin(source: str) -> None:
    """As above, where the bug is in a torch module. The twin is held against differences of its own forward pass."""
    wiring = ENTRIES[source].wiring
    assert isinstance(wiring, Module)
    pairs = list(zip(gradients(wiring.make(False)), gradients(wiring.make(True)), strict=True))
    assert any(bug.shape != twin.shape or not np.allclose(bug, twin, 1e-6) for bug, twin in pairs)
    step = wiring.make(True)
    learnt = {name: own for name, own in step.module.named_parameters() if own.requires_grad}

    def forward(*values: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(step.module, dict(zip(learnt, values, strict=True)), (step.x,))
        return output if step.loss is None else step.loss(output, step.target)

    assert torch.autograd.gradcheck(forward, tuple(learnt.values()), fast_mode=True)
