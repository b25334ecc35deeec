"""Layers that normalize. `scale` starts as 1 and `bias` as 0, of the input's dtype; each may be left out."""

from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.layer import Layer, array_spec, take
from funcgrad.ops.contraction import accumulator


class layer_norm(Layer):
    """Normalize the last axis to mean 0 and variance 1, then scale and shift: `x[..., d] -> y[..., d]`.

    Args:
        eps: added to the variance.
        use_scale: whether there is a `scale[d]`.
        use_bias: whether there is a `bias[d]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> net, x = fg.layers.layer_norm(eps=0.0), jnp.array([[0.0, 2.0], [5.0, 1.0]])
        >>> params, state = net.init(jax.random.key(0), x)
        >>> print(net(params, x))
        [[-1.  1.]
         [ 1. -1.]]
    """

    eps: float = 1e-6
    use_scale: bool = True
    use_bias: bool = True

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Make `{"scale": 1, "bias": 0}` of the input's dtype."""
        return _start(self, specs, self.use_scale, self.use_bias), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`(x - mean) / sqrt(variance + eps) * scale + bias`."""
        return ops.layer_norm(x, *_affine(self, params, self.use_scale, self.use_bias), eps=self.eps)


class rms_norm(Layer):
    """Divide by the root mean square of the last axis, then scale: `x[..., d] -> y[..., d]`.

    Args:
        eps: added to the mean square.
        use_scale: whether there is a `scale[d]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with an axis of features.

    Example:
        >>> net, x = fg.layers.rms_norm(eps=0.0), jnp.array([[3.0, -3.0]])
        >>> params, state = net.init(jax.random.key(0), x)
        >>> print(net(params, x))
        [[ 1. -1.]]
    """

    eps: float = 1e-6
    use_scale: bool = True

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Make `{"scale": 1}` of the input's dtype."""
        return _start(self, specs, self.use_scale, use_bias=False), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`x / sqrt(mean(x²) + eps) * scale`."""
        return ops.rms_norm(x, take(self, params, "scale") if self.use_scale else None, eps=self.eps)


class group_norm(Layer):
    """Normalize each example over space and groups of channels: `x[b, ..., c] -> y[b, ..., c]`.

    Args:
        groups: how many, a divisor of the number of channels `c`; None for `c`, which is instance normalization.
        eps: added to the variance.
        use_scale: whether there is a `scale[c]`.
        use_bias: whether there is a `bias[c]`.

    Raises:
        ShapeError: from `init`, the input is no floating array with examples and channels; from the call, `groups` does
            not divide `c`.

    Example:
        >>> net, x = fg.layers.group_norm(2, eps=0.0), jnp.array([[0.0, 2.0, 5.0, 1.0]])
        >>> params, state = net.init(jax.random.key(0), x)
        >>> print(net(params, x))
        [[-1.  1.  1. -1.]]
    """

    groups: int | None
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Make `{"scale": 1, "bias": 0}` of the input's dtype."""
        return _start(self, specs, self.use_scale, self.use_bias, least_ndim=2), {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`(x - mean) / sqrt(variance + eps) * scale + bias`."""
        groups = x.shape[-1] if self.groups is None else self.groups
        return ops.group_norm(x, *_affine(self, params, self.use_scale, self.use_bias), groups=groups, eps=self.eps)


class batch_norm(Layer):
    """Normalize each channel: over all examples and space in training, by running statistics outside it.

    `x[..., c] -> y[..., c]`. The state is `{"mean": 0, "variance": 1}`, float32 at least. With `train=True` each
    becomes `momentum * old + (1 - momentum) * batch`; the batch's variance is the biased one, `Σ (x - mean)² / n`,
    as in Flax (PyTorch's running variance has `n - 1`, and its momentum is one minus ours). No gradient flows into
    the state.

    Args:
        momentum: how much of the old statistics stays, in [0, 1].
        eps: added to the variance.
        use_scale: whether there is a `scale[c]`.
        use_bias: whether there is a `bias[c]`.

    Raises:
        GraphError: the momentum is out of range; from a call `net(params, x)`, there is state, which `net.apply` takes.

    Example:
        >>> net, x = fg.layers.batch_norm(momentum=0.5), jnp.array([[0.0], [2.0]])
        >>> params, state = net.init(jax.random.key(0), x)
        >>> y, state = net.apply(params, state, x, train=True)
        >>> print(state["mean"], state["variance"])
        [0.5] [1.]
    """

    momentum: float = 0.9
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise GraphError(f"batch_norm: momentum must be in [0, 1], got {self.momentum}.")

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Params `{"scale": 1, "bias": 0}` of the input's dtype, state `{"mean": 0, "variance": 1}`."""
        params = _start(self, specs, self.use_scale, self.use_bias)
        channels, dtype = specs[0].shape[-1:], accumulator(specs[0].dtype)
        return params, {"mean": jnp.zeros(channels, dtype), "variance": jnp.ones(channels, dtype)}

    def apply(
        self,
        params: PyTree,
        state: PyTree,
        x: Array,
        *,
        key: Array | None = None,  # noqa: ARG002 (nothing to draw)
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """The normalized input, and the running statistics, moved when `train` is true."""
        scale, bias = _affine(self, params, self.use_scale, self.use_bias)
        running = {name: take(self, state, name, "state") for name in ("mean", "variance")}
        if not train:
            return ops.batch_norm_inference(x, running["mean"], running["variance"], scale, bias, eps=self.eps), state
        y, mean, variance = ops.batch_norm(x, scale, bias, eps=self.eps)
        return y, jax.tree.map(self._move, running, {"mean": mean, "variance": variance})

    def _move(self, old: Array, new: Array) -> Array:
        return jax.lax.stop_gradient(self.momentum * old + (1 - self.momentum) * new.astype(old.dtype))


def _start(
    layer: Layer, specs: tuple[Any, ...], use_scale: bool, use_bias: bool, least_ndim: int = 1
) -> dict[str, Array]:
    layer.check_inputs(len(specs))
    x = array_spec(layer, specs[0], least_ndim)
    params = {"scale": jnp.ones(x.shape[-1:], x.dtype)} if use_scale else {}
    return params | ({"bias": jnp.zeros(x.shape[-1:], x.dtype)} if use_bias else {})


def _affine(layer: Layer, params: PyTree, use_scale: bool, use_bias: bool) -> tuple[Array | None, Array | None]:
    """`scale` and `bias`, None where the layer has none."""
    return take(layer, params, "scale") if use_scale else None, take(layer, params, "bias") if use_bias else None
