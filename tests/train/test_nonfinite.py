"""Losses and gradients that are not finite: told by name, skipped, raised."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcgrad import train
from funcgrad.errors import TrainingError
from funcgrad.train import LossScale, NonfiniteError
from funcgrad.train.nonfinite import Nonfinite
from tests.raising import raises_sentence
from tests.train.problems import KEY, assert_close

ADAM = optax.adam(0.1)
GOOD, BAD = np.array([1.0, 4.0]), np.array([1.0, 0.0])


def loss(params, model_state, batch, key):
    """Finite at a zero in the batch; the gradient of `inner/scale` is not, that of `shift` is."""
    value = jnp.mean(jnp.sqrt(params["inner"]["scale"] * batch)) + jnp.sum(params["shift"] ** 2)
    return value, ({"seen": model_state["seen"] + jnp.sum(batch)}, {})


def unbounded(params, model_state, batch, key):
    """The loss is infinite at a zero in the batch, and no parameter has to do with it."""
    return jnp.sum(params["shift"]) + jnp.mean(1 / batch), (model_state, {})


def start(**settings):
    params = {"inner": {"scale": jnp.ones(2)}, "shift": jnp.ones(3)}
    return train.init(params, ADAM, {"seen": jnp.zeros(())}, **settings)


def gradient_of(batch):
    return jax.grad(lambda p: loss(p, {"seen": jnp.zeros(())}, batch, KEY)[0])(start().params)


def copied(state):
    return jax.tree.map(np.asarray, state)


def test_the_problem_is_what_it_says():
    gradient = gradient_of(BAD)
    assert np.isfinite(gradient["shift"]).all()
    assert not np.isfinite(gradient["inner"]["scale"]).all()


def test_report_names_the_gradients_and_goes_on():
    step = train.step(loss, ADAM, on_nonfinite="report")
    state, metrics = step(start(), GOOD, KEY)
    assert metrics["nonfinite"].names == ()
    state, metrics = step(state, BAD, KEY)
    assert metrics["nonfinite"].names == ("inner/scale",)
    assert "skipped" not in metrics
    assert np.isnan(state.params["inner"]["scale"]).any()


def test_report_names_the_loss():
    step = train.step(unbounded, ADAM, on_nonfinite="report")
    assert step(start(), BAD, KEY)[1]["nonfinite"].names == ("loss",)


@pytest.mark.parametrize("microbatches", [1, 2])
def test_skip_keeps_everything_but_the_count(microbatches):
    step = train.step(loss, ADAM, on_nonfinite="skip", microbatches=microbatches)
    before, metrics = step(start(), GOOD, KEY)
    assert not metrics["skipped"]
    kept = copied(before)
    after, metrics = step(before, BAD, KEY)
    assert metrics["skipped"]
    assert metrics["nonfinite"].names == ("inner/scale",)
    assert int(after.step) == 2
    for part in ("params", "optimizer_state", "model_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(kept, part))


def test_skip_goes_on_as_if_the_batch_had_not_been():
    step, plain = train.step(loss, ADAM, on_nonfinite="skip"), train.step(loss, ADAM)
    skipping, other = start(), start()
    for batch in (GOOD, BAD, GOOD):
        skipping, _ = step(skipping, batch, KEY)
    for batch in (GOOD, GOOD):
        other, _ = plain(other, batch, KEY)
    assert_close(skipping.params, other.params)


def test_an_infinite_loss_is_skipped_too():
    step = train.step(unbounded, ADAM, on_nonfinite="skip")
    after, metrics = step(start(), BAD, KEY)
    assert metrics["skipped"]
    np.testing.assert_array_equal(after.params["shift"], np.ones(3))


def test_raise_names_the_gradient_and_gives_the_state_back():
    step = train.step(loss, ADAM, on_nonfinite="raise")
    state, _ = step(start(), GOOD, KEY)
    kept = copied(state)
    with raises_sentence(
        NonfiniteError,
        r"train.step: the gradient of 'inner/scale' is not finite at step 2; the loss is [\d.]+; the error's state is "
        r"that before the step, and fg.blame finds the node\.",
    ):
        step(state, BAD, KEY)
    state, _ = step(start(), GOOD, KEY)
    with pytest.raises(NonfiniteError) as info:
        step(state, BAD, KEY)
    jax.tree.map(np.testing.assert_array_equal, info.value.state.params, kept.params)
    jax.tree.map(np.testing.assert_array_equal, info.value.state.optimizer_state, kept.optimizer_state)
    assert info.value.metrics["nonfinite"].names == ("inner/scale",)


def test_raise_names_the_loss_where_the_gradient_is_finite():
    step = train.step(unbounded, ADAM, on_nonfinite="raise")
    with raises_sentence(NonfiniteError, r"train.step: the loss is not finite at step 1; the loss is inf; .*"):
        step(start(), BAD, KEY)


def test_fit_raises_at_the_step():
    step = train.step(loss, ADAM, on_nonfinite="raise")
    with pytest.raises(NonfiniteError, match="at step 2;"):
        train.fit(start(), step, [GOOD, BAD, GOOD], key=KEY, steps=3)


def test_fit_records_the_names(tmp_path):
    step = train.step(loss, ADAM, on_nonfinite="skip")
    _, records = train.fit(start(), step, [GOOD, BAD, GOOD], key=KEY, steps=3, log=tmp_path / "log.jsonl")
    assert [r["nonfinite"] for r in records] == [[], ["inner/scale"], []]
    assert [r["skipped"] for r in records] == [False, True, False]
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written[1]["nonfinite"] == ["inner/scale"]


def test_a_loss_scale_falls_and_the_names_are_told():
    scale = LossScale(start=4.0)
    step = train.step(loss, ADAM, on_nonfinite="skip", loss_scale=scale)
    state, metrics = step(start(loss_scale=scale), BAD, KEY)
    assert metrics["skipped"]
    assert metrics["nonfinite"].names == ("inner/scale",)
    assert float(state.loss_scale.value) == 2.0


def test_raise_and_a_loss_scale_exclude_each_other():
    with raises_sentence(
        TrainingError,
        r"train.step: on_nonfinite='raise' would stop at gradients that a loss scale overflows on purpose; use "
        r"'report' or 'skip' with loss_scale\.",
    ):
        train.step(loss, ADAM, on_nonfinite="raise", loss_scale=2.0)


def test_an_unknown_choice():
    with raises_sentence(
        TrainingError, r"train.step: on_nonfinite must be 'report', 'skip', 'raise' or None, got 'stop'\."
    ):
        train.step(loss, ADAM, on_nonfinite="stop")


def test_raise_inside_of_jit():
    step = train.step(loss, ADAM, on_nonfinite="raise")
    with raises_sentence(
        TrainingError,
        r"train.step: on_nonfinite='raise' looks at numbers, which a step that is itself traced does not have; use "
        r"'skip' or 'report' inside of jit\.",
    ):
        jax.jit(step)(start(), GOOD, KEY)


def test_skip_inside_of_scan():
    step = train.step(loss, ADAM, on_nonfinite="skip")
    run = jax.jit(lambda s, batches: jax.lax.scan(lambda s, b: step(s, b, KEY), s, batches))
    _, metrics = run(start(), np.stack([GOOD, BAD, GOOD]))
    np.testing.assert_array_equal(metrics["skipped"], [False, True, False])


def test_names_are_escaped_as_everywhere():
    gradient = {"a/b": jnp.zeros(1), "a": {"b": jnp.full(1, jnp.nan)}, "w*": jnp.full(1, jnp.nan)}
    assert Nonfinite.of(jnp.zeros(()), gradient).names == ("a/b", r"w\*")
    assert Nonfinite.of(jnp.zeros(()), jnp.full(1, jnp.nan)).names == ("params",)
