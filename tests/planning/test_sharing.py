"""Equal rules at many nodes are traced once in each trace, and never remembered beyond it."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.planning.sharing import MANY

X = jnp.array([1.0, 2.0])
STATE = {"v": 1.0}
TRACED = Counter()


@fg.op(name="reversed_by_state", replace=True, elementwise=True)
def turned(x):
    """Its rule reads what Python holds."""
    return x * 1.0


@turned.pullback("x", kind=fg.modified)
def turned_x(g):
    TRACED["turned_x"] += 1
    return -STATE["v"] * g


@fg.op(name="scaled_by_state", replace=True)
def scaled(x):
    """No batch axis is absorbed."""
    return x * 1.0


@scaled.pullback("x", kind=fg.surrogate(of=lambda x: x))
def scaled_x(g):
    return STATE["v"] * g


def chain(op, n):
    def f(x):
        for _ in range(n):
            x = op(x)
        return jnp.sum(x)

    return f


def many(op, x):
    for _ in range(MANY):
        x = op(x)
    return x


def in_a_loop(x):
    return jnp.sum(jax.lax.scan(lambda c, _: (many(turned, c), None), x, None, length=2)[0])


PROGRAMS = {
    "one": (chain(turned, 1), lambda v: -v),
    "many": (chain(turned, MANY), lambda v: v**MANY),
    "many not absorbed": (chain(scaled, MANY), lambda v: v**MANY),
    "many in a loop": (in_a_loop, lambda v: v ** (2 * MANY)),
    "two checkpoints": (lambda x: chain(jax.checkpoint(lambda x: many(turned, x)), 2)(x), lambda v: v ** (2 * MANY)),
    "many batched": (lambda x: jnp.sum(jax.vmap(lambda a: many(turned, a))(x)), lambda v: v**MANY),
}
CALLS = {
    "grad": lambda f: fg.grad(f)(X),
    "vmap": lambda f: jax.vmap(fg.grad(lambda x: f(x[None])))(X),
    "vjp": lambda f: fg.vjp(f, X)[1](jnp.ones(()))[0],
    "a new jit": lambda f: jax.jit(lambda x: fg.grad(f)(x))(X),
    "jax.grad": lambda f: jax.grad(f)(X),
    "jax.jvp": lambda f: jax.vmap(lambda t: jax.jvp(f, (X,), (t,))[1])(jnp.eye(2)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rule_sees_what_python_holds_now(program, call, monkeypatch):
    f, expected = PROGRAMS[program]
    for v in (1.0, 5.0, -2.0):
        monkeypatch.setitem(STATE, "v", v)
        np.testing.assert_allclose(CALLS[call](f), np.full(2, expected(v)), rtol=1e-12)


def test_a_pull_that_is_kept_sees_it_too(monkeypatch):
    _, tape = fg.record(chain(turned, MANY), X)
    for v in (1.0, 3.0):
        monkeypatch.setitem(STATE, "v", v)
        np.testing.assert_allclose(tape.pull(jnp.ones(()))[0], v**MANY * np.ones(2))


@pytest.mark.parametrize(("n", "times"), [(1, 1), (MANY - 1, MANY - 1), (MANY, 1), (12, 1)])
def test_equal_rules_at_many_nodes_are_traced_once_in_a_trace(n, times):
    loss = chain(turned, n)
    for _ in range(2):
        TRACED.clear()
        jax.make_jaxpr(lambda x: fg.grad(loss)(x))(X)
        assert TRACED["turned_x"] == times


def test_rules_of_other_shapes_are_traced_for_themselves():
    TRACED.clear()
    loss = lambda x: chain(turned, MANY)(x) + chain(turned, MANY)(x[:1])
    jax.make_jaxpr(lambda x: fg.grad(loss)(x))(X)
    assert TRACED["turned_x"] == 2


@pytest.mark.parametrize("n", [2, 6])
def test_an_override_may_close_over_what_is_traced(n):
    """A new rule in each trace, which is shared there."""

    def step(x, scale):
        rules = fg.RuleSet().override(turned, lambda g: scale * g)
        return fg.grad(chain(turned, n), rules=rules)(x)

    with jax.checking_leaks():
        for scale in (2.0, 3.0):
            np.testing.assert_allclose(jax.jit(step)(X, scale), np.full(2, scale**n))
    np.testing.assert_allclose(
        jax.vmap(step, (None, 0))(X, jnp.array([2.0, 3.0])), np.array([2.0, 3.0])[:, None] ** n * np.ones(2)
    )


def test_check_tests_the_rule_of_now(monkeypatch):
    double = fg.op(name="doubled_by_state", replace=True)(lambda x: 2 * x)
    double.pullback("x")(lambda g: 2 * STATE["v"] * g)
    verdicts = []
    for v in (1.0, 1.01, 1.0):
        monkeypatch.setitem(STATE, "v", v)
        verdicts.append(fg.check(double, cases=[(X,)], groups=("values",)).ok)
    assert verdicts == [True, False, True]
