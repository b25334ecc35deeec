"""Wrong sums and shapes."""

import jax.numpy as jnp

from tests.mutants import bases
from tests.mutants.mutant import normal, wrong

WITHOUT = "a fixed shape"


@wrong(bases.PRODUCT, "w", "one example of the batch only")
def missing_batch_sum(g, x):
    return x[:1].T @ g[:1]


@wrong(bases.PRODUCT, "w", "the batch averaged, not summed")
def batch_mean(g, x):
    return x.T @ g / x.shape[0]


@wrong(bases.SPREAD, "b", "a broadcast forgotten: summed over the wrong axis of a square")
def wrong_axis(g):
    return g.sum(1)


@wrong(bases.SPREAD, "b", "a broadcast forgotten: one row for the sum of all")
def one_row(g):
    return g[0]


@wrong(bases.PRODUCT, "w", "an axis too few", group="contract")
def axis_too_few(g, x):
    return (x.T @ g).sum(0)


@wrong(bases.PRODUCT, "x", "an axis too many: each example gets the whole batch's", group="contract")
def axis_too_many(g, w):
    return jnp.broadcast_to(g @ w.T, (g.shape[0], g.shape[0], w.shape[0]))


@wrong(bases.AFFINE, "w", "the batch rank hard-coded", group="contract", beyond=WITHOUT)
def hard_coded_rank(g, x):
    return jnp.einsum("bi,bj->ij", x, g)


@wrong(bases.AFFINE, "w", "with two batch axes the first is lost", beyond=WITHOUT)
def second_batch_axis(g, x):
    x, g = (v[0] if v.ndim > 2 else v for v in (x, g))
    return jnp.einsum("...i,...j->ij", x, g)


@wrong(bases.AFFINE, "b", "without batch axes it is zero", beyond=WITHOUT)
def without_batch(g):
    return g.sum(tuple(range(g.ndim - 1))) if g.ndim > 1 else jnp.zeros_like(g)


@wrong(bases.AFFINE, "w", "an empty batch gives NaN", beyond=WITHOUT)
def empty_batch(g, x):
    examples = max(x.size // x.shape[-1], 0)
    return jnp.einsum("...i,...j->ij", x, g) / jnp.asarray(examples, g.dtype) * examples


@wrong(bases.TIMES, "a", "an axis of size 1 taken for a batch", beyond=WITHOUT)
def size_one(g, a, b):
    full = bases.times(g, b)
    return full if a.size == full.size else jnp.broadcast_to(full.mean(), a.shape)


@wrong(bases.TIMES, "b", "the lower rank of an argument forgotten", beyond=WITHOUT)
def lower_rank(g, a, b):
    full = bases.times(g, a)
    return full[0] if b.ndim < full.ndim and full.ndim > 1 else full


@wrong(bases.PRODUCT, "w", "the last example lost")
def last_example(g, x):
    return x.T @ g.at[-1].set(0)


@wrong(bases.SQUARE, "w", "one entry lost")
def one_entry(g, x):
    return (x.T @ g).at[1, 2].set(0)


@wrong(bases.MANY, "x", "1 of 10⁴ entries lost")
def one_of_ten_thousand(g, x):
    return (g * jnp.cos(x)).at[4321].set(0)


@wrong(bases.WHOLE, "x", "rows and columns mixed up in a reshape", cases=((normal(2, 6),),))
def reshaped(g, x):
    return (g * jnp.cos(x)).reshape(x.shape[::-1]).T
