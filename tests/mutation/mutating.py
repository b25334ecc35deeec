"""Small faults, one at a time, in the text of a module: what a mutation is, and all that a module offers."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLED = {"any": "all", "all": "any", "min": "max", "max": "min", "reversed": "list"}


@dataclass(frozen=True)
class Mutation:
    """A piece of a module's text, and what stands there instead."""

    module: str
    """Path of the module, from the root of the repository."""
    function: str
    """Qualified name of the function it is in."""
    before: str
    after: str
    start: int
    end: int
    """Offsets of the piece in the module's bytes."""
    line: int

    @property
    def key(self) -> str:
        """What it is called, wherever it moves in the module."""
        return f"{self.module} {self.function}: {self.before} -> {self.after}"

    @property
    def rank(self) -> str:
        """Where it stands in a sample: as good as random, and the same whatever else changes."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    def apply(self, source: bytes) -> bytes:
        """The module's text with the fault in it."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def find_mutations(root: Path, module: str) -> list[Mutation]:
    """All mutations of a module, each of which is a program, in the order of its text."""
    source = (root / module).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for function, node, after in _walk(ast.parse(source), ""):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = " ".join(source[start:end].decode().split())
        found.append(Mutation(module, function, before, after, start, end, node.lineno))
    return found


def sample(mutations: Iterable[Mutation], n: int) -> list[Mutation]:
    """Up to `n` of the mutations, no two of the same name, in the order of the text."""
    named = {m.key: m for m in mutations}
    return sorted(sorted(named.values(), key=lambda m: m.rank)[:n], key=lambda m: (m.module, m.start))


Located = ast.expr | ast.stmt
"""Nodes that have a place in the text."""
Change = tuple[Located, str]
"""A node, and what may stand in its place."""


def _walk(node: ast.AST, function: str) -> Iterator[tuple[str, Located, str]]:
    """The nodes inside of functions, with what may stand in their place.

    Left out is what is no behavior, or what cannot be told apart from outside: decorators, annotations, docstrings,
    assertions, `strict=` of `zip`; and the text of messages.
    """
    if _is_silent(node):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
        for child in node.body:
            yield from _walk(child, function)
        return
    if function:
        for piece, after in (*_change_expression(node), *_change_condition(node), *_change_statement(node)):
            yield function, piece, after
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.AnnAssign) and child is node.annotation):
            yield from _walk(child, function)


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.JoinedStr() | ast.arguments() | ast.keyword(arg="strict"):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return False


def _change_expression(node: ast.AST) -> Iterator[Change]:
    """Another operator, another number, another function."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=comparators):
            yield node, _write(ast.Compare(left, [COMPARED[type(operator)]()], comparators))
        case ast.BoolOp(op=operator, values=values):
            yield node, _write(ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in COMPUTED:
            yield node, _write(ast.BinOp(left, COMPUTED[type(operator)](), right))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield node, _write(operand)
        case ast.Constant(value=bool(value)):
            yield node, str(not value)
        case ast.Constant(value=int(value)):
            yield node, str(value + 1)
        case ast.Call(func=ast.Name(id=name) as called) if name in CALLED:
            yield called, CALLED[name]
        case ast.Slice(lower=lower, upper=upper):
            bounds = [b for b in (lower, upper) if b is not None and not isinstance(b, ast.Constant)]
            yield from ((b, _write(ast.BinOp(b, ast.Add(), ast.Constant(1)))) for b in bounds)


def _change_condition(node: ast.AST) -> Iterator[Change]:
    """The opposite of a condition, or none."""
    match node:
        case ast.IfExp(test=test) | ast.If(test=test) | ast.While(test=test):
            conditions = [test]
        case ast.comprehension(ifs=ifs):
            conditions = ifs
        case _:
            conditions = []
    for condition in conditions:
        match condition:
            case ast.Constant():
                continue  # a loop without end
            case ast.Compare(ops=[_]) | ast.UnaryOp(op=ast.Not()):
                pass  # changing its operator is the same
            case _:
                yield condition, f"(not {_write(condition)})"
        yield condition, "True"


def _change_statement(node: ast.AST) -> Iterator[Change]:
    """A result that is lost, a statement that is not there."""
    match node:
        case ast.Return(value=None | ast.Constant(value=None)):
            pass
        case ast.Return():
            yield node, "return None"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"
        case ast.Continue():
            yield node, "break"


def _write(node: ast.expr) -> str:
    """The text of an expression, in brackets where it could otherwise be torn apart."""
    text = ast.unparse(ast.fix_missing_locations(node))
    return f"({text})" if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp | ast.IfExp) else text
