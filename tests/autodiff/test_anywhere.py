"""The gradient of any value with respect to any other: `of=` and `wrt=`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 6).reshape(2, 3)
PARAMS = {
    "fc0": {"w": jnp.linspace(0.5, -0.7, 12).reshape(3, 4), "b": jnp.linspace(-0.1, 0.3, 4)},
    "fc1": {"w": jnp.linspace(-0.4, 0.9, 8).reshape(4, 2), "b": jnp.array([0.1, -0.2])},
}


def lower(fc0, x):
    return jnp.tanh(x @ fc0["w"] + fc0["b"][None])


def penalty_of(h):
    return jnp.sum(h**2)


def upper(fc1, h):
    return jnp.sum(jax.nn.sigmoid(h @ fc1["w"] + fc1["b"][None]) ** 2)


def loss(params, x):
    """The same with names: a hidden layer `h`, of which there is a `penalty`, and the rest of the network."""
    h = fg.name(ops.tanh(ops.linear(x, **params["fc0"])), "h")
    penalty = fg.name(jnp.sum(h**2), "penalty")
    with fg.scope("upper"):
        y = fg.name(ops.sigmoid(ops.linear(h, **params["fc1"])), "y")
    return jnp.sum(y**2) + 0.1 * penalty


def assert_close(found, expected):
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-12)


def test_of_an_intermediate_wrt_an_argument():
    value, gradient = fg.value_and_grad(loss, of="penalty", wrt=0, unreachable="zero")(PARAMS, X)
    expected = jax.value_and_grad(lambda p: penalty_of(lower(p["fc0"], X)))(PARAMS)
    assert_close((value, gradient), expected)


def test_of_an_intermediate_wrt_an_intermediate():
    h = lower(PARAMS["fc0"], X)
    assert_close(fg.grad(loss, of="penalty", wrt="h")(PARAMS, X), jax.grad(penalty_of)(h))
    assert_close(fg.grad(loss, of="penalty", wrt="penalty")(PARAMS, X), jnp.ones(()))
    g = jnp.cos(jnp.arange(4.0)).reshape(2, 2)
    y_bar = fg.grad(loss, of="upper/y", wrt=["h", "params/fc1/**"], cotangent=g)(PARAMS, X)
    run = lambda h, fc1: jax.nn.sigmoid(h @ fc1["w"] + fc1["b"][None])
    h_bar, fc1_bar = jax.vjp(run, h, PARAMS["fc1"])[1](g)
    assert_close(y_bar, {"h": h_bar, "params/fc1/b": fc1_bar["b"], "params/fc1/w": fc1_bar["w"]})


def test_wrt_arguments_gives_pytrees_like_them():
    plain = lambda p, x: upper(p["fc1"], h := lower(p["fc0"], x)) + 0.1 * penalty_of(h)
    by_params, by_x = jax.grad(plain, (0, 1))(PARAMS, X)
    for wrt, expected in {
        0: by_params,
        -1: by_x,
        "params": by_params,
        "x": by_x,
        (0, 1): (by_params, by_x),
        ("x", "params"): {"x": by_x, "params": by_params},
        (1, "params/fc1/b"): {"x": by_x, "params/fc1/b": by_params["fc1"]["b"]},
    }.items():
        assert_close(fg.grad(loss, wrt=wrt)(PARAMS, X), expected)


def test_wrt_an_argument_passed_by_keyword():
    f = lambda x, *, scales: jnp.sum(x) * scales["a"] ** 2
    scales = {"a": jnp.array(3.0)}
    assert_close(fg.grad(f, wrt="scales")(X, scales=scales), {"a": 6.0 * jnp.sum(X)})
    total = jnp.sum(X + 1)
    by_number = fg.grad(lambda x, *, power: jnp.sum(x) ** power, wrt="power")(X + 1, power=2.0)
    np.testing.assert_allclose(by_number, total**2 * jnp.log(total), rtol=1e-10)


def test_several_values_are_added_as_torch_does():
    cotangent = {"penalty": jnp.array(3.0), "upper/y": jnp.ones((2, 2))}
    value, found = fg.value_and_grad(loss, of=["penalty", "upper/y"], wrt="h", cotangent=cotangent)(PARAMS, X)
    h = lower(PARAMS["fc0"], X)
    run = lambda h: 3 * penalty_of(h) + jnp.sum(jax.nn.sigmoid(h @ PARAMS["fc1"]["w"] + PARAMS["fc1"]["b"][None]))
    assert_close(found, jax.grad(run)(h))
    assert set(value) == {"penalty", "upper/y"}
    scalars = lambda x: fg.name(jnp.sum(x**2), "a") + fg.name(jnp.sum(x**3), "b")
    assert_close(fg.grad(scalars, of=["a", "b"])(X), 2 * X + 3 * X**2)
    parts = lambda x: sum(fg.name(x[i] ** 2, f"part{i}") for i in range(3)) ** 2
    assert_close(fg.grad(parts, of="part*")(X[0]), 2 * X[0])


def test_nothing_after_it_is_run(capfd):
    def f(x):
        jax.debug.print("before")
        h = fg.name(jnp.sum(x**2), "h")
        y = jnp.linalg.det(jnp.outer(x, x)) * h
        jax.debug.print("after")
        return y

    plan = fg.plan(f, X[0], of="h")
    assert [n.op_name for n in plan.structure.nodes] == ["debug_print", "integer_pow", "reduce_sum"]
    assert_close(fg.value_and_grad(f, of="h")(X[0]), (jnp.sum(X[0] ** 2), 2 * X[0]))
    jax.effects_barrier()
    assert capfd.readouterr().out.split() == ["before"]


def test_auxiliary_outputs_are_still_computed():
    f = lambda x: (jnp.sum(x) * fg.name(jnp.sum(x**2), "h"), {"last": jnp.max(x)})
    (value, aux), gradient = fg.value_and_grad(f, has_aux=True, of="h")(X)
    assert_close((value, aux, gradient), (jnp.sum(X**2), {"last": jnp.max(X)}, 2 * X))


def test_of_an_argument_is_a_value_too():
    g = jax.tree.map(jnp.sin, PARAMS["fc1"])
    cotangent = {"params/fc1/b": g["b"], "params/fc1/w": g["w"]}
    found = fg.grad(loss, of="params/fc1/*", wrt="params", unreachable="zero", cotangent=cotangent)(PARAMS, X)
    assert_close(found, {"fc0": jax.tree.map(jnp.zeros_like, PARAMS["fc0"]), "fc1": g})
    assert_close(fg.grad(loss, of=1, wrt="x", cotangent=X)(PARAMS, X), X)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_it_transforms_as_any_function(jit):
    f = fg.grad(loss, of="penalty", wrt="params/fc0/w")
    per_row = jax.vmap(f, (None, 0))
    found = (jax.jit(per_row) if jit else per_row)(PARAMS, X[:, None])
    single = jax.grad(lambda w, x: penalty_of(lower({"w": w, "b": PARAMS["fc0"]["b"]}, x)))
    assert_close(found, jnp.stack([single(PARAMS["fc0"]["w"], x[None]) for x in X]))


def test_vjp_and_record_stop_there_too():
    h, pull = fg.vjp(loss, PARAMS, X, of="h", wrt="x")
    expected, expected_pull = jax.vjp(lambda x: lower(PARAMS["fc0"], x), X)
    assert_close((h, pull(jnp.cos(h))), (expected, expected_pull(jnp.cos(h))[0]))
    values, tape = fg.record(loss, PARAMS, X, of=["h", "penalty"])
    params_bar, x_bar = tape.pull({"h": jnp.cos(h), "penalty": jnp.ones(())})
    both = lambda p, x: (lower(p["fc0"], x), penalty_of(lower(p["fc0"], x)))
    assert_close((params_bar, x_bar), jax.vjp(both, PARAMS, X)[1]((jnp.cos(h), jnp.ones(()))))
    assert_close(values["penalty"], penalty_of(h))


def test_of_what_a_loop_returns():
    def f(x):
        final, turns = jax.lax.scan(lambda c, r: (fg.name(jnp.sin(c * r), "inner"), c), x[0], x)
        fg.name(turns, "unused")
        return jnp.sum(fg.name(final, "final") ** 3)

    scan = lambda x: jax.lax.scan(lambda c, r: (jnp.sin(c * r), None), x[0], x)[0]
    g = jnp.array([1.0, -2.0, 0.5])
    assert_close(fg.grad(f, of="final", cotangent=g)(X), jax.vjp(scan, X)[1](g)[0])
    assert fg.grad(f, of="final", wrt="inner", cotangent=g)(X).shape == X.shape


def test_modules_keep_their_state_where_they_are_not_run_to_the_end():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is an optional peer: pip install 'funcgrad[peers]'")

    class Net(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.norm(jnp.tanh(self.fc(x)))

    net = Net()
    f = lambda net, x: jnp.sum(net(x) ** 2)
    x = X.astype(jnp.float32)
    g = jnp.ones((2, 4), jnp.float32)
    found = fg.grad(f, of="net/fc/add", wrt="net/fc/**", cotangent=g)(net, x)
    np.testing.assert_allclose(found["net/fc/kernel"], x.T @ g, rtol=1e-6)
    np.testing.assert_array_equal(net.norm.mean[...], np.zeros(4))
    assert isinstance(fg.grad(f, wrt="net")(net, x), nnx.State)


BAD = {
    "unreachable": (
        lambda: fg.grad(loss, of="penalty", wrt="upper/y")(PARAMS, X),
        r"'penalty' does not depend on 'upper/y'; leave it out of wrt, or pass unreachable='zero'\.",
    ),
    "an argument with a leaf that is unreachable": (
        lambda: fg.grad(loss, of="penalty", wrt="params")(PARAMS, X),
        r"'penalty' does not depend on 'params/fc1/b'; leave it out of wrt, or pass unreachable='zero'\.",
    ),
    "a glob of unreachable values": (
        lambda: fg.grad(loss, of="penalty", wrt="upper/*")(PARAMS, X),
        r"'penalty' depends on nothing that 'upper/\*' matches; leave it out of wrt, or pass unreachable='zero'\.",
    ),
    "not a scalar": (
        lambda: fg.grad(loss, of="h")(PARAMS, X),
        r"grad needs a real scalar loss, got f64\[2,4\] at node 'h'; take its mean or sum, pass cotangent=, or use "
        r"fg.vjp or fg.jacobian\.",
    ),
    "a cotangent of another shape": (
        lambda: fg.grad(loss, of="h", cotangent=X)(PARAMS, X),
        r"The cotangent of output 'h' must be f64\[2,4\], got f64\[2,3\]\.",
    ),
    "one cotangent for several": (
        lambda: fg.grad(loss, of=["h", "upper/y"], cotangent=X)(PARAMS, X),
        r"The cotangent must have the structure of the output, \{'h': f64\[2,4\], 'upper/y': f64\[2,2\]\}, got "
        r"f64\[2,3\]\.",
    ),
    "an unknown name": (
        lambda: fg.grad(loss, of="penalti")(PARAMS, X),
        r"No value or scope is named 'penalti'; did you mean 'penalty'\?",
    ),
    "inside of a loop": (
        lambda: fg.grad(lambda x: jax.lax.scan(lambda c, r: (fg.name(c * r, "h"), c), x[0], x)[0].sum(), of="h")(X),
        r"of='h' is inside 'scan' \(a scan\), so it has an array for each of 2 turns; say which, "
        r"of=fg\.Where\('h', turn=-1\) for that of the last\.",
    ),
    "nothing": (
        lambda: fg.grad(loss, of=[])(PARAMS, X),
        r"of takes positions of arguments, names, patterns, or several of these, got \[\]\.",
    ),
    "neither a name nor a position": (
        lambda: fg.grad(loss, wrt=["x", None])(PARAMS, X),
        r"wrt takes positions of arguments, names, patterns, or several of these, got \['x', None\]\.",
    ),
    "a position that is not there": (
        lambda: fg.grad(loss, wrt=2)(PARAMS, X),
        r"wrt asks for argument 2, got 2 positional arguments\.",
    ),
    "a misspelled choice": (
        lambda: fg.grad(loss, unreachable="zeros")(PARAMS, X),
        r"unreachable must be 'raise' or 'zero', got 'zeros'\.",
    ),
    "an integer value by name": (
        lambda: fg.grad(lambda x: jnp.sum(x) * fg.name(jnp.argmax(x), "n").astype(x.dtype), of="n")(X),
        r"'n' is i\d+\[\]; only floating or complex values have gradients\.",
    ),
    "an integer argument by name": (
        lambda: fg.grad(lambda p: jnp.sum(p["x"]), wrt="p")({"x": X, "n": jnp.array(3)}),
        r"Argument 'p' has a leaf 'p/n' of i\d+\[\]; gradients need floating or complex arrays: cast it, leave it out "
        r"of argnums, or pass allow_int=True\.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_differentiated_gets_one_sentence(case):
    call, message = BAD[case]
    with raises_sentence(GradientError, message):
        call()


def test_zeros_where_they_are_asked_for():
    found = fg.grad(loss, of="penalty", wrt=["upper/y", "h"], unreachable="zero")(PARAMS, X)
    assert_close(found, {"upper/y": jnp.zeros((2, 2)), "h": 2 * lower(PARAMS["fc0"], X)})
