"""An op at one example: as flat functions, and the numbers in float64."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.numbers import as_dtype, draw
from funcgrad.checking.rules.flat_ops import FlatOp
from funcgrad.errors import CheckError
from funcgrad.primitive import is_inexact
from funcgrad.registry import Call, Example, Op

Arrays = list[Array]


class Case:
    """An op at an example; made under `jax.enable_x64(True)`, whatever the caller's setting is.

    Attributes:
        example: where it comes from.
        flat: the op at these shapes, as flat functions.
        leaves: the arrays, floating ones as float64 and complex ones as complex128.

    Raises:
        CheckError: the example is not a call of the op.
    """

    def __init__(self, op: Op, example: Example):
        self.example = example
        try:
            bound = op.signature.bind(*example.arguments, **example.attributes)
        except TypeError as error:
            raise CheckError(
                f"{op.name}: an example is no call of it, ({example}), {error}; cases= takes a list of tuples of "
                f"arguments, [({', '.join(op.arguments)}), ...]."
            ) from None
        bound.apply_defaults()
        paths, tree = jax.tree_util.tree_flatten_with_path(tuple(bound.arguments[n] for n in op.arguments))
        self.leaves = [_as_float64(x) for _, x in paths]
        self.flat = FlatOp(
            Call(op, tree, tuple((n, bound.arguments[n]) for n in op.attributes)).recording,
            tuple(map(jax.typeof, self.leaves)),
            tuple(jax.tree_util.keystr(path[1:]) for path, _ in paths),
            tuple(op.rules.items()),
        )

    def __str__(self) -> str:
        return str(self.example)

    def moved(self) -> "Case":
        """Beside the example, at other numbers in general position: no ties, no kinks."""
        rng, beside = np.random.default_rng(8), copy(self)
        beside.leaves = [
            x + as_dtype(1e-2 * (1 + np.abs(x)) * draw(rng, x.shape, x.dtype), x.dtype) if i in self.flat.moving else x
            for i, x in enumerate(self.leaves)
        ]
        return beside

    def random_g(self, seed: int = 0) -> Arrays:
        """A random cotangent."""
        rng = np.random.default_rng(1000 + seed)
        return [as_dtype(draw(rng, y.shape, y.dtype), y.dtype) for y in self.flat.outputs]


def cast(leaves: Sequence[Array], dtype: Any) -> Arrays:
    """The floating leaves in another dtype, rounded; all others as they are."""
    return [as_dtype(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in leaves]


def _as_float64(x: Any) -> Array:
    aval = jax.typeof(x)
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        return x
    if jnp.issubdtype(aval.dtype, jnp.complexfloating):
        return as_dtype(x, np.complex128)
    return as_dtype(x, np.float64) if is_inexact(aval) else jnp.asarray(x)
