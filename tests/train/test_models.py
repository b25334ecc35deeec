"""Models of Flax NNX and Equinox as they are: trained as their own libraries train them, to the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import train
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

KEY = jax.random.key(3)
X = np.random.default_rng(3).normal(size=(8, 2)).astype(np.float32)
Y = np.random.default_rng(4).normal(size=(8, 2)).astype(np.float32)
DECAYED = optax.chain(optax.add_decayed_weights(0.1, mask=fg.select("**/kernel")), optax.sgd(0.1, momentum=0.9))


@pytest.fixture(scope="module")
def nnx():
    return pytest.importorskip("flax.nnx", reason="Flax is an optional peer: pip install 'funcgrad[peers]'")


@pytest.fixture(scope="module")
def eqx():
    return pytest.importorskip("equinox", reason="Equinox is an optional peer: pip install 'funcgrad[peers]'")


def make_nnx(nnx):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(2, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
            self.drop, self.last = nnx.Dropout(0.3, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(jnp.tanh(self.norm(self.first(x)))))

    return Net(nnx.Rngs(0))


def squared(model, model_state, batch, key):
    return jnp.mean((model(batch[0]) - batch[1]) ** 2), (model_state, {})


def test_an_nnx_model_learns_as_with_nnx(nnx):
    model, plain = make_nnx(nnx), make_nnx(nnx)
    optimizer = nnx.Optimizer(plain, DECAYED, wrt=nnx.Param)
    before = jax.tree.map(as_numbers, nnx.to_pure_dict(nnx.state(model)))
    state, seen = train.init(model, DECAYED), []
    evaluate = lambda model, model_state: seen.append(model) or {}
    for _ in range(2):  # running statistics and counts of random numbers go on too
        state, _ = train.fit(
            state, train.step(squared, DECAYED), [(X, Y)], key=0, steps=2, evaluate=evaluate, progress=False
        )
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(4):
            gradient = nnx.grad(lambda model: squared(model, {}, (X, Y), None)[0])(plain)
            optimizer.update(plain, gradient)
    for found in (state.model, seen[-1]):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(as_numbers(a), as_numbers(b), rtol=2e-5, atol=1e-6),
            nnx.to_pure_dict(nnx.state(found)),
            nnx.to_pure_dict(nnx.state(plain)),
        )
    after = jax.tree.map(as_numbers, nnx.to_pure_dict(nnx.state(model)))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def as_numbers(x):
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def test_microbatches_hand_running_statistics_on(nnx):
    model, plain = make_nnx(nnx), make_nnx(nnx)
    model.drop.rate = plain.drop.rate = 0.0
    state, _ = train.step(squared, DECAYED, microbatches=2)(train.init(model, DECAYED), (X, Y), 0)
    plain(X[:4])
    plain(X[4:])
    np.testing.assert_allclose(state.model.norm.mean[...], plain.norm.mean[...], rtol=1e-5)


def test_a_skipped_step_leaves_running_statistics_alone(nnx):
    state = train.init(make_nnx(nnx), DECAYED)
    bad = (np.full_like(X, np.nan), Y)
    state, metrics = train.step(squared, DECAYED, on_nonfinite="skip")(state, bad, 0)
    assert metrics["skipped"]
    np.testing.assert_array_equal(state.model.norm.mean[...], np.zeros(4))


def test_a_part_of_an_nnx_model(nnx):
    state = train.init(make_nnx(nnx), DECAYED, trainable=fg.select("last/*"))
    start = jax.tree.map(np.asarray, state.params)
    state, _ = train.step(squared, DECAYED)(state, (X, Y), 0)
    np.testing.assert_array_equal(state.params["first"]["kernel"], start["first"]["kernel"])
    assert not np.array_equal(state.params["last"]["kernel"], start["last"]["kernel"])


def test_a_model_that_grows_while_it_runs(nnx):
    def growing(model, model_state, batch, key):
        model.seen = nnx.BatchStat(jnp.zeros(3))
        return squared(model, model_state, batch, key)

    with raises_sentence(
        GradientError, r"train\.step: what else the model holds must stay \{.*\}, got \{.*'seen'.*\}\."
    ):
        train.step(growing, DECAYED)(train.init(make_nnx(nnx), DECAYED), (X, Y), 0)


def test_an_equinox_model_learns_as_with_equinox(eqx):
    """Its functions, numbers and integers are no parameters: the rate of a dropout stays what it is."""

    class Net(eqx.Module):
        mlp: eqx.nn.MLP
        drop: eqx.nn.Dropout
        order: jax.Array
        scale: float

        def __call__(self, x, key):
            return self.drop(self.scale * self.mlp(x)[self.order], key=key)

    model = Net(
        eqx.nn.MLP(2, 2, 4, 1, activation=jax.nn.tanh, key=KEY, dtype=jnp.float32),
        eqx.nn.Dropout(0.3),
        jnp.array([1, 0]),
        0.5,
    )
    optimizer = optax.adam(1e-2)

    def loss(model, model_state, batch, key):
        keys = jax.random.split(key, len(batch[0]))
        return jnp.mean((jax.vmap(model)(batch[0], keys) - batch[1]) ** 2), (model_state, {})

    state, _ = train.fit(
        train.init(model, optimizer), train.step(loss, optimizer), [(X, Y)], key=KEY, steps=3, progress=False
    )
    plain, moments = model, optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    with jax.numpy_dtype_promotion("standard"):
        for n in range(3):
            gradient = eqx.filter_grad(lambda m: loss(m, {}, (X, Y), jax.random.fold_in(KEY, n))[0])(plain)  # noqa: B023
            updates, moments = optimizer.update(gradient, moments)
            plain = eqx.apply_updates(plain, updates)
    assert (state.model.scale, state.model.drop.p) == (0.5, 0.3)
    assert state.model.mlp.activation is model.mlp.activation
    for found, expected in zip(
        jax.tree.leaves(eqx.filter(state.model, eqx.is_array)),
        jax.tree.leaves(eqx.filter(plain, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
    assert state.model(X[0], KEY).shape == (2,)


def test_equinox_state_is_model_state(eqx):
    model, model_state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, axis_name="batch", mode="batch", dtype=jnp.float32)

    def loss(model, model_state, batch, key):
        y, after = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")(batch[0], model_state)
        return jnp.mean((y - batch[1]) ** 2), (after, {})

    state = train.init(model, ADAM := optax.adam(1e-2), model_state)
    state, _ = train.step(loss, ADAM)(state, (X, Y), 0)
    expected = loss(model, model_state, (X, Y), KEY)[1][0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.model_state, expected)
