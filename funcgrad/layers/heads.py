"""Layers that attend."""

from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.affine import linear
from funcgrad.layers.children import Child
from funcgrad.layers.initialization import Initializer
from funcgrad.layers.layer import Layer, array_spec, take


class multi_head_attention(Layer):
    """Queries from `x[..., t, c]`, keys and values from a context `[..., s, c']`, or from `x` itself.

    Inputs are `x`, `(x, context)` or `(x, context, mask)`, the boolean mask broadcasting to `[..., heads, t, s]`;
    self-attention with a mask reads `x` twice. The output is `[..., t, features]`. Each projection is a `linear`
    layer called `query`, `key`, `value` or `out`, and its product runs over all tokens at once.
    Sources: Vaswani et al. 2017, section 3.2.2; Shazeer 2019 and Ainslie et al. 2023 for `kv_heads`.

    Args:
        heads: number of query heads.
        kv_heads: number of key and value heads, a divisor of `heads`, which is the default.
        features: size of the output's last axis; that of `x` by default.
        head_features: features of each head; those of `x` shared among the heads by default.
        causal: whether a token sees only those that do not come after it.
        rotary: the base of a rotary position embedding of queries and keys (10000 is usual), counted from 0; None
            for no such embedding.
        use_bias: whether the projections have a `b`.
        block: as for `fg.ops.attention`: queries at a time, for long sequences.
        w_init: initializer of the projections' `w`.
        b_init: likewise of their `b`.

    Raises:
        GraphError: `heads` is not a multiple of `kv_heads`, or the features of `x` cannot be shared among the heads.

    Example:
        >>> net, x = fg.layers.multi_head_attention(4, kv_heads=2, causal=True), jnp.ones((2, 5, 16))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> {name: part["w"].shape for name, part in params.items()}
        {'query': (16, 16), 'key': (16, 8), 'value': (16, 8), 'out': (16, 16)}
        >>> net(params, x).shape
        (2, 5, 16)
    """

    heads: int
    kv_heads: int | None = None
    features: int | None = None
    head_features: int | None = None
    causal: bool = False
    rotary: float | None = None
    use_bias: bool = False
    block: int | None = None
    w_init: Initializer = "lecun_normal"
    b_init: Initializer = "zeros"

    def __post_init__(self) -> None:
        if self.heads < 1 or self.n_kv < 1 or self.heads % self.n_kv:
            raise GraphError(
                f"multi_head_attention: heads must be a multiple of kv_heads, got heads={self.heads} and "
                f"kv_heads={self.kv_heads}."
            )

    @property
    def n_kv(self) -> int:
        """Number of key and value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Make `{"query", "key", "value", "out"}`, each with `w` and perhaps `b`."""
        self.check_inputs(len(specs))
        x, context = (array_spec(self, s, least_ndim=2) for s in (specs[0], *specs[:2])[-2:])
        projections = self._projections(x.shape[-1])
        attended = jax.ShapeDtypeStruct((*x.shape[:-1], self.heads * self._split(x.shape[-1])), x.dtype)
        reads = {"query": x, "key": context, "value": context, "out": attended}
        return {name: child.begin(key, reads[name]).params for name, child in projections.items()}, {}

    def forward(self, params: PyTree, x: Array, context: Array | None = None, mask: Array | None = None) -> Array:
        """What each token of `x` gathers from the context."""
        context = x if context is None else context
        size = self._split(x.shape[-1])
        projections = self._projections(x.shape[-1])

        def project(name: str, x: Array) -> Array:
            return projections[name].apply(take(self, params, name), {}, x, key=None, train=False)[0]

        q, k, v = (
            ops.reshape(y := project(name, source), shape=(*y.shape[:-1], y.shape[-1] // size, size))
            for name, source in (("query", x), ("key", context), ("value", context))
        )
        if self.rotary is not None:
            q, k = (ops.rotary(y, jnp.arange(y.shape[-3]), base=self.rotary) for y in (q, k))
        y = ops.attention(q, k, v, mask=mask, causal=self.causal, block=self.block)
        return project("out", ops.reshape(y, shape=(*y.shape[:-2], self.heads * size)))

    def _projections(self, n: int) -> dict[str, Child]:
        """The linear layers, for an `x` with `n` features."""
        size = self._split(n)
        widths = {
            "query": self.heads * size,
            "key": self.n_kv * size,
            "value": self.n_kv * size,
            "out": n if self.features is None else self.features,
        }
        return {name: Child(name, linear(w, self.use_bias, self.w_init, self.b_init)) for name, w in widths.items()}

    def _split(self, n: int) -> int:
        """Features of each head."""
        if self.head_features is not None:
            return self.head_features
        if n % self.heads:
            raise GraphError(f"{self.where}: {self.heads} heads cannot share {n} features; give head_features=.")
        return n // self.heads
