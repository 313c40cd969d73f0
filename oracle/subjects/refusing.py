"""refuse: declares in one call what a subject supports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from oracle.case.case import Case, Spec, named_layers
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.execution.options import filled_options
from oracle.trace import Unsupported


def refuse(
    case: Case,
    layers: Collection[str] = (),
    losses: Collection[str] = (),
    optimizers: Collection[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Call this in a subject's `run` with everything that the subject supports; a case that needs more is `unsupported`.

    Args:
        layers, losses, optimizers: the names of supported classes; the containers Sequential, Residual and Concat are layers too.
        options: for a class the supported values of its options: one value, or a list of several. An option that is not named
            may have any value.
    Raises: Unsupported, which names the first class or option that is not supported. It does not check for shared layers
        (`same_as`), parameter groups, or an optimizer state to resume from; the subject has to do so. TypeError for a text in
        place of a list, or something else than a case.

    >>> case = oracle.Case("mine/two", layers=(oracle.Spec("Linear"), oracle.Spec("Sigmoid")), loss=oracle.Spec("MSELoss"))
    >>> oracle.refuse(case, layers=["Linear", "Sigmoid"], losses=["MSELoss"], options={"MSELoss": {"reduction": "mean"}})
    >>> oracle.refuse(case, layers=["Linear", "ReLU"])
    Traceback (most recent call last):
    ...
    oracle.trace.Unsupported: no Sigmoid here
    """
    if not isinstance(case, Case):
        raise TypeError(f"refuse expects the case that `run` received, got {type(case).__name__}")
    for what, names in (("layers", layers), ("losses", losses), ("optimizers", optimizers)):
        if isinstance(names, str) or not isinstance(names, Collection):
            raise TypeError(
                f'refuse expects a list of names as {what}, such as ["{names}"], got {type(names).__name__}'
            )
    known = options or {}
    for _, spec in named_layers(case.layers):
        if not spec.same_as:
            _check(LAYERS, spec, layers, known)
    for kinds, own, has in ((LOSSES, case.loss, losses), (OPTIMIZERS, case.optimizer, optimizers)):
        if own is not None:
            _check(kinds, own, has, known)


def _check(kinds: Mapping[str, type], spec: Spec, has: Collection[str], known: Mapping[str, Mapping[str, Any]]) -> None:
    if spec.type not in has:
        raise Unsupported(f"no {spec.type} here")
    given = filled_options(kinds, spec)
    for name, accepted in known.get(spec.type, {}).items():
        values = accepted if isinstance(accepted, list) else [accepted]
        if name in given and given[name] not in values:
            raise Unsupported(f"no {spec.type} with {name}={given[name]!r} here")
