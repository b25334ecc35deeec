"""A jitted function inside a gradient stays whole: compiled as the user compiled it, traced and planned once."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.language.agreement import assert_alike, assert_same
from tests.raising import raises_sentence

X, W = jnp.linspace(-1.0, 1.3, 3), jnp.linspace(0.5, -0.7, 9).reshape(3, 3)


def layer(x, w):
    return jnp.tanh(x @ w) * jax.nn.silu(x)


def net(params, x):
    for w in params:
        x = layer(x, w)
    return jnp.sum(x**2)


PARAMS = [W * (1 + k / 10) for k in range(6)]
jitted_net, jitted_layer = jax.jit(net), jax.jit(layer)


def in_layers(params, x):
    for w in params:
        x = jitted_layer(x, w)
    return jnp.sum(x**2)


def compilations(call: Callable[[], Any]) -> int:
    """How many programs a call compiles, from empty caches."""
    found = []

    def listen(event: str, _seconds: float, **_: Any) -> None:
        found.append(event) if event.endswith("backend_compile_duration") else None

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(call())
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(found)


@pytest.mark.parametrize("function", [jitted_net, in_layers], ids=["the whole", "its layers"])
@pytest.mark.parametrize("what", ["value_and_grad", "vjp"])
def test_an_eager_call_compiles_no_more_than_jaxs(function, what):
    def call(lib):
        if what == "vjp":
            y, pull = lib.vjp(function, PARAMS, X)
            return y, pull(jnp.ones_like(y))
        return lib.value_and_grad(function)(PARAMS, X)

    assert_same(call(fg), call(jax))
    ours, theirs = (compilations(lambda lib=lib: call(lib)) for lib in (fg, jax))
    assert ours <= theirs, f"{ours} programs, JAX {theirs}"
    assert compilations(lambda: call(fg)) == ours


def test_later_calls_compile_nothing_and_trace_nothing_inside():
    traced = []

    @jax.custom_vjp
    def square(x):
        return x * x

    def backward(x, g):
        traced.append(x)
        return (2.0 * x * g,)

    square.defvjp(lambda x: (x * x, x), backward)
    function = jax.jit(lambda x: jnp.sum(square(jnp.sin(x))))
    expected = 2.0 * np.sin(X) * np.cos(X)
    for _ in range(3):
        np.testing.assert_allclose(fg.grad(function)(X), expected, rtol=1e-12)
    n = len(traced)
    np.testing.assert_allclose(fg.grad(function)(2.0 * X), 2.0 * np.sin(2 * X) * np.cos(2 * X), rtol=1e-12)
    assert len(traced) == n


def test_what_is_not_jitted_runs_anew_at_every_call():
    seen = []

    def function(x):
        seen.append(x)
        return jnp.sum(jnp.sin(x)) * factor[0]

    factor = [1.0]
    np.testing.assert_allclose(fg.grad(function)(X), np.cos(X), rtol=1e-12)
    factor[0] = 3.0
    np.testing.assert_allclose(fg.grad(function)(X), 3.0 * np.cos(X), rtol=1e-12)
    assert len(seen) == 2


def test_a_jitted_function_that_decides_by_a_static_argument():
    function = jax.jit(lambda x, n: jnp.sum(jnp.sin(x) ** n), static_argnums=1)
    for n in (2, 3, 2):
        assert_same(fg.grad(lambda x, n=n: function(x, n))(X), jax.grad(lambda x, n=n: function(x, n))(X))


OUTPUTS = {
    "some used": lambda x: jax.jit(lambda x: (jnp.sin(x), jnp.cos(x), jnp.argmax(x)))(x)[1].sum(),
    "an input": lambda x: sum(map(jnp.sum, jax.jit(lambda x: (x, x, jnp.sin(x)))(x))),
    "one that its rule reads": lambda x: jnp.sum(jax.jit(lambda x: (jnp.sin(x), jnp.exp(jnp.cos(x))))(x)[1]),
    "one twice": lambda x: sum(map(jnp.sum, jax.jit(lambda x: [jnp.sin(x) ** 2] * 2)(x))),
    "a constant": lambda x: jnp.sum(jax.jit(lambda x: (jnp.sin(x), 2.0))(x)[0]) * jax.jit(lambda x: (x, 2.0))(x)[1],
    "nothing kept": lambda x: jnp.sum(jax.jit(lambda x: 2.0 * x)(x)),
    "an array closed over": lambda x: jnp.sum(jax.jit(lambda x: jnp.sin(x @ W))(x)),
    "a number handed in": lambda x: jnp.sum(jax.jit(lambda x, s: jnp.sin(x * s))(x, 2.0)),
    "a carry around": lambda x: jax.jit(lambda x: jax.lax.scan(lambda c, w: (jnp.sin(c) @ w, None), x, W[None])[0])(x)[
        0
    ],
    "jits inside": lambda x: jnp.sum(jax.jit(lambda x: jitted_layer(jitted_layer(x, W), W))(x)),
    "one twice in a row": lambda x: jnp.sum(jitted_layer(jitted_layer(x, W), W)),
    "no cotangent": lambda x: jnp.sum(jax.lax.stop_gradient(jitted_layer(x, W)) * x),
    "complex": lambda x: jnp.abs(jax.jit(lambda z: jnp.exp(z * 1j) * z)(x.astype(complex))).sum(),
    "integers": lambda x: jnp.sum(jax.jit(lambda x, n: x[n] * n)(x, jnp.array([0, 2]))),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_gradients_through_whole_functions_are_those_of_jax(name):
    function = OUTPUTS[name]
    with jax.numpy_dtype_promotion("standard"):
        assert_same(fg.value_and_grad(function)(X), jax.value_and_grad(function)(X))
        assert_same(fg.jacobian(function)(X), jax.jacobian(function)(X))


def test_transformations_of_whole_functions():
    large = lambda x: jitted_net(PARAMS, x)
    batch = jnp.stack([X, 2 * X])
    assert_same(jax.vmap(fg.grad(large))(batch), jax.vmap(jax.grad(large))(batch))
    assert_same(jax.jacfwd(fg.grad(large))(X), jax.hessian(large)(X))
    assert_same(fg.jacobian(fg.grad(large))(X), jax.hessian(large)(X))
    assert_same(jax.jit(fg.grad(large))(X), jax.jit(jax.grad(large))(X))


def test_the_types_are_those_of_jax():
    weak = jax.jit(lambda s, x: (jnp.sum(x * s), (s, x.astype(jnp.bfloat16), jnp.array(True))))
    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = (lib.value_and_grad(weak, (0, 1), has_aux=True)(2.0, X) for lib in (fg, jax))
    assert_alike(ours, theirs)


def test_effects_of_a_whole_function_come_once_at_every_call_and_in_order(capfd):
    @jax.jit
    def inside(x):
        jax.debug.print("inside {}", x, ordered=True)
        return jnp.sin(x)

    def function(x):
        jax.debug.print("before {}", x, ordered=True)
        y = inside(x)
        jax.debug.print("after", ordered=True)
        return y

    for _ in range(2):
        fg.grad(function)(0.0)
    jax.effects_barrier()
    assert capfd.readouterr().out.splitlines() == ["before 0.0", "inside 0.0", "after"] * 2


def test_donated_arguments_outlive_a_gradient():
    donating = jax.jit(lambda x: jnp.sin(x) * 2.0, donate_argnums=0)
    x = X + 0.0
    np.testing.assert_allclose(fg.grad(lambda x: jnp.sum(donating(x)))(x), 2 * np.cos(X), rtol=1e-12)
    np.testing.assert_allclose(fg.grad(lambda y: jnp.sum(y * donating(x)))(X), 2 * np.sin(X), rtol=1e-12)
    assert not x.is_deleted()


def test_a_context_is_part_of_what_is_remembered():
    function = jax.jit(lambda w: jnp.sum(jnp.dot(w, w)))
    text = lambda: str(jax.make_jaxpr(fg.grad(lambda w: function(w) + jnp.sum(jnp.sin(w)) ** 2))(W))
    for _ in range(2):
        assert "HIGHEST" not in text()
        with jax.default_matmul_precision("highest"):
            assert "HIGHEST" in text()


def test_a_rule_registered_later_is_seen():
    @fg.op(name="later_calls")
    def double(x):
        return 2.0 * x

    function = jax.jit(lambda x: jnp.sum(double(x)))
    np.testing.assert_array_equal(fg.grad(function)(X), 2.0)
    double.pullback("x", kind=fg.modified)(lambda g: 5.0 * g)
    np.testing.assert_array_equal(fg.grad(function)(X), 5.0)


ASKED = {
    "a rule": (dict(rules=fg.RuleSet().override(ops.relu, lambda g: 7.0 * g)), lambda found: found, 7.0),
    "a value inside": (dict(wrt="h"), lambda found: found, 1.0),
    "up to a value inside": (dict(of="h", cotangent=jnp.ones(3)), lambda found: found, 1.0),
    "a tap": (dict(taps="h"), lambda found: found[1]["h"].cotangent["max"], 1.0),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_inside_is_found(name):
    options, take, expected = ASKED[name]
    function = jax.jit(lambda x: jnp.sum(fg.name(ops.relu(x), "h")))
    np.testing.assert_array_equal(take(fg.grad(function, **options)(X + 2.0)), expected)


def test_a_rule_that_is_replaced_elsewhere_leaves_it_whole():
    rules = fg.RuleSet().override(ops.relu, lambda g: 7.0 * g)
    function = lambda x: jnp.sum(ops.relu(jitted_layer(x, W)))
    n = compilations(lambda: fg.grad(function, rules=rules)(X))
    assert n < compilations(lambda: fg.grad(lambda x: jnp.sum(ops.relu(layer(x, W))), rules=rules)(X))


def test_an_error_inside_names_the_node_as_a_printed_graph_does():
    @jax.jit
    def looped(x):
        with fg.scope("block"):
            return jax.lax.while_loop(lambda c: c[0] < 4, jnp.sin, x)

    sentence = r"block/while#2: a reverse pass needs to know how many turns a loop makes, .*"
    with raises_sentence(fg.errors.GradientError, sentence):
        fg.grad(lambda x: jnp.sum(jax.lax.stop_gradient(looped(x))) + jnp.sum(looped(x)))(X)


def test_what_is_remembered_ends_with_the_function():
    big = jnp.ones(1000)
    known = weakref.ref(big)
    function = jax.jit(lambda x, big=big: jnp.sum(x * big[0]))
    fg.grad(function)(X)
    del function, big
    jax.clear_caches()
    gc.collect()
    assert known() is None


def test_a_second_trace_is_as_short_as_the_first_jitted_function():
    """Of the equations of a gradient, traced again, none is written out that a jitted function holds."""
    written = [len(jax.make_jaxpr(fg.value_and_grad(jitted_net))(PARAMS[:n], X).jaxpr.eqns) for n in (3, 6)]
    assert written[0] == written[1] < 8
