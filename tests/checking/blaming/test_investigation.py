"""The node that made the NaN is named, forward and backward, in loops by turn; so is one that shrinks or is dead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.ode import odeint

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
    for _ in range(16):
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
    assert report.forward.line.startswith("test_investigation.py:")
    assert f"forward: '{node}'" in str(report)


def test_the_line_is_the_one_that_made_it():
    line = fg.blame(log_of_negative, W, X).forward.line
    assert line.endswith("(`return jnp.log(h).sum()`)")


@pytest.mark.parametrize(("f", "node"), [(root_at_zero, "sqrt"), (norm_at_zero, "norm/sqrt")])
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
        "blame: nothing wrong: no node makes infinity or NaN, no cotangent is out of bounds or zero everywhere, no "
        "unit is dead"
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


def test_inside_a_while_loop_and_an_integrator_the_inner_node_and_its_turn():
    def grown(w, x):
        return w * jax.lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 1, jnp.exp(s[1])), (0, x))[1]

    found = fg.blame(grown, 1.0, 1.0).forward
    assert (found.node, found.op) == ("while/exp", "exp")
    # e^e^e is 3.8e6, whose exponential is infinite.
    assert found.detail.endswith("inside, 'exp' makes it, in turn 3")
    assert "jnp.exp(s[1])" in found.line

    def integrated(w, x):
        return odeint(lambda y, t: w * jnp.sqrt(y - t), x, jnp.linspace(0.0, 2.0, 3))[-1]

    found = fg.blame(integrated, 1.0, -1.0).forward
    assert found.op == "sqrt"
    assert "jnp.sqrt(y - t)" in found.line


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
    assert 6 <= number <= 12  # 1e-6 = 0.12^6.5 from the end of 16
    assert fg.blame(chain_of_sigmoids, w, np.ones(3), vanishing=1e-60).ok


def test_exploding():
    def f(w, x):
        for _ in range(8):
            x = 10.0 * jnp.sin(w * x)
        return x.sum()

    x = np.full(3, 1e-12)
    (found,) = fg.blame(f, 1.0, x, exploding=1e4).of_kind("exploding")
    assert "times that of the last node" in found.detail
    assert fg.blame(f, 1.0, x, exploding=1e10).ok


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
    assert fg.blame(lambda w, x: w + jnp.exp(-x), 1.0, np.array(np.inf)).ok


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


def guarded_root(x):
    root = jnp.sqrt(x)
    return jnp.where(x > 0, root, 0.0).sum()


def guarded_root_the_other_way_round(x):
    is_positive = x > 0
    return jnp.where(is_positive, jnp.sqrt(x), 0.0).sum()


def larger_branch(x):
    return jnp.stack([jnp.sqrt(x), x + 1.0]).max()


def larger_branch_the_other_way_round(x):
    other = x + 1.0
    return jnp.stack([other, jnp.sqrt(x)]).max()


def read_as_an_index(x):
    root = jnp.sqrt(x)
    return jnp.where(jnp.arange(2) < x.astype(int), root, 0.0).sum()


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (guarded_root, np.array([0.0, 1.0])),
        (guarded_root_the_other_way_round, np.array([0.0, 1.0])),
        (larger_branch, 0.0),
        (larger_branch_the_other_way_round, 0.0),
        (read_as_an_index, np.array([0.0, 1.0])),
    ],
)
def test_of_several_readers_the_one_that_gave_it(f, x):
    report = fg.blame(f, x)
    assert [b.node for b in report.of_kind("backward")] == ["sqrt"]
    assert "sqrt" in report.backward.line
    assert " or " not in report.backward.detail


def test_of_several_readers_in_a_loop_by_turn():
    def f(w, x):
        def turn(c, a):
            y = w * a
            return c + jnp.where(y > 0, jnp.sqrt(y), 0.0) + jnp.tanh(y), None

        return jax.lax.scan(turn, 1.0, x)[0]

    (found,) = fg.blame(f, 1.0, np.array([1.0, 0.0, 2.0])).of_kind("backward")
    assert found.node == "sqrt"
    assert found.detail.endswith("in turn 1 of 3")


def test_both_readers_where_both_gave_it():
    report = fg.blame(lambda x: (jnp.sqrt(x) + jnp.arccos(1 - x)).sum(), np.zeros(2))
    assert len(report.of_kind("backward")) == 2


def test_a_consequence_is_no_finding():
    def f(w, x):
        grown = jnp.exp(w * x)
        return (grown - jnp.exp(w * x + 1.0) * grown).sum()

    report = fg.blame(f, np.ones(2), np.full(2, 1000.0))
    assert {f.op for f in report.findings} == {"exp"}
    assert {f.kind for f in report.findings} == {"forward"}


@pytest.mark.parametrize("f", [lambda x: jnp.linalg.norm(x * 0.0), lambda x: jnp.std(x * 0.0)])
def test_a_consequence_backward_is_no_finding(f):
    report = fg.blame(f, np.arange(3.0))
    assert [(f.kind, f.op) for f in report.findings] == [("backward", "sqrt")]


def test_a_consequence_in_later_turns_is_no_finding():
    def f(w, x):
        def turn(c, a):
            return jnp.exp(c * w) + a - c, None

        return jax.lax.scan(turn, x, np.zeros(6))[0]

    report = fg.blame(f, 1.0, 5.0)
    assert [(f.kind, f.node) for f in report.findings] == [("forward", "exp")]


ZERO = {
    "argmax": (lambda w, x: jnp.argmax(w * x).astype(float), "cut", "argmax"),
    "round": (lambda w, x: jnp.sum(jnp.round(x * w * 3.3)), "cut", "round"),
    "cast": (lambda w, x: jnp.sum((x * w).astype(int)) / 2, "cut", "convert_element_type"),
    "stopped": (lambda w, x: jnp.sum(jax.lax.stop_gradient(w) * x), "cut", "stop_gradient"),
    "labels": (lambda w, x: fg.ops.where(w > 0, x, -x).sum(), "cut", "gt"),
    "not read": (lambda w, x: jnp.sum(x), "cut", "w"),
    "saturated": (lambda w, x: jnp.sum(jax.nn.sigmoid(x * w * 500)), "zero", "logistic"),
    "times zero": (lambda w, x: jnp.sum(w * (x - x)), "zero", "mul"),
    "times a zero that is known": (lambda w, x: jnp.sum(w * 0.0), "zero", "mul"),
    "never chosen": (lambda w, x: jnp.sum(jnp.where(False, w, x)), "zero", "select_n"),
    "nothing is taken": (lambda w, x: jnp.sum((w * x)[3:]), "zero", "slice"),
    "in a loop": (
        lambda w, x: jax.lax.scan(lambda c, a: (c + jnp.sum(jnp.floor(w * a)), None), 0.0, x)[0], "cut", "floor",
    ),
    "dies in a loop": (
        lambda w, x: jax.lax.scan(lambda c, a: (c + jnp.sum(jnp.tanh(99 * w * a)), None), 0.0, x)[0], "zero", "tanh",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("f", "kind", "node"), ZERO.values(), ids=ZERO)
def test_a_gradient_of_zeros_is_a_finding(f, kind, node):
    report = fg.blame(f, np.ones(3), np.ones(3))
    (found,) = report.findings
    assert (found.kind, found.node) == (kind, node)
    assert "'w'" in found.detail
    assert found.line.startswith("test_investigation.py:") or found.op == "argument"


@pytest.mark.parametrize(
    "f", [jnp.linalg.norm, jnp.std, lambda x: jnp.linalg.eigh(jnp.diag(x))[1].sum(), lambda x: jnp.round(x).sum()]
)
def test_what_a_library_jits_has_the_line_of_its_caller(f):
    def called(x):
        return f(x) * 2.0

    lines = {node.line for node in fg.trace(called, np.zeros(3)).structure.all_nodes}
    assert lines
    assert all("test_investigation.py:" in line and ("f(x) * 2.0" in line or "lambda x: " in line) for line in lines)


def test_a_dead_unit_is_told_once():
    report = fg.blame(lambda w, x: jax.nn.relu(w * x - 100.0).sum(), np.ones(3), np.ones(3))
    assert [f.kind for f in report.findings] == ["dead"]


def test_a_variance_that_is_zero_is_no_dead_rectifier():
    def normalized(w, x):
        mean, square = jnp.mean(w * x, -1, keepdims=True), jnp.mean((w * x) ** 2, -1, keepdims=True)
        rstd = jax.lax.rsqrt(jnp.maximum(0.0, square - mean**2) + 1e-6)
        return ((w * x - mean) * rstd).sum()

    assert not fg.blame(normalized, np.ones((1, 3)), np.ones((4, 3))).of_kind("dead")


def test_of_an_output_that_is_no_scalar_the_sum_is_blamed():
    w = jnp.array([[1.0, 0.0], [2.0, 4.0]])
    report = fg.blame(lambda w: jnp.sqrt(w @ jnp.eye(2)), w)
    assert [(f.kind, f.node) for f in report.findings] == [("backward", "sqrt")]
    assert fg.blame(lambda w: w @ w, w).ok
