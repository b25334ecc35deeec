"""What a node is called is its author's affair: an op, a jit or a custom derivative called as a primitive is none."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg

X = np.array([0.5, 1.0, 1.5])


def sine(x):
    return jnp.sin(x) * 1.5


def op_called(name, factor):
    made = fg.op(name=name, replace=True)(sine)
    made.pullback("x")(lambda g, x: factor * g * jnp.cos(x))
    return made


def jit_called(name, factor):
    del factor
    inner = lambda x: jnp.sin(x) * 1.5
    inner.__name__ = name
    return jax.jit(inner)


def custom_jvp_called(name, factor):
    inner = lambda x: jnp.sin(x) * 1.5
    inner.__name__ = name
    made = jax.custom_jvp(inner)
    made.defjvp(lambda p, t: (made(*p), factor * jnp.cos(p[0]) * t[0]))
    return made


BODIES = ("scan", "cond", "while")
STRUCTURAL = (*BODIES, "checkpoint", "jit", "name")
OPS = [(op_called, name) for name in (*STRUCTURAL, "max", "round")]
JITS = [(jit_called, name) for name in BODIES]
CUSTOM = [(custom_jvp_called, name) for name in BODIES]


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch):
    registry = importlib.import_module("funcgrad.registry.op")
    monkeypatch.setattr(registry, "_OPS", dict(registry._OPS))


@pytest.mark.parametrize(("make", "name"), [*OPS, *CUSTOM])
def test_an_audit_sees_the_function_whatever_it_is_called(make, name):
    right, wrong = (fg.audit(lambda x, f=f: f(x).sum(), X) for f in (make(name, 1.5), make(name, 1.6)))
    assert right.ok, right
    assert right.untested == ()
    (failure,) = wrong.failures
    assert (failure.node, failure.argument) == (name, "x")
    assert failure.rule in ("rule <lambda>", "its custom_jvp")


@pytest.mark.parametrize(("make", "name"), [*OPS, *JITS, *CUSTOM])
def test_blame_goes_through_it_whatever_it_is_called(make, name):
    f = make(name, 1.5)
    report = fg.blame(lambda x: jnp.log(f(x)).sum(), -X)
    assert [(found.kind, found.node) for found in report.findings] == [("forward", "log")]
    report = fg.blame(lambda x: jnp.sqrt(f(x)).sum(), 0.0 * X)
    assert [(found.kind, found.node) for found in report.findings] == [("backward", "sqrt")]


@pytest.mark.parametrize("name", BODIES)
def test_a_jitted_function_that_stays_whole_is_no_loop(name):
    """It holds a graph, as a loop does, once a rule or a place is meant for it."""
    f = jit_called(name, 1.5)
    assert fg.audit(lambda x: f(x).sum(), X, rules=fg.RuleSet().override(f, lambda g: 2 * g, kind=fg.modified)).claims
    report = fg.blame(lambda x: jnp.sum(f(x) * 0.0), X, rules=fg.RuleSet().hook(name, lambda g: g))
    assert [(found.kind, found.node) for found in report.findings] == [("zero", "mul")]


def test_an_op_of_ones_own_called_max_is_no_rectifier():
    f = op_called("max", 1.5)
    assert not fg.blame(lambda x: f(0.0 * x).sum(), X).of_kind("dead")
    assert fg.blame(lambda x: fg.ops.relu(0.0 * x).sum(), X).of_kind("dead")
    assert fg.blame(lambda x: jax.nn.relu(0.0 * x).sum(), X).of_kind("dead")


def test_what_a_node_applies():
    f = op_called("scan", 1.5)
    nodes = fg.trace(lambda x: jax.lax.scan(lambda c, a: (c + a, None), f(x), jnp.ones(2))[0], X).nodes
    assert [node.primitive for node in nodes if node.op_name == "scan"] == ["", "scan"]


@pytest.mark.parametrize("name", STRUCTURAL)
def test_a_gradient_too(name):
    f = op_called(name, 1.5)
    for grad in (jax.grad, fg.grad):
        np.testing.assert_allclose(grad(lambda x: f(x).sum())(X), 1.5 * np.cos(X))
    assert fg.plan(lambda x: f(x).sum(), X).steps[0].pullbacks[0].name == "<lambda>"
