"""The loop: counts, evaluation, records, the JSONL file, progress; nothing waits for the device."""

import json
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import train
from funcgrad.errors import TrainingError
from funcgrad.train.journal import _LAG, Journal
from tests.raising import raises_sentence
from tests.train.problems import KEY, NET, assert_close, make_problem, objective, plain_steps

OPTIMIZER = optax.sgd(0.1)
STEP = train.step(train.supervised(NET, objective), OPTIMIZER)


@pytest.fixture
def problem(rng):
    params, batch = make_problem(rng)
    return train.init(params, OPTIMIZER), batch, params


def count(state, batch, key):
    """A step that only counts."""
    return replace(state, params=state.params + 1, step=state.step + 1), {"value": batch}


def counter(steps=0):
    """A state for `count`."""
    return replace(train.init(jnp.array(0), optax.identity()), params=jnp.array(steps), step=jnp.int32(steps))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_equals_a_plain_loop(problem):
    state, batch, params = problem
    expected, losses, norms = plain_steps(params, batch, OPTIMIZER, 5)
    state, records = train.fit(state, STEP, [batch], key=KEY, steps=5, progress=False)
    assert_close(state.params, expected)
    assert [r["step"] for r in records] == [1, 2, 3, 4, 5]
    assert {r["kind"] for r in records} == {"train"}
    assert_close([r["loss"] for r in records], losses)
    assert_close([r["gradient_norm"] for r in records], norms)


def test_the_log_holds_the_records(problem, tmp_path):
    state, batch, _ = problem
    log = tmp_path / "new" / "log.jsonl"
    evaluate = lambda params, model_state: {"norm": optax.tree.norm(params)}
    _, records = train.fit(state, STEP, [batch], key=KEY, steps=3, evaluate=evaluate, log=log, progress=False)
    assert read(log) == records
    assert [r["kind"] for r in records] == ["train", "train", "train", "evaluation"]
    assert set(records[0]) == {"step", "kind", "loss", "gradient_norm", "accuracy"}


def test_a_resumed_run_continues_its_log(problem, tmp_path):
    state, batch, params = problem
    log = tmp_path / "log.jsonl"
    state, _ = train.fit(state, STEP, [batch], key=KEY, steps=2, log=log, progress=False)
    state, records = train.fit(state, STEP, [batch], key=KEY, steps=2, log=log, progress=False)
    assert [r["step"] for r in read(log)] == [1, 2, 3, 4]
    assert [r["step"] for r in records] == [3, 4]
    train.fit(train.init(params, OPTIMIZER), STEP, [batch], key=KEY, steps=1, log=log, progress=False)
    assert [r["step"] for r in read(log)] == [1]


def test_numbers_that_json_has_no_word_for(tmp_path):
    log = tmp_path / "log.jsonl"
    batches = [np.float64("nan"), np.float64("inf"), np.array([1.0, -np.inf])]
    _, records = train.fit(counter(), count, batches, key=KEY, epochs=1, log=log, progress=False)
    assert [r["value"] for r in read(log)] == ["nan", "inf", [1.0, "-inf"]]
    assert np.isnan(records[0]["value"])


def test_epochs_and_functions_of_the_epoch():
    _, records = train.fit(counter(), count, lambda epoch: [10 * epoch, 10 * epoch + 1], key=KEY, epochs=3)
    assert [r["value"] for r in records] == [0, 1, 10, 11, 20, 21]


def test_steps_go_through_the_batches_again():
    state, records = train.fit(counter(), count, [1, 2, 3], key=KEY, steps=5)
    assert [r["value"] for r in records] == [1, 2, 3, 1, 2]
    assert state.step == 5


@pytest.mark.parametrize(("every", "at"), [(None, [7]), (3, [3, 6, 7]), (7, [7])])
def test_when_it_evaluates(every, at):
    seen = []
    evaluate = lambda params, model_state: seen.append(int(params)) or {"seen": params}
    train.fit(counter(), count, [0], key=KEY, steps=7, evaluate=evaluate, evaluate_every=every)
    assert seen == at


def test_a_state_that_has_made_steps_counts_on():
    _, records = train.fit(counter(5), count, [0], key=KEY, steps=2)
    assert [r["step"] for r in records] == [6, 7]


class Late:
    """A metric that notes when somebody reads it."""

    def __init__(self, n, reads):
        self.n, self.reads = n, reads

    def __array__(self, dtype=None, copy=None):
        self.reads.append(self.n)
        return np.asarray(self.n)


def test_metrics_are_read_long_after_they_were_made():
    reads, behind = [], []

    def step(state, batch, key):
        behind.append(int(state.step) - len(reads))
        return count(state, batch, key)[0], {"late": Late(int(state.step), reads)}

    _, records = train.fit(counter(), step, [0], key=KEY, steps=3 * _LAG, progress=False)
    assert behind == [min(n, _LAG) for n in range(3 * _LAG)]
    assert [r["late"] for r in records] == list(range(3 * _LAG))


def test_the_log_is_complete_when_a_step_fails(tmp_path):
    def step(state, batch, key):
        if state.step == 3:
            raise RuntimeError("broken")
        return count(state, batch, key)

    log = tmp_path / "log.jsonl"
    with pytest.raises(RuntimeError, match="broken"):
        train.fit(counter(), step, [0], key=KEY, steps=9, log=log)
    assert [r["step"] for r in read(log)] == [1, 2, 3]


def test_a_bar_is_drawn(capsys):
    train.fit(counter(), count, [0.5], key=KEY, steps=3 * _LAG, progress=True)
    assert f"{3 * _LAG}/{3 * _LAG}" in capsys.readouterr().err
    train.fit(counter(), count, [0.5], key=KEY, steps=3, progress=False)
    train.fit(counter(), count, [0.5], key=KEY, steps=3, progress=None)
    assert capsys.readouterr().err == ""


def test_progress_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    train.fit(counter(), count, [0], key=KEY, steps=1, progress=None)
    sentence = r"train\.fit: progress=True needs tqdm, which is not installed; pip install 'funcgrad\[progress\]'\."
    with raises_sentence(TrainingError, sentence):
        train.fit(counter(), count, [0], key=KEY, steps=1, progress=True)


def test_journal_keeps_device_arrays_in_order():
    journal = Journal(None, append=False)
    for n in range(2 * _LAG):
        journal.add(n, "train", {"n": jnp.asarray(n)})
    journal.close()
    assert [r["n"] for r in journal.records] == list(range(2 * _LAG))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, r"train\.fit: give either steps or epochs, got steps=None, epochs=None\."),
        ({"steps": 1, "epochs": 1}, r"train\.fit: give either steps or epochs, got steps=1, epochs=1\."),
        ({"steps": 0}, r"train\.fit: steps must be an integer of at least 1, got 0\."),
        ({"steps": 1.5}, r"train\.fit: steps must be an integer of at least 1, got 1\.5\."),
        ({"epochs": -1}, r"train\.fit: epochs must be an integer of at least 1, got -1\."),
        ({"steps": 1, "evaluate_every": 2}, r"train\.fit: evaluate_every=2 needs evaluate=, got None\."),
    ],
)
def test_bad_options(options, sentence):
    with raises_sentence(TrainingError, sentence):
        train.fit(counter(), count, [0], key=KEY, **options)


def test_batches_that_run_out():
    sentence = (
        r"train\.fit: epoch 1 has no batches; pass a list or a function epoch -> iterable, since an iterator can be "
        r"gone through only once\."
    )
    with raises_sentence(TrainingError, sentence):
        train.fit(counter(), count, iter([1, 2]), key=KEY, steps=3)


def test_minibatches_cut_every_epoch_anew():
    data = {"x": np.arange(10), "y": jnp.arange(10) ** 2}
    batches = train.minibatches(data, 3, seed=4)
    assert len(batches) == 3
    epochs = [list(batches(e)) for e in range(2)]
    for epoch in epochs:
        seen = np.concatenate([b["x"] for b in epoch])
        assert len(seen) == len(set(seen)) == 9
        np.testing.assert_array_equal(np.concatenate([b["y"] for b in epoch]), seen**2)
    assert not np.array_equal(epochs[0][0]["x"], epochs[1][0]["x"])
    jax.tree.map(np.testing.assert_array_equal, epochs[0], list(train.minibatches(data, 3, seed=4)(0)))
    assert not np.array_equal(epochs[0][0]["x"], next(train.minibatches(data, 3, seed=5)(0))["x"])


@pytest.mark.parametrize(
    ("data", "size", "kind", "sentence"),
    [
        (
            (np.ones(3), np.ones(4)),
            2,
            fg.errors.ShapeError,
            r"minibatches: all arrays must have the same first axis, got \(f64\[3\], f64\[4\]\)\.",
        ),
        (np.ones(3), 4, TrainingError, r"minibatches: size must be between 1 and 3, got 4\."),
        (np.ones(3), 0, TrainingError, r"minibatches: size must be between 1 and 3, got 0\."),
    ],
)
def test_bad_minibatches(data, size, kind, sentence):
    with raises_sentence(kind, sentence):
        train.minibatches(data, size)
