"""Small changes to a module's source, one at a time, each of which its tests should notice.

What is changed: operators, comparisons, numbers, words that are names, conditions, which argument
is which, statements that stand for their effect. Annotations, decorators, docstrings and texts for
readers are left as they are: they change nothing that a test can see, or only what it should not.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

LEFT_OUT = ("annotation", "returns", "decorator_list")  # fields of nodes
OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
PAIRS = (
    ("any", "all"),
    ("min", "max"),
    ("minimum", "maximum"),
    ("floor", "ceil"),
    ("sum", "mean"),
    ("argmin", "argmax"),
)
SYMMETRIC = {"min", "max", "minimum", "maximum", "hypot"}  # functions
OTHER_NAME = {**dict(PAIRS), **{b: a for a, b in PAIRS}}


class Mutant(NamedTuple):
    """A module with one change."""

    line: int
    change: str  # "what stands before [old => new] and after"
    code: CodeType


class _Slot(NamedTuple):
    """Where a node hangs: in a field of its owner, or in a list in one."""

    owner: ast.AST
    field: str
    index: int | None
    statement: ast.stmt

    @property
    def node(self) -> ast.AST:
        held = getattr(self.owner, self.field)
        return held if self.index is None else held[self.index]

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.index] = node


def mutants(source: str, file: str) -> Iterator[Mutant]:
    """Return every mutant of a source that compiles, in the order of its lines."""
    tree = ast.parse(source)
    for slot in sorted(_slots(tree), key=lambda slot: slot.node.lineno):
        old, before = slot.node, _text(slot.statement)
        for new in _changed(old):
            slot.put(ast.copy_location(new, old))
            # A statement's successor is not in the tree: then it is the text.
            statement = new if old is slot.statement else slot.statement
            code = compile(ast.fix_missing_locations(tree), file, "exec")
            yield Mutant(old.lineno, _difference(before, _text(statement)), code)
            slot.put(old)


def _slots(owner: ast.AST, statement: ast.stmt | None = None) -> Iterator[_Slot]:
    for field, held in ast.iter_fields(owner):
        if field in LEFT_OUT:
            continue
        several = isinstance(held, list)
        for index, node in enumerate(held if several else [held]):
            if not isinstance(node, ast.AST) or _for_readers_only(node):
                continue
            around = node if isinstance(node, ast.stmt) else statement
            if hasattr(node, "lineno"):
                yield _Slot(owner, field, index if several else None, around)
            yield from _slots(node, around)


def _for_readers_only(node: ast.AST) -> bool:
    """Say whether a node is a text with figures in it, or a guard against slips in the module."""
    return isinstance(node, ast.JoinedStr) or getattr(node, "arg", None) == "strict"


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Return what may stand in a node's place."""
    match node:
        case ast.Constant():
            yield from (ast.Constant(value) for value in _other_values(node.value))
        case ast.BinOp() | ast.AugAssign():
            yield from (_with(node, op=op()) for op in OPERATORS.get(type(node.op), ()))
        case ast.Compare(ops=[op]):
            yield from (_with(node, ops=[other()]) for other in OPERATORS[type(op)])
        case ast.BoolOp():
            for index in range(len(node.values)):
                left = [value for other, value in enumerate(node.values) if other != index]
                yield left[0] if len(left) == 1 else _with(node, values=left)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.If():
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Attribute(attr=name) if name in OTHER_NAME:
            yield _with(node, attr=OTHER_NAME[name])
        case ast.Name(id=name) if name in OTHER_NAME:
            yield _with(node, id=OTHER_NAME[name])
        case ast.Call():
            yield from _other_calls(node)
    match node:
        case ast.Expr(value=ast.Constant()):
            pass
        case ast.Expr() | ast.AugAssign() | ast.Raise():
            yield ast.Pass()


def _other_values(value: object) -> Iterator[object]:
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1)
        case float():
            yield from (2 * value, value / 2) if value else (1.0,)
        case str() if value and " " not in value:
            yield value + "_"


def _other_calls(call: ast.Call) -> Iterator[ast.Call]:
    for index in range(len(call.keywords)):
        if call.keywords[index].arg not in (None, "strict"):
            yield _with(call, keywords=call.keywords[:index] + call.keywords[index + 1 :])
    starred = any(isinstance(arg, ast.Starred) for arg in call.args)
    if starred or getattr(call.func, "attr", getattr(call.func, "id", None)) in SYMMETRIC:
        return
    for index in range(len(call.args) - 1):
        one, other = call.args[index : index + 2]
        yield _with(call, args=[*call.args[:index], other, one, *call.args[index + 2 :]])


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _text(statement: ast.stmt) -> str:
    """Return a statement in one line: a compound one without its body."""
    if hasattr(statement, "body"):
        statement = _with(statement, body=[ast.Pass()], orelse=[], decorator_list=[])
    return " ".join(ast.unparse(ast.fix_missing_locations(statement)).split())


def _difference(old: str, new: str, around: int = 30) -> str:
    olds, news = (re.findall(r"[\w.]+|\W", text) for text in (old, new))
    start = _alike(olds, news)
    end = _alike(olds[start:][::-1], news[start:][::-1])
    before, after = "".join(olds[:start]), "".join(olds[len(olds) - end :])
    gone, come = ("".join(words[start : len(words) - end]) for words in (olds, news))
    return f"{before[-around:]}[{gone} => {come}]{after[:around]}"


def _alike(one: list[str], other: list[str]) -> int:
    """Return how many words two lists begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
