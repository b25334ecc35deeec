"""Jacobians against `jax.jacfwd` and `jax.jacrev`, in both modes; which mode is chosen."""

import functools

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
PARAMS = {"w": jnp.linspace(0.5, -0.7, 12).reshape(3, 4), "b": jnp.linspace(-0.1, 0.3, 4)}


def network(params, x):
    return ops.tanh(ops.linear(x, params["w"], params["b"]))


def plain(params, x):
    return jnp.tanh(x @ params["w"] + params["b"][None])


def assert_close(found, expected):
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-12)


FUNCTIONS = {
    "ops": (network, plain),
    "a scalar": (lambda p, x: jnp.sum(network(p, x)), lambda p, x: jnp.sum(plain(p, x))),
    "several outputs": (lambda p, x: {"y": network(p, x), "n": (jnp.sum(x), p["b"])},
                        lambda p, x: {"y": plain(p, x), "n": (jnp.sum(x), p["b"])}),
    "an output returned twice": (lambda p, x: [y := network(p, x), x, y], lambda p, x: [y := plain(p, x), x, y]),
    "an output that is a number": (lambda p, x: (network(p, x), 2.0), lambda p, x: (plain(p, x), 2.0)),
    "an input given back": (lambda p, x: x, lambda p, x: x),
    "a loop": (lambda p, x: jax.lax.scan(lambda c, r: (jnp.sin(c * r.sum()) + p["b"], c), p["b"], x),) * 2,
    "a branch": (lambda p, x: jax.lax.cond(x[0, 0] < 0, lambda b: b**2, lambda b: b, p["b"]),) * 2,
    "saved values": (lambda p, x: ops.softmax(ops.layer_norm(x @ p["w"], p["b"], p["b"])),
                     lambda p, x: jax.nn.softmax(p["b"] + p["b"] * jax.nn.standardize(x @ p["w"], epsilon=1e-6))),
}  # fmt: skip


@functools.cache
def expected_of(name, argnums):
    with jax.numpy_rank_promotion("allow"):
        return jax.jit(jax.jacrev(FUNCTIONS[name][1], argnums))(PARAMS, X)


@pytest.mark.parametrize("mode", [None, "forward", "reverse"])
@pytest.mark.parametrize("argnums", [0, (0, 1)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name, argnums, mode):
    ours = fg.jacobian(FUNCTIONS[name][0], argnums, mode=mode)
    with jax.numpy_rank_promotion("allow"):
        found = (jax.jit(ours) if mode else ours)(PARAMS, X)  # compiled as one, and operation by operation
    expected = expected_of(name, argnums)
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-7, atol=1e-9)
    assert [a.shape for a in jax.tree.leaves(found)] == [a.shape for a in jax.tree.leaves(expected)]


def test_in_the_place_of_jax():
    f = lambda x: jnp.sin(x) * x.sum()
    assert_close(fg.jacobian(f)(X), jax.jacobian(f)(X))
    assert_close(jax.jit(fg.jacobian(f))(X), jax.jacfwd(f)(X))
    assert_close(jax.vmap(fg.jacobian(f))(X), jax.vmap(jax.jacobian(f))(X))
    g = lambda x: (jnp.sin(x), {"aux": jnp.cos(x)})
    for mode in ("forward", "reverse"):
        assert_close(fg.jacobian(g, has_aux=True, mode=mode)(X), jax.jacrev(g, has_aux=True)(X))


def test_hessians():
    f = lambda x: jnp.sum(ops.sigmoid(x) ** 3)
    expected = jax.hessian(lambda x: jnp.sum(jax.nn.sigmoid(x) ** 3))(X)
    assert_close(fg.jacobian(fg.grad(f))(X), expected)
    assert_close(fg.jacobian(fg.jacobian(f))(X), expected)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_between_values_inside(mode):
    def f(params, x):
        h = fg.name(network(params, x), "h")
        k = fg.name(jnp.sin(h) * h, "k")
        return jnp.sum(k**2)

    h = plain(PARAMS, X)
    of_h = lambda h: jnp.sin(h) * h
    found = fg.jacobian(f, of="k", wrt=["h", "params", "k"], mode=mode)(PARAMS, X)
    assert_close(found["h"], jax.jacfwd(of_h)(h))
    assert_close(found["params"], jax.jacrev(lambda p: of_h(plain(p, X)))(PARAMS))
    assert_close(found["k"], jnp.eye(8).reshape(2, 4, 2, 4))
    both = fg.jacobian(f, of=["h", "k"], wrt="x", mode=mode)(PARAMS, X)
    assert_close(both, {"h": jax.jacfwd(plain, 1)(PARAMS, X), "k": jax.jacfwd(lambda x: of_h(plain(PARAMS, x)))(X)})


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_what_is_asked_for_twice_or_cannot_be_reached(mode):
    f = lambda p, x: fg.name(jnp.cos(fg.name(network(p, x), "h") + 1.0), "last")
    options = {"of": "h", "wrt": ["p", "p/w", "last"], "unreachable": "zero", "mode": mode}
    found = fg.jacobian(f, **options)(PARAMS, X)
    assert_close(found["p"]["w"], jax.jacrev(plain)(PARAMS, X)["w"])
    assert_close(found["p/w"], found["p"]["w"])
    assert_close(found["last"], jnp.zeros((2, 4, 2, 4)))


def test_nothing_to_differentiate_by_or_of():
    assert fg.jacobian(network, ())(PARAMS, X) == ()
    assert fg.jacobian(lambda x: ())(X) == ()
    assert_close(fg.jacobian(lambda x: x[:0])(X[0]), jnp.zeros((0, 3)))
    assert_close(fg.jacobian(lambda x: x.sum() + X)(X[0, :0]), jnp.zeros((2, 3, 0)))


def test_selectors():
    found = fg.jacobian(network, wrt=fg.freeze("w"))(PARAMS, X)
    assert_close(found, {"b": jax.jacrev(plain)(PARAMS, X)["b"], "w": None})


def test_integers_get_float0():
    f = lambda x, n: jnp.sin(x) * n.astype(x.dtype)
    n = jnp.arange(6).reshape(2, 3)
    by_x, by_n = fg.jacobian(f, (0, 1), allow_int=True)(X, n)
    assert_close(by_x, jax.jacrev(f)(X, n))
    assert (by_n.shape, by_n.dtype) == ((2, 3, 2, 3), jax.dtypes.float0)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_holomorphic(mode):
    z = jnp.array([1.0 + 2.0j, -0.5j])
    f = lambda z: jnp.stack([z[0] * z[1], z[0] ** 2, jnp.exp(z[1])])
    assert_close(fg.jacobian(f, holomorphic=True, mode=mode)(z), jax.jacrev(f, holomorphic=True)(z))


@jax.custom_vjp
def tripled(x):
    return jnp.concatenate([x] * 3)


tripled.defvjp(lambda x: (tripled(x), None), lambda _, g: (10 * g[:3],))


def test_the_smaller_side_says_how_many_passes(monkeypatch):
    ran = []
    for mode in ("rows", "columns"):
        run = getattr(fg.autodiff.jacobians, f"_by_{mode}")
        monkeypatch.setattr(
            fg.autodiff.jacobians, f"_by_{mode}", lambda traced, run=run, mode=mode: (ran.append(mode), run(traced))[1]
        )
    wide, tall = lambda x: x[:1] ** 2, lambda x: jnp.concatenate([x, x**2])
    for f in (wide, tall, jnp.sin, tripled):
        fg.jacobian(f)(X[0])
    assert ran == ["rows", "columns", "columns", "rows"]


def test_custom_vjp_and_replaced_rules_go_in_reverse():
    np.testing.assert_allclose(fg.jacobian(tripled)(X[0])[:3], 10 * jnp.eye(3))
    rules = fg.RuleSet().override(ops.tanh, lambda g: 7 * g)
    np.testing.assert_allclose(fg.jacobian(lambda x: ops.tanh(x), rules=rules)(X[0]), 7 * jnp.eye(3))


BAD = {
    "integers": (
        lambda: fg.jacobian(lambda x: jnp.argsort(x))(X[0]),
        r"jacobian needs floating outputs, got i\d+\[3\] at 'argsort/sort\.1'\.",
    ),
    "complex": (
        lambda: fg.jacobian(lambda z: z * z)(jnp.array([1j])),
        r"jacobian needs floating outputs, got c128\[1\] at 'mul'; pass holomorphic=True or take a real part\.",
    ),
    "forward through custom_vjp": (
        lambda: fg.jacobian(tripled, mode="forward")(X[0]),
        r"jacobian: forward mode does not reach through the custom_vjp 'tripled'; leave mode out, or say 'reverse'\.",
    ),
    "forward into a loop": (
        lambda: fg.jacobian(
            lambda x: jax.lax.scan(lambda c, r: (fg.name(c * r, "h") ** 2, None), x[0], x)[0], wrt="h", mode="forward"
        )(X),
        r"jacobian: forward mode does not reach through a loop or branch to 'h'; leave mode out, or say 'reverse'\.",
    ),
    "no mode": (
        lambda: fg.jacobian(jnp.sin, mode="fwd"),
        r"jacobian: mode must be 'forward' or 'reverse', got 'fwd'\.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(case):
    call, message = BAD[case]
    with raises_sentence(GradientError, message):
        call()
