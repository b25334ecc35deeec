"""Gradients of several losses and minibatches added; and what else autograd does: no_grad, detach, create_graph."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 12).reshape(4, 3)
PARAMS = {"w": jnp.linspace(0.5, -0.7, 6).reshape(3, 2), "layers": [{"b": jnp.array([0.1, -0.2])}, None]}


def first(params, x):
    return jnp.sum(ops.tanh(ops.linear(x, params["w"], params["layers"][0]["b"])) ** 2)


def second(params, x):
    return jnp.sum(jnp.abs(params["w"])) * jnp.max(x)


def assert_close(found, expected):
    chex.assert_trees_all_equal_structs(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-10, atol=1e-12)


def test_several_losses():
    total = fg.accumulate(fg.grad(first)(PARAMS, X), fg.grad(second)(PARAMS, X))
    assert_close(total, fg.grad(lambda p, x: first(p, x) + second(p, x))(PARAMS, X))


def test_minibatches_one_after_another():
    total = None
    for batch in jnp.split(X, 4):
        total = fg.accumulate(total, fg.grad(first)(PARAMS, batch))
    assert_close(total, fg.grad(first)(PARAMS, X))


def test_inside_a_scan():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    add = lambda total, row: (fg.accumulate(total, fg.grad(first)(PARAMS, row[None])), None)
    assert_close(jax.lax.scan(add, zeros, X)[0], fg.grad(first)(PARAMS, X))


def test_mappings_by_name_need_not_have_the_same_names():
    f = lambda x: fg.name(jnp.sum(fg.name(2 * x, "h") ** 2), "a") + fg.name(jnp.sum(3 * x), "b")
    by_a = fg.grad(f, of="a", wrt=["h", "x"])(X)
    by_b = fg.grad(f, of="b", wrt=["x", "b"])(X)
    assert_close(fg.accumulate(by_a, by_b), {"h": 4 * X, "x": 8 * X + 3, "b": jnp.array(1.0)})


def test_none_adds_nothing():
    gradient = fg.grad(first)(PARAMS, X)
    part = fg.grad(first, wrt=fg.select("w"))(PARAMS, X)
    assert_close(fg.accumulate(part, gradient), {**gradient, "w": 2 * gradient["w"]})
    assert fg.accumulate() is None
    assert fg.accumulate(None, None) is None
    assert_close(fg.accumulate(None, gradient, None), gradient)


def test_float0_stays():
    zeros = np.zeros(3, jax.dtypes.float0)
    assert fg.accumulate((X, zeros), (X, zeros))[1].dtype == jax.dtypes.float0


BAD = {
    "structures": (
        lambda: fg.accumulate({"a": (X, X)}, {"a": [X, X]}),
        r"accumulate needs gradients of the same structure, got \(f64\[4,3\], f64\[4,3\]\) and \[f64\[4,3\], "
        r"f64\[4,3\]\]\.",
    ),
    "shapes": (
        lambda: fg.accumulate([X], [X[0]]),
        r"accumulate adds arrays that are alike, got f64\[4,3\] and f64\[3\]\.",
    ),
    "dtypes": (
        lambda: fg.accumulate(X, X.astype(jnp.float32)),
        r"accumulate adds arrays that are alike, got f64\[4,3\] and f32\[4,3\]\.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(case):
    call, message = BAD[case]
    with raises_sentence(GradientError, message):
        call()


def test_a_function_that_is_called_keeps_nothing():
    """The functional `no_grad`: only what is differentiated makes a plan, and only a plan keeps values."""
    assert_close(first(PARAMS, X), fg.value_and_grad(first)(PARAMS, X)[0])
    teacher = lambda p, x: jnp.sum((ops.tanh(x @ p["w"]) - fg.detach(ops.tanh(x @ p["w"]))) ** 2 + x @ p["w"])
    kept = [v.name for v in fg.plan(teacher, PARAMS, X).kept]
    assert sum("tanh" in name for name in kept) == 1


def test_detach_cuts_one_path_only():
    f = lambda x: jnp.sum(x * fg.detach(x**2))
    assert_close(fg.grad(f)(X), X**2)
    np.testing.assert_array_equal(fg.grad(lambda x: jnp.sum(fg.detach(x)))(X), jnp.zeros_like(X))


def critic(params, x):
    return jnp.sum(ops.tanh(ops.linear(x, params["w"], params["layers"][0]["b"])))


def plain_critic(params, x):
    return jnp.sum(jnp.tanh(x @ params["w"] + params["layers"][0]["b"][None]))


def penalty(grad, critic):
    """(|∂D/∂x| - 1)² per example, as in Gulrajani et al. 2017, equation 3."""
    return lambda params, x: jnp.mean((optax.safe_norm(grad(critic, 1)(params, x), 1e-9, axis=1) - 1) ** 2)


def test_gradient_penalty():
    assert_close(fg.grad(penalty(fg.grad, critic))(PARAMS, X), jax.grad(penalty(jax.grad, plain_critic))(PARAMS, X))


def test_hessian_vector_products_in_every_nesting():
    f, plain = lambda x: critic(PARAMS, x) ** 2, lambda x: plain_critic(PARAMS, x) ** 2
    v = jnp.cos(X)
    expected = jax.jvp(jax.grad(plain), (X,), (v,))[1]
    assert_close(jax.jvp(fg.grad(f), (X,), (v,))[1], expected)
    assert_close(fg.grad(lambda x: jnp.vdot(fg.grad(f)(x), v))(X), expected)
    assert_close(fg.vjp(fg.grad(f), X)[1](v)[0], expected)
    assert_close(fg.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(X), expected)


def test_third_order_wrt_different_things():
    f, plain = lambda w, x: critic({**PARAMS, "w": w}, x) ** 2, lambda w, x: plain_critic({**PARAMS, "w": w}, x) ** 2
    total = lambda g: lambda w, x: jnp.sum(jnp.sin(g(w, x)))
    ours = fg.grad(total(fg.grad(total(fg.grad(f, 0)), 1)), 0)(PARAMS["w"], X)
    theirs = jax.grad(total(jax.grad(total(jax.grad(plain, 0)), 1)), 0)(PARAMS["w"], X)
    assert_close(ours, theirs)


def test_a_gan_with_two_losses():
    """Each network is updated by its own loss, the other frozen by not being asked for."""
    params = {"generator": {"w": jnp.eye(3)}, "critic": PARAMS["w"]}

    def score(critic, x):
        return jnp.mean(ops.tanh(x @ critic))

    def losses(params, z, x):
        fake = fg.name(z @ params["generator"]["w"], "fake")
        fg.name(score(params["critic"], fg.detach(fake)) - score(params["critic"], x), "critic_loss")
        return fg.name(-score(params["critic"], fake), "generator_loss")

    for of, wrt, plain in [
        ("critic_loss", "critic", lambda p, z, x: score(p["critic"], z @ p["generator"]["w"]) - score(p["critic"], x)),
        ("generator_loss", "generator/w", lambda p, z, x: -score(p["critic"], z @ p["generator"]["w"])),
    ]:
        found = fg.grad(losses, of=of, wrt=fg.select(wrt))(params, jnp.sin(X), X)
        (gradient,) = jax.tree.leaves(found)
        expected = jax.grad(plain)(params, jnp.sin(X), X)
        assert_close(gradient, expected["critic"] if wrt == "critic" else expected["generator"]["w"])
