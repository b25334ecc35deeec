"""What a gradient is taken with respect to: positional arguments, or values by name."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from funcgrad.aliases import Array, Aval, PyTree, PyTreeDef
from funcgrad.errors import GradientError, describe
from funcgrad.graph import Arguments, Graph, Value
from funcgrad.graph.arguments import is_array
from funcgrad.plans import Plan
from funcgrad.registry import matches


@runtime_checkable
class Selection(Protocol):
    """A choice of values, and the shape in which their cotangents are handed back."""

    def wanted(self, graph: Graph) -> tuple[Value, ...]:
        """Choose the values."""
        ...

    def assemble(self, plan: Plan, cotangents: Sequence[Array]) -> PyTree:
        """Put the cotangents of `plan.wanted` into the shape the caller expects."""
        ...


@dataclass(frozen=True)
class ByArgument:
    """Positional arguments: cotangents come back as a tuple of pytrees like the arguments."""

    argnums: tuple[int, ...]
    trees: tuple[PyTreeDef, ...]
    avals: tuple[tuple[Aval, ...], ...]
    """The avals of each argument's leaves."""

    @classmethod
    def of(cls, argnums: Sequence[int], args: Sequence[Any], arguments: Arguments, allow_int: bool) -> "ByArgument":
        """Check that the arguments can have gradients; GradientError if not."""
        trees, avals = [], []
        for n in argnums:
            leaves, tree = jax.tree.flatten(args[n])
            names = [name for name, p in zip(arguments.names, arguments.positions, strict=True) if p == n]
            found = [_differentiable(leaf, name, n, allow_int) for leaf, name in zip(leaves, names, strict=True)]
            trees.append(tree)
            avals.append(tuple(found))
        return cls(tuple(argnums), tuple(trees), tuple(avals))

    def wanted(self, graph: Graph) -> tuple[Value, ...]:
        """Choose the floating leaves of the arguments."""
        inputs = list(zip(graph.structure.inputs, graph.arguments.input_positions, strict=True))
        return tuple(v for n in self.argnums for v, p in inputs if p == n and v.is_inexact)

    def assemble(self, plan: Plan, cotangents: Sequence[Array]) -> tuple[PyTree, ...]:
        """Make a tuple of pytrees like the arguments; integer leaves get `float0` zeros."""
        del plan
        source = iter(cotangents)
        return tuple(
            jax.tree.unflatten(tree, [next(source) if _is_inexact(a) else _no_cotangent(a) for a in avals])
            for tree, avals in zip(self.trees, self.avals, strict=True)
        )


@dataclass(frozen=True)
class ByName:
    """Named values: one exact name gives its cotangent, a glob or several names a mapping from names."""

    names: tuple[str, ...]
    single: bool

    @classmethod
    def of(cls, wrt: str | Sequence[str]) -> "ByName":
        """Read `wrt=`."""
        if isinstance(wrt, str):
            return cls((wrt,), single="*" not in wrt)
        return cls(tuple(wrt), single=False)

    def wanted(self, graph: Graph) -> tuple[Value, ...]:
        """Find the values; GradientError where a name finds none."""
        values = list(graph.structure.values)
        return tuple(dict.fromkeys(v for name in self.names for v in _find(name, values)))

    def assemble(self, plan: Plan, cotangents: Sequence[Array]) -> PyTree:
        """Map names to cotangents; GradientError for an exact name that the loss does not depend on."""
        found = dict(zip(plan.wanted, cotangents, strict=True))
        for value in found:
            if value.name in self.names and value not in plan.reached:
                raise GradientError(f"The loss does not depend on '{value.name}'; leave it out of wrt.")
        named = {v.name: g for v, g in found.items() if v in plan.reached}
        return named[self.names[0]] if self.single else named


def _find(name: str, values: Sequence[Value]) -> list[Value]:
    if "*" in name:
        found = [v for v in values if v.is_inexact and matches(name, v.name)]
    else:
        found = [v for v in values if v.name == name]
        if found and not found[0].is_inexact:
            raise GradientError(
                f"'{name}' is {describe(found[0].aval)}; only floating or complex values have gradients."
            )
    if not found:
        near = difflib.get_close_matches(name, [v.name for v in values], n=2)
        hint = (
            f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "print(fg.trace(...)) lists the names."
        )
        raise GradientError(f"No value is named '{name}'; {hint}")
    return found


def _differentiable(leaf: Any, name: str, argnum: int, allow_int: bool) -> Aval:
    try:
        aval = leaf if is_array(leaf) and not isinstance(leaf, np.ndarray) else jax.typeof(leaf)
    except TypeError:
        raise GradientError(
            f"Argument {argnum} has a leaf '{name}' of type {type(leaf).__name__}; gradients need arrays, so pass it "
            f"as another argument."
        ) from None
    if not _is_inexact(aval) and not allow_int:
        raise GradientError(
            f"Argument {argnum} has a leaf '{name}' of {describe(aval)}; gradients need floating or complex arrays: "
            f"cast it, leave it out of argnums, or pass allow_int=True."
        )
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _is_inexact(aval: Aval) -> bool:
    return jax.numpy.issubdtype(aval.dtype, jax.numpy.inexact)


def _no_cotangent(aval: Aval) -> np.ndarray:
    return np.zeros(aval.shape, jax.dtypes.float0)
