"""Layers that make sequences of tokens and read from them."""

from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import ShapeError, describe
from funcgrad.layers.initialization import Initializer, as_key, draw
from funcgrad.layers.layer import Layer, array_spec, take


class patches(Layer):
    """Square patches of images, each projected: `x[..., h, w, c] -> y[..., h/p · w/p, features]`, in row-major order.

    The same map as a convolution of that window and stride, as one matrix product: `w[p·p·c, features]`.

    Args:
        features: width of a token.
        size: side of a patch, which must divide both sides of the image.
        w_init: initializer of `w`.

    Raises:
        ShapeError: the patches do not tile the image.

    Example:
        >>> net, x = fg.layers.patches(8, 4), jnp.ones((2, 8, 8, 3))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["w"].shape, net(params, x).shape
        ((48, 8), (2, 4, 8))
    """

    features: int
    size: int
    w_init: Initializer = "lecun_normal"

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w", "b"}` of the input's dtype."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=3)
        w = draw(self.w_init, key, (self.size**2 * x.shape[-1], self.features), x.dtype)
        return {"w": w, "b": jnp.zeros(self.features, x.dtype)}, {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """The projected patches."""
        *batch, h, w, c = x.shape
        if h % self.size or w % self.size:
            raise ShapeError(f"{self.where}: patches of {self.size} must tile the image, got {describe(x)}; resize it.")
        rows, columns, rank = h // self.size, w // self.size, len(batch)
        tiles = ops.reshape(x, shape=(*batch, rows, self.size, columns, self.size, c))
        tiles = ops.transpose(tiles, axes=(*range(rank), rank, rank + 2, rank + 1, rank + 3, rank + 4))
        tiles = ops.reshape(tiles, shape=(*batch, rows * columns, self.size**2 * c))
        return ops.linear(tiles, take(self, params, "w"), take(self, params, "b"))


class class_token(Layer):
    """Put a learned token in front of a sequence: `x[..., t, d] -> y[..., t + 1, d]`, `token[d]`.

    Args:
        init_scale: standard deviation of its entries at the start.

    Raises:
        ShapeError: from `init`, the input is no floating array with tokens and features.

    Example:
        >>> net, x = fg.layers.class_token(), jnp.ones((2, 5, 8))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> params["token"].shape, net(params, x).shape
        ((8,), (2, 6, 8))
    """

    init_scale: float = 0.02

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"token"}`, normal."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=2)
        return {"token": self.init_scale * jax.random.normal(as_key(key), x.shape[-1:], x.dtype)}, {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """The longer sequence."""
        token = ops.broadcast_to(take(self, params, "token"), shape=(*x.shape[:-2], 1, x.shape[-1]))
        return ops.concatenate((token, x), axis=-2)


class position_embedding(Layer):
    """Add a learned vector per position: `x[..., t, d] -> y[..., t, d]`, `table[t, d]`.

    There are as many positions as the input had tokens at `init`; a shorter one reads the first of them.

    Args:
        init_scale: standard deviation of its entries at the start.

    Raises:
        ShapeError: there are more tokens than positions; from `init`, the input is no floating array with tokens and
            features.

    Example:
        >>> net = fg.layers.position_embedding()
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 5, 8)))
        >>> params["table"].shape, net(params, jnp.ones((2, 3, 8))).shape
        ((5, 8), (2, 3, 8))
    """

    init_scale: float = 0.02

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"table"}`, `[t, d]`, normal."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=2)
        return {"table": self.init_scale * jax.random.normal(as_key(key), x.shape[-2:], x.dtype)}, {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """The sum."""
        table = take(self, params, "table")
        if x.shape[-2] > table.shape[0]:
            raise ShapeError(
                f"{self.where}: there are positions for {table.shape[0]} tokens, got {describe(x)}; "
                f"init it at the longest sequence."
            )
        return ops.add(x, table[: x.shape[-2]])


class select(Layer):
    """One entry along an axis, which goes away: the class token is `select(0, axis=-2)` of `x[..., t, d]`.

    Args:
        index: which entry; a negative one counts from the end.
        axis: along which axis.

    Raises:
        ShapeError: there is no such entry or axis.

    Example:
        >>> print(fg.layers.select(0)({}, jnp.array([[1.0, 2.0], [3.0, 4.0]])))
        [1. 2.]
    """

    index: int
    axis: int = -2

    def forward(self, _: PyTree, x: Array) -> Array:
        """The entry."""
        if not (-x.ndim <= self.axis < x.ndim and -x.shape[self.axis] <= self.index < x.shape[self.axis]):
            raise ShapeError(f"{self.where}: there is no entry {self.index} along axis {self.axis} of {describe(x)}.")
        return jax.lax.index_in_dim(x, self.index, self.axis, keepdims=False)


def unembed(params: PyTree, x: Array) -> Array:
    """Logits by the table of a shared `embedding`: `y = x tableᵀ`, `x[..., d], table[n, d] -> y[..., n]`.

    As the last node of a `dag` whose first one is the embedding, with `params=` the same, it ties the two; the gradient
    of the table is then the sum over both uses.

    Args:
        params: those of the embedding, with the `table`.
        x: hidden states.

    Returns:
        `y`, the logits of all tokens.

    Example:
        >>> net = fg.layers.dag("ids",
        ...     h=fg.layers.node(fg.layers.embedding(10, 4), "ids", params="embedding"),
        ...     logits=fg.layers.node(fg.layers.unembed, "h", params="embedding"))
        >>> params, state = net.init(jax.random.key(0), jnp.array([1, 2]))
        >>> net(params, jnp.array([1, 2])).shape
        (2, 10)
    """
    return ops.linear(x, ops.transpose(params["table"]))
