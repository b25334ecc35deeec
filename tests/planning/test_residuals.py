"""What a plan says of nodes that it does not open: their residuals, their FLOPs, the ops inside of them."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
W = jnp.linspace(0.5, -0.5, 20).reshape(4, 5)
ITEM = X.dtype.itemsize


@jax.custom_vjp
def product_of_sines(x, w):
    return jnp.sin(x) @ w


product_of_sines.defvjp(
    lambda x, w: (jnp.sin(x) @ w, (jnp.cos(x), w)),
    lambda kept, g: (g @ kept[1].T * kept[0], jnp.zeros_like(kept[1])),
)


def test_residuals_and_the_flops_of_a_custom_derivative_are_counted():
    plan = fg.plan(lambda x: product_of_sines(x, W).sum(), X)
    assert [v.name for v in plan.kept if v not in plan.structure.constants] == ["product_of_sines/residual0"]
    assert plan.totals.kept_bytes == X.size * ITEM  # w is there anyway
    assert 2 * 3 * 4 * 5 < plan.totals.backward_flops < 2 * 2 * 3 * 4 * 5


def test_residuals_of_a_custom_derivative_in_a_loop_are_those_of_all_turns():
    def f(x):
        return jax.lax.scan(lambda c, _: (c + product_of_sines(c, W)[:, :4], None), x, None, length=7)[0].sum()

    plan = fg.plan(f, X)
    (kept,) = (v for v in plan.kept if v.name.endswith("residual0"))
    assert kept.loops == (7,)
    assert plan.totals.kept_bytes == 7 * X.size * ITEM  # and w not once for each turn
    equal = jax.jit(fg.grad(f))(X), jax.grad(f)(X)
    np.testing.assert_allclose(*equal, rtol=1e-13)
    stacked = (7, *W.shape)
    assert not any(v.aval.shape == stacked for e in jax.make_jaxpr(fg.grad(f))(X).eqns for v in e.outvars)


def test_a_residual_that_is_an_output_is_that():
    @jax.custom_vjp
    def root(x, scale):
        return jnp.sqrt(x), scale

    def forward(x, scale):
        y = jnp.sqrt(x)
        return (y, scale), (y, y, 2.0, x)

    root.defvjp(forward, lambda kept, g: (g[0] / (kept[2] * kept[1]), g[1]))
    plan = fg.plan(lambda x: root(x, 1.0)[0].sum(), X + 2)
    assert {v.name for v in plan.kept} == {"root.0", "x"}
    assert plan.totals.kept_bytes == X.size * ITEM
    np.testing.assert_allclose(fg.grad(lambda x: root(x, 1.0)[0].sum())(X + 2), 0.5 / jnp.sqrt(X + 2), rtol=1e-13)


def test_the_table_says_what_is_wanted_and_gets_nothing():
    plan = fg.plan(lambda x, w: jnp.sin(x).sum(), X, W, argnums=(0, 1))
    assert "zero     w: nothing that is differentiated depends on them" in str(plan).splitlines()


def test_an_override_is_refused_however_deep_its_op_is_inside_a_body():
    @jax.jit
    def inner(x):
        with fg.scope("deep"):
            return fg.ops.relu(x)

    @jax.custom_vjp
    def outer(x):
        return inner(x)

    outer.defvjp(lambda x: (outer(x), None), lambda _, g: (g,))
    rules = fg.RuleSet().override(fg.ops.relu, lambda g: g, at="**")
    with raises_sentence(
        fg.errors.RuleError,
        r"The override of relu at '\*\*' matches 'deep/relu' inside the body of 'outer', where rules cannot be "
        r"replaced; narrow the pattern, or unroll 'outer'\.",
    ):
        fg.grad(lambda x: fg.ops.relu(outer(x)).sum(), rules=rules)(X)
    optional = [fg.RuleSet().override(fg.ops.relu, lambda g: g, kind=k, optional=True) for k in (fg.modified, fg.exact)]
    with raises_sentence(fg.errors.RuleError, r"The override of relu at '\*\*' matches 'deep/relu' inside the body .*"):
        fg.grad(lambda x: fg.ops.relu(outer(x)).sum(), rules=optional[0])(X)
    fg.grad(lambda x: fg.ops.relu(outer(x)).sum(), rules=optional[1])(X)  # the gradient is as right without it


def test_a_custom_derivative_may_give_whole_numbers_beside():
    @jax.custom_vjp
    def sine_and_place(x):
        return jnp.sin(x), jnp.argmax(x)

    sine_and_place.defvjp(lambda x: (sine_and_place(x), jnp.cos(x)), lambda slope, g: (g[0] * slope,))
    found = fg.grad(lambda x: (sine_and_place(x)[0] * sine_and_place(x)[1].astype(x.dtype)).sum())(X)
    np.testing.assert_allclose(found, 11 * jnp.cos(X), rtol=1e-14)
