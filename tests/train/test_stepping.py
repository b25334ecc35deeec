"""One step against plain optax; microbatches, clipping, donation, tracing; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.errors import TrainingError
from funcgrad.layers import chain, dropout
from tests.layers.networks import running_mean
from tests.raising import raises_sentence
from tests.train.problems import KEY, NET, assert_close, make_problem, objective, plain_loss, plain_steps

LOSS = train.supervised(NET, objective)

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adamw": optax.adamw(1e-2, weight_decay=0.1),
    "scheduled": optax.adam(optax.cosine_decay_schedule(1e-2, 100)),
    "lamb": optax.lamb(1e-2),
}


def run(step, state, batch, n):
    metrics = []
    for _ in range(n):
        state, found = step(state, batch, KEY)
        metrics.append(found)
    return state, metrics


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("microbatches", [1, 3])
def test_steps_equal_plain_optax(name, microbatches, rng):
    optimizer = OPTIMIZERS[name]
    params, batch = make_problem(rng)
    expected, losses, norms = plain_steps(params, batch, optimizer, 4)
    step = train.step(LOSS, optimizer, microbatches=microbatches)
    state, metrics = run(step, train.init(params, optimizer), batch, 4)
    assert_close(state.params, expected)
    assert_close([m["loss"] for m in metrics], losses)
    assert_close([m["gradient_norm"] for m in metrics], norms)
    assert int(state.step) == 4


def test_clipping(rng):
    params, batch = make_problem(rng)
    state = train.init(params, optax.sgd(1.0))
    after, metrics = train.step(LOSS, optax.sgd(1.0), clip_norm=1e-3)(state, batch, KEY)
    gradient = jax.grad(plain_loss)(params, batch)
    scale = 1e-3 / float(metrics["gradient_norm"])
    assert scale < 1
    assert_close(after.params, jax.tree.map(lambda p, g: p - scale * g, params, gradient))


def test_a_large_clip_norm_changes_nothing(rng):
    params, batch = make_problem(rng)
    optimizer = optax.sgd(0.1)
    expected = plain_steps(params, batch, optimizer, 1)[0]
    after, _ = train.step(LOSS, optimizer, clip_norm=1e3)(train.init(params, optimizer), batch, KEY)
    assert_close(after.params, expected)


def test_users_metrics_are_averaged_over_microbatches(rng):
    params, batch = make_problem(rng)
    found = []
    for n in (1, 2, 6):
        state = train.init(params, optax.sgd(0.0))
        found.append(train.step(LOSS, optax.sgd(0.0), microbatches=n)(state, batch, KEY)[1])
    assert_close(found[1:], [found[0]] * 2)
    assert set(found[0]) == {"loss", "gradient_norm", "accuracy"}


@pytest.mark.parametrize("microbatches", [1, 2])
def test_state_is_donated_and_the_callers_arrays_are_not(microbatches, rng):
    params, batch = make_problem(rng)
    optimizer = optax.adam(1e-3)
    first = train.init(params, optimizer)
    second, _ = train.step(LOSS, optimizer, microbatches=microbatches)(first, batch, KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((second, params, KEY)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_loss_is_traced_once(name, rng):
    params, batch = make_problem(rng)
    params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    params["linear0"]["b"] = jnp.asarray(0.5) * jnp.ones(5, jnp.float32)
    batch = (batch[0].astype(np.float32), batch[1])
    for microbatches in (1, 3):
        traces = []

        def loss(*args):
            traces.append(args)  # noqa: B023
            return LOSS(*args)

        step = train.step(loss, OPTIMIZERS[name], microbatches=microbatches)
        run(step, train.init(params, OPTIMIZERS[name]), batch, 3)
        assert len(traces) == 1


def test_weakly_typed_parameters_are_pinned():
    weak = jnp.asarray(1.0)
    assert weak.weak_type
    state = train.init({"w": weak}, optax.adam(0.1))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


def test_the_key_is_folded_with_the_step(rng):
    net = chain(dropout(0.5))
    loss = train.supervised(net, lambda y, targets: (ops.mean(y), {}))

    def with_parameter(params, model_state, batch, key):
        value, rest = loss({}, model_state, batch, key)
        return params["w"] * value, rest

    state = train.init({"w": jnp.ones(())}, optax.sgd(0.0))
    batch = (np.ones((64, 8)), np.zeros(64))
    _, metrics = run(train.step(with_parameter, optax.sgd(0.0)), state, batch, 3)
    assert len({float(m["loss"]) for m in metrics}) == 3


def test_the_models_state_goes_through_the_microbatches_in_order(rng):
    net = chain(centre=running_mean(0.5))
    x = rng.normal(size=(6, 4))
    _, model_state = net.init(KEY, x)

    def loss(params, model_state, batch, key):
        _, model_state = net.apply({}, model_state, batch, train=True)
        return params["w"], (model_state, {})

    params = {"w": jnp.ones(())}
    state = train.init(params, optax.sgd(0.0), model_state)
    after, _ = train.step(loss, optax.sgd(0.0), microbatches=2)(state, x, KEY)
    expected = 0.5 * (0.5 * x[:3].mean(axis=0)) + 0.5 * x[3:].mean(axis=0)
    assert_close(after.model_state["centre"]["mean"], expected)


def test_rules_are_used(rng):
    params, batch = make_problem(rng)
    rules = fg.RuleSet().override(ops.tanh, lambda g: 0 * g)
    state = train.init(params, optax.sgd(1.0))
    after, _ = train.step(LOSS, optax.sgd(1.0), rules=rules)(state, batch, KEY)
    np.testing.assert_array_equal(after.params["linear0"]["w"], params["linear0"]["w"])
    assert not np.allclose(after.params["linear1"]["w"], params["linear1"]["w"])


def test_supervised_takes_a_tuple_of_inputs_and_a_bare_loss(rng):
    a, b = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    loss = train.supervised(chain(ops.add), lambda y, t: ops.mean(ops.squared_error(y, t)))
    value, rest = loss({}, {}, ((a, b), np.zeros((3, 2))), KEY)
    found_errors = np.asarray(ops.squared_error(a + b, np.zeros((3, 2))))
    assert_close(value, found_errors.mean())
    assert rest == ({}, {})


def returning(result):
    return lambda params, model_state, batch, key: result(params["w"], model_state, batch)


@pytest.mark.parametrize(
    ("loss", "kind", "sentence"),
    [
        (
            returning(lambda w, s, x: (w * x, (s, {}))),
            fg.errors.GradientError,
            r"train\.step: the loss must be a scalar, got f64\[6\]; take its mean\.",
        ),
        (
            returning(lambda w, s, x: w),
            fg.errors.GradientError,
            r"train\.step: loss_fn must return \(loss, \(model_state, metrics\)\), got f64\[\]\.",
        ),
        (
            returning(lambda w, s, x: (w, (s, [w]))),
            fg.errors.GradientError,
            r"train\.step: metrics must be a mapping from names, got \[f64\[\]\]\.",
        ),
        (
            returning(lambda w, s, x: (w, (s, {"loss": w}))),
            fg.errors.GradientError,
            r"train\.step: the metric name 'loss' is taken; rename it\.",
        ),
        (
            returning(lambda w, s, x: (w, ({"n": w}, {}))),
            fg.errors.GradientError,
            r"train\.step: model_state must stay \{\}, got \{'n': f64\[\]\}\.",
        ),
    ],
)
def test_bad_loss_functions(loss, kind, sentence):
    with raises_sentence(kind, sentence):
        train.step(loss, optax.sgd(0.1))(train.init({"w": jnp.ones(())}, optax.sgd(0.1)), np.ones(6), KEY)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (
            np.ones(7),
            r"train\.step: a batch of 7 cannot be split into 2 equal microbatches, got f64\[7\]\.",
        ),
        (
            {"x": np.ones((4, 3)), "y": np.ones(6)},
            r"train\.step: all leaves of a batch must have the same first axis, "
            r"got \{'x': f64\[4,3\], 'y': f64\[6\]\}\.",
        ),
        (np.ones(()), r"train\.step: all leaves of a batch must have the same first axis, got f64\[\]\."),
        ((), r"train\.step: all leaves of a batch must have the same first axis, got \(\)\."),
    ],
)
def test_bad_batches(batch, sentence):
    step = train.step(returning(lambda w, s, x: (w, (s, {}))), optax.sgd(0.1), microbatches=2)
    with raises_sentence(fg.errors.ShapeError, sentence):
        step(train.init({"w": jnp.ones(())}, optax.sgd(0.1)), batch, KEY)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"microbatches": 0}, r"train\.step: microbatches must be at least 1, got 0\."),
        ({"clip_norm": 0.0}, r"train\.step: clip_norm must be positive, got 0\.0; None means no clipping\."),
        ({"clip_norm": float("nan")}, r"train\.step: clip_norm must be positive, got nan; None means no clipping\."),
    ],
)
def test_bad_options(options, sentence):
    with raises_sentence(TrainingError, sentence):
        train.step(LOSS, optax.sgd(0.1), **options)
