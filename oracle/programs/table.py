"""The table of rules: what each operation computes, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

# A rule takes the operation's arguments, and returns the result, or a tuple of results, with the backward.
Function: TypeAlias = Callable[..., tuple[Any, Callable[..., Any]]]


@dataclass(frozen=True)
class Rule:
    """The rule of an operation.

    Attributes:
        name: ATen's name of the operation: "add" for all overloads, "max.dim" for this one.
        function: the rule itself; see `oracle.programs`.
        family: the module that holds it.
        moves: whether it only rearranges numbers, so that nothing is rounded in 16 bits.
        recorded: whether the recorded result is used, as for random numbers.
        compares: whether the recorded result is used unless rounding can change it, as for comparisons.
        shown: whether the rule receives the recorded results, a tuple `shown` of `Snapshot`, which show what was chosen or drawn.
    """

    name: str
    function: Function
    family: str
    moves: bool = False
    recorded: bool = False
    shown: bool = False
    compares: bool = False

    @property
    def words(self) -> str:
        """Its formula and its gradients."""
        if self.recorded:
            return "taken as it was"
        return " ".join((self.function.__doc__ or "").split()).rstrip(".")


class NoRule(Exception):
    """The table lacks an operation, or a way to use it. The message is the reason that a report gives."""


RULES: dict[str, Rule] = {}
# Stands before the name of an operation that reads or makes complex numbers.
COMPLEX = "complex::"
# Calls that return memory without writing to it. A recording fills it with NaN, so that a read of it is noticed.
UNFILLED = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted")


def rule(
    *names: str, moves: bool = False, shown: bool = False, compares: bool = False
) -> Callable[[Function], Function]:
    """Registers a rule for operations of these names."""

    def registered(function: Function) -> Function:
        for name in names:
            _register(Rule(name, function, _family(function), moves, shown=shown, compares=compares))
        return function

    return registered


def recorded(*names: str) -> None:
    """Registers operations whose recorded results are used."""
    for name in names:
        _register(Rule(name, _nothing, _family(_nothing), moves=True, recorded=True))


def _family(function: Function) -> str:
    return function.__module__.rpartition(".")[2]


def _register(own: Rule) -> None:
    assert own.name not in RULES, f"two rules for {own.name}"
    RULES[own.name] = own


def _nothing(*_: Any, **__: Any) -> tuple[None, Callable[..., Any]]:
    return None, lambda *_: ()


def rule_of(name: str) -> Rule:
    """The rule of an operation with its overload, such as "add.Tensor". Raises: NoRule."""
    found = RULES.get(name) or RULES.get(name.partition(".")[0])
    if found is None:
        of_complex = " of complex numbers" if name.startswith(COMPLEX) else ""
        raise NoRule(f"there is no rule for {name.removeprefix(COMPLEX)}{of_complex}")
    return found


def is_unfilled(name: str) -> bool:
    """Whether a call gives memory without writing to it."""
    return name.removeprefix(COMPLEX).partition(".")[0] in UNFILLED
