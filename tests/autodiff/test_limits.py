"""Memory budgets as users meet them: what the compiled program takes, the same numbers, what is refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad.autodiff import limits
from funcgrad.autodiff.limits import program_bytes
from funcgrad.errors import BudgetError, GradientError
from funcgrad.primitive import Checkpoint
from tests.raising import raises_sentence

N, WIDTH, ROWS = 8, 64, 1024
WS = [jax.random.normal(jax.random.key(i), (WIDTH, WIDTH), jnp.float32) / 8 for i in range(N)]
X = jax.random.normal(jax.random.key(N), (ROWS, WIDTH), jnp.float32)


def loss(ws, x):
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.mean(x**2)


def taken(fun, *args):
    """Bytes beside arguments that XLA says the compiled program takes."""
    return program_bytes(jax.jit(fun).lower(*args).compile())[0]


def same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def plain():
    """The gradient of plain JAX, and what its program takes."""
    return jax.jit(jax.grad(loss))(WS, X), taken(jax.grad(loss), WS, X)


def test_the_program_stays_within_and_its_numbers_are_the_same(plain):
    gradient, everything = plain
    bounded = fg.grad(loss, memory=everything * 7 // 10)
    found = fg.certify(jax.jit(bounded), WS, X, memory=everything * 7 // 10)
    assert found.bytes <= found.asked == everything * 7 // 10
    assert found.argument_bytes == sum(w.nbytes for w in WS) + X.nbytes
    same(bounded(WS, X), gradient)
    same(jax.jit(bounded)(WS, X), gradient)


def test_asking_for_more_than_everything_keeps_everything():
    plan, bounded = fg.plan(loss, WS, X), fg.plan(loss, WS, X, memory="1 GiB")
    assert [v.name for v in bounded.kept] == [v.name for v in plan.kept]
    assert not bounded.remade
    assert bounded.memory.overhead == 0.0


def test_the_least_is_what_the_error_names():
    least = fg.plan(loss, WS, X, memory="min").memory
    assert least.peak < fg.plan(loss, WS, X).memory.peak * 0.65
    with raises_sentence(
        BudgetError,
        r"value_and_grad\(loss\): memory=\d+ B: the passes need .*B at least, of which at '.+' .+, and .* with "
        r"everything kept; ask for more, or make the batch smaller\.",
    ):
        fg.grad(loss, memory=least.peak - 1)(WS, X)
    assert fg.plan(loss, WS, X, memory=least.peak).memory.peak <= least.peak


def test_a_table_says_what_was_asked_and_what_is_foreseen():
    plan = fg.plan(loss, WS, X, memory="2 MiB")
    said = " ".join(plan.table().split())
    assert "memory 2.1 MB asked, a peak of " in said
    assert f"making again costs {plan.memory.overhead:.1%} of the forward pass" in said
    assert "asked 2 MiB: 2.1 MB, of " in " ".join(str(plan.memory).split())
    assert "memory" not in fg.plan(loss, WS, X).table()


def test_the_curve_goes_from_everything_to_the_least():
    memory = fg.plan(loss, WS, X).memory
    peaks, overheads = zip(*((c.peak, c.overhead) for c in memory.curve), strict=True)
    assert peaks[0] == memory.peak
    assert list(peaks) == sorted(set(peaks), reverse=True)
    assert list(overheads) == sorted(set(overheads))
    assert str(memory.curve).splitlines()[1].split()[-2:] == ["100.0%", "0.0%"]
    assert memory.within(memory.peak - 1).peak < memory.peak
    assert memory.within(1) is None
    assert memory.within(1.0).overhead == 0.0


def test_randomness_that_is_made_again_is_the_same():
    def dropped(ws, x, key):
        for i, w in enumerate(ws):
            x = jnp.tanh(x @ w)
            x = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, i), 0.5, x.shape), 2 * x, 0.0)
        return jnp.mean(x**2)

    key = jax.random.key(3)
    plan = fg.plan(dropped, WS, X, key, memory="min")
    assert plan.memory.overhead > 0
    same(jax.jit(fg.grad(dropped, memory="min"))(WS, X, key), jax.jit(jax.grad(dropped))(WS, X, key))


def test_with_results_names_taps_and_rules(plain):
    def with_aux(ws, x):
        return loss(ws, x), {"n": jnp.float32(ROWS)}

    (value, aux), gradient = fg.value_and_grad(with_aux, has_aux=True, memory=0.75)(WS, X)
    same((value, aux["n"], gradient), (loss(WS, X), ROWS, plain[0]))
    same(fg.grad(loss, wrt="ws/2", memory=0.75)(WS, X), plain[0][2])
    same(fg.grad(loss, memory=0.75, rules=fg.RuleSet().override("tanh", lambda g, pull: pull(g), at="tanh#3"))(WS, X),
         plain[0])  # fmt: skip
    gradient, readings = fg.grad(loss, memory=0.75, taps="tanh#2")(WS, X)
    same(gradient, plain[0])
    same(readings["tanh#2"].value["norm"], jnp.linalg.norm(jnp.tanh(jnp.tanh(X @ WS[0]) @ WS[1])))


def test_under_vmap_and_a_derivative():
    expected = jax.grad(lambda x: jax.grad(loss, 1)(WS, x).sum())(X)
    second = jax.jit(jax.grad(lambda x: fg.grad(loss, argnums=1, memory=0.75)(WS, x).sum()))
    np.testing.assert_allclose(second(X), expected, rtol=1e-4, atol=1e-7)
    each = jax.vmap(fg.grad(loss, memory=0.7), (None, 0))(WS, X[None])
    same(jax.tree.map(lambda g: g[0], each), jax.grad(loss)(WS, X))


def test_a_call_is_compiled_once_for_arrays_of_a_kind():
    traces = []

    def counted(w, x, flag=True):
        traces.append(flag)
        return jnp.mean(jnp.tanh(x @ w) ** 2)

    bounded = fg.grad(counted, memory=1.0)
    bounded(WS[0], X)
    n = len(traces)
    bounded(WS[1], X + 1)
    assert len(traces) == n
    bounded(WS[0], X, flag=False)
    assert traces[n:] == [False] * (len(traces) - n) != []


def test_a_training_step_stays_within_as_a_whole():
    def objective(params, model_state, batch, key):
        return loss(params, batch), (model_state, {})

    optimizer = optax.sgd(0.1)
    states = {}
    for memory in (None, 0.75):
        state = fg.train.init(jax.tree.map(jnp.copy, WS), optimizer)
        step = fg.train.step(objective, optimizer, memory=memory)
        found = fg.certify(step, state, X, 0)
        for _ in range(2):
            state, _ = step(state, X, 0)
        states[memory] = found.bytes, state.params
    (everything, expected), (bounded, params) = states.values()
    assert bounded < 0.8 * everything
    same(params, expected)
    with raises_sentence(BudgetError, r"train\.step: memory=1 kB: the passes need .*"):
        fg.train.step(objective, optimizer, memory="1 kB")(fg.train.init(WS, optimizer), X, 0)


def checkpointed(ws, x):
    """Checkpoints in a loop, in a branch and in another checkpoint; the inner one is named, and hands on an input."""

    @jax.checkpoint
    def layer(x, w):
        return jax.checkpoint(lambda x, w: (x, fg.name(jnp.tanh(x @ w), "inner")))(x, w)

    x, _ = jax.lax.scan(lambda x, w: (sum(layer(x, w)) / 2, None), x, jnp.stack(ws[:4]))
    x = jax.lax.cond(jnp.sum(x) > 0, lambda x: layer(x, ws[4])[1], lambda x: layer(x, ws[5])[1], x)
    return jnp.mean(layer(x, ws[6])[1] ** 2)


def test_checkpoints_are_kept_or_replaced():
    expected = jax.value_and_grad(checkpointed)(WS, X)
    plans = [fg.plan(checkpointed, WS, X, memory=fg.Budget(1.0, how)) for how in ("kept", "replaced")]
    assert plans[0].memory.overhead > 0.5
    assert plans[1].memory.overhead == 0.0
    counts = [sum(isinstance(n.holder, Checkpoint) for n in plan.structure.all_nodes) for plan in plans]
    assert counts == [8, 0]  # one in another in the turn, in both branches, and at the end
    for memory in (1.0, "min"):
        found = fg.value_and_grad(checkpointed, memory=fg.Budget(memory, "replaced"))(WS, X)
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
    # Read by the loop's turn in the place of the checkpoint's end: the use has another name.
    budgets = (fg.Budget(1.0, "replaced"), None)
    inside = [fg.grad(checkpointed, wrt="inner@*", memory=memory)(WS, X) for memory in budgets]
    chex.assert_trees_all_close(*map(jax.tree.leaves, inside), rtol=1e-4, atol=1e-6)


def test_what_programs_take_decides(monkeypatch):
    """Where every program takes more than was asked, that is said; and where the device says nothing of it."""
    asked = int(fg.plan(loss, WS, X).memory.peak * 0.85)
    monkeypatch.setattr(limits, "program_bytes", lambda compiled: (asked + 1000, 0))
    with raises_sentence(
        BudgetError,
        rf"value_and_grad\(loss\): memory={asked} B: the smallest program of 3 that were compiled takes .+, where .+ "
        r"were asked and .+ foreseen; ask for more\.",
    ):
        fg.grad(loss, memory=asked)(WS, X)
    monkeypatch.setattr(limits, "program_bytes", lambda compiled: None)
    with raises_sentence(BudgetError, r"certify: the device does not say what a program takes; use another one\."):
        fg.certify(jnp.sum, X)


def test_what_is_refused():
    with raises_sentence(BudgetError, r"memory='auto' asks the device what it has, and .+ does not say; pass a size, "
                                      r"such as '2 GiB'\."):  # fmt: skip
        fg.grad(loss, memory="auto")(WS, X)
    gradient = jax.jit(fg.grad(loss))
    with raises_sentence(BudgetError, r"certify: grad\(loss\) takes .+ beside .+ of arguments, 1 kB asked; give its "
                                      r"gradient memory=1000, or less\."):  # fmt: skip
        fg.certify(gradient, WS, X, memory="1 kB")
    with raises_sentence(BudgetError, r"certify: memory= takes bytes as an int or a size such as '2 GiB', got 0\.5; of "
                                      r"what keeping everything takes, it does not know\."):  # fmt: skip
        fg.certify(gradient, WS, X, memory=0.5)
    with raises_sentence(GradientError, r"certify takes a function first, got 3\."):
        fg.certify(3)

    def unbounded(ws, x):
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, loss(ws, x)), (0, jnp.float32(0.0)))[1]

    with raises_sentence(GradientError, r"while: a reverse pass needs to know how many turns .*"):
        fg.grad(unbounded, memory=0.5)(WS, X)
