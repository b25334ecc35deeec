"""What funcgrad raises, and how it writes an array in a sentence.

Every message is one sentence: which node, what was expected, what was found, what to do.
"""

import contextlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np


class FuncgradError(Exception):
    """Base of everything funcgrad raises on purpose."""


class ShapeError(FuncgradError, ValueError):
    """The arguments of an op or a layer do not fit together."""


class RuleError(FuncgradError, TypeError):
    """A rule does not keep its contract, or is registered for something that is not there."""


class GraphError(FuncgradError, ValueError):
    """A network or a name refers to a node that is missing, repeated or part of a cycle."""


class GradientError(FuncgradError, TypeError, ValueError):
    """A gradient was asked for where none is defined. JAX says so with either of the two classes."""


class BudgetError(FuncgradError, ValueError):
    """A memory budget that cannot be read, or that no choice of what is kept stays within."""


class TrainingError(FuncgradError, ValueError):
    """A training run is set up in a way that cannot work."""


class MissingError(FuncgradError, AttributeError):
    """A package of the library has nothing of that name."""


class CheckError(FuncgradError, AssertionError):
    """A rule is not what it claims to be, or there is nothing to check it on."""


def short_dtype(dtype: Any) -> str:
    """`float32` as `f32`, `bfloat16` as `bf16`, `uint8` as `u8`, `complex64` as `c64`."""
    name = np.dtype(dtype).name if not jax.numpy.issubdtype(dtype, jax.dtypes.extended) else str(dtype)
    return re.sub(r"^(b?)(float|uint|int|complex)(?=\d)", lambda m: m[1] + m[2][0], name)


def describe(x: Any) -> str:
    """An array, tracer or aval as `f32[8,64]`; anything else by its type."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        try:
            x = jax.typeof(x)
        except (TypeError, OverflowError):
            return type(x).__name__
    return f"{short_dtype(x.dtype)}[{','.join(map(str, x.shape))}]"


def describe_tree(tree: Any) -> str:
    """A pytree with every leaf described; a bare array stays a bare `f32[8,64]`."""
    leaves, structure = jax.tree.flatten(tree)
    if jax.tree_util.treedef_is_leaf(structure) and leaves:
        return describe(leaves[0])
    return str(jax.tree.unflatten(structure, [_Described(describe(leaf)) for leaf in leaves]))


def printed(x: Any) -> str:
    """What was passed by mistake: numbers and strings as they are written, anything else as `describe_tree` has it."""
    return repr(x) if isinstance(x, bool | int | float | complex | str | None) else describe_tree(x)


def require_function(name: str, fun: Any) -> None:
    """GradientError unless `fun`, the first argument of the function `name`, can be called."""
    if not callable(fun):
        raise GradientError(f"{name} takes a function first, got {printed(fun)}.")


@contextlib.contextmanager
def called_with(name: str, fun: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """GradientError where `fun`, which the function `name` took first, is no function, or takes other arguments.

    Whether it does is asked only where the code inside raised a TypeError: a signature may say less than is true.
    """
    require_function(name, fun)
    try:
        yield
    except TypeError:
        try:
            signature = inspect.signature(fun)
        except (TypeError, ValueError):
            signature = None
        if signature is None or (wrong := _wrong_call(signature, args, kwargs)) is None:
            raise
        called = getattr(fun, "__name__", "f").replace("<lambda>", "f")
        needed = (p for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD)
        written = ", ".join([called, *(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else str(p) for p in needed)])
        raise GradientError(
            f"{name} takes a function and its arguments, as fg.{name}({written}), and cannot call {called}: {wrong}."
        ) from None


def _wrong_call(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why a function cannot be called so; None where it can."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def said_by(error: BaseException) -> str:
    """What code that is not ours raised, as one part of a sentence: `KeyError: 'alpha'`."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    # A first line that ends in a colon says nothing without what follows.
    first = " ".join(lines) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return (f"{type(error).__name__}: {first}" if first else type(error).__name__).rstrip(".")


def require(value: Any, kinds: Any, what: str, expected: str, error: type[FuncgradError] = GradientError) -> None:
    """An error unless a value is of one of the `kinds`: `what` must be what is `expected`."""
    if not isinstance(value, kinds):
        raise error(f"{what} must be {expected}, got {printed(value)}.")


class _Described(str):
    """A string that prints without quotes inside a container."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
