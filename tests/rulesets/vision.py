"""A small pre-norm vision transformer on the same weights: in Flax NNX, in Equinox, and by hand in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")

WIDTH, HEADS, HIDDEN, CLASSES, PATCH, SIDE = 8, 2, 12, 3, 4, 8
MATRICES = {
    **dict.fromkeys(("query", "key", "value", "out"), (WIDTH, WIDTH)),
    **{"up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH), "head": (WIDTH, CLASSES), "patch": (PATCH * PATCH, WIDTH)},
}
NORMS = ("norm1", "norm2", "norm3")


def drawn(seed, biases=True):
    """Weights `w` and biases `b` by layer; of the normalizations, scales and shifts."""
    rng = np.random.default_rng(seed)
    w = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) * 1.5 for name, shape in MATRICES.items()}
    w |= {name: rng.uniform(0.5, 1.5, WIDTH) for name in NORMS}
    b = {name: 0.3 * biases * rng.standard_normal(x.shape[-1]) for name, x in w.items()}
    return w, b


class FlaxViT(nnx.Module):
    def __init__(self, w, b):
        rngs = nnx.Rngs(0)
        linear = lambda name: nnx.Linear(*MATRICES[name], rngs=rngs)
        self.patch = nnx.Conv(1, WIDTH, (PATCH, PATCH), strides=(PATCH, PATCH), padding="VALID", rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.norm1, self.norm2, self.norm3 = (nnx.LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs) for _ in range(3))
        self.up, self.down, self.head = linear("up"), linear("down"), linear("head")
        parts = {n: getattr(self.attention if n in ("query", "key", "value", "out") else self, n) for n in MATRICES}
        for name, part in parts.items():
            part.kernel[...] = jnp.asarray(w[name], jnp.float32).reshape(part.kernel.shape)
            part.bias[...] = jnp.asarray(b[name], jnp.float32).reshape(part.bias.shape)
        for name in NORMS:
            part = getattr(self, name)
            part.scale[...], part.bias[...] = (jnp.asarray(x[name], jnp.float32) for x in (w, b))

    def __call__(self, images):
        x = self.patch(images)
        return self.encode(x.reshape(x.shape[0], -1, WIDTH))

    def encode(self, x):
        x = x + self.attention(self.norm1(x))
        x = x + self.down(nnx.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1, dtype=x.dtype))


class EquinoxViT(eqx.Module):
    """Of one example."""

    patch: eqx.nn.Conv2d
    attention: eqx.nn.MultiheadAttention
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm
    norm3: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    head: eqx.nn.Linear

    def __call__(self, image):
        return self.encode(self.patch(image).reshape(WIDTH, -1).T)

    def encode(self, x):
        h = jax.vmap(self.norm1)(x)
        x = x + self.attention(h, h, h)
        x = x + jax.vmap(lambda x: self.down(jax.nn.gelu(self.up(self.norm2(x)))))(x)
        return self.head(jax.vmap(self.norm3)(x).mean(0))


def as_equinox(w, b):
    key, f32 = jax.random.key(0), lambda x: jnp.asarray(x, jnp.float32)

    def filled(layer, name):
        weight = f32(w[name]).reshape(layer.weight.shape[::-1]).T if name in MATRICES else f32(w[name])
        return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (weight, f32(b[name]).reshape(layer.bias.shape)))

    conv = eqx.nn.Conv2d(1, WIDTH, PATCH, stride=PATCH, key=key)
    kernel = f32(w["patch"]).reshape(PATCH, PATCH, 1, WIDTH).transpose(3, 2, 0, 1)
    conv = eqx.tree_at(lambda m: (m.weight, m.bias), conv, (kernel, f32(b["patch"]).reshape(conv.bias.shape)))
    bias = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
    attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, **bias, key=key)
    for name in ("query", "key", "value", "out"):
        at = "output_proj" if name == "out" else f"{name}_proj"
        attention = eqx.tree_at(lambda m, at=at: getattr(m, at), attention, filled(getattr(attention, at), name))
    linear = lambda name: filled(eqx.nn.Linear(*MATRICES[name], key=key), name)
    norms = (filled(eqx.nn.LayerNorm(WIDTH), name) for name in NORMS)
    return EquinoxViT(conv, attention, *norms, linear("up"), linear("down"), linear("head"))


class ByHand:
    """What it computes from tokens `[t, d]`, and its relevances by the equations: relevances, and not coefficients.

    `absorbed` is what the softmax keeps for itself: `Σ R - Σ x (R - s Σ R)`.
    """

    def __init__(self, w, b):
        self.w, self.b, self.absorbed = w, b, 0.0

    def linear(self, name, x):
        return x @ self.w[name] + self.b[name]

    def normed(self, name, x):
        deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return (x - x.mean(-1, keepdims=True)) / deviation * self.w[name] + self.b[name]

    def forward(self, x):
        heads = lambda z: z.reshape(-1, HEADS, WIDTH // HEADS).swapaxes(0, 1)
        n1 = self.normed("norm1", x)
        q, k, v = (heads(self.linear(name, n1)) for name in ("query", "key", "value"))
        z = q @ k.swapaxes(1, 2) / np.sqrt(WIDTH // HEADS)
        s = np.exp(z - z.max(-1, keepdims=True))
        s = s / s.sum(-1, keepdims=True)
        a = (s @ v).swapaxes(0, 1).reshape(-1, WIDTH)
        o = self.linear("out", a)
        n2 = self.normed("norm2", x + o)
        u = self.linear("up", n2)
        gelu = 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
        d = self.linear("down", gelu)
        n3 = self.normed("norm3", x + o + d)
        self.values = x, n1, q, k, v, z, s, a, o, n2, gelu, d, n3
        return self.linear("head", n3.mean(0))

    def relevance(self, x, label, frozen):
        """Of the logit of a class, shared out among the tokens' entries; with the softmax held constant or not."""
        y = self.forward(x)
        x, n1, q, k, v, z, s, a, o, n2, gelu, d, n3 = self.values
        pooled = n3.mean(0)
        r = self.to_linear("head", pooled, np.eye(CLASSES)[label] * y)
        r = n3 * (r / n3.sum(0))
        r = self.to_normed("norm3", x + o + d, r)
        r, branch = (x + o) * r / (x + o + d), d * r / (x + o + d)
        r = r + self.to_normed("norm2", x + o, self.to_linear("up", n2, self.to_linear("down", gelu, branch)))
        r, branch = x * r / (x + o), o * r / (x + o)
        branch = self.to_linear("out", a, branch).reshape(-1, HEADS, WIDTH // HEADS).swapaxes(0, 1)
        r_s, r_v = products(s, v, branch)
        if frozen:
            r_s, r_v = 0 * r_s, 2 * r_v
        r_z = z * (r_s - s * r_s.sum(-1, keepdims=True))
        self.absorbed = r_s.sum() - r_z.sum()
        r_q, r_k = products(q, k.swapaxes(1, 2), r_z)
        flat = lambda r: r.swapaxes(0, 1).reshape(-1, WIDTH)
        parts = {"query": flat(r_q), "key": flat(r_k.swapaxes(1, 2)), "value": flat(r_v)}
        branch = sum(self.to_linear(name, n1, part) for name, part in parts.items())
        return r + self.to_normed("norm1", x, branch)

    def to_linear(self, name, x, r):
        return x * ((r / self.linear(name, x)) @ self.w[name].T)

    def to_normed(self, name, x, r):
        c = r / self.normed(name, x) * self.w[name] / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * (c - c.mean(-1, keepdims=True))


def products(a, b, r):
    c = r / (2 * (a @ b))
    return a * (c @ b.swapaxes(1, 2)), b * (a.swapaxes(1, 2) @ c)
