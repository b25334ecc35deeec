"""What a package shows: what it names in `__all__`, and none of the modules it is made of."""

import difflib
import sys
from types import ModuleType
from typing import NoReturn

from funcgrad.errors import MissingError


def hide_modules(package: str) -> None:
    """Take the modules of a package out of its namespace, once it has imported what it shows from them.

    `fg.layers.attention` would else be a module where a layer is meant, and calling it Python's "'module' object is
    not callable". Imports find the modules as before, and the package's `__getattr__` says what it has instead; that
    is set from here, so that type checkers do not take the package to have whatever it is asked for.
    """
    namespace = vars(sys.modules[package])
    inner = [n for n, v in namespace.items() if isinstance(v, ModuleType) and v.__name__ == f"{package}.{n}"]
    for name in inner:
        del namespace[name]
    shown = namespace["__all__"]

    def missing(name: str) -> NoReturn:
        close = difflib.get_close_matches(name, shown, n=3) or [n for n in shown if name[:4] in n][:3]
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"help({package}) lists what there is."
        raise MissingError(f"{package} has no '{name}'; {hint}")

    namespace["__getattr__"] = missing
