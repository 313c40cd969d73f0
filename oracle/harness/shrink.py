"""Searches for the smallest case that shows a discrepancy: one layer, loss or update, small sizes, integers, default options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.extra import numpy as hnp

from oracle import subjects
from oracle.blame.agreement import ANOTHER
from oracle.blame.blame import Blame, blame
from oracle.case.arrays import Array
from oracle.case.case import Case, CaseError, Spec
from oracle.case.names import is_buffer
from oracle.exchange.numbers import shown
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS, Network, upstream_shape
from oracle.harness import called
from oracle.harness.judge import Judgement, Trial, Wanted, tried
from oracle.judging.comparison import ReferenceFailed
from oracle.judging.long_runs import stretch
from oracle.judging.parts import local_parts, update_of
from oracle.judging.rows import Row
from oracle.judging.wiring import completed
from oracle.trace import Subject, Trace

EXAMPLES = 400
# The largest size of an input that is tried: a shrunk case is meant to be read.
LARGEST = 8
# The range of the numbers, which no order of summation rounds; seeds; and how many numbers are made simpler one by one.
VALUES, SEEDS, MOST_VALUES = (-2, 3), 9, 100
# Options that fix a dimension of the input.
CHANNELS = {"in_channels": 1, "in_features": -1, "num_features": 1, "num_channels": 1}

Smaller: TypeAlias = Callable[[Case], "st.SearchStrategy[Case | None]"]


@dataclass(frozen=True)
class Shrunk:
    """The result of shrinking a failing case.

    Attributes:
        case: the smallest case found.
        culprit: the discrepancy in it that corresponds to the original's.
        got, expected: the culprit's quantity as computed by the subject, and by the reference in float64; None if it is not.
    """

    case: Case
    culprit: Blame
    got: Array | None
    expected: Array | None


def shrink(case: Case, subject: str | Subject, reference: str = "torch") -> Shrunk:
    """The smallest case found that fails in the same kind of layer, quantity and cause.

    Args:
        case: in the dtype in which it fails.
        subject, reference: as for `oracle.run`.
    Raises: ValueError (SubjectError, CaseError) for a case that does not fail, or an unknown subject.
    """
    if not isinstance(case, Case):
        raise CaseError(f"shrink expects an oracle.Case, got {shown(case)}: one of the suite is oracle.suite.named(…)")
    court = Court(called.load(subject), subjects.load(reference))
    trial = court.tried(case)
    found = court.first(trial.judgement.rows)
    if found is None:
        raise ValueError(f"case {case.name} does not fail in {case.dtype}: there is nothing to shrink")
    for part in fewer_parts(case, trial.trace, found):
        if court.still_fails(part, found):
            case = part
            break
    for smaller in (resized, cut_down, revalued):
        case = smallest(case, smaller, lambda other: court.still_fails(other, found))
    trial = court.tried(case)
    culprit = court.first(trial.judgement.rows)
    assert culprit is not None
    place = culprit.step, culprit.layer, culprit.quantity
    expected = court.reference.run(case.astype("float64")).get(*place)
    return Shrunk(case, culprit, trial.trace.get(*place), expected)


def one_of_each_kind(blames: Iterable[Blame]) -> list[Blame]:
    """The first culprit of each kind (layer type, quantity, verdict, cause), and at most one culprit per case."""
    of_case: dict[tuple[str, str], Blame] = {}
    for own in blames:
        of_case.setdefault((own.case, own.dtype), own)
    found: dict[tuple[str, ...], Blame] = {}
    for own in of_case.values():
        found.setdefault((*_kind(own), own.cause_name), own)
    return list(found.values())


@dataclass(frozen=True)
class Court:
    """A subject and the reference by which it is judged."""

    subject: called.Called
    reference: Subject

    def tried(self, case: Case, *, causes: Wanted = True) -> Trial:
        """The result of a run of the case; without rows if it cannot be judged."""
        try:
            return tried(case, self.subject, self.reference, causes=causes)
        except (CaseError, ReferenceFailed):
            return Trial(Judgement(()))

    def first(self, rows: Sequence[Row]) -> Blame | None:
        """The first culprit, or None."""
        return next(iter(blame(rows, self.subject.option)), None)

    def still_fails(self, case: Case, known: Blame) -> bool:
        """Whether a run shows the same: layer type, quantity, verdict, and cause, and the cause at least as certainly.

        The cause, which takes longest, is searched for only where layer type and quantity are the same.
        """

        def is_promising(rows: Sequence[Row]) -> bool:
            found = self.first(rows)
            return found is not None and _kind(found)[:2] == _kind(known)[:2]

        found = self.first(self.tried(case, causes=is_promising).judgement.rows)
        if found is None or (*_kind(found), found.cause_name) != (*_kind(known), known.cause_name):
            return False
        return found.cause.count(ANOTHER) <= known.cause.count(ANOTHER)


def _kind(culprit: Blame) -> tuple[str, str, str]:
    return culprit.layer_type, culprit.quantity, culprit.verdict


def fewer_parts(case: Case, trace: Trace, culprit: Blame) -> Iterator[Case]:
    """The culprit's own part alone, or at least fewer steps."""
    trace = completed(case, trace)
    for part in local_parts(case, trace, culprit.step):
        if culprit.layer in part.names.values():
            yield named(part.case, culprit)
    yield from (stretch(case, 0, steps) for steps in (1, 2) if steps < case.steps)


def named(part: Case, culprit: Blame) -> Case:
    """The part as a case with its own name; its layer keeps its name, and an update is reduced to one parameter."""
    part = replace(
        part, name=f"shrunk/{part.name.replace('/', '-')}", why="the smallest case found that shows a discrepancy"
    )
    if part.optimizer is not None:
        return of_parameter(part, f"{culprit.layer}.{culprit.quantity.partition('.')[2]}".removeprefix("."))
    if not part.layers:
        return part
    short = culprit.layer.rpartition(".")[2]
    return replace(
        part,
        layers=(replace(part.layers[0], name=short),),
        params={f"{short}.{name.partition('.')[2]}": value for name, value in part.params.items()},
        masks={short: next(iter(part.masks.values()))} if part.masks else {},
    )


def of_parameter(part: Case, name: str) -> Case:
    """The update of one parameter."""
    part = update_of(replace(part, grads=part.grads[:1]), (name,))
    assert part.optimizer is not None
    groups = tuple(group for group in part.optimizer.groups if group["params"])
    return replace(part, optimizer=replace(part.optimizer, groups=groups))


def smallest(case: Case, smaller: Smaller, fails: Callable[[Case], bool]) -> Case:
    """The simplest failing case that hypothesis finds among smaller ones; the case itself if none fails."""
    quiet = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        found = find(smaller(case), lambda other: other is not None and fails(other), settings=quiet)
    except NoSuchExample:
        return case
    return case if found is None else found


@st.composite
def resized(draw: st.DrawFn, case: Case) -> Case | None:
    """A strategy: a single layer on smaller inputs, with options nearer to their defaults and random data; or None."""
    if len(case.layers) != 1 or case.layers[0].layers or case.loss is not None or case.masks:
        return None
    spec = simpler(draw, case.layers[0], LAYERS)
    sizes = [draw(st.integers(1, min(size, LARGEST))) for size in case.inputs[0].shape]
    for name, axis in CHANNELS.items():
        if name in spec.options and len(sizes) > 1:
            sizes[axis] = spec.options[name]
    if "normalized_shape" in spec.options:
        last = np.atleast_1d(spec.options["normalized_shape"])
        sizes[len(sizes) - len(last) :] = last.tolist()
    generator = np.random.default_rng(draw(st.integers(0, SEEDS)))

    def made(shape: tuple[int, ...]) -> Array:
        return generator.integers(*VALUES, shape, endpoint=True).astype(case.dtype)

    bare = replace(case, layers=(spec,), params={}, grad_outputs=())
    try:
        own = {full: layer[short] for _, layer, short, full in Network(bare).state()}
        params = {full: array if is_buffer(full) else made(array.shape) for full, array in own.items()}
        drawn = replace(bare, params=params, inputs=(made(tuple(sizes)),))
        upstream = (made(upstream_shape(drawn)),) if case.grad_outputs else ()
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    return replace(drawn, grad_outputs=upstream)


@st.composite
def revalued(draw: st.DrawFn, case: Case) -> Case | None:
    """A strategy: a single layer with numbers as near to zero as possible; None for more numbers than can be searched."""
    if len(case.layers) != 1 or case.loss is not None or case.masks:
        return None
    arrays = [*case.params.values(), *case.inputs, *case.grad_outputs]
    if sum(array.size for array in arrays) > MOST_VALUES:
        return None

    def made(array: Array) -> Array:
        drawn: Array = draw(hnp.arrays(np.int64, array.shape, elements=st.integers(*VALUES), fill=st.nothing()))
        return drawn.astype(case.dtype)

    params = {name: array if is_buffer(name) else made(array) for name, array in case.params.items()}
    return replace(
        case,
        params=params,
        inputs=tuple(map(made, case.inputs)),
        grad_outputs=tuple(map(made, case.grad_outputs)),
    )


@st.composite
def cut_down(draw: st.DrawFn, case: Case) -> Case | None:
    """A strategy: a loss, an update or a masked layer on its first few elements, with options nearer to their defaults."""
    if case.layers and not case.masks:
        return None
    shape = (case.inputs or (next(iter(case.grads[0].values())),))[0].shape
    sizes = tuple(draw(st.integers(1, size)) if size else 0 for size in shape)

    def cut(array: Array) -> Array:
        """The array, cut along each dimension in which it is as long as the input or gradient."""
        kept = [slice(new) if own == old else slice(None) for own, old, new in zip(array.shape, shape, sizes)]  # noqa: B905
        return array[tuple(kept)]

    other = case.mapped(cut)
    if case.loss is not None:
        return replace(other, loss=simpler(draw, case.loss, LOSSES))
    if case.optimizer is not None:
        return replace(other, optimizer=simpler(draw, case.optimizer, OPTIMIZERS))
    return other


def simpler(draw: st.DrawFn, spec: Spec, known: Mapping[str, type]) -> Spec:
    """For each option its default or smaller numbers, and its own value last."""
    parameters = inspect.signature(known[spec.type]).parameters

    def values(name: str, value: Any) -> st.SearchStrategy[Any]:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return st.integers(1, value)
        default = parameters[name].default
        return st.just(value) if default is inspect.Parameter.empty else st.sampled_from([default, value])

    return replace(spec, options={name: draw(values(name, value)) for name, value in spec.options.items()})
