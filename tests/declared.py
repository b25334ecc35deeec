"""An import hook: functions and methods of a package check their declared types by beartype."""

import ast
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

DECORATOR = ast.parse("__import__('beartype').beartype", mode="eval").body


def known(annotation: ast.expr | None) -> ast.expr | None:
    """The annotation, unless it is a string."""
    return None if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str) else annotation


class CheckingLoader(SourceFileLoader):
    """What stands in the body of a function is left alone: to wrap it at every call takes longer than the call.

    The decorator is the innermost one: `fg.op` and `dataclass` see the function that checks. A type that is written
    as a string is known to type checkers only.
    """

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path), self.path)
        bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        for node in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef)):
            node.decorator_list.append(ast.copy_location(DECORATOR, node))
            for argument in (a for a in ast.walk(node.args) if isinstance(a, ast.arg)):
                argument.annotation = known(argument.annotation)
            node.returns = known(node.returns)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class CheckingFinder(MetaPathFinder):
    """Loads the modules of some packages by `CheckingLoader`."""

    def __init__(self, packages: Sequence[str]):
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(f"{fullname}.".startswith(f"{package}.") for package in self.packages):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = CheckingLoader(spec.loader.name, spec.loader.path)
        return spec


def check_declared_types(packages: Sequence[str]) -> None:
    """From now on, in modules of these packages that are imported."""
    sys.meta_path.insert(0, CheckingFinder(packages))
