"""What a backward pass visits inside of loops and branches: only what lies between what is wanted and what is used."""

import jax
import jax.numpy as jnp

import funcgrad as fg
from tests.planning.asserting import assert_like_jax

X = jnp.linspace(0.1, 0.9, 4)
EACH = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)


def visited(plan: fg.Plan) -> set[str]:
    """The ops with a rule, at any depth."""
    return {row.op for row in plan.rows if row.rules}


def test_a_result_of_a_loop_that_depends_on_nothing_wanted_is_followed_no_further():
    def f(x, each):
        c, ys = jax.lax.scan(lambda c, e: (jnp.sin(c), jnp.cos(e)), x, each)
        return c.sum() + jnp.exp(ys).sum()

    ops = visited(fg.plan(f, X, EACH))
    assert "sin" in ops
    assert not ops & {"cos", "exp"}


def test_a_result_of_a_loop_that_nobody_uses_is_not_pulled_back():
    def f(x, each):
        c, _ = jax.lax.scan(lambda c, e: (jnp.sin(c) * e, jnp.cos(c)), x, each)
        return c.sum()

    assert "sin" in visited(fg.plan(f, X, EACH))
    assert "cos" not in visited(fg.plan(f, X, EACH))


def test_a_carry_is_followed_from_turn_to_turn():
    """The second carry is used only as it enters the first of the next turn, and that only as it enters the second."""

    def f(x, each):
        def turn(carry, e):
            a, b, unused = carry
            return (jnp.sin(b), jnp.tanh(a), jnp.cos(a) + unused), e

        return jax.lax.scan(turn, (x, jnp.zeros(4), jnp.zeros(4)), each)[0][1].sum()

    ops = visited(fg.plan(f, X, EACH))
    assert {"sin", "tanh"} <= ops
    assert "cos" not in ops


def test_a_branch_is_visited_only_where_its_result_is_used():
    def f(x):
        first = lambda x: (jnp.sin(x), jnp.cos(x))
        second = lambda x: (jnp.tanh(x), jnp.exp(X))
        return jax.lax.cond(x[0] > 0, first, second, x)[0].sum()

    ops = visited(fg.plan(f, X))
    assert {"sin", "tanh"} <= ops
    assert not ops & {"cos", "exp"}


def test_a_carry_that_is_overwritten_by_what_nobody_differentiates():
    """Its start has a cotangent in the first turn, and its end has none."""
    assert_like_jax(lambda x: jax.lax.scan(lambda c, e: (e, jnp.sin(c)), x, EACH)[1].sum(), X)


def test_a_carry_that_no_turn_reads():
    """Its end has a cotangent, and its start has none."""
    assert_like_jax(lambda x: jax.lax.scan(lambda c, e: (jnp.sin(x) * e, None), X, EACH)[0].sum(), X)


def test_carries_that_change_places():
    """Each is read by the other one's next turn, so that starts and ends differ in what has a cotangent."""

    def f(x, y):
        a, _ = jax.lax.scan(lambda c, e: ((jnp.sin(c[1]) * e, y), c[0]), (x, y), EACH)[0]
        return a.sum()

    assert_like_jax(f, X, 2 * X)


def test_a_loop_gives_no_cotangents_that_nobody_asked_for():
    plan = fg.plan(lambda x: jax.lax.scan(lambda c, e: (jnp.sin(c) * e, None), x, EACH)[0].sum(), X)
    (body,) = [body for step in plan.steps for body in step.bodies]
    assert body.wanted == body.structure.inputs[:1]


def test_what_an_op_saved_in_a_gradient_has_a_cotangent_in_the_gradient_of_it():
    scale, bias = jnp.linspace(0.5, 1.5, 4), jnp.zeros(4)

    def slope(x):
        g = fg.grad(lambda x: (fg.ops.layer_norm(x, scale, bias) ** 3).sum())(x)
        return (g**2).sum()

    assert_like_jax(slope, EACH)
