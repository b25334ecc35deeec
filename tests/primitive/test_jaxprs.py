"""Reading jaxprs: which calls are opened."""

import jax
import jax.numpy as jnp
from jax.extend import linear_util  # noqa: TID251  (nothing public writes such a call)
from jax.extend.core.primitives import closed_call_p  # noqa: TID251

import funcgrad as fg
from funcgrad.primitive import as_function


def test_a_call_of_what_nobody_jitted_is_opened():
    """JAX writes such calls where it runs a loop turn by turn; they have neither a name nor donated arguments."""

    def f(x):
        of = lambda x: fg.name(x**2, "h") * x
        closed = jax.make_jaxpr(of)(x)
        if jax.__version_info__ >= (0, 12):
            return closed_call_p.bind(x, call_jaxpr=closed)[0]
        called = linear_util.wrap_init(as_function(closed), debug_info=closed.jaxpr.debug_info)
        return closed_call_p.bind(x, subfuns=(called,))[0]

    x = jnp.asarray(2.0)
    for grad in (fg.grad(f), jax.jit(fg.grad(f)), jax.grad(f)):
        assert grad(x) == 12.0
    assert fg.grad(f, wrt="h")(x) == 2.0
