"""The user's references, and which of them were used. An unused one would pass for a comparison that was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from oracle.programs.torch_calls import op_name

REENTRANT = "it was called in a checkpoint with use_reentrant=True, where its reference cannot be used: give use_reentrant=False"
COMPILED = "the module is compiled by torch.compile, where references of what is in it cannot be used"


class References(dict[Any, Callable[..., Any]]):
    """References by custom autograd.Function, operation of torch.library, module class, module name, or hook."""

    def __init__(self, given: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__(given)
        self._used: set[Any] = set()
        self._refused: dict[Any, str] = {}

    def use(self, key: Any) -> None:
        """Records that a call was found for which there is a reference."""
        self._used.add(key)

    def refuse(self, key: Any, reason: str) -> None:
        """Records that a call was found for which its reference cannot be used."""
        self._refused[key] = reason

    def unused(self) -> Iterator[tuple[str, str]]:
        """The names of keys whose reference was not used, or not for every call, and why."""
        for key in self:
            if key in self._refused:
                yield name_of(key), self._refused[key]
            elif key not in self._used:
                yield name_of(key), f"{_sought(key)}: its reference was not used"


def name_of(key: Any) -> str:
    """A key of references in words."""
    return key if isinstance(key, str) else op_name(key) or getattr(key, "__name__", None) or repr(key)


def _sought(key: Any) -> str:
    """The calls that were looked for and not found, in words."""
    if isinstance(key, (str, type)):
        return "no call of it was seen"
    if op_name(key) is not None:
        return "no operation with a gradient is a call of it"
    return "no tensor has it as a hook, and it is not a class, an operation or a name"


def is_apply(key: Any) -> bool:
    """Whether a key is the method `apply` of a custom autograd.Function, in place of its class."""
    own = getattr(key, "__self__", None)
    return isinstance(own, type) and issubclass(own, torch.autograd.Function)
