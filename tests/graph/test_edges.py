"""Each use of a value has a name, and what the uses give back adds up to the value's cotangent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError
from funcgrad.graph.edges import shortened
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)
P = {"w": jnp.linspace(-0.5, 0.7, 16).reshape(4, 4), "b": jnp.linspace(0.1, 0.2, 4)[None]}


def blocks(w_in, w_out, w_loop, b, x):
    """The uses of a shared weight as arguments of their own."""
    with fg.scope("block"):
        with fg.scope("enter"):
            h = fg.name(jnp.tanh(x @ w_in), "h")
        with fg.scope("branch"):
            y = jnp.sin(h @ w_out + b)
        y = y + h
    y, _ = jax.lax.scan(lambda c, _: (jnp.tanh(c @ w_loop) + c, None), y, None, length=3)
    return jnp.sum(y * jnp.arange(4.0)[None])


def loss(p, x):
    return blocks(p["w"], p["w"], p["w"], p["b"], x)


W_BARS = jax.grad(blocks, (0, 1, 2))(P["w"], P["w"], P["w"], P["b"], X)
APART = dict(zip(("enter", "branch", "scan"), W_BARS, strict=True))
NAMES = {"p/w@block/enter": APART["enter"], "p/w@block/branch": APART["branch"], "p/w@scan": APART["scan"]}


@pytest.mark.parametrize(
    ("place", "use"),
    [
        ("p/w@block/enter", "enter"),  # as it is printed
        ("w@block/branch", "branch"),  # without the argument
        ("w@block/branch/dot_general", "branch"),  # the node's whole name
        ("w@enter", "enter"),  # what only one has in its name
        ("w@scan", "scan"),
        (r"w@enter/dot_general", "enter"),
    ],
)
def test_the_cotangent_through_one_use(place, use):
    np.testing.assert_allclose(fg.grad(loss, wrt=place)(P, X), APART[use], rtol=1e-12)
    found = fg.grad(loss, wrt=["b", place])(P, X)
    assert list(found) == ["p/b", place] or list(found) == ["b", place]
    np.testing.assert_allclose(found[place], APART[use], rtol=1e-12)
    reading = fg.grad(loss, taps=place, stats="value")(P, X)[1][place]
    np.testing.assert_allclose(reading.cotangent["value"], APART[use], rtol=1e-12)
    np.testing.assert_array_equal(reading.value["value"], P["w"])


def test_globs_and_scopes_stand_for_several_uses():
    for place in ("w@*", "p/w@**", "p/w@*", fg.Where("w@*"), fg.Where("w@block") | "w@scan"):
        found = fg.grad(loss, wrt=place)(P, X)
        assert found.keys() == NAMES.keys()
        for name, expected in NAMES.items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-12)
    assert fg.grad(loss, wrt="w@block")(P, X).keys() == {"p/w@block/enter", "p/w@block/branch"}
    assert fg.grad(loss, wrt="p/*@block/branch")(P, X).keys() == {"p/w@block/branch", "p/b@block"}


def test_an_intermediate_value_is_read_by_a_branch_and_a_residual():
    found = fg.grad(loss, wrt="block/enter/h@*")(P, X)
    assert found.keys() == {"block/enter/h@branch", "block/enter/h@add"}
    whole = fg.grad(loss, wrt="block/enter/h")(P, X)
    np.testing.assert_allclose(sum(found.values()), whole, rtol=1e-12)
    assert np.abs(found["block/enter/h@branch"]).max() > 0.1


def test_what_is_returned_is_a_use():
    def f(x):
        h = fg.name(jnp.sin(x), "h")
        return h, h * 2.0

    _, pull = fg.vjp(f, X, wrt=["h", "h@*"])
    found = pull((X, X))
    np.testing.assert_allclose(found["h@return"], X)
    np.testing.assert_allclose(found["h@mul"], 2 * X)
    np.testing.assert_allclose(found["h"], 3 * X)


def test_uses_inside_of_a_loop_are_turn_by_turn():
    found = fg.grad(loss, wrt="scan/carry0@*")(P, X)
    assert {name: g.shape for name, g in found.items()} == {
        "scan/carry0@dot_general": (3, 2, 4),
        "scan/carry0@add": (3, 2, 4),
    }
    np.testing.assert_allclose(sum(found.values()), fg.grad(loss, wrt="scan/carry0")(P, X), rtol=1e-12)


def test_a_hook_on_one_use():
    rules = fg.RuleSet().hook("w@block/enter", lambda g: 0 * g)
    found = fg.grad(loss, rules=rules)(P, X)
    np.testing.assert_allclose(found["w"], APART["branch"] + APART["scan"], rtol=1e-12)


def test_a_use_is_differentiated_like_its_value():
    value, g = fg.value_and_grad(loss, of="block/enter/h@branch", wrt="w", cotangent=X)(P, X)
    expected, pull = jax.vjp(lambda w: jnp.tanh(X @ w), P["w"])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(g, pull(X)[0], rtol=1e-12)


def test_what_is_not_asked_for_has_no_node():
    before = [node.name for node in fg.trace(loss, P, X).nodes]
    assert [step.node.name for step in fg.plan(loss, P, X).steps if "@" in step.node.name] == []
    assert [node.name for node in fg.plan(loss, P, X, wrt="w").structure.nodes] == before


def test_a_users_own_sign_is_a_name():
    def f(p, x):
        with fg.scope("x1"):
            h = x @ p["w"]
        return jnp.sum(fg.name(p["b"], "b@first") * h + p["b"] * p["w@x1"])

    p = {**P, "w@x1": X}
    by_leaf, by_use = jax.grad(f)(p, X)["w@x1"], jax.grad(f)(p, X)["w"]
    np.testing.assert_allclose(fg.grad(f, wrt="p/w@x1")(p, X), by_leaf)
    np.testing.assert_allclose(fg.grad(f, wrt=r"w\@x1")(p, X), by_leaf)
    np.testing.assert_allclose(fg.grad(f, wrt="w@x1/dot_general")(p, X), by_use)
    np.testing.assert_allclose(fg.grad(f, wrt="b@first")(p, X), jax.grad(lambda b: jnp.sum(b * (X @ P["w"])))(p["b"]))
    assert fg.grad(f, wrt="p/b@*")(p, X).keys() == {"p/b@b@first", "p/b@mul#2"}
    with raises_sentence(
        GradientError,
        r"'w@x1' could be 'p/w@x1' or 'p/w@x1#2'; write the name of the argument in front, or more of the name of the "
        r"node that reads it\.",
    ):
        fg.grad(f, wrt="w@x1")(p, X)


def test_the_model_may_look_at_arrays_that_are_not_asked_for():
    def f(p, x):
        return jnp.sum(jnp.sin(x @ p["w"])) if x.sum() < 1 else jnp.sum(x)

    np.testing.assert_allclose(fg.grad(f, wrt="w@dot_general")(P, X), jax.grad(f)(P, X)["w"], rtol=1e-12)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (
            "w@x9",
            r"'w@x9' is no use of 'p/w', whose uses are 'p/w@block/enter', 'p/w@block/branch', 'p/w@scan'\.",
        ),
        ("w@dot_general", r"'@dot_general' could be '@block/enter' or '@block/branch'\."),
        ("h@branch", r"No value or scope is named 'h@branch'; did you mean 'block/enter/h'\?"),
    ],
)
def test_a_use_that_is_none(place, sentence):
    with raises_sentence(GradientError, sentence):
        fg.grad(loss, wrt=place)(P, X)


@pytest.mark.parametrize(
    ("value", "readers", "expected"),
    [
        ("params/w1", ["x1/linear", "x3/linear", "x3/add"], ["x1", "x3/linear", "x3/add"]),
        ("x1", ["x2/mul"], ["x2"]),
        ("blocks/0/ln", ["blocks/0/attn/q/dot", "blocks/0/attn/k/dot", "blocks/0/add"], ["attn/q", "attn/k", "add"]),
        ("h", ["mul", "mul#2", "return"], ["mul", "mul#2", "return"]),
        ("h", ["a", "a/b"], ["a", "a/b"]),
    ],
)
def test_names_of_uses_are_short_and_differ(value, readers, expected):
    assert shortened(value, readers) == expected


def test_an_embedding_that_a_transformer_shares_in_flax():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(7, 4, rngs=rngs, param_dtype=jnp.float64)
            self.attend = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False, param_dtype=jnp.float64)

        def __call__(self, tokens):
            h = self.embed(tokens)
            return self.embed.attend(h + self.attend(h))

    def f(model, tokens):
        return jnp.sum(jnp.sin(model(tokens)))

    model, tokens = Model(nnx.Rngs(0)), jnp.arange(5)[None]
    name = "model/embed/embedding"
    with jax.numpy_dtype_promotion("standard"):  # which JAX's attention needs
        found = fg.grad(f, wrt=[name, f"{name}@*"])(model, tokens)
        expected = nnx.grad(f)(model, tokens)["embed"]["embedding"][...]
    whole = found.pop(name)
    assert len(found) == 2
    np.testing.assert_allclose(sum(found.values()), whole, rtol=1e-12)
    np.testing.assert_allclose(whole, expected, rtol=1e-6)  # in JAX's attention, softmax is of float32
    assert np.abs(found[next(iter(found))][5:]).max() == 0  # tokens 5 and 6 are not looked up


def test_a_weight_that_is_tied_in_equinox():
    eqx = pytest.importorskip("equinox")

    class Tied(eqx.Module):
        linear: eqx.nn.Linear

        def __call__(self, x):
            return self.linear.weight.T @ jnp.tanh(self.linear(x))

    model = Tied(eqx.nn.Linear(4, 4, key=jax.random.key(0)))

    def f(model, x):
        return jnp.sum(jax.vmap(model)(x) ** 2)

    found = fg.grad(f, wrt="model/linear/weight@*")(model, X)
    assert len(found) == 2
    expected = eqx.filter_grad(f)(model, X).linear.weight
    np.testing.assert_allclose(sum(found.values()), expected, rtol=1e-10)
