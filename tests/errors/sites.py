"""Where the package raises an error, read from its source: nobody keeps a list."""

import ast
import builtins
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import funcgrad

PACKAGE = Path(funcgrad.__file__).parent
INTERNAL = frozenset({"Wrong", "Open"})
"""How a check of rules ends early; its report has a row for it, so no user meets these."""


@dataclass(frozen=True)
class Site:
    """One place that makes an error."""

    module: str
    """`ops/dot_product_attention.py`."""
    function: str
    """The qualified name: `Op.pullback`."""
    kind: str
    """The class of the error."""
    template: str
    """A regular expression: what the source writes, with anything in its holes."""
    line: int

    @property
    def is_reason(self) -> bool:
        """Whether an op's function raises it, to which its call adds where and for which arguments that was."""
        return self.kind in ("ValueError", "TypeError")

    def matches(self, sentence: str) -> bool:
        """Whether the sentence can be from here; a reason stands within a sentence."""
        match = re.search if self.is_reason else re.fullmatch
        return match(self.template, sentence) is not None

    def __str__(self) -> str:
        return f"{self.module}: {self.kind} in {self.function}"


@cache
def all_sites(package: Path = PACKAGE) -> tuple[Site, ...]:
    """All places of the package that make an error, in the order of its files and lines."""
    trees = {path.relative_to(package).as_posix(): ast.parse(path.read_text()) for path in package.rglob("*.py")}
    kinds = _error_classes(trees.values())
    return tuple(site for module in sorted(trees) for site in _sites_of(module, trees[module], kinds))


def site_of(error: BaseException, sentence: str) -> Site | None:
    """The place that made an error of which users read `sentence`; None where it was not the package.

    It is in the function of the innermost frame that is ours, and the nearest there of those with such a sentence.
    """
    frames = [(Path(f.f_code.co_filename), f.f_code, line) for f, line in traceback.walk_tb(error.__traceback__)]
    ours = [(file, code, line) for file, code, line in frames if file.is_relative_to(PACKAGE)]
    if not ours:
        return None
    file, code, line = ours[-1]
    place = (file.relative_to(PACKAGE).as_posix(), code.co_qualname.replace("<locals>.", ""), type(error).__name__)
    there = [s for s in all_sites() if (s.module, s.function, s.kind) == place and s.matches(sentence)]
    return min(there, key=lambda s: abs(s.line - line), default=None)


def _error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """Names of the exceptions of Python and of those that the package derives from them."""
    known = {n for n, x in vars(builtins).items() if isinstance(x, type) and issubclass(x, BaseException)}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while new := {c.name for c in classes if any(ast.unparse(b) in known for b in c.bases)} - known:
        known |= new
    return known - INTERNAL


def _sites_of(module: str, tree: ast.Module, kinds: set[str]) -> Iterator[Site]:
    def visit(node: ast.AST, path: tuple[str, ...]) -> Iterator[Site]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            yield from visit(child, (*path, child.name) if named else path)
            if isinstance(child, ast.Call) and (kind := _name(child.func)) in kinds:
                assert child.args, f"{module}, line {child.lineno}: an error without a sentence"
                yield Site(module, ".".join(path), kind, _template(child.args[0]), child.lineno)
            bare = isinstance(child, ast.Raise) and _name(child.exc) in kinds
            assert not bare, f"{module}, line {child.lineno}: an error without a sentence"

    return visit(tree, ())


def _name(expression: ast.expr | None) -> str:
    """`ShapeError` of `ShapeError` and of `errors.ShapeError`."""
    return ast.unparse(expression).rpartition(".")[2] if isinstance(expression, ast.Name | ast.Attribute) else ""


def _template(expression: ast.expr) -> str:
    parts = expression.values if isinstance(expression, ast.JoinedStr) else [expression]
    return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else "(?s:.*)" for p in parts)
