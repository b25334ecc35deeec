"""Wrong under some transformations only."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.mutants import bases
from tests.mutants.mutant import Base, planted, wrong

TRANSFORMED = "eager, unbatched"


def is_traced(x):
    return isinstance(x + 0, jax.core.Tracer)


@wrong(bases.PRODUCT, "w", "right eagerly, twice too large under jit", beyond=TRANSFORMED)
def twice_under_jit(g, x):
    return (2 if is_traced(x) else 1) * (x.T @ g)


@wrong(bases.PRODUCT, "w", "right under jit, wrong eagerly", group="transformations")
def wrong_eagerly(g, x):
    return (1 if is_traced(x) else 1.01) * (x.T @ g)


@wrong(bases.WHOLE, "x", "noise in the last digits", group="transformations")
def noisy(g, x):
    noise = 1e-13 * np.random.default_rng().normal() if not is_traced(x) else 0.0
    return g * jnp.cos(x) * (1 + noise)


@wrong(bases.WHOLE, "x", "noise under jit, by a callback", group="transformations", beyond=TRANSFORMED)
def noisy_under_jit(g, x):
    if not is_traced(x):
        return g * jnp.cos(x)

    def noise():
        return np.float64(1 + 1e-13 * np.random.default_rng().normal())

    drawn = jax.pure_callback(noise, jax.ShapeDtypeStruct((), np.float64), vmap_method="sequential")
    return g * jnp.cos(x) * drawn.astype(g.dtype)


@planted(bases.WHOLE, "every other trace of the rule is wrong", group="values", beyond=TRANSFORMED)
def every_other_trace(name):
    traces = []

    def rule(g, x):
        traces.append(x.shape)
        return g * jnp.cos(x) * (1.5 if len(traces) % 2 else 1)

    return bases.WHOLE.make(name, x=rule)


@wrong(bases.HIGHEST, "x", "NaN where the argument is computed again, rounded otherwise", beyond=TRANSFORMED)
def equal_to_the_output(g, x, y):
    at = x == y[..., None]
    n = at.sum(-1, keepdims=True).astype(g.dtype)
    return jnp.where(at, g[..., None] / n, 0 / n)


def center(x):
    return x - x.mean()


def center_x(g):
    return g - g.mean()


CENTER = Base(center, {"x": center_x}, ((bases.SINE.cases[0][0],),))


@planted(CENTER, "falsely declared elementwise: vmap mixes examples", group="transformations", beyond=TRANSFORMED)
def falsely_elementwise(name):
    return Base(center, CENTER.rules, CENTER.cases, {"elementwise": True}).make(name)


@planted(CENTER, "falsely declared to take leading axes", group="transformations", beyond=TRANSFORMED)
def falsely_leading(name):
    return Base(center, CENTER.rules, CENTER.cases, {"leading": ("x",)}).make(name)


ROWS = Base(bases.softmax, bases.SOFTMAX.rules, bases.SOFTMAX.cases, {"leading": ("x",)})


@wrong(ROWS, "x", "wrong under vmap: sums over the batch too", group="transformations", beyond=TRANSFORMED)
def sums_over_the_batch(g, y):
    axes = (*range(max(y.ndim - 2, 0)), y.ndim - 1)
    return y * (g - (g * y).sum(axes, keepdims=True))


@wrong(ROWS, "x", "wrong with two batch axes: only the first example", group="transformations", beyond=TRANSFORMED)
def three_axes(g, y):
    full = bases.softmax_x(g, y)
    return jnp.where(jnp.arange(y.shape[0]).reshape((-1, 1, 1, 1)) == 0, full, 0 * full) if y.ndim == 4 else full


@wrong(bases.AFFINE, "w", "under vmap the weights' cotangents are not kept apart", group="transformations",
       beyond=TRANSFORMED)  # fmt: skip
def weights_under_vmap(g, x, w):
    full = jnp.einsum("...i,...j->ij", x, g)
    return full * (1.5 if type(w + 0).__name__ == "BatchTracer" else 1)


@wrong(bases.WHOLE, "x", "fails under jit: a Python branch on a number", beyond=TRANSFORMED, group="contract")
def branches(g, x):
    return g * jnp.cos(x) if x.sum() > -1e9 else g


@wrong(bases.WHOLE, "x", "fails under jit: numpy", beyond=TRANSFORMED, group="contract")
def numpy_rule(g, x):
    return g * np.cos(np.asarray(x))
