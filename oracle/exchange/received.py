"""Checks arrays that came from outside: one that does not belong to the case, or has a wrong form, is named and dropped."""

from __future__ import annotations

from collections.abc import Mapping

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.quantities import Wanted, wanted
from oracle.trace import Key, Trace
from oracle.wording.figures import counted


def received(case: Case, arrays: Mapping[str, Array], faults: Mapping[str, str]) -> Trace:
    """The trace made of entries "step/layer/quantity"; an entry that cannot be used becomes a fault of the trace.

    faults: entries that could not be read, with the reason.
    """
    known = wanted(case)
    by_key = {key: entry_name(key) for key in known}
    trace = Trace()
    for key, name in by_key.items():
        if name in arrays:
            said = _fault(case, key, known[key], arrays[name])
            if said:
                trace.faults[key] = said
            else:
                trace.record(*key, arrays[name])
    names = set(by_key.values())
    for name in arrays.keys() - names:
        trace.faults[_key(name)] = f"extra: the case has no quantity {name!r}; {_expected(case, name, known)}"
    trace.faults |= {_key(name): reason for name, reason in faults.items()}
    trace.faults = dict(sorted(trace.faults.items()))
    return trace


def entry_name(key: Key) -> str:
    return f"{key.step}/{key.layer}/{key.quantity}"


def _key(name: str) -> Key:
    step, *rest = name.split("/", 2)
    if len(rest) < 2 or not step.isdecimal() or not step.isascii() or len(step) > 9:
        return Key(0, "", name)
    return Key(int(step), rest[0], rest[1])


def _expected(case: Case, name: str, known: Mapping[Key, Wanted]) -> str:
    """The part of a name that the case does not have, with those that it has."""
    key = _key(name)
    if key.quantity == name:
        such_as = next((own for own in known if own.quantity.startswith(("output", "param."))), key)
        return f"a name is step/layer/quantity, such as {entry_name(such_as)}"
    if key.step >= case.steps:
        return f"steps are counted from 0, and it has {counted(case.steps, 'step')}"
    found = dict.fromkeys(own.quantity for own in known if own[:2] == key[:2])
    if found:
        return f"of {key.layer!r} in this step it has {', '.join(found)}"
    layers = list(dict.fromkeys(repr(own.layer) for own in known))
    return f"it has no layer {key.layer!r}, but {', '.join(layers[:8])}{', …' * (len(layers) > 8)}"


def _fault(case: Case, key: Key, form: Wanted, array: Array) -> str:
    """The error in the form of an array; "" if there is none."""
    kind = array.dtype.kind
    if key.quantity == "mask":
        # A mask of whole channels may be broadcast.
        right = kind == "b" and len(form.shape) == array.ndim
        return "" if right else f"dtype {array.dtype}, expected bool" if kind != "b" else _misshapen(array, form)
    if not form.is_count and array.dtype.name != case.dtype:
        return f"dtype {array.dtype}, expected {case.dtype}"
    return _misshapen(array, form) if array.shape != form.shape else ""


def _misshapen(array: Array, form: Wanted) -> str:
    return f"shape {array.shape}, expected {form.shape}"
