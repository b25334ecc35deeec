"""Nothing of the user's stays alive for the library's sake: rules, functions, ops and what they close over."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops

X = jnp.ones(3)
N = 4


def overridden(big, i):
    rules = fg.RuleSet().override(ops.relu, lambda g: g * big[i])
    fg.grad(lambda x: ops.sum(ops.relu(ops.relu(x))), rules=rules)(X)


def jitted_override(big, i):
    rules = fg.RuleSet().override(ops.relu, lambda g: g * big[i])
    jax.jit(fg.grad(lambda x: ops.sum(ops.relu(ops.relu(x))), rules=rules))(X)


def printed_override(big, i):
    rules = fg.RuleSet().override(ops.relu, lambda g: g * big[i])
    str(fg.plan(lambda x: ops.sum(ops.relu(ops.relu(x))), X, rules=rules))


def custom_tangent(big, i):
    f = jax.custom_jvp(lambda x: jnp.sin(x) * big[i])
    f.defjvp(lambda p, t: (f(*p), jnp.cos(p[0]) * t[0] * big[i]))
    fg.grad(lambda x: jnp.sum(f(f(x))))(X)


def custom_tangent_within_a_tangent(big, i):
    f = jax.custom_jvp(jnp.sin)
    f.defjvp(lambda p, t: (jnp.sin(*p), t[0] * big[i]))
    around = jax.custom_jvp(jnp.cos)
    around.defjvp(lambda p, t: (jnp.cos(*p), f(p[0]) * t[0]))
    fg.grad(lambda x: jnp.sum(around(around(x))))(X)


def custom_rule(big, i):
    f = jax.custom_vjp(lambda x: x * big[i])
    f.defvjp(lambda x: (f(x), None), lambda _, g: (g * big[i],))
    fg.grad(lambda x: jnp.sum(f(f(x))))(X)


def redefined_op(big, i):
    @fg.op(name="freed_op", replace=True)
    def op(x):
        return x * big[i]

    op.pullback("x")(lambda g: g * big[i])
    for lib in (fg, jax):
        lib.grad(lambda x: jnp.sum(op(op(x))))(X)
        jax.jit(jax.vmap(lib.grad(lambda x: jnp.sum(op(op(x))))))(X[None])


def redefined_op_without_a_rule(big, i):
    @fg.op(name="freed_op", replace=True)
    def op(x):
        return jnp.sin(x) * big[i]

    fg.grad(lambda x: jnp.sum(op(op(x))))(X)
    jax.jvp(op, (X,), (X,))


def op_with_attribute(big, i):
    class Holds:
        def __init__(self, x):
            self.x = x

    ATTRIBUTED(X, by=Holds(big))


@fg.op(name="freed_attribute", replace=True)
def ATTRIBUTED(x, *, by):
    """Closes over an attribute."""
    return x * by.x[0]


def function_and_plan(big, i):
    f = lambda x: jnp.sum(jnp.tanh(x * big[i]) ** 2)
    fg.grad(f)(X)
    fg.trace(f, X)
    fg.record(f, X)[1].pull(jnp.ones(()))
    fg.jacobian(lambda x: jnp.sin(x) * big[i])(X)
    fg.value_and_grad(f, taps="**")(X)
    str(fg.plan(f, X))


@pytest.mark.parametrize(
    "use",
    [
        *(overridden, jitted_override, printed_override, custom_tangent, custom_rule),
        *(redefined_op, redefined_op_without_a_rule, op_with_attribute, function_and_plan),
    ],
)
def test_what_is_closed_over_is_freed_with_the_caches_of_jax(use):
    alive = []
    for i in range(N):
        big = jnp.arange(100.0) + i
        alive.append(weakref.ref(big))
        use(big, i)
        del big
    # An op of the last name is registered for good.
    use(jnp.ones(100), 0)
    jax.clear_caches()
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0


@pytest.mark.parametrize("use", [overridden, custom_tangent, custom_tangent_within_a_tangent])
def test_what_belongs_to_one_gradient_goes_with_it(use):
    """Without clearing anything: a loop that makes its rules anew must not fill the memory."""
    use(jnp.ones(100), 0)
    alive = []
    for i in range(N):
        big = jnp.arange(100.0) + i
        alive.append(weakref.ref(big))
        use(big, i)
        del big
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0


def test_ops_of_one_name_share_their_primitives():
    one = fg.op(name="freed_op", replace=True)(lambda x: 2 * x)
    two = fg.op(name="freed_op", replace=True)(lambda x: 3 * x)
    assert one.primitives is two.primitives
    both = lambda x: jnp.sum(one(x) * two(x))
    assert fg.grad(both)(1.0) == jax.grad(both)(1.0) == jax.jit(jax.grad(both))(1.0) == 12.0
