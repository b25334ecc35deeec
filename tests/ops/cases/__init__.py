"""Example arguments for every op, by family: a module beside this one adds its cases when imported."""

import importlib
import pkgutil

from funcgrad.registry import registered
from tests.ops.cases.case import CASES as CASES
from tests.ops.cases.case import Case as Case

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def library_ops() -> set[str]:
    """Every op that funcgrad itself registers."""
    return {name for name, op in registered().items() if op.__module__.startswith("funcgrad.ops")}
