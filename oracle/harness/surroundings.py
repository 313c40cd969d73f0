"""Settings that a subject shares with its whole process. They are compared before and after it runs, restored, and reported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# A limit that is higher does no harm, and libraries set one.
DEEP = sys.getrecursionlimit()


class Setting(NamedTuple):
    """A shared setting.

    Attributes:
        name: a description.
        get, put: functions that read and restore it.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


def _settings() -> Iterator[Setting]:
    """All settings, in the order in which they are restored."""
    yield Setting("the current folder", Path.cwd, os.chdir)
    yield Setting("sys.stdout", lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream))
    yield Setting("sys.stderr", lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream))
    yield Setting("Python's recursion limit", lambda: min(sys.getrecursionlimit(), DEEP), sys.setrecursionlimit)
    yield Setting("NumPy's error handling", np.geterr, lambda old: np.seterr(**old))
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "is_grad_enabled"):
        yield from _of_torch(torch)


def _of_torch(torch: Any) -> Iterator[Setting]:
    native = torch._C
    # First: a mode may change what the rest is told. The default device is one.
    yield Setting("torch's modes or default device", lambda: _modes(torch), lambda old: _put_modes(torch, old))
    yield Setting(
        "torch's dispatch modes",
        native._len_torch_dispatch_stack,
        lambda old: _pop(native._len_torch_dispatch_stack, lambda: native._pop_torch_dispatch_stack(None), old),
    )
    yield Setting("whether torch records gradients", torch.is_grad_enabled, torch.set_grad_enabled)
    yield Setting(
        "torch's inference mode", torch.is_inference_mode_enabled, lambda old: _enter(torch.inference_mode(old))
    )
    yield Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield Setting(
        "torch's autocast", lambda: torch.is_autocast_enabled("cpu"), lambda old: torch.set_autocast_enabled("cpu", old)
    )
    hooks = native._autograd
    yield Setting(
        "torch's hooks of saved tensors",
        lambda: hooks._top_saved_tensors_default_hooks(True),
        lambda old: _pop_until(
            old,
            lambda: hooks._top_saved_tensors_default_hooks(True),
            hooks._pop_saved_tensors_default_hooks,
        ),
    )
    yield Setting("torch's use of oneDNN", native._get_mkldnn_enabled, native._set_mkldnn_enabled)
    yield Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads)
    yield Setting(
        "torch's deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    )
    yield Setting(
        "torch's precision of float32 products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    )
    yield Setting("torch's anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled)
    yield Setting("whether torch flushes subnormal numbers to zero", _flushes, torch.set_flush_denormal)
    module = torch.nn.modules.module
    for name in sorted(vars(module)):
        if name.startswith("_global_") and isinstance(getattr(module, name), dict):
            yield Setting("torch's hooks of all modules", *_of_mapping(getattr(module, name)))


def _of_mapping(held: dict[Any, Any]) -> tuple[Callable[[], dict[Any, Any]], Callable[[dict[Any, Any]], None]]:
    def put(old: dict[Any, Any]) -> None:
        held.clear()
        held.update(old)

    return lambda: dict(held), put


def _modes(torch: Any) -> tuple[Any, ...]:
    return tuple(map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack())))


def _put_modes(torch: Any, old: tuple[Any, ...]) -> None:
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in old:
        torch._C._push_on_torch_function_stack(mode)
    devices = [mode for mode in old if isinstance(mode, torch.utils._device.DeviceContext)]
    torch._GLOBAL_DEVICE_CONTEXT.device_context = devices[-1] if devices else None


_ENTERED: list[Any] = []  # a mode ends with the object that stands for it


def _enter(mode: Any) -> None:
    mode.__enter__()
    _ENTERED.append(mode)


def _pop(count: Callable[[], int], pop: Callable[[], object], old: int) -> None:
    while count() > old:
        pop()


def _pop_until(old: Any, top: Callable[[], Any], pop: Callable[[], object]) -> None:
    while (held := top()) is not None and held != old:
        pop()


def _flushes() -> bool:
    return bool(np.float32(1e-40) * np.float32(1) == 0)


class Surroundings:
    """The settings before a call."""

    def __init__(self) -> None:
        self.before = [(setting, setting.get()) for setting in _settings()]

    def put_back(self) -> tuple[str, ...]:
        """Restores changed settings, and returns their names."""
        changed = []
        for setting, old in self.before:
            with suppress(Exception):  # a folder that is gone cannot be gone back to
                if _differs(setting, old):
                    changed.append(setting.name)
                    setting.put(old)
        return tuple(dict.fromkeys(changed))


def _differs(setting: Setting, old: Any) -> bool:
    try:
        return bool(setting.get() != old)
    except OSError:  # the current folder is gone
        return True
