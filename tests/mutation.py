"""Mutation testing: does some test fail when one place of the source is changed?

    python tests/mutation.py refbp --tests tests/refbp --out /tmp/mutants

The tests are collected once and run once under coverage, which says which of them reach which line. Each mutant is then a fork of
that warm process: its functions get the mutant's code, and those tests run that reach the changed statement, the quick ones
first, until one fails. What no function holds (constants, class bodies, decorators) is imported anew, with all tests that reach the
file. The fork ends the mutant's life, so nothing of it stays. Tests that start other processes see the unchanged source there.

Left out: docstrings, annotations, and the text of what is raised.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import hypothesis
import pytest

OPERATORS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.Mult], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.BitXor: [ast.BitOr],
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In], ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
COMMUTATIVE = {"maximum", "minimum", "max", "min", "add", "multiply", "logical_and", "logical_or"}
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def changed(node: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    new = copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node: Any, rebinds: bool) -> Iterator[Any]:
    """What may stand in a node's place. rebinds: it assigns to a name that has a value already."""
    match node:
        case ast.BinOp() | ast.BoolOp():
            yield from (changed(node, op=other()) for other in OPERATORS.get(type(node.op), []))
            if isinstance(node.op, ast.MatMult):
                yield changed(node, left=node.right, right=node.left)
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in OPERATORS[type(op)]:
                    yield changed(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield changed(node, value=not value)
        case ast.Constant(value=int(value)):
            yield from (changed(node, value=other) for other in (value + 1, value - 1))
        case ast.Constant(value=float(value)):
            yield changed(node, value=value * 1.01 if value else 1.0)
        case ast.Constant(value=str(value)):
            yield changed(node, value=value + "x")
        case ast.If() | ast.While() | ast.IfExp():
            yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.comprehension():
            for i, test in enumerate(node.ifs):
                yield changed(node, ifs=[*node.ifs[:i], ast.UnaryOp(ast.Not(), test), *node.ifs[i + 1 :]])
        case ast.Slice():
            yield from (changed(node, **{end: None}) for end in ("lower", "upper", "step") if getattr(node, end))
        case ast.Call():
            for i in range(len(node.keywords)):
                yield changed(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
            commutes = getattr(node.func, "attr", getattr(node.func, "id", "")) in COMMUTATIVE
            for i in range(0 if commutes else len(node.args) - 1):
                yield changed(node, args=[*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]])
        case ast.AugAssign():
            yield from (changed(node, op=other()) for other in OPERATORS.get(type(node.op), []))
            yield ast.Assign([node.target], node.value)
            yield ast.Pass()
        case ast.Expr() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign(targets=[target]) if rebinds or isinstance(target, ast.Attribute | ast.Subscript):
            yield ast.Pass()


@dataclass
class Mutant:
    """One node in another's place: `parent`'s `field`, or its `index`-th item."""

    file: str
    place: str  # the functions and classes around it
    label: str
    number: int  # among those of the same file, place and label
    line: int
    lines: range  # of the statement
    inside: bool  # of a function
    parent: Any
    field: str
    index: int | None
    new: Any

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.file, self.place, self.label, self.number

    def apply(self, tree: ast.Module) -> CodeType:
        new = ast.copy_location(self.new, self.parent if not hasattr(self.parent, "lineno") else self.parent)
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new
        return compiled(tree, self.file)


def compiled(tree: ast.Module, file: str) -> CodeType:
    return compile(ast.fix_missing_locations(tree), str(Path(file).resolve()), "exec")


def module_name(file: str) -> str:
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


def mutants(file: str, tree: ast.Module) -> Iterator[Mutant]:
    seen: Counter[tuple[str, str]] = Counter()

    def walk(parent: Any, place: list[Any], statement: Any, known: set[str]) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "type_comment") or isinstance(parent, ast.Raise | ast.JoinedStr):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(node, ast.AST) or (
                    isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                ):
                    continue
                own = node if isinstance(node, ast.stmt) else statement
                names = {target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}
                for new in variants(node, bool(names) and names <= known):
                    if ast.unparse(ast.fix_missing_locations(new)) != ast.unparse(node):
                        yield site(parent, field, index, node, new, place, own)
                deeper = [*place, node] if isinstance(node, DEFINITIONS) else place
                inside = (
                    {arg.arg for arg in ast.walk(node) if isinstance(arg, ast.arg)} if deeper is not place else known
                )
                yield from walk(node, deeper, own, inside)
                known |= names

    def site(
        parent: Any, field: str, index: int | None, node: Any, new: Any, place: list[Any], statement: Any
    ) -> Mutant:
        qualname = ".".join(scope.name for scope in place)
        before = ast.unparse(statement if isinstance(new, ast.Pass) else node).split("\n")[0]
        label = f"{before}  ->  {ast.unparse(ast.fix_missing_locations(new)).split(chr(10))[0]}"
        seen[qualname, label] += 1
        body = [] if isinstance(statement, ast.FunctionDef) else getattr(statement, "body", [])
        end = body[0].lineno if body else statement.end_lineno + 1
        functions = [scope for scope in place if isinstance(scope, ast.FunctionDef)]
        within = bool(functions) and not any(node in ast.walk(part) for part in functions[0].decorator_list)
        lines = range(statement.lineno, max(end, statement.lineno + 1))
        line = getattr(node, "lineno", statement.lineno)
        number = seen[qualname, label]
        return Mutant(file, qualname, label, number, line, lines, within, parent, field, index, new)

    yield from walk(tree, [], tree, set())


def swap(old: Any, new: Any, done: set[int]) -> None:
    """Give the functions in `old` the code of those in `new`."""
    if id(old) in done or type(old) is not type(new):
        return
    done.add(id(old))
    pairs: list[tuple[Any, Any]] = []
    if isinstance(old, FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
        pairs = [
            (a.cell_contents, b.cell_contents)
            for a, b in zip(old.__closure__ or (), new.__closure__ or (), strict=True)
        ]
    elif isinstance(old, type) and old.__module__ == new.__module__:
        pairs = [(value, vars(new).get(name)) for name, value in vars(old).items()]
    elif isinstance(old, dict):
        pairs = [(value, new.get(name)) for name, value in old.items()]
    elif isinstance(old, list | tuple):
        pairs = list(zip(old, new, strict=False))
    for name in ("fget", "func", "__func__", "__wrapped__"):
        pairs.append((getattr(old, name, None), getattr(new, name, None)))
    if hasattr(old, "cache_clear"):
        old.cache_clear()
    for one, other in pairs:
        swap(one, other, done)


def replace(code: CodeType, name: str) -> None:
    module = ModuleType(name)
    vars(module).update({key: vars(sys.modules[name])[key] for key in ("__file__", "__package__")})
    exec(code, vars(module))
    swap(own(sys.modules[name]), own(module), set())


def own(module: ModuleType) -> dict[str, Any]:
    """What a module defines itself."""
    names = vars(module).items()
    return {key: value for key, value in names if getattr(value, "__module__", module.__name__) == module.__name__}


QUIETLY = ["-q", "--tb=native", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


class Anew(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with other code."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self.name:
            return None
        package = Path(self.code.co_filename).name == "__init__.py"
        spec = importlib.util.spec_from_loader(name, self, origin=self.code.co_filename, is_package=package)
        if spec and package:
            spec.submodule_search_locations = [str(Path(self.code.co_filename).parent.resolve())]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(Path(self.code.co_filename).resolve())
        exec(self.code, vars(module))


class Run:
    """The pytest plugin that runs mutants in place of tests."""

    def __init__(self, files: list[str], options: argparse.Namespace) -> None:
        self.options, self.files = options, files
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.failures: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failures.append(report.longreprtext)

    def failed(self, item: pytest.Item, following: pytest.Item | None) -> bool:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return bool(self.failures)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not (self.out / "durations.json").exists() and in_fork(lambda: self.measure(session.items), None):
            raise SystemExit("the tests do not pass unchanged")
        self.durations = json.loads((self.out / "durations.json").read_text())
        data = coverage.CoverageData(str(self.out / "coverage"))
        data.read()
        trees = {file: ast.parse(Path(file).read_text()) for file in self.files}
        found = [mutant for file, tree in trees.items() for mutant in mutants(file, tree)]
        if self.options.sample:
            found = random.Random(self.options.seed).sample(found, min(self.options.sample, len(found)))
        if self.options.again:
            again = map(json.loads, Path(self.options.again).read_text().splitlines())
            keys = {tuple(entry["key"]) for entry in again if entry["result"] == "survived"}
            found = [mutant for mutant in found if mutant.key in keys]
        results = self.out / self.options.name
        done = (
            {tuple(json.loads(line)["key"]) for line in results.read_text().splitlines()} if results.exists() else set()
        )
        end = time.monotonic() + 60 * self.options.minutes
        for mutant in found:
            if mutant.key in done or time.monotonic() > end:
                continue
            by_line = data.contexts_by_lineno(str(Path(mutant.file).resolve()))
            reaching: set[str] = {
                test for line, tests in by_line.items() if not mutant.inside or line in mutant.lines for test in tests
            }
            items = [item for item in session.items if item.nodeid in reaching or not reaching - {""}]
            items.sort(key=lambda item: self.durations.get(item.nodeid, 0.0))
            began = time.monotonic()
            result = self.result(mutant, trees[mutant.file], items)
            entry = {"key": mutant.key, "line": mutant.line, "result": result, "tests": len(items)}
            with results.open("a") as file:
                print(json.dumps(entry | {"seconds": round(time.monotonic() - began, 2)}), file=file)
        entries = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        print(f"{len(found)} mutants,", dict(Counter(entry["result"].split(":")[0] for entry in entries)))
        return True

    def measure(self, items: list[pytest.Item]) -> int:
        """Which test reaches which line, and how long it takes; with each function's code swapped for its own."""
        durations = {}
        for file in self.files:
            replace(compiled(ast.parse(Path(file).read_text()), file), module_name(file))
        measured = coverage.Coverage(data_file=str(self.out / "coverage"), include=self.files)
        measured.start()
        for item, following in pairwise([*items, None]):
            measured.switch_context(item.nodeid)
            began = time.perf_counter()
            if self.failed(item, following):
                print(self.failures)
                return 1
            durations[item.nodeid] = time.perf_counter() - began
            measured.switch_context("")
        measured.stop()
        measured.save()
        (self.out / "durations.json").write_text(json.dumps(durations))
        return 0

    def result(self, mutant: Mutant, tree: ast.Module, items: list[pytest.Item]) -> str:
        name = module_name(mutant.file)
        seconds = 10 + 5 * sum(self.durations.get(item.nodeid, 0.0) for item in items)
        status = in_fork(
            lambda: (self.replaced if mutant.inside else self.imported)(mutant.apply(tree), name, items), seconds
        )
        return {0: "survived", 1: "killed", signal.SIGALRM: "killed: too slow"}.get(status, f"killed: {status}")

    def replaced(self, code: CodeType, name: str, items: list[pytest.Item]) -> int:
        replace(code, name)
        return int(any(self.failed(item, following) for item, following in pairwise([*items, None])))

    @staticmethod
    def imported(code: CodeType, name: str, items: list[pytest.Item]) -> int:
        files = sorted({str(item.path) for item in items})
        inside = tuple(str(Path.cwd() / top) for top in ("refbp", "oracle", "tests"))
        for key, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(inside) and key != "__main__":
                del sys.modules[key]
        sys.meta_path.insert(0, Anew(name, code))
        return int(pytest.main([*QUIETLY, "-x", *files]) != 0)


def in_fork(function: Any, seconds: float | None) -> int:
    """The exit status of a function in a fork, or the signal that ended it; 1 for what it raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, 1), os.dup2(null, 2)
            status = function()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return abs(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", help="files, or folders of them")
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument(
        "--out", required=True, help="folder for what was measured and found; what is there is not done again"
    )
    parser.add_argument("--name", default="mutants.jsonl", help="of the file of results")
    parser.add_argument("--sample", type=int, help="that many mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", help="the survivors of a file of results only")
    parser.add_argument("--minutes", type=float, default=1e9)
    options, further = parser.parse_known_args()
    files = [
        str(f) for s in options.sources for f in (sorted(Path(s).rglob("*.py")) if Path(s).is_dir() else [Path(s)])
    ]
    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("mutation")
    sys.path.insert(0, str(Path.cwd()))
    pytest.main([*QUIETLY, "-s", *options.tests, *further], plugins=[Run(files, options)])


if __name__ == "__main__":
    main()
