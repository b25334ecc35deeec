"""Every mistake gives one sentence: node, expected, found, fix. The whole text is matched."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError, ShapeError
from funcgrad.registry import Op
from tests.raising import raises_sentence

X, W = jnp.ones((8, 128)), jnp.ones((128, 4))


def planted(**options: Any) -> Op:
    def planted(x, w):
        return x @ w

    return fg.op(name="planted", replace=True, **options)(planted)


def gradient_with(rule: Callable[..., Any], *arguments: str) -> Any:
    op = planted()
    op.pullback(*arguments)(rule)
    with fg.scope("block3"):
        return jax.grad(lambda w: op(X, w).sum())(W)


# -- calls ---------------------------------------------------------------------------------------------------


def layer_norm_in_a_block():
    with fg.scope("block3"), fg.scope("ln1"):
        fg.ops.layer_norm(X, jnp.ones(64), jnp.ones(128))


CALLS = [
    (layer_norm_in_a_block,
     "block3/ln1/layer_norm: scale must be [128] (because of x: f64[8,128]), got f64[64]."),
    (lambda: fg.ops.linear(X, jnp.ones((127, 4))),
     "linear: w must be [128, m] (because of x: f64[8,128]), got f64[127,4]."),
    (lambda: fg.ops.linear(X, W, jnp.ones(5)),
     "linear: b must be [4] (because of w: f64[128,4]), got f64[5]."),
    (lambda: fg.ops.conv2d(X, jnp.ones((3, 3, 1, 2))),
     "conv2d: x must be [..., h, w, c], got f64[8,128]."),
    (lambda: fg.ops.conv2d(jnp.ones((4, 4, 1)), jnp.ones((3, 3, 1, 2)), padding="same"),
     "conv2d: cannot take x: f64[4,4,1], kernel: f64[3,3,1,2]; padding must be 'SAME', 'VALID', a number or "
     "((top, bottom), (left, right)), got 'same'."),
    (lambda: fg.ops.cross_entropy(X, jnp.ones(7, int)),
     "cross_entropy: labels must be [8] (because of logits: f64[8,128]), got i64[7]."),
    (lambda: fg.ops.cross_entropy(X, jnp.ones(8)),
     "cross_entropy: cannot take logits: f64[8,128], labels: f64[8]; labels must be integers (class numbers), "
     "got float64."),
    (lambda: fg.ops.dropout(jnp.ones(3), jax.random.key(0), rate=1.5),
     "dropout: cannot take x: f64[3], key: key<fry>[]; rate must be between 0 and 1, got 1.5."),
    (lambda: fg.ops.relu("hello"), "relu: x must be an array, got str."),
    (lambda: fg.ops.relu(), "relu: missing a required argument: 'x'; its signature is relu(x)."),
    (lambda: fg.ops.gelu(X, exact=True),
     "gelu: got an unexpected keyword argument 'exact'; its signature is gelu(x, *, approximate=True)."),
    (lambda: fg.ops.sum(X, axis=[0]),
     "sum: attribute axis must be static and hashable, got list; pass arrays as positional arguments, and tuples "
     "for lists."),
    (lambda: fg.ops.power(X, exponent=jnp.ones(3)),
     "power: attribute exponent must be static and hashable, got f64[3]; pass arrays as positional arguments, and "
     "tuples for lists."),
    (lambda: fg.ops.clip(X, low=2, high=1),
     "clip: cannot take x: f64[8,128]; low must be below high, got low=2 and high=1."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), CALLS, ids=[t.split(":")[0] + str(i) for i, (_, t) in enumerate(CALLS)])
def test_a_wrong_call_says_what_fits(call, text):
    with raises_sentence(ShapeError, re.escape(text)):
        call()


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (3, 2))])
def test_operands_that_do_not_broadcast(shapes):
    a, b = map(jnp.ones, shapes)
    with raises_sentence(ShapeError, r"add: cannot take a: f64\[.*\], b: f64\[.*\]; .*incompatible shapes.*"):
        fg.ops.add(a, b)


# -- what rules return ---------------------------------------------------------------------------------------


def unsummed(g):
    return g


def integers(g, x):
    return (x.T @ g).astype(int)


def complex_numbers(g, x):
    return (x.T @ g).astype(complex)


def nothing(g):
    return None


def without_w(g, x, w):
    return {"x": g @ w.T}


def as_tuple(g, x, w):
    return g @ w.T, x.T @ g


def with_extra(g, x, w):
    return {"x": g @ w.T, "w": x.T @ g, "z": g}


RETURNS = [
    (unsummed, "w", "must return the cotangent of w as f64[128,4], got f64[8,4]."),
    (integers, "w", "must return the cotangent of w as f64[128,4], got i64[128,4]; return a floating cotangent."),
    (complex_numbers, "w", "must return the cotangent of w as f64[128,4], got c128[128,4]; return the real part."),
    (nothing, "w", "must return the cotangent of w as f64[128,4], got NoneType; return an array."),
    (without_w, "x w", "serves x, w, but its result has no cotangent for w; return one for every argument it serves."),
    (as_tuple, "x w", "serves x, w, so it must return a mapping with these names, got tuple."),
    (with_extra, "x w", "returned a cotangent for z, which it does not serve; it serves x, w."),
]


@pytest.mark.parametrize(("rule", "arguments", "text"), RETURNS, ids=[r.__name__ for r, _, _ in RETURNS])
def test_a_rule_that_returns_the_wrong_thing(rule, arguments, text):
    name = f"{rule.__name__} (test_errors.py:{rule.__code__.co_firstlineno})"
    with raises_sentence(RuleError, re.escape(f"block3/planted: rule {name} {text}")):
        gradient_with(rule, *arguments.split())


def test_a_rule_of_a_pair_that_returns_one_of_its_arrays():
    @fg.op(name="total", replace=True)
    def total(xs):
        return xs[0] + xs[1]

    @total.pullback("xs")
    def total_xs(g):
        return g

    text = r"total: rule total_xs \(test_errors\.py:\d+\) must return the cotangent of xs as \(f64\[3\], f64\[3\]\), "
    with raises_sentence(RuleError, text + r"got f64\[3\]\."):
        jax.grad(lambda x: total((x, x)).sum())(jnp.ones(3))


# -- registration --------------------------------------------------------------------------------------------


def asks_for_hidden(g, hidden):
    return g


def registered_twice():
    fg.op(name="relu")(lambda x: x)


def starred():
    @fg.op
    def starred(*xs):
        return xs[0]


def reserved():
    @fg.op
    def reserved(y):
        return y


def leading_of_nothing():
    @fg.op(leading=("v",))
    def leading(x):
        return x


def unreadable_shapes():
    @fg.op(shapes="x[n w[m]")
    def unreadable(x, w):
        return x


def pulled_back_twice():
    op = planted()
    op.pullback("w")(integers)
    op.pullback("w")(integers)


def marked_after_a_rule():
    op = planted()
    op.pullback("w")(integers)
    op.mark(w=fg.Marker.ZERO)


def saves_a_taken_name():
    planted().saving("x")(lambda x, w: (x @ w, {}))


def saves_twice():
    op = planted()
    op.saving("h")(lambda x, w: (x @ w, {"h": x}))
    op.saving("k")


def saves_with_other_parameters():
    planted().saving("h")(lambda x: (x, {}))


def saves_another_name():
    op = planted()
    op.saving("h")(lambda x, w: (x @ w, {"k": x}))
    op.pullback("w")(lambda g, h: h.T @ g)
    jax.grad(lambda w: op(X, w).sum())(W)


def not_implemented():
    op = planted().mark(w=fg.Marker.NOT_IMPLEMENTED)
    jax.grad(lambda w: op(X, w).sum())(W)


REGISTRATION = [
    (lambda: planted().pullback("w")(asks_for_hidden),
     "planted: rule asks_for_hidden asks for 'hidden'; it may ask for g, x, w, x_aval, w_aval, y."),
    (lambda: planted().pullback("v"), "planted has no argument 'v' to pull back to; it has x, w."),
    (lambda: planted().pullback(), "planted.pullback needs the name of an argument, one of x, w."),
    (pulled_back_twice, "planted has a rule for 'w' already; use fg.RuleSet().override(...) for another one."),
    (registered_twice, "An op named 'relu' exists already (in funcgrad.ops.rectifiers); choose another with name=, "
     "or pass replace=True."),
    (starred, "op starred: *xs is not allowed; name every argument (a tuple may hold several)."),
    (reserved, "op reserved: an argument cannot be called 'y', which rules use; rename it."),
    (leading_of_nothing, "op leading has no argument 'v'; it has x."),
    (unreadable_shapes, "shapes='x[n w[m]' cannot be read at 'x[n w[m]'; write it as 'x[..., n] w[n, m]'."),
    (marked_after_a_rule, "planted cannot mark 'w': it has a rule already."),
    (lambda: planted().mark(v=fg.Marker.ZERO), "planted cannot mark 'v': it is no argument of it."),
    (saves_a_taken_name, "planted cannot save 'x': the name is taken."),
    (saves_twice, "planted has a saving forward already."),
    (saves_with_other_parameters, "planted: the saving forward must take the op's parameters x, w, got x."),
    (saves_another_name, "planted: the saving forward must return the saved values h, got k."),
    (not_implemented, "planted: the derivative with respect to w is marked not implemented, and the gradient passes "
     "through it; register a rule, override it, or detach w."),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "text"), REGISTRATION, ids=range(len(REGISTRATION)))
def test_a_mistake_in_a_registration(mistake, text):
    with raises_sentence(RuleError, re.escape(text)):
        mistake()


# -- rule sets -----------------------------------------------------------------------------------------------


def guided(g, y):
    return jnp.where((y > 0) & (g > 0), g, 0)


RULES = fg.RuleSet()
OVERRIDES = [
    (lambda: RULES.override(3, guided),
     "RuleSet.override expects an op, a function of JAX's, the name of a node's function, a class of modules or an "
     "fg.Region, got 3."),
    (lambda: RULES.override("", guided),
     "RuleSet.override expects an op, a function of JAX's, the name of a node's function, a class of modules or an "
     "fg.Region, got ''."),
    (lambda: RULES.override("relu", guided, at=["a", "b"]),
     "override: at= takes one place, a glob over names of nodes, as 'encoder/**', got ['a', 'b']; join several, as "
     "fg.Where('a') | 'b'."),
    (lambda: RULES.hook(fg.Where("h", turn=0), guided),
     "hook: what stands in a loop stands there at every turn, got 'h, turn=0'; leave out turn=."),
    (lambda: RULES.override(fg.ops.linear, guided),
     "linear has several arguments (x, w, b); say which the rule serves: override(linear, rule, 'x')."),
    (lambda: RULES.override(fg.ops.linear, guided, "v"), "linear has no argument 'v' to override; it has x, w, b."),
    (lambda: RULES.override(fg.ops.relu, asks_for_hidden),
     "relu: rule asks_for_hidden asks for 'hidden'; it may ask for g, x, x_aval, y, pull, f, node, loss_g, key, "
     "x_origin."),
    (lambda: fg.plan(fg.ops.relu, jnp.ones(3), rules=RULES.override(fg.ops.relu, guided, at="block9/*")),
     "The override of relu at 'block9/*' matches nothing; its nodes are relu."),
    (lambda: fg.plan(fg.ops.tanh, jnp.ones(3), rules=RULES.override(fg.ops.relu, guided, at="block9/*")),
     "The override of relu at 'block9/*' matches nothing; the graph has no relu node, its ops are tanh."),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "text"), OVERRIDES, ids=range(len(OVERRIDES)))
def test_a_mistake_in_an_override(mistake, text):
    with raises_sentence(RuleError, re.escape(text)):
        mistake()


def test_a_saving_forward_that_returns_something_else():
    @fg.op(name="half_saved", replace=True)
    def half_saved(x):
        return 2 * x

    @half_saved.saving("kept")
    def half_saved_saving(x):
        return jnp.sum(2 * x), {"kept": x}

    text = "half_saved: the saving forward must return what the op does, f64[3], got f64[]."
    with raises_sentence(RuleError, re.escape(text)):
        half_saved(jnp.ones(3))
