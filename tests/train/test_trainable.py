"""Training a part of the parameters: the rest stays, bit by bit, and costs neither FLOPs nor optimizer state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.errors import GradientError
from tests.raising import raises_sentence
from tests.train.problems import KEY, NET, assert_close, make_problem, objective, plain_loss

LOSS = train.supervised(NET, objective)
HEAD = fg.freeze("linear0/**")


def plain_head_steps(params, batch, optimizer, n):
    """The same training written in JAX and optax, where the loss is a function of the head alone."""
    head, encoder = params["linear1"], params["linear0"]
    state = optimizer.init(head)
    for _ in range(n):
        gradient = jax.grad(lambda head: plain_loss({"linear0": encoder, "linear1": head}, batch))(head)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, head)
        head = optax.apply_updates(head, updates)
    return head, state


@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_optimizer_sees_only_what_is_trained(microbatches, rng):
    params, batch = make_problem(rng)
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2, weight_decay=0.1))
    head, optimizer_state = plain_head_steps(params, batch, optimizer, 4)
    state = train.init(params, optimizer, trainable=HEAD)
    step = train.step(LOSS, optimizer, microbatches=microbatches)
    for _ in range(4):
        state, _ = step(state, batch, KEY)
    chex.assert_trees_all_equal(state.params["linear0"], params["linear0"])
    assert_close(state.params["linear1"], head)
    found, expected = jax.tree.leaves(state.optimizer_state), jax.tree.leaves(optimizer_state)
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert_close(found, expected)


def test_a_frozen_encoder_costs_no_flops(rng):
    params, batch = make_problem(rng)
    optimizer, step = optax.sgd(0.1), train.step(LOSS, optax.sgd(0.1))

    def flops(trainable):
        state = train.init(params, optimizer, trainable=trainable)
        return step.lower(state, batch, KEY).compile().cost_analysis()["flops"]

    first_weight, cotangent_of_hidden = 2 * 12 * 4 * 5, 2 * 12 * 5 * 3
    assert flops(None) - flops(HEAD) >= first_weight + cotangent_of_hidden


def test_what_is_trained_does_not_change_by_being_traced_once_more(rng):
    params, batch = make_problem(rng)
    traces = []

    def loss(*args):
        traces.append(args)
        return LOSS(*args)

    optimizer = optax.adam(1e-2)
    step, state = train.step(loss, optimizer), train.init(params, optimizer, trainable=HEAD)
    for _ in range(3):
        state, _ = step(state, batch, KEY)
    assert len(traces) == 1
    assert state.trainable == HEAD


def test_clipping_and_its_norm_leave_frozen_parameters_out(rng):
    params, batch = make_problem(rng)
    optimizer = optax.sgd(1.0)
    state = train.init(params, optimizer, trainable=HEAD)
    after, metrics = train.step(LOSS, optimizer, clip_norm=1e-3, loss_scale=None)(state, batch, KEY)
    gradient = jax.grad(plain_loss)(params, batch)["linear1"]
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-10)
    expected = jax.tree.map(lambda p, g: p - g * 1e-3 / norm, params["linear1"], gradient)
    assert_close(after.params["linear1"], expected)


def test_a_skipped_step_with_a_loss_scale(rng):
    params, batch = make_problem(rng)
    optimizer = optax.adam(1e-2)
    state = train.init(params, optimizer, trainable=HEAD, loss_scale=8.0)
    step = train.step(LOSS, optimizer, loss_scale=8.0)
    broken = (np.full_like(batch[0], np.inf), batch[1])
    state, metrics = step(state, broken, KEY)
    assert bool(metrics["skipped"])
    state, metrics = step(state, batch, KEY)
    assert not bool(metrics["skipped"])
    chex.assert_trees_all_equal(state.params["linear0"], params["linear0"])
    assert not np.array_equal(state.params["linear1"]["w"], params["linear1"]["w"])


def test_the_parameters_of_an_nnx_model():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is an optional peer: pip install 'funcgrad[peers]'")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.encoder, self.head = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jnp.tanh(self.encoder(x)))

    definition, params = nnx.split(Net(nnx.Rngs(0)), nnx.Param)
    x = jnp.linspace(-1, 1, 8, dtype=jnp.float32).reshape(2, 4)

    def loss(params, model_state, batch, key):
        return ops.mean(nnx.merge(definition, params)(batch) ** 2), (model_state, {})

    optimizer = optax.adamw(1e-2)
    state = train.init(params, optimizer, trainable=fg.select("head/**"))
    state, _ = train.step(loss, optimizer)(state, x, KEY)
    np.testing.assert_array_equal(state.params["encoder"]["kernel"][...], params["encoder"]["kernel"][...])
    assert not np.array_equal(state.params["head"]["kernel"][...], params["head"]["kernel"][...])
    assert sorted(x.shape for x in jax.tree.leaves(state.optimizer_state)) == [(), (3,), (3,), (5, 3), (5, 3)]


def test_the_parameters_of_an_equinox_module():
    eqx = pytest.importorskip("equinox", reason="Equinox is an optional peer: pip install 'funcgrad[peers]'")

    class Net(eqx.Module):
        encoder: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x):
            return self.head(jnp.tanh(self.encoder(x)))

    net = Net(eqx.nn.Linear(4, 5, key=KEY), eqx.nn.Linear(5, 3, key=KEY))
    x = jnp.linspace(-1, 1, 8, dtype=net.head.weight.dtype).reshape(2, 4)

    def loss(net, model_state, batch, key):
        return ops.mean(jax.vmap(net)(batch) ** 2), (model_state, {})

    optimizer = optax.adamw(1e-2)
    state = train.init(net, optimizer, trainable=fg.freeze("encoder/**"))
    state, _ = train.step(loss, optimizer)(state, x, KEY)
    np.testing.assert_array_equal(state.params.encoder.weight, net.encoder.weight)
    assert not np.array_equal(state.params.head.weight, net.head.weight)
    assert len(jax.tree.leaves(state.optimizer_state)) == 5


def test_a_pattern_that_matches_nothing(rng):
    params, _ = make_problem(rng)
    with raises_sentence(
        GradientError,
        r"fg\.freeze\('linear7/\*\*'\): no parameter's path matches 'linear7/\*\*'; did you mean 'linear1/w' or "
        r"'linear1/b'\?",
    ):
        train.init(params, optax.sgd(0.1), trainable=fg.freeze("linear7/**"))
