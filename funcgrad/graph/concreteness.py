"""What to say when traced code asks an array for its value: a sentence with the line, where JAX prints a page."""

import contextlib
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from funcgrad.errors import FuncgradError, GraphError

_WHAT = {
    jax.errors.TracerBoolConversionError: ("branches on", "jnp.where, jax.lax.cond or jax.lax.while_loop"),
    jax.errors.TracerIntegerConversionError: ("takes as an index or a count", "jnp.take or jax.lax.dynamic_slice"),
    jax.errors.TracerArrayConversionError: ("gives to NumPy", "jax.numpy"),
    jax.errors.NonConcreteBooleanIndexError: ("selects by a mask, so takes the shape of,", "jnp.where"),
    jax.errors.ConcretizationTypeError: ("takes as a number", "jax.numpy"),
}
_OURS = Path(__file__).parents[1]
_JAX = Path(jax.__file__).parent


_TRACERS = re.compile(r"[Tt]racer|Traced|concrete|static")


def asks_for_values(error: BaseException) -> bool:
    """Whether an error comes, or may come, of arrays that were traced and had to have contents."""
    for reason in (error, error.__cause__, error.__context__):
        if isinstance(reason, (*_WHAT, jax.errors.UnexpectedTracerError)):
            return True
        is_foreign = isinstance(reason, Exception) and not isinstance(reason, FuncgradError)
        if is_foreign and _TRACERS.search(str(reason)):
            return True
    return False


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """GraphError, of one sentence, where the code inside needs the value of an array that is traced."""
    try:
        yield
    except tuple(_WHAT) as error:
        does, instead = next(words for kind, words in _WHAT.items() if isinstance(error, kind))
        line = _line(error.__traceback__)
        raise GraphError(
            f"{line} {does} the value of an array, which has none while a function is traced; use {instead}, or pass "
            f"what decides as a number."
        ) from None


def _line(trace: TracebackType | None) -> str:
    """The user's own line that an error comes from: neither JAX's nor ours."""
    frames = traceback.extract_tb(trace)
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(root) for root in (_OURS, _JAX))]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} (`{frame.line}`)" if frame.line else f"{frame.filename}"
