"""Wrong claims."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from tests.mutants import bases
from tests.mutants.mutant import Base, planted, wrong

KIND = "finite differences reject every surrogate"


def step(x):
    return jnp.where(x > 0, 1.0, 0.0).astype(x.dtype)


def step_x(g, x):
    return g * (1 - jnp.tanh(x) ** 2)


STEP = Base(step, {"x": step_x}, ((bases.SINE.cases[0][0],),), kind=fg.surrogate(of=jnp.tanh))


@wrong(STEP, "x", "a surrogate, not of the function it declares", beyond=KIND)
def another_surrogate(g, x):
    return g / (1 + jnp.abs(x)) ** 2


@wrong(STEP, "x", "a surrogate, 1.001 times as large", beyond=KIND)
def scaled_surrogate(g, x):
    return 1.001 * g * (1 - jnp.tanh(x) ** 2)


@planted(bases.TIMES, "marked zero, and is not")
def marked_zero(name):
    op = Base(bases.times, {"a": bases.times_a}, (), {"elementwise": True}).make(name)
    return op.mark(b=fg.Marker.ZERO)


@planted(bases.PICK, "a rule for whole numbers, instead of a mark", group="contract", beyond="no integer arguments")
def serves_integers(name):
    op = bases.PICK.make(name)
    op.pullback("i")(lambda g: jnp.zeros_like(g))
    return op


def newton(x):
    """The square root, by steps of Newton's until they no longer move: JAX has forward mode only."""

    def unfinished(state):
        return jnp.any(jnp.abs(state[0] - state[1]) > 1e-12)

    def improve(state):
        return (state[0] + x / state[0]) / 2, state[0]

    return jax.lax.while_loop(unfinished, improve, (x, 0 * x))[0]


NEWTON = Base(newton, {"x": lambda g, y: g / (2 * y)}, ((1 + bases.WAVE.cases[0][0] ** 2,),))


@wrong(NEWTON, "x", "a loop that JAX cannot reverse, pulled back wrongly", beyond="")
def loop(g, y):
    return g / y


def outside(x):
    """Computed by numpy: JAX has no derivative at all."""
    aval = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda x: np.sin(np.asarray(x)), aval, x, vmap_method="broadcast_all")


OUTSIDE = Base(outside, {"x": bases.sine_x}, ((bases.WAVE.cases[0][0],),))


@wrong(OUTSIDE, "x", "a callback, pulled back wrongly")
def callback(g, x):
    return g * (1 - x * x / 2)
