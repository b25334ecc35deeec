"""Loss scaling: what underflows is saved, what overflows is skipped; the scale finds its size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.errors import TrainingError
from funcgrad.layers import chain, linear, mixed
from funcgrad.train import LossScale
from tests.raising import raises_sentence
from tests.train.problems import KEY, assert_close

SGD = optax.sgd(1.0)
HALF = mixed(chain(linear(3), ops.tanh, linear(2)), "compute=f16")


def half_loss(size):
    """The mean of a float16 network's outputs, `size` times: its gradient is of that size."""

    def loss(params, model_state, batch, key):
        y = HALF(params, batch)
        return size * ops.mean(y), (model_state, {})

    return loss


def plain_loss(size):
    """A loss linear in its float32 parameter, of slope `size` times the batch's mean."""

    def loss(params, model_state, batch, key):
        return size * params["w"] * jnp.mean(batch), ({"seen": model_state["seen"] + jnp.mean(batch)}, {})

    return loss


@pytest.fixture
def half(rng):
    x = rng.normal(size=(8, 4)).astype(np.float32)
    return HALF.init(KEY, x)[0], x


def plain_state(loss_scale, optimizer=SGD):
    state = {"seen": jnp.zeros((), jnp.float32)}
    return train.init({"w": jnp.ones((), jnp.float32)}, optimizer, state, loss_scale=loss_scale)


def batches(*sizes):
    return [np.full(4, s, np.float32) for s in sizes]


def run(step, state, parts):
    metrics = []
    for batch in parts:
        state, found = step(state, batch, KEY)
        metrics.append(found)
    return state, metrics


@pytest.mark.parametrize("microbatches", [1, 4])
@pytest.mark.parametrize("scale", [2.0**20, LossScale(2.0**20)])
def test_a_gradient_that_underflows_is_saved_by_the_scale(half, scale, microbatches):
    params, x = half
    size = 1e-8  # float16 ends at 6e-8

    def norm(loss_scale):
        state = train.init(params, SGD, loss_scale=loss_scale)
        step = train.step(half_loss(size), SGD, loss_scale=loss_scale, microbatches=microbatches)
        after, metrics = step(state, x, KEY)
        return float(metrics["gradient_norm"]), after

    def exact(p):
        return size * ops.mean(HALF.net(p, x))

    expected = float(optax.tree.norm(jax.grad(exact)(params)))
    assert norm(None)[0] == 0
    found, after = norm(scale)
    np.testing.assert_allclose(found, expected, rtol=0.01)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("microbatches", [1, 2])
def test_an_overflow_is_skipped_and_halves_the_scale(microbatches):
    optimizer, scale = optax.adam(0.1), LossScale(1024.0)
    step = train.step(plain_loss(1.0), optimizer, loss_scale=scale, microbatches=microbatches)
    state, _ = step(plain_state(scale, optimizer), batches(1.0)[0], KEY)
    before = jax.tree.map(np.asarray, state)
    after, metrics = step(state, batches(np.inf)[0], KEY)
    for part in ("params", "optimizer_state", "model_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
    assert int(after.step) == 2
    assert float(after.loss_scale.value) == 512.0
    assert bool(metrics["skipped"])
    assert float(metrics["loss_scale"]) == 1024.0
    later, metrics = step(after, batches(1.0)[0], KEY)
    assert not bool(metrics["skipped"])
    assert float(later.params["w"]) != float(before.params["w"])


def test_overflow_in_a_half_network_settles(half):
    params, x = half
    scale, still = LossScale(2.0**40), optax.sgd(0.0)
    step = train.step(half_loss(1.0), still, loss_scale=scale)
    state, metrics = run(step, train.init(params, still, loss_scale=scale), [x] * 40)
    skipped = [bool(m["skipped"]) for m in metrics]
    n = sum(skipped)
    assert 0 < n < 40
    assert skipped == [True] * n + [False] * (40 - n)
    assert float(state.loss_scale.value) == 2.0 ** (40 - n)


def test_the_scale_grows_after_a_period_of_good_steps():
    scale = LossScale(8.0, period=3, factor=4.0)
    step = train.step(plain_loss(1.0), SGD, loss_scale=scale)
    _, metrics = run(step, plain_state(scale), batches(1, 1, 1, 1, 1, np.nan, 1, 1, 1, 1))
    assert [float(m["loss_scale"]) for m in metrics] == [8, 8, 8, 32, 32, 32, 8, 8, 8, 32]


def test_the_scale_stays_finite_and_above_the_least():
    scale = LossScale(2.0**127, period=1)
    state, _ = run(train.step(plain_loss(0.0), SGD, loss_scale=scale), plain_state(scale), batches(1, 1, 1))
    assert float(state.loss_scale.value) == 2.0**127
    scale = LossScale(4.0, least=2.0)
    state, _ = run(train.step(plain_loss(1.0), SGD, loss_scale=scale), plain_state(scale), batches(*[np.inf] * 3))
    assert float(state.loss_scale.value) == 2.0


def test_a_number_is_a_scale_that_stays():
    step = train.step(plain_loss(1.0), SGD, loss_scale=64.0)
    state, metrics = run(step, plain_state(64.0), batches(1, np.inf, 1))
    assert [float(m["loss_scale"]) for m in metrics] == [64.0] * 3
    assert [bool(m["skipped"]) for m in metrics] == [False, True, False]
    assert float(state.params["w"]) == -1.0
    assert float(state.model_state["seen"]) == 2.0


def test_loss_and_norm_are_those_without_a_scale():
    found = []
    for scale in (None, 1024.0):
        step = train.step(plain_loss(3.0), SGD, loss_scale=scale, clip_norm=0.5)
        state, metrics = step(plain_state(scale), batches(2.0)[0], KEY)
        found.append((metrics["loss"], metrics["gradient_norm"], state.params, state.model_state))
    assert_close(found[1], found[0])
    assert float(found[0][2]["w"]) == 0.5, "clipped after unscaling"


def test_the_loss_is_traced_once_and_the_state_is_donated():
    traces = []

    def loss(*args):
        traces.append(args)
        return plain_loss(1.0)(*args)

    scale = LossScale(16.0, period=2)
    step = train.step(loss, optax.adam(0.1), loss_scale=scale)
    first = plain_state(scale, optax.adam(0.1))
    run(step, first, batches(1, np.inf, 1, 1, 1))
    assert len(traces) == 1
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))


def test_an_optimizer_that_carries_a_key_is_skipped_too():
    optimizer = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), SGD)
    step = train.step(plain_loss(1.0), optimizer, loss_scale=16.0)
    state = plain_state(16.0, optimizer)
    before = [np.asarray(jax.random.key_data(k)) for k in keys_of(state)]
    after, _ = step(state, batches(np.inf)[0], KEY)
    jax.tree.map(np.testing.assert_array_equal, [np.asarray(jax.random.key_data(k)) for k in keys_of(after)], before)
    assert before


def keys_of(state):
    leaves = jax.tree.leaves(state.optimizer_state)
    return [x for x in leaves if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


def test_microbatches_of_bfloat16_parameters_are_summed_in_float32():
    def loss(params, model_state, batch, key):
        return jnp.mean(batch).astype(jnp.bfloat16) * params["w"], (model_state, {})

    state = train.init({"w": jnp.zeros((), jnp.bfloat16)}, SGD)
    after, _ = train.step(loss, SGD, microbatches=1024)(state, np.ones(1024, np.float32), KEY)
    assert float(after.params["w"]) == -1.0


def test_fit_writes_the_metrics(tmp_path):
    scale = LossScale(1024.0)
    step = train.step(plain_loss(1.0), SGD, loss_scale=scale)
    _, records = train.fit(plain_state(scale), step, batches(1, np.inf), key=KEY, epochs=1, log=tmp_path / "log.jsonl")
    assert [r["skipped"] for r in records] == [False, True]
    assert '"skipped": true' in (tmp_path / "log.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": 0.0}, r"LossScale: start must be positive and finite, got 0\.0\."),
        ({"period": 0}, r"LossScale: period must be at least 1, got 0; None keeps the scale\."),
        ({"factor": 1.0}, r"LossScale: factor must be above 1, got 1\.0\."),
        ({"start": 2.0, "least": 4.0}, r"LossScale: least must be positive and at most start=2\.0, got 4\.0\."),
    ],
)
def test_bad_scales(options, sentence):
    with raises_sentence(TrainingError, sentence):
        LossScale(**options)


@pytest.mark.parametrize(("to_init", "to_step"), [(None, 2.0), (2.0, None)])
def test_a_scale_given_to_one_of_init_and_step(to_init, to_step):
    step = train.step(plain_loss(1.0), SGD, loss_scale=to_step)
    names = ("train.step", "train.init") if to_init is None else ("train.init", "train.step")
    sentence = rf"train\.step: {names[0]} was given a loss_scale and {names[1]} was not; give it to both\."
    with raises_sentence(TrainingError, sentence):
        step(plain_state(to_init), batches(1.0)[0], KEY)


def test_the_names_of_the_metrics_are_taken():
    def loss(params, model_state, batch, key):
        return params["w"], (model_state, {"skipped": params["w"]})

    with raises_sentence(fg.errors.GradientError, r"train\.step: the metric name 'skipped' is taken; rename it\."):
        train.step(loss, SGD)(plain_state(None), batches(1.0)[0], KEY)
