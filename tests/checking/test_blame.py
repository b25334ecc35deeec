"""The node that made the NaN is named, forward and backward, in loops by turn; so is one that shrinks or is dead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.checking import CHEAP, Blame
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
W = np.ones((3, 3))


def log_of_negative(w, x):
    with fg.scope("body"):
        h = jnp.tanh(x @ w)
    with fg.scope("head"):
        return jnp.log(h).sum()


def zero_by_zero(w, x):
    h = w * x
    return (h / (h - h + 0.0 * h)).sum()


def overflow(w, x):
    return jnp.tanh(jnp.exp(1000.0 * w * x)).sum()


def root_at_zero(w, x):
    return jnp.sqrt(w * x).sum()


def norm_at_zero(w, x):
    return jnp.linalg.norm(w * x)


def fine(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


def chain_of_sigmoids(w, x):
    for _ in range(40):
        x = fg.ops.sigmoid(w * x)
    return x.sum()


@pytest.mark.parametrize(
    ("f", "args", "node", "what"),
    [
        (log_of_negative, (W, X), "head/log", "NaN"),
        (zero_by_zero, (np.ones(3), np.zeros(3)), "div", "NaN"),
        (overflow, (np.ones(3), np.ones(3)), "exp", "infinity"),
    ],
)
def test_born_forward(f, args, node, what):
    report = fg.blame(f, *args)
    assert not report.ok
    assert report.forward.node == node
    assert f"has {what}, and what it reads has none" in report.forward.detail
    assert report.forward.line.startswith("test_blame.py:")
    assert f"forward: '{node}'" in str(report)


def test_the_line_is_the_one_that_made_it():
    line = fg.blame(log_of_negative, W, X).forward.line
    assert line.endswith("(`return jnp.log(h).sum()`)")


@pytest.mark.parametrize(("f", "node"), [(root_at_zero, "sqrt"), (norm_at_zero, "sqrt")])
def test_born_backward_only(f, node):
    report = fg.blame(f, np.ones(3), np.zeros(3))
    assert report.forward is None
    assert report.backward.node == node
    assert "has infinity, and those it got have none" in report.backward.detail or "NaN" in report.backward.detail


def test_nothing_wrong():
    report = fg.blame(fine, W, X)
    assert report.ok
    assert report.forward is None
    assert report.backward is None
    assert str(report).startswith(
        "blame: nothing wrong: no node makes infinity or NaN, no cotangent is out of bounds, no unit is dead"
    )


def test_an_infinite_mask_is_no_ones_fault():
    def masked(w, x):
        return (jax.nn.softmax(jnp.where(x > 0, w, -jnp.inf)) * w).sum()

    assert fg.blame(masked, np.ones(3), np.arange(3.0)).ok
    report = fg.blame(masked, np.ones(3), -np.arange(3.0))
    assert "NaN" in report.forward.detail
    assert report.forward.node != "select_n"


def test_the_value_of_a_constant_counts():
    mask = jnp.array([0.0, -jnp.inf])

    def masked(w):
        return (jax.nn.softmax(w + mask) * w).sum()

    assert fg.blame(masked, np.ones(2)).ok


def test_in_a_scan_by_turn():
    def f(w, x):
        def turn(c, a):
            c = c + w * a
            return jnp.sqrt(c), None

        return jax.lax.scan(turn, 1.0, x)[0]

    report = fg.blame(f, 1.0, np.array([1.0, 2.0, -9.0, 1.0, -9.0]))
    assert (report.forward.node, report.forward.op) == ("sqrt", "sqrt")
    assert report.forward.detail.endswith("in turn 2 of 5")
    assert len(report.of_kind("forward")) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_turn_is_the_one_that_runs_first(reverse):
    def f(w, x):
        def turn(c, a):
            return c * w, jnp.exp(a * w) + c

        return jax.lax.scan(turn, 1.0, x, reverse=reverse)[1].sum()

    report = fg.blame(f, 1.0, np.array([1.0, 800.0, 1.0, 900.0]))
    assert report.forward.node == "exp"
    assert report.forward.detail.endswith(f"in turn {3 if reverse else 1} of 4")


def test_backward_in_a_scan():
    def f(w, x):
        def turn(c, a):
            return c + jnp.sqrt(w * a), None

        return jax.lax.scan(turn, 1.0, x)[0]

    report = fg.blame(f, 1.0, np.array([1.0, 0.0, 2.0]))
    assert report.forward is None
    assert report.backward.node == "sqrt"
    assert report.backward.detail.endswith("in turn 1 of 3")


def test_in_the_branch_that_is_taken():
    def f(w, x):
        return jax.lax.cond(x[0] > 0, lambda a: jnp.log(-a).sum(), lambda a: jnp.tanh(a).sum(), w * x)

    assert fg.blame(f, np.ones(3), np.ones(3)).forward.op == "log"
    assert fg.blame(f, np.ones(3), -np.ones(3)).ok


def test_a_while_loop_is_blamed_as_a_whole():
    def f(w, x):
        grown = jax.lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 1, jnp.exp(s[1])), (0, x))[1]
        return w * grown

    assert fg.blame(f, 1.0, 1.0).forward.op == "while"


def test_dead_units():
    def f(w, x):
        return (fg.ops.relu(x @ w - 100.0) + fg.ops.relu(x @ w + 100.0)).sum()

    report = fg.blame(f, W, X)
    assert [(d.node, d.op) for d in report.of_kind("dead")] == [("relu", "relu")]
    assert "100.0% of its output" in report.of_kind("dead")[0].detail
    assert fg.blame(f, W, X, dead=1.0).ok


def test_a_maximum_with_zero_is_a_rectifier():
    report = fg.blame(lambda w, x: jnp.maximum(x @ w - 100.0, 0.0).sum(), W, X)
    assert [d.op for d in report.of_kind("dead")] == ["max"]


def test_vanishing_and_its_threshold():
    w = np.full(3, 0.5)
    report = fg.blame(chain_of_sigmoids, w, np.ones(3))
    (found,) = report.of_kind("vanishing")
    number = int(found.node.removeprefix("sigmoid#"))
    assert 0.12 < report.growth["sigmoid#2"] * report.growth["mul#2"] < 0.125
    assert 30 <= number <= 36  # 1e-6 = 0.12^6.5 from the end of 40
    assert fg.blame(chain_of_sigmoids, w, np.ones(3), vanishing=1e-60).ok


def test_exploding():
    def f(w, x):
        for _ in range(8):
            x = 10.0 * jnp.sin(w * x)
        return x.sum()

    (found,) = fg.blame(f, 1.0, np.zeros(3), exploding=1e4).of_kind("exploding")
    assert "times that of the last node" in found.detail
    assert fg.blame(f, 1.0, np.zeros(3), exploding=1e10).ok


def test_in_a_jitted_loop_some_values_watched():
    def f(w, x):
        for i in range(3):
            with fg.scope(f"block{i}"):
                x = jnp.tanh(x @ w)
                x = jnp.log(x) if i == 1 else x
        return x.sum()

    step = jax.jit(fg.value_and_grad(f, taps="block*", stats=CHEAP))
    _, _, readings = step(W, X)
    report = Blame.of(fg.trace(f, W, X), readings)
    assert report.forward.node == "block1/log"
    assert "it is one of the nodes between" in report.forward.detail
    assert "'block0/tanh'" in report.forward.detail
    assert report.n_watched == 3
    assert len(report.of_kind("forward")) == 1


def test_statistics_that_tell_nothing():
    _, _, readings = fg.value_and_grad(fine, taps="**", stats=("mean",))(W, X)
    with raises_sentence(
        GradientError,
        r"blame needs one of the statistics max, norm, rms, finite, got mean; pass stats=fg.checking.CHEAP\.",
    ):
        Blame.of(fg.trace(fine, W, X), readings)


def test_finite_alone_is_enough():
    _, _, readings = fg.value_and_grad(log_of_negative, taps="**", stats=("finite",))(W, X)
    assert Blame.of(fg.trace(log_of_negative, W, X), readings).forward.node == "head/log"


def test_keyword_arguments_and_auxiliary_output():
    def f(w, *, x):
        return jnp.log(w * x).sum(), x

    assert fg.blame(f, np.ones(3), x=-np.ones(3), has_aux=True).forward.node == "log"


def test_an_argument_that_is_wrong_already():
    report = fg.blame(fine, W, np.where(X > 0.9, np.nan, X))
    assert (report.forward.node, report.forward.op) == ("x", "argument")
    assert report.forward.detail == "'x' (f64[4,3]) comes in with NaN"
    assert fg.blame(lambda w, x: w * x, 1.0, np.array(np.inf)).forward.detail == "'x' (f64[]) comes in with infinity"
    assert fg.blame(lambda w, x: w * jnp.exp(-x), 1.0, np.array(np.inf)).ok


def test_nothing_watched_before():
    def f(w, x):
        with fg.scope("block"):
            return jnp.log(w * x).sum()

    _, _, readings = fg.value_and_grad(f, taps="block", stats=CHEAP)(W, -W - 2)
    report = Blame.of(fg.trace(f, W, -W - 2), readings)
    assert report.forward.detail.endswith(
        "nothing was watched before it: it is one of the nodes before, or an argument"
    )


def test_only_the_first_of_many_is_printed_in_full():
    def f(w, x):
        return sum(jnp.log(w * x - i).sum() for i in range(8))

    report = fg.blame(f, np.ones(3), -np.ones(3))
    assert len(report.of_kind("forward")) == 8
    assert "forward: 5 nodes more" in str(report)
