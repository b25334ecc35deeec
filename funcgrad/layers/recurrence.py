"""Recurrent layers: cells, which take one step, and `recurrent`, which takes all steps of a sequence."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError, describe
from funcgrad.layers.initialization import Initializer, as_key, draw
from funcgrad.layers.layer import Layer, array_spec, take


class Cell(Layer):
    """One step of a recurrent network: `forward(params, x, carry) -> (y, carry)`, without state or randomness.

    A subclass gives `init`, `zero_carry` and `forward`; one that has an op for whole sequences also `forward_all`.

    Example:
        >>> class decay(fg.layers.Cell):
        ...     rate: float
        ...     def zero_carry(self, x):
        ...         return jnp.zeros(x.shape, x.dtype)
        ...     def forward(self, params, x, carry):
        ...         carry = self.rate * carry + x
        ...         return carry, carry
        >>> print(fg.layers.recurrent(decay(0.5))({}, jnp.ones((3, 1))).ravel())
        [1.   1.5  1.75]
    """

    def zero_carry(self, x: Any) -> PyTree:
        """The carry before the first step, for one step's input like `x[..., n]`; GraphError where none is defined."""
        raise GraphError(
            f"{self.where}: nothing says what the carry for {describe(x)} starts as; define zero_carry or pass a carry."
        )

    def forward_all(self, params: PyTree, x: Array, carry: PyTree, *, reverse: bool) -> tuple[PyTree, PyTree]:
        """Outputs of all steps of `x[..., t, n]`, and the carry after the last one."""

        def one(carry: PyTree, x_t: Array) -> tuple[PyTree, PyTree]:
            y, carry = self.forward(params, x_t, carry)
            return carry, y

        carry, y = jax.lax.scan(one, carry, jnp.moveaxis(x, -2, 0), reverse=reverse)
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), y), carry


class rnn_cell(Cell):
    """`y = tanh(x w_x + h w_h + b)`: `(x[..., n], h[..., features]) -> (y, y)`. Source: Elman 1990.

    Args:
        features: size of `h`.
        w_x_init: initializer of `w_x[n, features]`; uniform within ±1/√features by default, as in PyTorch.
        w_h_init: likewise of `w_h[features, features]`.
        b_init: likewise of `b[features]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> cell, x = fg.layers.rnn_cell(3), jnp.ones((5, 2))
        >>> params, state = cell.init(jax.random.key(0), x)
        >>> y, h = cell(params, x, cell.zero_carry(x))
        >>> y.shape
        (5, 3)
    """

    features: int
    w_x_init: Initializer | None = None
    w_h_init: Initializer | None = None
    b_init: Initializer | None = None

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w_x", "w_h", "b"}` of the input's dtype."""
        return _start(self, key, specs[0], gates=1), {}

    def zero_carry(self, x: Any) -> Array:
        """`h = 0`."""
        return _zeros(self, x)

    def forward(self, params: PyTree, x: Array, h: Array) -> tuple[Array, Array]:
        """The output, which is the next `h`."""
        y = ops.rnn_cell(x, h, *_weights(self, params))
        return y, y

    def forward_all(self, params: PyTree, x: Array, carry: Array, *, reverse: bool) -> tuple[Array, Array]:
        """All outputs, and the last."""
        y = ops.rnn(x, carry, *_weights(self, params), reverse=reverse)
        return y, _last(y, carry, reverse)


class gru_cell(Cell):
    """A gated recurrent unit: `(x[..., n], h[..., features]) -> (y, y)`; see `fg.ops.gru_cell`.

    Source: Cho et al. 2014.

    Args:
        features: size of `h`.
        w_x_init: initializer of `w_x[n, 3 features]`; uniform within ±1/√features by default, as in PyTorch.
        w_h_init: likewise of `w_h[features, 3 features]`.
        b_init: likewise of `b[3 features]` and `b_h[features]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> params, state = fg.layers.gru_cell(3).init(jax.random.key(0), jnp.ones((5, 2)))
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 9), 'w_h': (3, 9), 'b': (9,), 'b_h': (3,)}
    """

    features: int
    w_x_init: Initializer | None = None
    w_h_init: Initializer | None = None
    b_init: Initializer | None = None

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w_x", "w_h", "b", "b_h"}` of the input's dtype."""
        return _start(self, key, specs[0], gates=3, b_h=(self.features,)), {}

    def zero_carry(self, x: Any) -> Array:
        """`h = 0`."""
        return _zeros(self, x)

    def forward(self, params: PyTree, x: Array, h: Array) -> tuple[Array, Array]:
        """The output, which is the next `h`."""
        y = ops.gru_cell(x, h, *_weights(self, params), take(self, params, "b_h"))
        return y, y

    def forward_all(self, params: PyTree, x: Array, carry: Array, *, reverse: bool) -> tuple[Array, Array]:
        """All outputs, and the last."""
        y = ops.gru(x, carry, *_weights(self, params), take(self, params, "b_h"), reverse=reverse)
        return y, _last(y, carry, reverse)


class lstm_cell(Cell):
    """A long short-term memory: `(x[..., n], (h, c)) -> (y, (y, c))`, all `[..., features]`; see `fg.ops.lstm_cell`.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    Args:
        features: size of `h` and of `c`.
        forget_bias: added to the forget gate's part of `b` at the start; 1 remembers at first, as Jozefowicz et
            al. 2015 advise.
        w_x_init: initializer of `w_x[n, 4 features]`; uniform within ±1/√features by default, as in PyTorch.
        w_h_init: likewise of `w_h[features, 4 features]`.
        b_init: likewise of `b[4 features]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> params, state = fg.layers.lstm_cell(3, forget_bias=1.0).init(jax.random.key(0), jnp.ones((5, 2)))
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'w_x': (2, 12), 'w_h': (3, 12), 'b': (12,)}
    """

    features: int
    forget_bias: float = 0.0
    w_x_init: Initializer | None = None
    w_h_init: Initializer | None = None
    b_init: Initializer | None = None

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"w_x", "w_h", "b"}` of the input's dtype."""
        params = _start(self, key, specs[0], gates=4)
        forget = slice(self.features, 2 * self.features)
        return params | {"b": params["b"].at[forget].add(self.forget_bias)}, {}

    def zero_carry(self, x: Any) -> tuple[Array, Array]:
        """`h = 0`, `c = 0`."""
        return _zeros(self, x), _zeros(self, x)

    def forward(self, params: PyTree, x: Array, carry: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        """The output, which is the next `h`, and the next `(h, c)`."""
        h, c = ops.lstm_cell(x, *carry, *_weights(self, params))
        return h, (h, c)

    def forward_all(
        self, params: PyTree, x: Array, carry: tuple[Array, Array], *, reverse: bool
    ) -> tuple[Array, tuple[Array, Array]]:
        """All outputs, and the last `(h, c)`."""
        y, c = ops.lstm(x, *carry, *_weights(self, params), reverse=reverse)
        return y, (_last(y, carry[0], reverse), c)


class recurrent(Layer):
    """A cell along the time axis: `x[..., t, n] -> y[..., t, features]`, its params those of the cell.

    The carry starts as a second input, or as the cell's `zero_carry`. For both directions at once, join two of them by
    `parallel` and `concatenate`.

    Args:
        cell: a `Cell`.
        reverse: from the last step to the first; `y` stays in the order of `x`.
        return_carry: return `(y, carry)`, the carry after the last step taken.

    Raises:
        GraphError: the cell is none.
        ShapeError: the input has no axis of time.

    Example:
        >>> one, x = fg.layers.recurrent(fg.layers.rnn_cell(3)), jnp.ones((5, 7, 2))
        >>> other = fg.layers.recurrent(fg.layers.rnn_cell(3), reverse=True)
        >>> net = fg.layers.chain(fg.layers.parallel(one, other), fg.layers.concatenate())
        >>> params, state = net.init(jax.random.key(0), x)
        >>> net(params, x).shape
        (5, 7, 6)
    """

    cell: Cell
    reverse: bool = False
    return_carry: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.cell, Cell):
            found = self.cell.short if isinstance(self.cell, Layer) else describe(self.cell)
            raise GraphError(f"recurrent: the cell must be a fg.layers.Cell such as lstm_cell(64), got {found}.")

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """The cell's, for one step of the input."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=2)
        return self.cell.init(key, _one_step(x), *specs[1:])

    def forward(self, params: PyTree, x: Array, carry: PyTree = None) -> PyTree:
        """All outputs, and the last carry if that is asked for."""
        x = jnp.asarray(x)
        if carry is None:
            carry = self.cell.zero_carry(_one_step(array_spec(self, x, least_ndim=2)))
        y, carry = self.cell.forward_all(params, x, carry, reverse=self.reverse)
        return (y, carry) if self.return_carry else y


def _one_step(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*x.shape[:-2], x.shape[-1]), x.dtype)


def _start(
    layer: rnn_cell | gru_cell | lstm_cell, key: Array, spec: Any, gates: int, **biases: tuple[int, ...]
) -> dict[str, Array]:
    """Parameters of so many gates, and further biases of the given shapes."""
    x, m = array_spec(layer, spec, least_ndim=1), layer.features
    shapes = {"w_x": (x.shape[-1], gates * m), "w_h": (m, gates * m), "b": (gates * m,), **biases}
    starts = {"w_x": layer.w_x_init, "w_h": layer.w_h_init}
    bound = 1 / math.sqrt(m)

    def start(name: str, key: Array, shape: tuple[int, ...]) -> Array:
        given = starts.get(name, layer.b_init)
        return (
            jax.random.uniform(key, shape, x.dtype, -bound, bound)
            if given is None
            else draw(given, key, shape, x.dtype)
        )

    keys = jax.random.split(as_key(key), len(shapes))
    return {n: start(n, k, shape) for k, (n, shape) in zip(keys, shapes.items(), strict=True)}


def _weights(layer: Layer, params: PyTree) -> tuple[Array, Array, Array]:
    return take(layer, params, "w_x"), take(layer, params, "w_h"), take(layer, params, "b")


def _zeros(layer: Any, x: Any) -> Array:
    return jnp.zeros((*x.shape[:-1], layer.features), x.dtype)


def _last(y: Array, h: Array, reverse: bool) -> Array:
    """The output of the step taken last; where there was none, the start."""
    return y[..., 0 if reverse else -1, :] if y.shape[-2] else h
