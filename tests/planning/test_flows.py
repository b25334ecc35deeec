"""Activity output by output: what a node does not let through is not visited, and rules are told what is zero."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import SymbolicZero

import funcgrad as fg

X, Y = jnp.linspace(0.1, 0.9, 4), jnp.linspace(-1.0, 1.0, 4)


def doubled(y):
    """2 y, by a loop of a length that only the data says."""
    return lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, 2 * c[1]), (jnp.sum(y) * 0, y))[1]


@jax.custom_vjp
def closed(y):
    """y; no cotangent may arrive here, not even one of zeros."""
    return y


def refuse(_, g):
    assert isinstance(g, SymbolicZero)
    return (g,)


closed.defvjp(lambda y: (y.value, None), refuse, symbolic_zeros=True)


@jax.custom_jvp
def apart(x, y):
    return jnp.sin(x), 2 * y


apart.defjvp(lambda p, t: (apart(*p), (jnp.cos(p[0]) * t[0], jnp.zeros_like(p[1]))))

first_only = jax.custom_jvp(lambda x, y: x * y)
first_only.defjvps(lambda t, _, x, y: 3 * t * y, None)

gives_none = jax.custom_vjp(lambda x, y: x * y)
gives_none.defvjp(lambda x, y: (x * y, y), lambda y, g: (3 * g * y, None))


@jax.custom_vjp
def two(x, y):
    return 2 * x, 3 * y


def two_back(_, g):
    assert isinstance(g[1], SymbolicZero)
    assert not isinstance(g[0], SymbolicZero)
    return 5 * g[0], g[1]


two.defvjp(lambda x, y: ((2 * x.value, 3 * y.value), None), two_back, symbolic_zeros=True)


@jax.custom_vjp
def still(x, y):
    return x * y


def still_forward(x, y):
    assert x.perturbed
    assert not y.perturbed
    return x.value * y.value, y.value


still.defvjp(still_forward, lambda y, g: (7 * g * y, None), symbolic_zeros=True)


@jax.custom_vjp
def told(x, y):
    return x * y


def told_forward(x, y):
    """Whether y moves, though it gets no cotangent, is what the rule is told."""
    return x.value * y.value, (11.0 if y.perturbed else 13.0) * y.value


told.defvjp(told_forward, lambda kept, g: (g * kept, None), symbolic_zeros=True)

device = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])
placed = jax.jit(lambda x, y: (jnp.sin(x), 2 * y), in_shardings=(device, device))
placed_still = jax.jit(lambda x, y: (jnp.sin(x), lax.stop_gradient(y)), in_shardings=(device, device))


def each(f, x, y):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=jax.P("i"), out_specs=jax.P("i"))(x, y)


SCAN = lambda f: lambda x, y: jnp.sum(lax.scan(lambda c, s: (f(c, y * s), None), x, jnp.ones(2))[0])
COS = jnp.cos(X)

CASES = {
    "an output that does not move": (
        lambda x, y: jnp.sum(apart(x, y)[0] * doubled(lax.stop_gradient(apart(x, y)[1]))),
        COS * 4 * Y,
    ),
    "an output whose tangent is zero": (lambda x, y: jnp.sum(apart(x, y)[0] * doubled(apart(x, y)[1])), COS * 4 * Y),
    "an input without tangent": (lambda x, y: jnp.sum(first_only(x, doubled(closed(y)))), 6 * Y),
    "an input without cotangent": (lambda x, y: jnp.sum(gives_none(x, doubled(closed(y)))), 6 * Y),
    "the same in a loop": (SCAN(lambda c, y: gives_none(c, closed(y))), 9 * Y**2),
    "in a loop, by a tangent": (SCAN(lambda c, y: first_only(c, closed(y))), 9 * Y**2),
    "in a branch": (
        lambda x, y: lax.cond(x[0] > 0, lambda: jnp.sum(gives_none(x, closed(y))), lambda: jnp.sum(x)),
        3 * Y,
    ),
    "in a checkpoint": (lambda x, y: jnp.sum(jax.checkpoint(lambda x, y: gives_none(x, closed(y)))(x, y)), 3 * Y),
    "an output without cotangent": (lambda x, y: jnp.sum(two(x, closed(y))[0]), 5 * jnp.ones(4)),
    "of a carry that nobody uses": (
        lambda x, y: jnp.sum(lax.scan(lambda c, _: two(c, y), x, None, length=2)[0]),
        25 * jnp.ones(4),
    ),
    "in a checkpointed branch": (
        lambda x, y: jnp.sum(lax.cond(x[0] > 0, jax.checkpoint(lambda x, y: two(x, y)[0]), lambda x, y: x, x, y)),
        5 * jnp.ones(4),
    ),
    "what is not differentiated": (lambda x, y: jnp.sum(still(x, lax.stop_gradient(y))), 7 * Y),
    "what moves and gets nothing": (lambda x, y: jnp.sum(told(x, closed(y))), 11 * Y),
    "a barrier": (lambda x, y: jnp.sum(lax.optimization_barrier((jnp.sin(x), lax.stop_gradient(y)))[0]), COS),
    "a sort": (lambda x, y: jnp.sum(lax.sort((closed(y), jnp.sin(x)), num_keys=1)[1]), COS),
    "a jit with shardings": (lambda x, y: jnp.sum(placed(x, closed(y))[0]), COS),
    "a jit with shardings that stops one": (
        lambda x, y: jnp.sum(placed_still(x, y)[0] * doubled(placed_still(x, y)[1])),
        COS * 2 * Y,
    ),
    "a shard_map": (lambda x, y: jnp.sum(each(lambda x, y: (jnp.sin(x), 2 * y), x, closed(y))[0]), COS),
}


@pytest.mark.parametrize("case", CASES)
def test_only_what_gets_a_cotangent_is_visited(case):
    f, expected = CASES[case]
    for grad in (fg.grad(f, (0, 1)), jax.jit(fg.grad(f, (0, 1)))):
        x_bar, y_bar = grad(X, Y)
        np.testing.assert_allclose(x_bar, expected, rtol=1e-12)
        np.testing.assert_array_equal(y_bar, np.zeros(4))


placed_whole = jax.jit(lambda x: lax.stop_gradient(2 * x), in_shardings=(device,))
ALONE = {
    "two outputs of a jit": lambda x, y: placed_still(x, y),
    "the output of a jit": lambda x, y: (jnp.sin(x), placed_whole(x)),
    "a shard_map": lambda x, y: each(lambda x, y: (jnp.sin(x), 2 * y), x, y),
    "of one output": lambda x, y: (jnp.sin(x), each(lambda x, y: lax.stop_gradient(x) * y, x, y)),
    "a sort": lambda x, y: lax.sort((y, jnp.sin(x)), num_keys=1)[::-1],
}


@pytest.mark.parametrize("case", ALONE)
def test_an_output_that_the_only_argument_does_not_move(case):
    def f(x, y):
        moved, still = ALONE[case](x, y)
        return jnp.sum(moved * doubled(still))

    np.testing.assert_allclose(fg.grad(f)(X, Y), jax.grad(f)(X, Y), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_watching_everything_changes_nothing(case):
    f, expected = CASES[case]
    gradient, readings = fg.grad(f, (0, 1), taps="**", stats="max")(X, Y)
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-12)
    assert readings["x"].cotangent is not None
    assert readings["y"].cotangent is None
    chex.assert_trees_all_close(fg.blame(f, X, Y).ok, True)


def test_an_output_that_passes_keeps_its_cotangent():
    """The other way round from the cases: nothing is lost where an output depends on both inputs."""
    for f in (lambda x, y: placed(x * y, y), lambda x, y: lax.optimization_barrier((x * y, y))):
        loss = lambda x, y, f=f: jnp.sum(f(x, y)[0] * f(x, y)[1])
        chex.assert_trees_all_close(fg.grad(loss, (0, 1))(X, Y), jax.grad(loss, (0, 1))(X, Y), rtol=1e-12)


def test_wrt_something_that_gets_no_cotangent_is_told():
    with pytest.raises(fg.errors.GradientError, match="The loss does not depend on 'y'"):
        fg.grad(lambda x, y: jnp.sum(gives_none(x, y)), wrt=["x", "y"])(X, Y)
