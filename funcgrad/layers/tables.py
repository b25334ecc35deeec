"""A table of vectors, one per integer."""

from typing import Any

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.layers.initialization import Initializer, draw, initializer
from funcgrad.layers.layer import Layer, take


class embedding(Layer):
    """Rows of a table: integer `ids[...] -> y[..., features]`, `table[size, features]`.

    An id outside `0..size-1` gives NaN (see `fg.ops.embedding`). To share the table with the output projection, see
    `unembed`.

    Args:
        size: number of rows.
        features: size of a row.
        init_table: initializer of the table.
        dtype: of the table, since the ids do not say it.

    Raises:
        ShapeError: the ids are not integers.

    Example:
        >>> net, ids = fg.layers.embedding(10, 4), jnp.array([[1, 2, 3]])
        >>> params, state = net.init(jax.random.key(0), ids)
        >>> params["table"].shape, net(params, ids).shape
        ((10, 4), (1, 3, 4))
    """

    size: int
    features: int
    init_table: Initializer = initializer("normal", stddev=0.02)
    dtype: str = "float32"

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"table"}`."""
        self.check_inputs(len(specs))
        return {"table": draw(self.init_table, key, (self.size, self.features), self.dtype)}, {}

    def forward(self, params: PyTree, ids: Array) -> Array:
        """`table[ids]`."""
        return ops.embedding(take(self, params, "table"), ids)
