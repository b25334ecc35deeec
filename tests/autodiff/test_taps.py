"""Watching values and cotangents in the pass itself: what is read is right, and watching changes nothing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.autodiff.taps import STATISTICS
from tests.planning.holders.test_branches import two
from tests.planning.holders.test_loops import XS, H, W, nested, rnn
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)


def mlp(params, x):
    with fg.scope("block0/attn"):
        h = ops.relu(ops.linear(x, params["w1"]))
    with fg.scope("block1/attn"):
        h = ops.tanh(ops.linear(h, params["w2"]))
    return jnp.sum(h**2)


PARAMS = {"w1": W, "w2": W.T}


def test_statistics_are_those_of_values_and_cotangents():
    value, gradient, readings = jax.jit(fg.value_and_grad(mlp, taps="block*/attn/*", stats=("norm", "max", "finite")))(
        PARAMS, X
    )
    expected_value, expected = jax.value_and_grad(mlp)(PARAMS, X)
    chex.assert_trees_all_close((value, gradient), (expected_value, expected), rtol=1e-12)
    assert list(readings) == ["block0/attn/linear", "block0/attn/relu", "block1/attn/linear", "block1/attn/tanh"]
    cotangents = fg.grad(mlp, wrt=list(readings))(PARAMS, X)
    for name, g in cotangents.items():
        np.testing.assert_allclose(readings[name].cotangent["norm"], np.linalg.norm(g), rtol=1e-12)
        np.testing.assert_allclose(readings[name].cotangent["max"], np.abs(g).max(), rtol=1e-12)
    h = np.maximum(X @ W, 0)
    np.testing.assert_allclose(readings["block0/attn/relu"].value["norm"], np.linalg.norm(h), rtol=1e-12)
    assert readings["block0/attn/relu"].value["finite"]


def test_a_scope_stands_for_what_leaves_it():
    _, readings = fg.grad(mlp, taps="block*/attn", stats="value")(PARAMS, X)
    assert list(readings) == ["block0/attn", "block1/attn"]
    np.testing.assert_allclose(readings["block0/attn"].value["value"], np.maximum(X @ W, 0), rtol=1e-12)
    np.testing.assert_allclose(
        readings["block1/attn"].cotangent["value"], 2 * np.tanh(np.maximum(X @ W, 0) @ W.T), rtol=1e-12
    )


def test_inside_a_loop_there_is_a_reading_per_turn():
    _, readings = jax.jit(fg.grad(rnn, taps=["cell/h", "scan/carry0", "scan/w"], stats=("value", "norm")))(W, H, XS)
    raw = fg.grad(rnn, wrt=["cell/h", "scan/carry0", "scan/w"])(W, H, XS)
    for name, g in raw.items():
        np.testing.assert_allclose(readings[name].cotangent["value"], g, rtol=1e-12)
        norms = np.sqrt((g**2).reshape(3, -1).sum(-1))
        np.testing.assert_allclose(readings[name].cotangent["norm"], norms, rtol=1e-12)
    states = jax.lax.scan(lambda h, x: (jnp.tanh(h @ W + x),) * 2, H, XS)[1]
    np.testing.assert_allclose(readings["cell/h"].value["value"], states, rtol=1e-12)


@pytest.mark.parametrize("x", [X, X + 1.5])
def test_a_branch_that_did_not_run_reads_zeros(x):
    _, readings = fg.grad(two, taps=["left/linear", "right/cos"], stats=("max", "finite"))(x, W)
    ran, other = ("left/linear", "right/cos") if x[0, 0] > 0 else ("right/cos", "left/linear")
    assert readings[ran].value["max"] > 0
    assert readings[ran].cotangent["max"] > 0
    assert readings[other].value["max"] == readings[other].cotangent["max"] == 0
    assert readings[other].value["finite"]


def test_everything_in_nested_loops_branches_and_checkpoints():
    found, readings = jax.jit(fg.grad(nested, (0, 1, 2), taps="**", stats="max"))(W, H, XS)
    chex.assert_trees_all_close(found, jax.grad(nested, (0, 1, 2))(W, H, XS), rtol=1e-11)
    detached = {f"logsumexp/{op}" for op in ("reduce_max", "max", "select_n", "stop_gradient", "sign")}
    assert {n for n, r in readings.items() if r.cotangent is None} == {"slice", "squeeze", "cond/w", *detached}
    for name, g in fg.grad(nested, wrt="**")(W, H, XS).items():
        if (reading := readings[name].cotangent) is None:
            continue
        largest = reading["max"]
        inner = tuple(range(largest.ndim, g.ndim))
        np.testing.assert_allclose(largest, np.abs(g).max(axis=inner), rtol=1e-9, atol=1e-13)


def test_what_is_not_differentiated_is_watched_too():
    f = lambda x: jnp.sum(x**2) + jnp.sum(fg.detach(rnn(W, x, XS)))
    _, readings = fg.grad(f, taps="cell/h", stats="norm")(H)
    assert readings["cell/h"].value["norm"].shape == (3,)
    assert readings["cell/h"].cotangent is None


def test_a_tap_that_no_wanted_gradient_passes_is_computed_for_its_own_sake():
    head = lambda head, x: jnp.sum(fg.name(jnp.sin(x), "h") * head)
    _, readings = fg.grad(head, taps="h", stats="value")(X, X)
    np.testing.assert_allclose(readings["h"].cotangent["value"], X)


def test_what_leaves_a_body_and_is_not_differentiated_has_no_cotangent_of_its_readers_inside_alone():
    def body(x, w):
        u = fg.name(jnp.sin(w), "u")
        return x * u, u

    def f(x, w):
        y, u = jax.checkpoint(body)(x, w)
        return jnp.sum(y) + jnp.sum(x * u**2)

    _, readings = fg.grad(f, taps="u", stats="value")(X, 2 * X)
    assert readings["u"].cotangent is None  # of which x would be a part
    _, readings = fg.grad(lambda x, w: jnp.sum(body(x, w)[0]), taps="u", stats="value")(X, 2 * X)
    np.testing.assert_array_equal(readings["u"].cotangent["value"], X)


def test_without_taps_the_program_is_the_same():
    text = lambda f: jax.jit(f).lower(W, H, XS).as_text()
    assert text(fg.value_and_grad(nested)) == text(fg.value_and_grad(nested, taps=()))


def test_watching_composes_with_aux_and_second_order():
    f = lambda w: (mlp({"w1": w, "w2": W}, X), "aux")
    _, aux, readings = fg.grad(lambda w: (f(w)[0], w), has_aux=True, taps="block0/attn", stats="max")(W)
    np.testing.assert_array_equal(aux, W)
    assert readings["block0/attn"].cotangent["max"] > 0
    along = jax.grad(lambda w: fg.grad(lambda w: f(w)[0], taps="block0/attn")(w)[0].sum())(W)
    np.testing.assert_allclose(along, jax.grad(lambda w: jax.grad(lambda w: f(w)[0])(w).sum())(W), rtol=1e-10)


def test_readings_print_as_a_table():
    _, readings = fg.grad(rnn, taps=["cell/h", "add"], stats=("max", "finite", "value"))(W, H, XS)
    lines = str(readings).splitlines()
    assert lines[0].split("  ")[-1].strip() == "value of cotangent"
    assert "…" in lines[1]
    assert "True" in lines[1]
    assert "f64[3,4]" in lines[1]
    _, nothing = fg.grad(lambda x: jnp.sum(x) + jnp.sum(fg.detach(jnp.sin(x))), taps="sin", stats="max")(X)
    assert str(nothing).splitlines()[1].split()[-1] == "-"


LARGE = np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("statistic", "x", "expected"),
    [
        ("norm", np.float32([LARGE / 2, LARGE / 2]), np.float32(LARGE / 2) * np.sqrt(2.0, dtype=np.float32)),
        ("norm", np.float32([0.0, 0.0]), 0.0),
        ("norm", np.zeros((0, 3), np.float32), 0.0),
        ("norm", np.array([3 + 4j, 0]), 5.0),
        ("max", np.float32([-3, 2]), 3.0),
        ("max", np.zeros(0, np.float32), 0.0),
        ("mean", jnp.ones(1000, jnp.bfloat16), 1.0),
        ("rms", np.float32([3, 4]), np.sqrt(12.5)),
        ("zeros", np.float32([0, 1, 0, 2]), 0.5),
        ("finite", np.float32([np.inf]), False),
        ("finite", np.float32([np.nan]), False),
        ("finite", np.float32([1]), True),
    ],
)
def test_statistics_at_their_awkward_points(statistic, x, expected):
    np.testing.assert_allclose(STATISTICS[statistic](jnp.asarray(x)), expected, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_norm_of_what_is_not_finite_is_not_finite(bad):
    assert not np.isfinite(STATISTICS["norm"](jnp.asarray([1.0, bad])))


def test_unknown_names_are_errors():
    with raises_sentence(
        fg.errors.GradientError, r"No value or scope is named 'block0/atn'; did you mean 'block0/attn' or .*\?$"
    ):
        fg.grad(mlp, taps="block0/atn")(PARAMS, X)
    with raises_sentence(
        fg.errors.GradientError,
        r"No statistic is called 'median'; there are norm, max, mean, rms, finite, zeros, value, or pass a function of "
        r"arrays\.",
    ):
        fg.grad(mlp, taps="**", stats="median")


def test_values_of_a_while_loop_cannot_be_watched():
    f = lambda x: jnp.sum(x * jax.lax.while_loop(lambda c: c < 3.0, lambda c: fg.name(c * 2.0, "inside"), 1.0))
    with raises_sentence(fg.errors.GradientError, r"No value or scope is named 'inside'; .*"):
        fg.grad(f, taps="inside")(X)


def test_scalars_are_printed_as_numbers():
    def spread(x):
        return x.max() - x.min()

    def largest_place(x):
        return jnp.argmax(x)

    f = lambda x: fg.name(jnp.sum(x**2), "h") * 2.5
    _, readings = fg.grad(f, taps=["h", "x"], stats=("value", spread, largest_place))(jnp.array([1.0, 2.0, 1.5]))
    lines = {line.split()[0]: line.split()[1:] for line in str(readings).splitlines()[1:]}
    assert lines["h"] == ["7.25", "0", "0", "2.5", "0", "0"]
    assert lines["x"] == ["f64[3]", "1", "1", "f64[3]", "5", "1"]


def test_watching_everything_traces_each_statistic_once_per_kind_of_array():
    traced = []

    def size(x):
        traced.append(x.shape)
        return jnp.sum(jnp.ones_like(x))

    def deep(x):
        for _ in range(20):
            x = jnp.sin(x) * 1.5
        return x.sum()

    _, readings = fg.grad(deep, taps="**", stats=size)(X)
    assert len(readings) == 42
    assert sorted(traced) == [(), (3, 4)]
    assert readings["sin#7"].cotangent["size"] == readings["sin#7"].value["size"] == 12


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64"])
def test_finite_is_false_where_one_entry_is_not(bad, dtype):
    huge = float(jnp.finfo(dtype).max)
    x = jnp.full((5, 3), -huge, dtype) if dtype != "complex64" else jnp.full((5, 3), huge + 1j * huge, dtype)
    assert STATISTICS["finite"](x)
    assert not STATISTICS["finite"](x.at[4, 1].set(bad))
    assert STATISTICS["finite"](x[:0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_of_zeros_that_the_compiler_knows(dtype):
    assert jax.jit(lambda: STATISTICS["norm"](jnp.zeros(3, dtype)))() == 0


def test_the_table_of_long_names_fits_a_page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def f(x):
        with fg.scope("/".join(f"part{i}" for i in range(20))):
            return jnp.sum(fg.name(jnp.sin(x), "h") ** 2)

    _, readings = fg.grad(f, taps="**/h", stats=("norm", "finite"))(jnp.ones(3))
    lines = str(readings).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split()[0] == "**/part18/part19/h"  # a pattern that the name matches
    assert len(lines[1].split()) == 5
