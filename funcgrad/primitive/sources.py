"""Where in the user's code an equation comes from."""

import linecache
import sysconfig
from pathlib import Path
from typing import Any

import jax

_OURS = Path(__file__).parents[1]
_JAX = Path(jax.__file__).parent
_STANDARD = Path(sysconfig.get_paths()["stdlib"])


def source_line(equation: Any) -> str:
    """The innermost line that is neither JAX's nor ours: "model.py:41 (`y = x / n`)"; empty where none is known."""
    trace = equation.source_info.traceback
    for frame in trace.frames if trace is not None else ():
        if _is_foreign(Path(frame.file_name)):
            code = linecache.getline(frame.file_name, frame.line_num).strip()
            return f"{Path(frame.file_name).name}:{frame.line_num}" + (f" (`{code}`)" if code else "")
    return ""


def wrapped_name(jaxpr: Any, name: str) -> str:
    """What a function is called that a library wrapped in one called `fn_wrapper`; the wrapper's name where unknown.

    A jaxpr knows the name of the outermost function only, but its first equation knows who was being called.
    """
    trace = jaxpr.eqns[0].source_info.traceback if "wrap" in name and jaxpr.eqns else None
    frames = trace.frames if trace is not None else []
    parts = [frame.function_name.split(".") for frame in frames]
    last = [path[-1] for path in parts]
    inside = last.index(name) - 1 if name in last else -1
    if inside < 0 or not _is_foreign(Path(frames[inside].file_name)):
        return name
    return parts[inside][-2] if last[inside] == "__call__" and len(parts[inside]) > 1 else last[inside]


def _is_foreign(file: Path) -> bool:
    if file.is_relative_to(_STANDARD):
        return "site-packages" in file.parts and not file.is_relative_to(_JAX) and not file.is_relative_to(_OURS)
    return not file.is_relative_to(_JAX) and not file.is_relative_to(_OURS)
