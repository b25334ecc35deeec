"""chain, parallel, residual and repeat against the same computation written out."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad import ops
from funcgrad.layers import chain, concatenate, dropout, layer_norm, linear, parallel, repeat, residual
from tests.layers.networks import running_mean
from tests.raising import raises_sentence

KEY = jax.random.key(3)


def apply_linear(p, x):
    return x @ np.asarray(p["w"]) + np.asarray(p["b"])


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


def test_chain_composes_and_names_by_type(rng):
    x = rng.normal(size=(3, 4))
    net = chain(linear(5), ops.tanh, linear(6), head=linear(2))
    params, _ = net.init(KEY, x)
    assert list(params) == ["linear0", "linear1", "head"]
    hidden = np.tanh(apply_linear(params["linear0"], x))
    assert_close(net(params, x), apply_linear(params["head"], apply_linear(params["linear1"], hidden)))


def test_empty_chain_is_the_identity(rng):
    x = rng.normal(size=3)
    np.testing.assert_array_equal(chain()({}, x), x)
    assert_close(parallel(chain(), ops.tanh)({}, x), (x, np.tanh(x)))


def test_layers_of_a_chain_start_differently_and_independently_of_their_place(rng):
    x = rng.normal(size=(3, 4))
    short, _ = chain(a=linear(4), b=linear(4)).init(KEY, x)
    long, _ = chain(c=linear(4), a=linear(4), b=linear(4)).init(KEY, x)
    assert not np.allclose(short["a"]["w"], short["b"]["w"])
    assert_close({n: long[n] for n in "ab"}, short)


def test_tuples_become_several_inputs(rng):
    x = rng.normal(size=(3, 4))
    net = chain(parallel(linear(2), ops.relu), concatenate())
    params, _ = net.init(KEY, x)
    expected = np.concatenate([apply_linear(params["parallel0"]["linear0"], x), np.maximum(x, 0)], axis=-1)
    assert_close(net(params, x), expected)


def test_residual_adds(rng):
    x = rng.normal(size=(3, 4))
    net = residual(linear(4))
    params, _ = net.init(KEY, x)
    assert_close(net(params, x), x + apply_linear(params["body"], x))


def test_residual_with_shortcut(rng):
    x = rng.normal(size=(3, 4))
    net = residual(chain(linear(5), ops.tanh), shortcut=linear(5))
    params, _ = net.init(KEY, x)
    expected = apply_linear(params["shortcut"], x) + np.tanh(apply_linear(params["body"]["linear0"], x))
    assert_close(net(params, x), expected)


def test_repeat_equals_the_chain_written_out(rng):
    x = rng.normal(size=(3, 4))
    block = residual(chain(layer_norm(), linear(4), ops.gelu))
    params, state = repeat(block, 5).init(KEY, x)
    unrolled = chain(*[block] * 5)
    separate = {f"residual{i}": jax.tree.map(lambda p: p[i], params) for i in range(5)}  # noqa: B023
    assert not np.allclose(*[separate[f"residual{i}"]["body"]["linear0"]["w"] for i in (0, 1)])

    loss = lambda net: lambda p, x: jnp.sum(jnp.sin(net.apply(p, state, x)[0]))
    for differentiate in (jax.value_and_grad, fg.value_and_grad):
        value, (p_bar, x_bar) = differentiate(loss(repeat(block, 5)), argnums=(0, 1))(params, x)
        expected, (separate_bar, x_bar_expected) = jax.value_and_grad(loss(unrolled), argnums=(0, 1))(separate, x)
        assert_close((value, x_bar), (expected, x_bar_expected))
        for i in range(5):
            assert_close(jax.tree.map(lambda p: p[i], p_bar), separate_bar[f"residual{i}"])  # noqa: B023


def test_repeat_draws_anew_in_every_copy():
    net = repeat(dropout(0.5), 2)
    y = np.asarray(net({}, jnp.ones(20000), key=KEY, train=True))
    assert abs((y != 0).mean() - 0.25) < 0.02


def test_repeat_starts_as_vmapped_init(rng):
    x = rng.normal(size=(3, 4))
    params, _ = repeat(linear(4), 3).init(KEY, x)
    for i, key in enumerate(jax.random.split(KEY, 3)):
        assert_close(jax.tree.map(lambda p: p[i], params), linear(4).init(key, x)[0])  # noqa: B023


def test_state_moves_only_while_training(rng):
    x = rng.normal(size=(6, 4)) + 3
    net = chain(ops.relu, centre=running_mean(0.5))
    params, state = net.init(KEY, x)
    relu = np.maximum(x, 0)
    _, after = net.apply(params, state, x, train=True)
    assert_close(after, {"centre": {"mean": 0.5 * relu.mean(axis=0)}})
    output, same = net.apply(params, after, x)
    assert_close((output, same), (relu - np.asarray(after["centre"]["mean"]), after))


def test_repeat_stacks_state(rng):
    x = rng.normal(size=(6, 4))
    net = repeat(running_mean(0.5), 2)
    params, state = net.init(KEY, x)
    _, after = net.apply(params, state, x, train=True)
    first = 0.5 * x.mean(axis=0)
    assert_close(after["mean"], np.stack([first, 0.5 * (x - first).mean(axis=0)]))


def test_repeat_must_return_what_it_takes(rng):
    sentence = r"repeat0/repeat: the layer must return what it takes, f64\[3,4\], got f64\[3,5\]\."
    with raises_sentence(fg.errors.ShapeError, sentence):
        chain(repeat(linear(5), 2)).init(KEY, rng.normal(size=(3, 4)))


def test_residual_must_fit(rng):
    sentence = (
        r"residual0/residual: the body must return f64\[3,4\], as the shortcut does, got f64\[3,1\]; "
        r"give another shortcut=\."
    )
    with raises_sentence(fg.errors.ShapeError, sentence):
        chain(residual(linear(1))).init(KEY, rng.normal(size=(3, 4)))
