"""What a mutation changes: one operator, comparison, constant, condition, argument, slice or statement of a module's source.

Left out: docstrings, annotations, and the text of what is raised.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

OPERATORS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Div],
    ast.Mod: [ast.Mult], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.BitXor: [ast.BitOr],
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In], ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
COMMUTATIVE = {"maximum", "minimum", "max", "min", "add", "multiply", "logical_and", "logical_or"}


@dataclass
class Mutant:
    """A node in another's place: `parent`'s `field`, or its `index`-th item."""

    file: str
    place: str  # the functions and classes around it
    label: str
    number: int  # among those of the same file, place and label
    line: int
    column: int
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
        """Changes the tree that the mutant is of."""
        new = ast.copy_location(self.new, self.parent)
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new
        return compiled(tree, self.file)


def compiled(tree: ast.Module, file: str) -> CodeType:
    return compile(ast.fix_missing_locations(tree), str(Path(file).resolve()), "exec")


def mutants(file: str, tree: ast.Module) -> Iterator[Mutant]:
    """Every mutant of a module."""
    seen: Counter[tuple[str, str]] = Counter()

    def walk(parent: Any, scopes: list[Any], statement: Any, known: set[str]) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns") or isinstance(parent, ast.Raise | ast.JoinedStr):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(node, ast.AST) or is_text(node):
                    continue
                own = node if isinstance(node, ast.stmt) else statement
                names = {target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}
                for new in variants(node, bool(names) and names <= known):
                    if ast.unparse(ast.fix_missing_locations(new)) != ast.unparse(node):
                        yield made(parent, field, index, node, new, scopes, own)
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    arguments = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
                    yield from walk(node, [*scopes, node], own, arguments)
                else:
                    yield from walk(node, scopes, own, known)
                known |= names

    def made(parent: Any, field: str, index: int | None, node: Any, new: Any, scopes: list[Any], own: Any) -> Mutant:
        place = ".".join(scope.name for scope in scopes)
        before = own if isinstance(new, ast.Pass) else node
        label = "  ->  ".join(ast.unparse(shown).split("\n")[0] for shown in (before, new))
        seen[place, label] += 1
        # Of a compound statement its head, of a function all of it: the tests that call it see its defaults.
        body = [] if isinstance(own, ast.FunctionDef) else getattr(own, "body", [])
        lines = range(own.lineno, max(body[0].lineno if body else own.end_lineno + 1, own.lineno + 1))
        functions = [scope for scope in scopes if isinstance(scope, ast.FunctionDef)]
        inside = bool(functions) and not any(node in ast.walk(part) for part in functions[0].decorator_list)
        at = getattr(node, "lineno", own.lineno), getattr(node, "col_offset", own.col_offset)
        return Mutant(file, place, label, seen[place, label], *at, lines, inside, parent, field, index, new)

    yield from walk(tree, [], tree, set())


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def variants(node: Any, rebinds: bool) -> Iterator[Any]:  # noqa: PLR0912
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


def changed(node: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    new = copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new
