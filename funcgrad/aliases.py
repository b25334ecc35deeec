"""Names for the types that cross module boundaries."""

from collections.abc import Callable
from typing import Any

import jax

Array = jax.Array
PyTree = Any
PyTreeDef = jax.tree_util.PyTreeDef
"""The shape, dtype (and sharding) of an array; what `jax.typeof` returns."""
Aval = Any
PureFunction = Callable[..., Any]
