"""What the forward saves."""

import jax.numpy as jnp
import numpy as np

from tests.mutants import bases
from tests.mutants.mutant import Base, planted

SAVES = "nothing else has a saving forward"
BY_HAND = Base(bases.sine, {}, bases.WHOLE.cases)


def with_saving(name, forward, rule, *names):
    op = BY_HAND.make(name)
    op.saving(*names)(forward)
    op.pullback("x")(rule)
    return op


def by_slope(g, slope):
    return g * slope


@planted(BY_HAND, "the forward that saves is off by 10⁻⁶", group="contract")
def primal_off(name):
    return with_saving(name, lambda x: (jnp.sin(x) + 1e-6, {"slope": jnp.cos(x)}), by_slope, "slope")


@planted(BY_HAND, "the forward that saves is off for negative arguments", group="contract")
def primal_off_when_negative(name):
    return with_saving(
        name, lambda x: (jnp.sin(x) * jnp.where(x < 0, 1.001, 1.0).astype(x.dtype), {"slope": jnp.cos(x)}), by_slope,
        "slope",
    )  # fmt: skip


@planted(BY_HAND, "the forward that saves is off by 0.3 in one entry", group="contract")
def primal_off_in_one_entry(name):
    def forward(x):
        y = jnp.sin(x)
        return (y.at[(0,) * x.ndim].add(0.3) if x.size else y), {"slope": jnp.cos(x)}

    return with_saving(name, forward, by_slope, "slope")


@planted(BY_HAND, "the saved value is wrong")
def saved_value_wrong(name):
    return with_saving(name, lambda x: (jnp.sin(x), {"slope": 1.0001 * jnp.cos(x)}), by_slope, "slope")


@planted(BY_HAND, "a saved value that no rule asks for", group="contract", beyond=SAVES)
def saved_for_nothing(name):
    return with_saving(
        name, lambda x: (jnp.sin(x), {"slope": jnp.cos(x), "twice": 2 * x}), by_slope, "slope", "twice"
    )  # fmt: skip


@planted(BY_HAND, "the forward that saves has lost an output's dtype", group="contract", beyond=SAVES)
def primal_in_float32(name):
    return with_saving(
        name, lambda x: (jnp.sin(x).astype(jnp.float32), {"slope": jnp.cos(x)}), by_slope, "slope"
    )  # fmt: skip


@planted(bases.WHOLE, "a value kept from an earlier call")
def stale(name):
    remembered = {}

    def rule(g, x):
        first = remembered.setdefault(x.shape, np.cos(np.linspace(-2, 2, x.size)).reshape(x.shape))
        return g * jnp.asarray(first, g.dtype)

    return bases.WHOLE.make(name, x=rule)


@planted(bases.WHOLE, "asks for the argument and never reads it", group="costs", beyond="nobody declares reads")
def asks_in_vain(name):
    def rule(g, x):
        return 2 * g

    return Base(lambda x: 2 * x, {"x": rule}, bases.WHOLE.cases).make(name)
