"""Whatever ends a run early brings the last good state out, and going on from there is the run as it was meant."""

import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcgrad import train
from funcgrad.errors import TrainingError
from funcgrad.train.interruption import Shield
from tests.raising import raises_sentence
from tests.train.problems import KEY, NET, make_problem, objective

ADAM = optax.adam(0.1)
STEP = train.step(train.supervised(NET, objective), ADAM)


@pytest.fixture(autouse=True)
def interrupts():
    """A shell starts what runs in the background deaf to interrupts; these tests listen to them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def problem(rng):
    params, batch = make_problem(rng)
    return lambda: train.init(params, ADAM), batch


def fit(state, batches, step=STEP, **options):
    return train.fit(state, step, batches, key=KEY, progress=False, **{"steps": 6, **options})


def failing_at(n, error, result=None):
    """A function that fails when it is called for the `n`-th time, and gives `result` else."""
    calls = [0]

    def function(*_):
        calls[0] += 1
        if calls[0] == n:
            raise error
        return result

    return function


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def in_the_data(batch, error):
    fails = failing_at(4, error, batch)
    return {"batches": (fails() for _ in range(6))}, 3


def in_evaluate(batch, error):
    return {"batches": [batch], "evaluate": failing_at(2, error, {}), "evaluate_every": 2}, 4


def in_a_step(batch, error):
    fails = failing_at(6, error)
    return {"batches": [batch], "step": lambda *args: fails() or STEP(*args)}, 5


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", [in_the_data, in_evaluate, in_a_step])
def test_the_state_comes_out_with_the_error(where, error, problem):
    start, batch = problem
    error = error("broken")
    options, made = where(batch, error)
    first = start()
    with pytest.raises(type(error)) as info:
        fit(first, **options)
    assert info.value is error
    assert first.step.is_deleted()
    state = error.state
    assert int(state.step) == made
    assert [r["step"] for r in error.records if r["kind"] == "train"] == list(range(1, made + 1))
    assert error.__notes__ == [
        f"train.fit: this exception's .state is the state after step {made}, from which fit goes on; .records are the "
        f"records until there."
    ]
    assert_equal(fit(state, [batch], steps=6 - made)[0].params, fit(start(), [batch])[0].params)


def test_an_error_before_the_first_step_has_the_callers_own_arrays(problem):
    start, _ = problem
    first = start()
    with pytest.raises(ValueError, match="at once") as info:
        fit(first, lambda epoch: failing_at(1, ValueError("at once"))())
    assert info.value.state.params["linear0"]["w"] is first.params["linear0"]["w"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_a_step_and_its_result_waits(kind, problem):
    """There the old state is deleted and the new one in nobody's hands."""
    start, batch = problem
    calls = []

    def step(*args):
        calls.append(args)
        result = STEP(*args)
        if len(calls) == 3:
            signal.raise_signal(kind)
        return result

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(kind, stop)
    try:
        with pytest.raises(KeyboardInterrupt) as info:
            fit(start(), [batch], step)
        assert signal.getsignal(kind) is stop
    finally:
        signal.signal(kind, before)
    assert int(info.value.state.step) == len(info.value.records) == 3
    assert_equal(fit(info.value.state, [batch], steps=3)[0].params, fit(start(), [batch])[0].params)


def test_a_second_signal_acts_at_once():
    reached = []

    def twice():
        shield = Shield()
        with shield.installed():
            with shield:
                signal.raise_signal(signal.SIGINT)
                reached.append("after the first")
                signal.raise_signal(signal.SIGINT)
                reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert reached == ["after the first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_elsewhere_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Shield().installed():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    found = []

    def elsewhere():
        with Shield().installed():
            found.append(signal.getsignal(signal.SIGINT))

    def outside_of_a_step():
        with Shield().installed():
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        outside_of_a_step()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


class Stateful(Exception):
    state = "of its own"


def test_an_exception_with_a_state_of_its_own_keeps_it(problem):
    start, batch = problem
    run = lambda error: fit(start(), [batch], evaluate=failing_at(1, error), evaluate_every=4)
    sentence = (
        r"train\.fit: stopped after step 4 by Stateful, which has a \.state of its own; go on from the \.state of this "
        r"error\."
    )
    with raises_sentence(TrainingError, sentence):
        run(Stateful())
    error = Stateful()
    with pytest.raises(TrainingError) as info:
        run(error)
    assert int(info.value.state.step) == 4
    assert info.value.__cause__ is error
    assert error.state == "of its own"


def test_a_step_that_fails_after_it_took_the_state_says_so(problem):
    start, batch = problem

    def step(*args):
        STEP(*args)
        raise RuntimeError("too late")

    with pytest.raises(RuntimeError, match="too late") as info:
        fit(start(), [batch], step)
    assert not hasattr(info.value, "state")
    assert info.value.__notes__ == [
        "train.fit: the step itself failed while it ran, and the state before it is deleted; go on from a state that "
        "was kept."
    ]


def test_a_nonfinite_step_counts_in_the_place(problem):
    start, batch = problem
    step = train.step(train.supervised(NET, objective), ADAM, on_nonfinite="raise")
    bad = (np.full_like(batch[0], np.nan), batch[1])
    with pytest.raises(train.NonfiniteError) as info:
        fit(start(), [batch, bad, batch], step)
    state = info.value.state
    assert (int(state.step), int(state.epoch), int(state.batch)) == (2, 0, 2)
    assert len(fit(state, [batch, bad, batch], step, steps=None, epochs=1)[1]) == 1


def test_evaluate_may_keep_what_it_is_given(problem):
    """Early stopping: the best parameters so far, looked at after further steps have deleted the run's own."""
    start, batch = problem
    kept = []
    evaluate = lambda params, model_state: kept.append(params) or {}
    fit(start(), [batch], evaluate=evaluate, evaluate_every=2)
    for n, params in zip((2, 4, 6), kept, strict=True):
        assert_equal(params, fit(start(), [batch], steps=n)[0].params)


def test_evaluate_that_returns_a_number(problem):
    start, batch = problem
    with raises_sentence(TrainingError, r"train\.fit: evaluate must return a mapping from names, got f64\[\]\."):
        fit(start(), [batch], evaluate=lambda params, model_state: jnp.array(0.5))
