"""Layers that normalize."""

from typing import Any

import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.layers.layer import Layer, array_spec, take


class layer_norm(Layer):
    """Normalize the last axis to mean 0 and variance 1, then scale and shift: `x[..., d] -> y[..., d]`.

    Args:
        eps: added to the variance.
    """

    eps: float = 1e-6

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:  # noqa: ARG002 (nothing to draw)
        """Make `{"scale": 1, "bias": 0}` of the input's dtype."""
        self.check_inputs(len(specs))
        x = array_spec(self, specs[0], least_ndim=1)
        return {"scale": jnp.ones(x.shape[-1:], x.dtype), "bias": jnp.zeros(x.shape[-1:], x.dtype)}, {}

    def forward(self, params: PyTree, x: Array) -> Array:
        """`(x - mean) / sqrt(variance + eps) * scale + bias`."""
        return ops.layer_norm(x, take(self, params, "scale"), take(self, params, "bias"), eps=self.eps)
