"""Going on where an earlier run stopped: the same batches, in the same order, none twice and none left out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcgrad import ops, train
from funcgrad.errors import TrainingError
from funcgrad.layers import batch_norm, chain, dropout, linear
from funcgrad.train.schedule import EPOCH_END, schedule
from tests.raising import raises_sentence
from tests.train.problems import KEY, objective

DATA = (np.random.default_rng(5).normal(size=(26, 4)), np.arange(26, dtype=np.int32) % 3)


def marked(*args, **options):
    return ["|" if b is EPOCH_END else b for b in schedule(*args, **options)]


def letters(epoch):
    """Epochs of different lengths."""
    return iter(["abc", "d", "ef", "ghij"][epoch])


@pytest.mark.parametrize(
    ("batches", "place", "options", "expected"),
    [
        ("ab", (0, 0), {"epochs": 2}, "ab|ab|"),
        ("ab", (3, 1), {"epochs": 2}, "b|ab|"),
        ("abc", (0, 0), {"steps": 5}, "abc|ab"),
        ("abc", (0, 0), {"steps": 3}, "abc|"),
        (letters, (0, 0), {"steps": 3}, "abc"),
        (letters, (0, 3), {"steps": 2}, "|d|e"),
        (letters, (0, 3), {"epochs": 1}, "|d|"),
        (letters, (2, 1), {"epochs": 2}, "f|ghij|"),
        ("abc", (1, 3), {"epochs": 1}, "|abc|"),
        (iter("abc"), (0, 2), {"epochs": 1}, "abc|"),
        (iter("abc"), (4, 2), {"steps": 2}, "ab"),
    ],
)
def test_the_order_of_batches(batches, place, options, expected):
    options = {"steps": None, "epochs": None, **options}
    assert "".join(marked(batches, *place, **options)) == expected


def test_nothing_is_drawn_beyond_the_last_step():
    source = iter("abcdef")
    assert marked(source, 0, 0, steps=2, epochs=None) == ["a", "b"]
    assert marked(source, 0, 2, steps=3, epochs=None) == ["c", "d", "e"]


def test_an_epoch_that_has_become_shorter():
    with raises_sentence(
        TrainingError,
        r"train\.fit: 7 batches of epoch 2 are behind this state, which now has 3; pass the batches that it was "
        r"trained on, or state\.at_epoch\(2\)\.",
    ):
        marked("abc", 2, 7, steps=None, epochs=1)


class Cut(Exception):
    """What the data does in the middle of an epoch."""


def cut_at(batches, n):
    """Batches that fail once, before the `n`-th of all is drawn."""
    drawn = [0]

    def epochs(epoch):
        for batch in batches(epoch):
            drawn[0] += 1
            if drawn[0] == n:
                raise Cut
            yield batch

    return epochs


def scaled(loss):
    """The loss, infinite for batches with a certain label first, to be skipped."""

    def wrong_at_times(params, model_state, batch, key):
        value, rest = loss(params, model_state, batch, key)
        return jnp.where(batch[1][0] == 2, jnp.inf, 1.0) * value, rest

    return wrong_at_times


NET = chain(linear(5), batch_norm(), ops.tanh, dropout(0.3), linear(3))
LOSS = train.supervised(NET, objective)
ADAM = optax.adam(optax.cosine_decay_schedule(1e-2, 30))
SETTINGS = {
    "plain": ({}, {}),
    "microbatches": ({}, {"microbatches": 2}),
    "loss scale and skipped steps": ({"loss_scale": train.LossScale(8.0, period=2)}, {"on_nonfinite": "skip"}),
}


def started(**options):
    params, model_state = NET.init(KEY, DATA[0][:4])
    return train.init(params, ADAM, model_state, **options)


def assert_same(found, expected):
    """Bit by bit: states, then records."""
    jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])
    np.testing.assert_equal(found[1], expected[1])


@pytest.mark.parametrize("setting", SETTINGS)
def test_runs_in_pieces_are_one_long_run(setting, tmp_path):
    """6 batches an epoch, two examples left over; pieces by epochs, by steps, by a failure, then mixed."""
    init, options = SETTINGS[setting]
    step = train.step(scaled(LOSS) if init else LOSS, ADAM, **init, **options)
    batches = train.minibatches(DATA, 4)
    run = lambda state, batches=batches, log=None, **limit: train.fit(
        state, step, batches, key=KEY, log=log, progress=False, **limit
    )
    whole = run(started(**init), epochs=3, log=tmp_path / "whole")
    if init:
        assert {True, False} == {r["skipped"] for r in whole[1]}

    def pieces(name, *limits):
        state, records = started(**init), []
        for limit in limits:
            state, more = run(state, log=tmp_path / name, **limit)
            records += more
        return state, records

    assert_same(pieces("epochs", *[{"epochs": 1}] * 3), whole)
    assert_same(pieces("steps", {"steps": 7}, {"steps": 5}, {"steps": 6}), whole)
    assert_same(pieces("both", {"steps": 7}, {"epochs": 1}, {"steps": 1}, {"epochs": 1}), whole)
    for name in ("epochs", "steps", "both"):
        assert (tmp_path / name).read_text() == (tmp_path / "whole").read_text()
    with pytest.raises(Cut) as info:
        run(started(**init), cut_at(batches, 9), epochs=3)
    assert len(info.value.records) == int(info.value.state.step) == 8
    assert (int(info.value.state.epoch), int(info.value.state.batch)) == (1, 2)
    state, records = run(info.value.state, epochs=2)
    assert_same((state, info.value.records + records), whole)
    assert (int(state.epoch), int(state.batch)) == (3, 0)


def test_a_resumed_step_is_not_traced_again():
    traces = []

    def loss(*args):
        traces.append(args)
        return LOSS(*args)

    step, state = train.step(loss, ADAM), started()
    for _ in range(3):
        state, _ = train.fit(state, step, train.minibatches(DATA, 4), key=KEY, steps=4, progress=False)
    assert len(traces) == 1


def test_steps_made_by_hand_are_no_part_of_an_epoch():
    state = replace(started(), step=jnp.int32(5))
    seen = []
    step = lambda state, batch, key: (seen.append(batch) or replace(state, step=state.step + 1), {})
    state, _ = train.fit(state, step, "abc", key=KEY, epochs=1, progress=False)
    assert seen == list("abc")
    assert (int(state.step), int(state.epoch), int(state.batch)) == (8, 1, 0)


def test_other_batches_from_their_beginning():
    state = started().at_epoch(3, 2)
    assert (int(state.epoch), int(state.batch)) == (3, 2)
    orders = []
    train.fit(state.at_epoch(0), train.step(LOSS, ADAM), lambda e: orders.append(e) or [DATA], key=KEY, epochs=2)
    assert orders == [0, 1]
