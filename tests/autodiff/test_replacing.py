"""Rules for functions that are not ours, by name or by the function itself; and hooks on cotangents.

The oracle is the same model with a `jax.custom_vjp` in the place of the function, under `jax.grad`.
"""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence

X = jnp.linspace(-1.3, 1.7, 6).reshape(2, 3)
W = jnp.linspace(0.9, -1.1, 9).reshape(3, 3)


def with_rule(function, rule):
    """The function as somebody writes it who must edit the model: `rule(g, x)` is its J^T."""
    one = jax.custom_vjp(lambda x: function(x))
    one.defvjp(lambda x: (function(x), x), lambda x, g: (rule(g, x),))
    return one


def leaky_x(g, x):
    return jnp.where((x > 0) & (g > 0), g, 0.1 * g)


def softened_x(g, x):
    return jnp.where(jnp.abs(x) < 1, g, 0.5 * g)


leaky, softened, smooth = (
    with_rule(f, rule) for f, rule in ((jax.nn.relu, leaky_x), (jnp.round, softened_x), (jax.nn.silu, softened_x))
)
RULES = (
    fg.RuleSet()
    .override(jax.nn.relu, leaky_x, at="**/blk/*")
    .override(jnp.round, lambda g, a: softened_x(g, a))
    .override("silu", softened_x, "x")
)


def block(x, w, relu, rounded, silu):
    with fg.scope("blk"):
        return rounded(2 * silu(relu(x @ w))) + relu(x)


def plainly(make):
    return make(jax.nn.relu, jnp.round, jax.nn.silu)


def edited(make):
    return make(leaky, softened, smooth)


def in_a_chain(*f):
    return lambda w, x: jnp.sum(block(block(x, w, *f), w, *f) ** 2)


def in_a_scan(*f):
    def turn(x, w):
        y = block(x, w, *f)
        return y, y

    def loss(w, x):
        x, ys = lax.scan(turn, x, jnp.stack([w, 0.3 * w, w.T]))
        return jnp.sum(x**2) + jnp.sum(jnp.sin(ys))

    return loss


def in_a_branch(*f):
    return lambda w, x: jnp.sum(lax.cond(x[0, 0] < 0, lambda x: block(x, w, *f), lambda x: x @ w, x) ** 2)


def in_a_checkpoint(*f):
    return lambda w, x: jnp.sum(jax.checkpoint(lambda w, x: block(x, w, *f))(w, x) ** 2)


def in_a_jit(*f):
    return lambda w, x: jnp.sum(jax.jit(lambda w, x: block(x, w, *f))(w, x) ** 2)


def in_a_vmap(*f):
    return lambda w, x: jnp.sum(jax.vmap(lambda x: block(x, w, *f))(x) ** 2)


PLACES = [in_a_chain, in_a_scan, in_a_branch, in_a_checkpoint, in_a_jit, in_a_vmap]


@pytest.mark.parametrize("place", PLACES, ids=lambda f: f.__name__)
def test_it_is_as_if_the_model_had_been_edited(place):
    found = fg.grad(plainly(place), (0, 1), rules=RULES)
    expected = jax.grad(edited(place), (0, 1))(W, X)
    chex.assert_trees_all_close(found(W, X), expected, rtol=1e-12)
    chex.assert_trees_all_close(jax.jit(found)(W, X), expected, rtol=1e-12)
    assert not np.allclose(expected[0], 0)


def test_under_vmap_and_differentiated_again():
    loss, one = in_a_chain(jax.nn.relu, jnp.tanh, jax.nn.silu), in_a_chain(leaky, jnp.tanh, smooth)
    rules = fg.RuleSet().override("relu", leaky_x, at="**/blk/*").override("silu", softened_x, "x")
    found = jax.vmap(fg.grad(loss, 1, rules=rules), (None, 0))(W, X[:, None])
    chex.assert_trees_all_close(found, jax.vmap(jax.grad(one, 1), (None, 0))(W, X[:, None]), rtol=1e-12)
    again = lambda grad: lambda x: jnp.sum(grad(W, x) ** 2)
    twice = jax.grad(again(fg.grad(loss, 1, rules=rules)))(X)
    chex.assert_trees_all_close(twice, jax.grad(again(jax.grad(one, 1)))(X), rtol=1e-10)


INPUT = X.astype(jnp.float32)


def flax_model(relu):
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

        def __call__(self, x):
            return self.last(relu(self.first(x)))

    return Model(nnx.Rngs(0))


def equinox_model(relu):
    import equinox as eqx

    model = eqx.nn.MLP(3, 2, 5, 2, activation=relu, key=jax.random.key(1))
    return lambda x: jax.vmap(model)(x)


def haiku_model(relu):
    import haiku as hk

    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 2], activation=relu)(x)))
    params = model.init(jax.random.key(2), INPUT)
    return lambda x: model.apply(params, x)


@pytest.mark.parametrize("make", [flax_model, equinox_model, haiku_model], ids=lambda f: f.__name__)
def test_models_that_nobody_edits(make):
    pytest.importorskip({"flax": "flax", "equinox": "equinox", "haiku": "haiku"}[make.__name__.partition("_")[0]])
    model, changed = make(jax.nn.relu), make(leaky)
    x = X if make is equinox_model else INPUT
    rules = fg.RuleSet().override("relu", leaky_x)
    found = fg.grad(lambda x: jnp.sum(model(x) ** 2), rules=rules)(x)
    chex.assert_trees_all_close(found, jax.grad(lambda x: jnp.sum(changed(x) ** 2))(x), rtol=1e-5)
    plan = fg.plan(lambda x: jnp.sum(model(x) ** 2), x, rules=rules)
    assert ("modified", str(plan).count("leaky_x [modified]")) in plan.totals.kinds


def test_the_plan_says_what_each_rule_is():
    given = jax.custom_vjp(jnp.sin)
    given.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    f = lambda x: jnp.sum(given(jax.nn.relu(jnp.tanh(x))) + jnp.sort(lax.cumprod(x)))
    printed = str(fg.plan(f, X, rules=fg.RuleSet().override(jnp.tanh, lambda g: 3 * g)))
    for rule in (
        "x: <lambda> [modified]",
        "x: relu (tangent, transposed)",
        "sin (custom_vjp)",
        "jax.vjp",
        "reduce_sum_op",
    ):
        assert rule in printed


def test_a_primitive_by_name_and_by_function():
    """A product whose gradient to the left forgets the right: feedback alignment's seam."""
    fixed = jnp.ones_like(W)

    def lhs(g, rhs, dimension_numbers):
        assert dimension_numbers == (((1,), (0,)), ((), ()))
        return g @ fixed[: rhs.shape[0]].T

    loss = lambda x: jnp.sum((x @ W) ** 2)
    for name in ("dot_general", lax.dot_general):
        rules = fg.RuleSet().override(name, lhs, "lhs")
        np.testing.assert_allclose(fg.grad(loss, rules=rules)(X), 2 * (X @ W) @ fixed.T, rtol=1e-12)
    assert fg.grad(lambda x: jax.nn.sigmoid(x).sum(), rules=fg.RuleSet().override(jax.nn.sigmoid, lambda g: g))(X).all()


def test_a_function_that_jax_writes_out():
    """`jax.nn.softmax` leaves nine equations; under `vmap` and in a loop too, but not where half of it is read."""
    rules = fg.RuleSet().override(jax.nn.softmax, lambda g, y: 7 * g * y)
    marked = jax.custom_vjp(lambda x: jax.nn.softmax(x))
    marked.defvjp(lambda x: (jax.nn.softmax(x),) * 2, lambda y, g: (7 * g * y,))

    def loss(x, softmax):
        y = jax.vmap(softmax)(jnp.sin(x)) * softmax(2 * x)
        return jnp.sum(lax.scan(lambda c, v: (softmax(c * v), c), y[0], x)[0] * X[0]) + jnp.sum(y**2)

    found = fg.grad(lambda x: loss(x, jax.nn.softmax), rules=rules)(X)
    np.testing.assert_allclose(found, jax.grad(lambda x: loss(x, marked))(X), rtol=1e-12)

    def halved(x):
        e = jnp.exp(x - jnp.max(x))
        return jnp.sum(e / jnp.sum(e))

    sentence = (
        r"The override of softmax at '\*\*' matches nothing; the graph has no softmax node, for JAX writes it out "
        r"where it is called, and no such equations stand together; jit it\."
    )
    with raises_sentence(RuleError, sentence):
        fg.grad(halved, rules=rules)(X[0])
    sentence = (
        r"The override of softmax at '\*\*' matches nothing; 'softmax' is no node, for the function is written out "
        r"there; pass the function itself in the place of its name, or jit it\."
    )
    with raises_sentence(RuleError, sentence):
        fg.grad(lambda x: jnp.sum(jax.nn.softmax(x)), rules=fg.RuleSet().override("softmax", lambda g: g))(X)


def test_what_jax_writes_out_is_found_at_a_place_and_left_alone_elsewhere():
    def encoded(x, inner=jax.nn.gelu):
        with fg.scope("enc"):
            x = inner(x)
        with fg.scope("dec"):
            return jnp.sum(jax.nn.gelu(x @ W))

    straight = jax.custom_vjp(lambda x: jax.nn.gelu(x))
    straight.defvjp(lambda x: (jax.nn.gelu(x), None), lambda _, g: (g,))
    expected = jax.grad(lambda x: encoded(x, straight))(X)
    for at in ("enc", "enc/**", "enc/gelu"):
        rules = fg.RuleSet().override(jax.nn.gelu, lambda g: g, at=at)
        np.testing.assert_allclose(fg.grad(encoded, rules=rules)(X), expected, rtol=1e-12)
    silu = lambda x: jnp.sum(jax.nn.silu(x))
    for f, function, nodes in ((encoded, jax.nn.gelu, "enc/gelu, dec/gelu"), (silu, jax.nn.silu, "silu")):
        sentence = rf"The override of {function.__name__} at 'nowhere/\*\*' matches nothing; its nodes are {nodes}\."
        with raises_sentence(RuleError, sentence):
            fg.grad(f, rules=fg.RuleSet().override(function, lambda g: g, at="nowhere/**"))(X)


@jax.jit
def relu(x):
    """A namesake of JAX's, and of our op."""
    return jnp.maximum(x, 0)


@jax.custom_jvp
def cube(x):
    return x**3


cube.defjvps(lambda g, out, x: g)
CUBE = cube


@jax.custom_jvp
def cube(x):
    """Another one of the same name."""
    return x**3


cube.defjvps(lambda g, out, x: 2 * g)


@pytest.mark.parametrize(
    ("what", "expected"),
    [(relu, 9 + 1 + 1), (jax.nn.relu, 1 + 9 + 1), (fg.ops.relu, 1 + 1 + 9), ("relu", 27)],
    ids=["own", "jax", "op", "name"],
)
def test_an_override_of_a_function_is_for_none_of_its_namesakes(what, expected):
    rules = fg.RuleSet().override(what, lambda g: 9 * g)
    f = lambda x: jnp.sum(relu(x) + jax.nn.relu(x) + fg.ops.relu(x))
    np.testing.assert_allclose(fg.grad(f, rules=rules)(jnp.ones(2)), expected)


def test_custom_derivatives_of_one_name_are_told_apart():
    rules = fg.RuleSet().override(CUBE, lambda g: 9 * g)
    found = fg.grad(lambda x: jnp.sum(CUBE(x) + cube(x)), rules=rules)(jnp.ones(2))
    np.testing.assert_allclose(found, 9 + 2)


def test_the_outer_of_two_rules_stands_and_a_checkpoint_is_called_so():
    blk = jax.jit(lambda h: jnp.tanh(h) * 2)
    blk = jax.jit(named(blk, "blk"))
    rules = fg.RuleSet().override("blk", lambda g: 3 * g)
    for both in (rules.override(jnp.tanh, lambda g: 5 * g), fg.RuleSet().override(jnp.tanh, lambda g: 5 * g)):
        both = both if len(both.overrides) == 2 else both.override("blk", lambda g: 3 * g)
        found = fg.grad(lambda x: jnp.sum(blk(x)) + jnp.sum(jnp.tanh(x)), rules=both)(X)
        np.testing.assert_array_equal(found, np.full((2, 3), 8.0))
    f = lambda x: jnp.sum(jax.checkpoint(lambda z: jnp.sin(z) * 2)(x))
    for name in ("checkpoint", jax.checkpoint):
        rules = fg.RuleSet().override(name, lambda g: 7 * g)
        np.testing.assert_array_equal(fg.grad(f, rules=rules)(X), np.full((2, 3), 7.0))


def named(function, name):
    def same(x):
        return function(x)

    same.__name__ = name
    return same


@pytest.mark.parametrize("function", [jnp.maximum, jnp.multiply, jnp.subtract])
def test_ufuncs_are_found_by_the_primitive_that_they_leave(function):
    rules = fg.RuleSet().override(function, lambda g: 7 * g, "x")
    np.testing.assert_array_equal(fg.grad(lambda x: function(x, 2.0).sum(), rules=rules)(X), np.full((2, 3), 7.0))


def test_a_rule_lets_through_what_is_flat():
    rules = fg.RuleSet().override("stop_gradient", lambda g: g).override("sign", lambda g: g)
    f = lambda x: jnp.sum(lax.stop_gradient(x) * 3 + jnp.sign(x))
    np.testing.assert_array_equal(fg.grad(f, rules=rules)(X), np.full((2, 3), 4.0))


def test_what_was_not_replaced_of_a_function_is_derived():
    @jax.custom_jvp
    def product(x, y):
        return x * y

    product.defjvp(lambda p, t: (p[0] * p[1], t[0] * p[1] + p[0] * t[1]))
    rules = fg.RuleSet().override("product", lambda g: -g, "x")
    x_bar, y_bar = fg.grad(lambda x, y: product(x, y).sum(), (0, 1), rules=rules)(X, 2 * X)
    np.testing.assert_array_equal(x_bar, -np.ones((2, 3)))
    np.testing.assert_array_equal(y_bar, X)


def test_a_whole_loop_has_a_rule():
    def loss(x):
        return jnp.sum(lax.scan(lambda c, v: (jnp.sin(c) * v, c), x[0], x)[0])

    rules = fg.RuleSet().override("scan", lambda g, carry0_aval: g[0] * 7 + jnp.zeros(carry0_aval.shape), "carry0")
    np.testing.assert_allclose(fg.grad(loss, rules=rules)(X)[0], 7 + fg.grad(lambda xs: jnp.sum(
        lax.scan(lambda c, v: (jnp.sin(c) * v, c), X[0], xs)[0]))(X)[0], rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (fg.RuleSet().override("rellu", leaky_x),
         r"The override of rellu at '\*\*' matches nothing; the graph has no rellu node, did you mean 'relu'\?"),
        (fg.RuleSet().override("relu", lambda g, y1: g),
         r"relu: rule <lambda> asks for 'y1'; it may ask for g, x, x_aval, y, pull, f, node, loss_g, key, x_origin\."),
        (fg.RuleSet().override("dot_general", lambda g: g),
         r"dot_general has several arguments \(lhs, rhs\); say which the rule serves: "
         r"override\('dot_general', <lambda>, 'lhs'\)\."),
        (fg.RuleSet().override("dot_general", lambda g: g, "w"),
         r"dot_general: dot_general has no argument 'w' to override; it has lhs, rhs\."),
        (fg.RuleSet().hook("rellu", lambda g: g),
         r"The hook <lambda> at 'rellu': no value or scope is named 'rellu'; did you mean 'relu'\?"),
        (fg.RuleSet().hook("relu", lambda g: {}["scale"]),
         r"relu: hook <lambda> raised KeyError: 'scale'\."),
        (fg.RuleSet().hook("relu", jnp.sum),
         r"relu: hook sum must return the cotangent as f64\[2,3\], got f64\[\]\."),
    ],
)  # fmt: skip
def test_mistakes(rules, sentence):
    with raises_sentence(RuleError, sentence):
        fg.grad(lambda x: jnp.sum(jax.nn.relu(x @ W)), rules=rules)(X)


def scanned(p, x):
    def turn(c, w):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), c, None, 2)[0], w.sum()

    c, sums = lax.scan(turn, 2 * x, p)
    return c.sum() + sums.sum()


def chosen(p, x):
    return lax.cond(x.sum() > 0, lambda x: jnp.tanh(x @ p[0]), lambda x: x @ p[0], 2 * x).sum()


def swapped(p, x):
    return lax.scan(lambda c, w: ((c[1], c[0]), jnp.sum(c[0] @ w)), (3 * x, x), p)[1].sum()


WHOLE = "whose cotangent is not whole there; hook"


@pytest.mark.parametrize(
    ("f", "at", "sentence"),
    [
        (scanned, "scan/carry0", rf"'scan/carry0' is what a turn of 'scan' takes, {WHOLE} 'mul', which goes in, or "
                                 r"'scan#2', which a turn returns\."),
        (scanned, "scan/p", rf"'scan/p' is what a turn of 'scan' takes, {WHOLE} 'p', which goes in\."),
        (scanned, "scan#2/*", rf"'scan#2/p' is what a turn of 'scan#2' takes, {WHOLE} 'p', which goes in\."),
        (scanned, "scan#2/carry0", rf"'scan#2/carry0' is what a turn of 'scan#2' takes, {WHOLE} 'mul', which goes in, "
                                   r"or 'tanh', which a turn returns\."),
        (chosen, "cond/in1", rf"'cond/in1' is what 'cond' takes, {WHOLE} 'mul', which goes in\."),
        (swapped, "scan/carry0", rf"'scan/carry0' is what a turn of 'scan' takes, {WHOLE} 'mul', which goes "
                                       r"in\."),
        (scanned, "scan/in9", r"no value or scope is named 'scan/in9'; .*"),
    ],
)  # fmt: skip
def test_a_hook_on_what_a_body_takes(f, at, sentence):
    p = jnp.stack([jnp.eye(3), 2 * jnp.eye(3)])
    with raises_sentence(RuleError, rf"The hook <lambda> at '{re.escape(at)}': {sentence}"):
        fg.plan(f, p, jnp.ones((2, 3)), rules=fg.RuleSet().hook(at, lambda g: g))


def test_mistakes_in_a_hook():
    with raises_sentence(
        RuleError,
        r"hook: what changes a cotangent is no derivative, kind= takes fg\.modified or fg\.nonlinear, got exact\.",
    ):
        fg.RuleSet().hook("x", jnp.negative, fg.exact)
    with raises_sentence(RuleError, r"hook: expected a function of a cotangent, got int\."):
        fg.RuleSet().hook("x", 3)
    for wrong, found in (
        (lambda g, foo: g, r"<lambda>\(g, foo\)"),
        (lambda: X, r"<lambda>\(\)"),
        (lambda g, key, *, node: g, r"<lambda>\(g, key, \*, node\)"),
    ):
        with raises_sentence(
            RuleError,
            r"hook: a hook is given the cotangent by position, and by name a random key if it asks for 'key', got "
            rf"{found}; give what else it reads a default, or functools\.partial\.",
        ):
            fg.RuleSet().hook("x", wrong)
    with raises_sentence(RuleError, r"hook: at= must be the name of a value, or a glob, got 3\."):
        fg.RuleSet().hook(3, jnp.negative)


# -- hooks ---------------------------------------------------------------------------------------------------


def turned(factor):
    return with_rule(lambda x: x, lambda g, x: factor * g)


def test_hooks_change_a_sum_once():
    """`h` has two readers; what comes of both is changed, whether or not `h` is wanted too."""

    def loss(x, of=lambda h: h):
        h = of(fg.name(jnp.sin(x), "h"))
        return jnp.sum(h * h) + jnp.sum(jnp.cos(h))

    rules = fg.RuleSet().hook("h", lambda g: -3 * g)
    expected = jax.grad(lambda x: loss(x, turned(-3.0)))(X)
    np.testing.assert_allclose(fg.grad(loss, rules=rules)(X), expected, rtol=1e-12)
    found = fg.grad(loss, wrt=["x", "h"], rules=rules)(X)
    np.testing.assert_allclose(found["x"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["h"] * jnp.cos(X), expected, rtol=1e-12)
    twice = rules.hook("x", lambda g: g + 1).hook("x", lambda g: 2 * g)
    np.testing.assert_allclose(fg.grad(loss, rules=twice)(X), 2 * (expected + 1), rtol=1e-12)
    assert "hooks    " in str(fg.plan(loss, X, rules=rules))


def test_hooks_inside_of_loops_branches_and_jitted_functions():
    def loss(x, of=lambda h: h):
        def turn(c, v):
            h = of(fg.name(jnp.sin(c) * v, "h"))
            return jax.jit(lambda h: of(fg.name(jnp.tanh(h), "t")))(h), h

        c, hs = lax.scan(turn, x[0], x)
        return jnp.sum(lax.cond(c[0] < 9, lambda c: of(fg.name(c**2, "b")), lambda c: c, c)) + jnp.sum(hs**3)

    rules = fg.RuleSet().hook("h", lambda g: 2 * g).hook("t", lambda g: 2 * g).hook("b", lambda g: 2 * g)
    expected = jax.grad(lambda x: loss(x, turned(2.0)))(X)
    np.testing.assert_allclose(fg.grad(loss, rules=rules)(X), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(fg.grad(loss, rules=rules))(X), expected, rtol=1e-12)


def test_hooks_are_a_part_of_the_set():
    rules = fg.RuleSet().hook("h", jnp.negative)
    assert str(rules) == "the cotangent of 'h': negative"
    assert fg.RuleSet().diff(rules) == "+ the cotangent of 'h': negative"
    assert rules == fg.RuleSet().hook("h", jnp.negative)
