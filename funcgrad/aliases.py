"""Names for the types that cross module boundaries."""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
PyTree = Any
PyTreeDef = Any
"""The structure of a pytree: a `jax.tree_util.PyTreeDef`, which type checkers see as a variable."""
Aval = Any
"""The shape, dtype (and sharding) of an array: what `jax.typeof` returns."""
PureFunction = Callable[..., Any]
