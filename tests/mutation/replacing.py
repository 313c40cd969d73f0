"""How a module of this process comes to run other code: its functions are given it, or it is imported anew."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any


def module_name(file: str) -> str:
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


def replace(code: CodeType, name: str) -> None:
    """Give the functions of a module those of `code`, wherever the functions have got to.

    Raises: ValueError for a function that now sees other variables of what is around it.
    """
    module = ModuleType(name)
    vars(module).update({key: vars(sys.modules[name])[key] for key in ("__file__", "__package__")})
    exec(code, vars(module))
    swap(own(sys.modules[name]), own(module), set())


def own(module: ModuleType) -> dict[str, Any]:
    """What a module defines itself."""
    names = vars(module).items()
    return {key: value for key, value in names if getattr(value, "__module__", module.__name__) == module.__name__}


def swap(old: Any, new: Any, done: set[int]) -> None:
    """Give the functions in `old` the code of those in `new`."""
    if id(old) in done or type(old) is not type(new):
        return
    done.add(id(old))
    pairs: list[tuple[Any, Any]] = []
    if isinstance(old, FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
        cells = zip(old.__closure__ or (), new.__closure__ or (), strict=True)
        pairs = [(a.cell_contents, b.cell_contents) for a, b in cells]
    elif isinstance(old, type) and old.__module__ == new.__module__:
        pairs = [(value, vars(new).get(name)) for name, value in vars(old).items()]
    elif isinstance(old, dict):
        pairs = [(value, new.get(name)) for name, value in old.items()]
    elif isinstance(old, list | tuple):
        pairs = list(zip(old, new, strict=False))
    pairs += [
        (getattr(old, name, None), getattr(new, name, None)) for name in ("fget", "func", "__func__", "__wrapped__")
    ]
    if hasattr(old, "cache_clear"):
        old.cache_clear()
    for one, other in pairs:
        swap(one, other, done)


class Anew(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with other code, and all of the project with it."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code
        for key, module in list(sys.modules.items()):
            parts = Path(str(getattr(module, "__file__", ""))).parts
            if parts[: len(Path.cwd().parts)] == Path.cwd().parts and key != "__main__" and "mutation" not in parts:
                del sys.modules[key]
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        package = Path(self.code.co_filename).name == "__init__.py"
        spec = importlib.util.spec_from_loader(name, self, origin=self.code.co_filename, is_package=package)
        if spec and package:
            spec.submodule_search_locations = [str(Path(self.code.co_filename).parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self.code.co_filename
        exec(self.code, vars(module))
