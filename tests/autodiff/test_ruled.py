"""Gradients by other libraries obey the rules of `fg.with_rules`: those of `fg.grad`, or JAX's with another sign."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")

REVERSED = fg.RuleSet().override(jnp.tanh, lambda g, pull: -pull(g))
X = jnp.array([[0.3, -0.5], [1.0, 0.2]])
X32 = X.astype(jnp.float32)


def agree(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def loss(p, x, n=2):
    return jnp.sum(jnp.tanh(x @ p["w"]) ** n + p["b"][None])


P = {"w": jnp.array([[1.0, 2.0], [0.5, -1.0]]), "b": jnp.ones(2)}


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit])
def test_jax(jit):
    ruled = fg.with_rules(loss, REVERSED)
    agree(ruled(P, X), loss(P, X))
    agree(jit(jax.grad(ruled, argnums=(0, 1)))(P, X), fg.grad(loss, argnums=(0, 1), rules=REVERSED)(P, X))
    own = jax.grad(loss)(P, X)
    agree(jax.grad(ruled)(P, X), {"w": -own["w"], "b": own["b"]})
    agree(
        jit(jax.vmap(jax.grad(ruled), (None, 0)))(P, X[:, None]),
        jax.vmap(fg.grad(loss, rules=REVERSED), (None, 0))(P, X[:, None]),
    )


def test_by_name_and_inside_of_more():
    ruled = fg.with_rules(loss, REVERSED)
    agree(
        jax.grad(lambda p: 3 * ruled(p, x=X, n=3))(P),
        jax.tree.map(lambda g: 3 * g, fg.grad(lambda p: loss(p, X, 3), rules=REVERSED)(P)),
    )
    scanned = lambda p: jax.lax.scan(lambda c, x: (c + ruled(p, x), None), 0.0, X[:, None])[0]
    agree(jax.grad(scanned)(P), fg.grad(loss, rules=REVERSED)(P, X[:, None].reshape(2, 2)))


def test_libraries():
    linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0), param_dtype=jnp.float64)

    def of_flax(m):
        return jnp.sum(jnp.tanh(m(X)) ** 2)

    agree(nnx.grad(fg.with_rules(of_flax, REVERSED))(linear), jax.tree.map(lambda g: -g, nnx.grad(of_flax)(linear)))

    class Twice(nnx.Module):  # its variables in another order than that of their names
        def __init__(self):
            self.b, self.a = nnx.Param(jnp.ones((2, 2))), nnx.Param(jnp.eye(2))

        def __call__(self, x):
            return jnp.tanh(x @ self.b) @ self.a

    def of_two(m):
        return jnp.sum(m(X) ** 2)

    found, own = nnx.grad(fg.with_rules(of_two, REVERSED))(Twice()), nnx.grad(of_two)(Twice())
    agree(found.b[...], -own.b[...])
    agree(found.a[...], own.a[...])
    module = eqx.nn.Linear(2, 3, key=jax.random.key(0))

    def of_equinox(m):
        return jnp.sum(jnp.tanh(jax.vmap(m)(X)) ** 2)

    ruled = fg.with_rules(of_equinox, fg.RuleSet().override(eqx.nn.Linear, lambda g, pull: -pull(g), "weight"))
    found, own = eqx.filter_grad(ruled)(module), eqx.filter_grad(of_equinox)(module)
    agree(found.weight, -own.weight)
    agree(found.bias, own.bias)


def test_what_it_refuses():
    with raises_sentence(RuleError, r"rules= expects an fg\.RuleSet, got a function; .*"):
        fg.with_rules(loss, lambda g: g)
    with raises_sentence(GradientError, r"with_rules takes a function first, got 3\."):
        fg.with_rules(3, REVERSED)
    with raises_sentence(
        GradientError,
        r"with_rules: argument 'n' can only be given by name, and gradients are of arguments by position; fix it by a "
        r"lambda\.",
    ):
        fg.with_rules(lambda x, *, n: jnp.tanh(x) ** n, REVERSED)(X, n=2)


class Normalized(nnx.Module):
    """Has variables that are no parameters, of which some change while it runs."""

    def __init__(self):
        self.norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.dropout(self.norm(x))) ** 2)


class Scaled(eqx.Module):
    """Has a number that is no array, and a pooling whose start is another."""

    w: jax.Array
    rate: float = 0.5
    pool: eqx.nn.MaxPool1d = eqx.nn.MaxPool1d(2)

    def __call__(self, x):
        return jnp.sum(jnp.tanh(self.pool(x * self.w[None])) * (self.rate if self.rate > 0 else 1.0))


def assert_same_state(found, expected):
    for kind in (nnx.Param, nnx.BatchStat, nnx.RngCount):
        agree(nnx.state(found, kind), nnx.state(expected, kind))


@pytest.mark.parametrize("wrt", [nnx.Param, nnx.BatchStat])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_variables_that_are_no_parameters(mode, wrt):
    plain, ruled = Normalized(), Normalized()
    for m in (plain, ruled):
        getattr(m, mode)()
    own = nnx.grad(lambda x, m: m(x), argnums=nnx.DiffState(1, wrt))(X32, plain)
    found = nnx.grad(fg.with_rules(lambda x, m: m(x), REVERSED), argnums=nnx.DiffState(1, wrt))(X32, ruled)
    agree(found, jax.tree.map(lambda g: -g, own))
    assert_same_state(ruled, plain)
    assert (mode == "train") == bool(jnp.any(ruled.norm.mean[...] != 0))
    if mode == "eval":
        agree(jax.grad(fg.with_rules(lambda x, m: m(x), REVERSED))(X32, ruled), -jax.grad(plain)(X32))


def test_what_a_module_changes_reaches_it_without_a_gradient_too():
    plain, ruled = Normalized(), Normalized()
    agree(fg.with_rules(lambda m, x: m(x), REVERSED)(ruled, X32), plain(X32))
    assert_same_state(ruled, plain)


class Keeping(nnx.Module):
    """Keeps what the loss reads afterwards; or a variable that was not there."""

    def __init__(self):
        self.w, self.stat = nnx.Param(jnp.array(2.0)), nnx.BatchStat(jnp.array(0.0))

    def __call__(self, x, adds=False):
        if adds:
            self.added = nnx.Intermediate(x)
        self.stat[...] = jnp.tanh(self.w * x)
        return self.w * x


def test_the_gradient_through_what_a_module_keeps():
    def through(f):
        return lambda m: f(m, jnp.array(0.5)) + 10 * m.stat[...]

    by_x, by_stat = 0.5, 10 * 0.5 * (1 - jnp.tanh(1.0) ** 2)
    agree(nnx.grad(through(lambda m, x: m(x)))(Keeping()).w[...], by_x + by_stat)
    found = nnx.grad(through(fg.with_rules(lambda m, x: m(x), REVERSED)))(Keeping())
    agree(found.w[...], by_x - by_stat)


def test_what_is_added_to_a_module_is_not_lost_silently():
    with raises_sentence(
        GradientError,
        r"with_rules: <lambda> adds to its arguments or takes from them while it runs, which would be lost; use "
        r"fg\.grad\.",
    ):
        fg.with_rules(lambda m, x: m(x, adds=True), REVERSED)(Keeping(), jnp.array(0.5))


def test_names_of_what_is_closed_over():
    model = Scaled(jnp.array([1.0, -2.0]))
    rules = fg.RuleSet().override(jnp.tanh, lambda g, pull: -pull(g), at="model/**")
    f = lambda x: model(x)
    agree(jax.grad(fg.with_rules(f, rules))(X), fg.grad(f, rules=rules)(X))


def test_numbers_that_are_no_arrays():
    module, x = Scaled(jnp.array([1.0, -2.0])), jnp.array([[0.3, -0.5], [1.0, 0.2]])
    found = eqx.filter_grad(fg.with_rules(lambda m: m(x), REVERSED))(module)
    agree(found.w, -eqx.filter_grad(lambda m: m(x))(module).w)


def test_an_array_that_is_closed_over_and_differentiated_as_well():
    with raises_sentence(
        GradientError,
        r"with_rules: rowwise closes over an array of another trace; pass it as an argument, by which it can be "
        r"differentiated as well\.",
    ):

        def outer(w):
            def rowwise(x):
                return jnp.sum(jnp.tanh(x @ w))

            return fg.with_rules(rowwise, REVERSED)(X)

        jax.grad(outer)(P["w"])
