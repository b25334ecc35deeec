"""Layers that drop at random while training."""

from typing import ClassVar

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.layer import Layer
from funcgrad.registry import Op


class _drops(Layer):
    """An op of `(x, key, *, rate)` while training, nothing outside of it."""

    rate: float
    operation: ClassVar[Op]

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise GraphError(f"{type(self).__name__}: rate must be in [0, 1), got {self.rate}.")

    @property
    def random(self) -> bool:
        """Whether anything is dropped."""
        return self.rate > 0

    def apply(
        self,
        params: PyTree,  # noqa: ARG002 (it has none)
        state: PyTree,
        x: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """The input, with parts dropped when `train` is true."""
        if not (train and self.random):
            return x, state
        if key is None:
            raise GraphError(f"{self.where}: train=True needs a random key, got None; pass key= to apply.")
        return self.operation(x, key, rate=self.rate), state


class dropout(_drops):
    """Zero each entry with probability `rate` and scale the others by `1/(1 - rate)`; nothing outside training.

    Args:
        rate: the probability, in [0, 1).

    Raises:
        GraphError: the rate is out of range; `train=True` without a key.

    Example:
        >>> net, x = fg.layers.dropout(0.5), jnp.ones(4)
        >>> print(net({}, x))
        [1. 1. 1. 1.]
        >>> print(jnp.unique(net({}, x, key=jax.random.key(0), train=True)))
        [0. 2.]
    """

    operation = ops.dropout


class drop_path(_drops):
    """Zero each example `x[b, ...]` with probability `rate` and scale the others by `1/(1 - rate)`: stochastic depth.

    It belongs at the end of a residual block's body, which it skips: `residual(chain(..., drop_path(0.1)))`.
    Nothing outside training.

    Args:
        rate: the probability, in [0, 1).

    Raises:
        GraphError: the rate is out of range; `train=True` without a key.

    Example:
        >>> net, x = fg.layers.residual(fg.layers.drop_path(0.5)), jnp.ones((100, 2))
        >>> print(jnp.unique(net({}, x, key=jax.random.key(0), train=True), axis=0))
        [[1. 1.]
         [3. 3.]]
    """

    operation = ops.drop_path
