"""The signal of rules that ask for `loss_g`, wherever they stand: against backward passes that are written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence

RULES = fg.RuleSet()
X = jax.random.normal(jax.random.key(0), (5, 4))
STACK = jax.random.normal(jax.random.key(1), (3, 4, 4)) / 2
V = jax.random.normal(jax.random.key(2), (4, 2))
FIXED = jax.random.normal(jax.random.key(3), (2, 4))


def agree(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def told(g, y, loss_g):
    return (loss_g @ FIXED) * (1 - y**2)


DIRECT = RULES.override("tanh", told).with_signal("logits")


def layer(h, w):
    return jnp.tanh(h @ w)


def scanned(layer, h, stack):
    return lax.scan(lambda h, w: (layer(h, w), None), h, stack)[0]


def unrolled(layer, h, stack):
    for w in stack:
        h = layer(h, w)
    return h


def counted(layer, h, stack):
    return lax.fori_loop(0, 3, lambda i, h: layer(h, stack[i]), h)


def chosen(layer):
    return lambda h, w: lax.cond(jnp.sum(w) < 1e9, layer, lambda h, w: h, h, w)


def switched(layer):
    return lambda h, w: lax.switch(jnp.int32(1), [lambda h, w: 3 * h, layer, layer], h, w)


def turned(layer):
    """A scan of one turn."""
    return lambda h, w: lax.scan(lambda h, _: (layer(h, w), None), h, None, length=1)[0]


WAYS = {
    "a scan": (scanned, layer),
    "a scan backwards": (lambda f, h, s: lax.scan(lambda h, w: (f(h, w), None), h, s[::-1], reverse=True)[0], layer),
    "a count": (counted, layer),
    "a checkpoint": (unrolled, jax.checkpoint(layer)),
    "a checkpointed scan": (jax.checkpoint(scanned, static_argnums=0), layer),
    "a branch": (unrolled, chosen(layer)),
    "a switch": (unrolled, switched(layer)),
    "a jitted function": (unrolled, jax.jit(layer)),
    "all of them": (scanned, jax.checkpoint(chosen(turned(jax.jit(layer))))),
    "an example at a time": (scanned, lambda h, w: jax.vmap(lambda h: layer(h, w))(h)),
}


def loss_by(way):
    loop, inner = WAYS[way]

    def loss(stack, v, x):
        return jnp.sum(fg.name(loop(inner, x, stack) @ v, "logits") ** 2)

    return loss


def by_hand(stack, v, x):
    """What direct feedback tells each layer: the error of the logits by one matrix, whatever comes after it."""
    inputs = [x]
    for w in stack:
        inputs.append(jnp.tanh(inputs[-1] @ w))
    e = 2 * inputs[-1] @ v
    before = [(e @ FIXED) * (1 - h**2) for h in inputs[1:]]
    bars = [h.T @ g for h, g in zip(inputs, before, strict=False)]
    return jnp.stack(bars), inputs[-1].T @ e, before[0] @ stack[0].T


@pytest.mark.parametrize("way", WAYS)
def test_rules_are_told_wherever_they_stand(way):
    gradient = fg.grad(loss_by(way), argnums=(0, 1, 2), rules=DIRECT)
    expected = by_hand(STACK, V, X)
    agree(gradient(STACK, V, X), expected)
    agree(jax.jit(gradient)(STACK, V, X), expected)


@pytest.mark.parametrize("way", ["a scan", "all of them"])
def test_in_every_example_and_twice(way):
    gradient = fg.grad(loss_by(way), rules=DIRECT)
    many = jnp.stack([X, 2 * X])
    agree(jax.vmap(gradient, (None, None, 0))(STACK, V, many), jnp.stack([by_hand(STACK, V, x)[0] for x in many]))
    twice = jax.grad(lambda v: jnp.sum(jnp.sin(gradient(STACK, v, X))))(V)
    agree(twice, jax.grad(lambda v: jnp.sum(jnp.sin(by_hand(STACK, v, X)[0])))(V))


def test_the_output_is_the_signal_where_none_is_named():
    def out(x):
        return jnp.sum(scanned(layer, x, STACK))

    scaled = RULES.override("tanh", lambda g, y, loss_g: g * loss_g * (1 - y**2))
    agree(fg.grad(out, cotangent=jnp.array(3.0), rules=scaled)(X), 3**4 * jax.grad(out)(X))
    agree(fg.vjp(out, X, rules=scaled)[1](3.0)[0], 3**4 * jax.grad(out)(X))


def inner_loss(x, stack):
    """Three blocks of two layers, in which the first layer is told of what the second gives."""

    def block(h, w):
        a = jnp.sin(h @ w)
        return fg.name(jnp.tanh(a @ w), "y") + h, None

    return jnp.sum(lax.scan(block, x, stack)[0] ** 2)


@jax.custom_vjp
def sin_told(h, w):
    """`tanh(sin(h w) w)`, where the sine is told the cotangent of all that."""
    return jnp.tanh(jnp.sin(h @ w) @ w)


def sin_told_back(kept, g):
    h, w = kept
    a = jnp.sin(h @ w)
    inner = g * (1 - jnp.tanh(a @ w) ** 2)
    s = 2 * g  # in the place of (inner @ w.T) * cos(h @ w)
    return s @ w.T, a.T @ inner + h.T @ s


sin_told.defvjp(lambda h, w: (sin_told(h, w), (h, w)), sin_told_back)


@pytest.mark.parametrize("around", [lambda f: f, jax.checkpoint], ids=["a scan", "a checkpoint around it"])
def test_a_signal_inside_is_that_of_the_turn(around):
    rules = RULES.override("sin", lambda g, loss_g: 2 * loss_g).with_signal("y")
    oracle = lambda x, stack: jnp.sum(unrolled(lambda h, w: sin_told(h, w) + h, x, stack) ** 2)
    expected = jax.grad(oracle, (0, 1))(X, STACK)
    gradient = fg.grad(around(inner_loss), argnums=(0, 1), rules=rules)
    agree(gradient(X, STACK), expected)
    agree(jax.jit(gradient)(X, STACK), expected)


def test_a_signal_inside_for_a_rule_further_inside():
    def block(h, w):
        a = jax.checkpoint(lambda h, w: jnp.sin(h @ w))(h, w)
        return fg.name(jnp.tanh(a @ w), "y") + h, None

    loss = lambda x, stack: jnp.sum(lax.scan(block, x, stack)[0] ** 2)
    rules = RULES.override("sin", lambda g, loss_g: 2 * loss_g).with_signal("y")
    agree(fg.grad(loss, rules=rules)(X, STACK), fg.grad(inner_loss, rules=rules)(X, STACK))


def test_a_signal_in_a_branch_that_is_not_taken_tells_nothing():
    def loss(x, flag):
        def told(x):
            return jnp.sum(fg.name(jnp.sin(jnp.tanh(x)), "y") ** 2)

        return lax.cond(flag, told, lambda x: jnp.sum(x**3), x)

    rules = RULES.override("tanh", lambda g, loss_g: 5 * loss_g).with_signal("y")
    gradient = jax.jit(fg.grad(loss, rules=rules))
    agree(gradient(X, True), 5 * 2 * jnp.sin(jnp.tanh(X)))
    agree(gradient(X, False), 3 * X**2)


@pytest.mark.parametrize("way", ["a scan", "a checkpoint", "all of them"])
def test_a_signal_that_does_not_move_has_its_cotangent(way):
    """What is told is ∂ℓ/∂a, of an `a` that depends on nothing that is differentiated."""
    loop, inner = WAYS[way]

    def loss(x, a):
        h = loop(inner, x, STACK)
        shown = fg.name(jnp.cos(a), "shown")
        beside = lax.scan(lambda c, _: (jnp.sin(c), None), shown, None, length=2)[0]  # which is not visited else
        return jnp.sum(jnp.exp(h @ V) * beside)

    a = jnp.linspace(-1.0, 1.0, 10).reshape(5, 2)
    e = jnp.exp(unrolled(layer, X, STACK) @ V) * jnp.cos(jnp.sin(jnp.cos(a))) * jnp.cos(jnp.cos(a))
    h = unrolled(layer, X, STACK[:1])
    rules = DIRECT.with_signal("shown")
    expected = ((e @ FIXED) * (1 - h**2)) @ STACK[0].T
    assert float(jnp.max(jnp.abs(expected))) > 0.1
    agree(fg.grad(loss, rules=rules)(X, a), expected)
    agree(jax.jit(fg.grad(loss, rules=rules))(X, a), expected)
    # Where no rule is told of it, it is left alone.
    plan = fg.plan(loss, X, a, rules=RULES.override("tanh", lambda g: g))
    assert not {v.name for v in plan.reached} & {"shown"}


def test_a_hook_on_the_signal_comes_first():
    hooked = DIRECT.hook("logits", lambda g: 3 * g)
    for way in ("a scan", "a jitted function"):
        agree(fg.grad(loss_by(way), rules=hooked)(STACK, V, X), 3 * fg.grad(loss_by(way), rules=DIRECT)(STACK, V, X))


def test_what_is_told_is_watched_and_asked_for_as_well():
    loss = loss_by("a scan")
    found = fg.grad(loss, wrt=["logits", "stack"], rules=DIRECT)(STACK, V, X)
    expected = by_hand(STACK, V, X)[0]
    agree(found["stack"], expected)
    agree(found["logits"], 2 * unrolled(layer, X, STACK) @ V)
    bar, readings = fg.grad(loss, rules=DIRECT, taps="logits", stats="value")(STACK, V, X)
    agree(bar, expected)
    agree(readings["logits"].cotangent["value"], found["logits"])


START = r"{}: the rule asks for loss_g, the cotangent of "


def test_signals_that_a_rule_cannot_be_told():
    rules = RULES.override("tanh", lambda g, loss_g: g * jnp.sum(loss_g))
    elsewhere = (
        START.format("tanh")
        + r"'y', which is inside of 'scan', where the node is not; choose a value outside of that, or nodes that stand "
        r"in there with it\."
    )

    def outside(x):
        h = lax.scan(lambda c, _: (fg.name(jnp.sin(c), "y"), None), jnp.tanh(x), None, length=2)[0]
        return jnp.sum(h)

    with raises_sentence(RuleError, elsewhere):
        fg.grad(outside, rules=rules.with_signal("y"))(X)

    def in_two(x):
        h = lax.scan(lambda c, _: (fg.name(jnp.sin(c), "y"), None), x, None, length=2)[0]
        return jnp.sum(lax.scan(lambda c, _: (jnp.tanh(c), None), h, None, length=2)[0])

    with raises_sentence(RuleError, elsewhere):
        fg.grad(in_two, rules=rules.with_signal("y"))(X)

    before = r", which is made before it, so that the cotangent is not there yet; choose a value that comes later, or "
    before += r"narrow at=\."
    with raises_sentence(RuleError, START.format("tanh") + r"'x'" + before):
        fg.grad(loss_by("a scan"), rules=rules.with_signal("x"))(STACK, V, X)
    with raises_sentence(RuleError, START.format("tanh") + r"'scan/stack'" + before):
        fg.grad(loss_by("a scan"), rules=rules.with_signal("scan/stack"))(STACK, V, X)
    with raises_sentence(RuleError, START.format("tanh") + r"'dot_general\#2'" + before):
        fg.grad(loss_by("a scan"), rules=rules.with_signal("dot_general#2"))(STACK, V, X)


@pytest.mark.parametrize("way", ["a scan", "a jitted function"])
def test_a_signal_on_which_nothing_depends(way):
    loop, inner = WAYS[way]

    def loss(x):
        h = loop(inner, x, STACK)
        seen = fg.name(h @ V, "seen")
        return jnp.sum(h) + jnp.sum(lax.stop_gradient(seen))

    sentence = START.format(r"(\w+/)?tanh") + (
        r"'seen', on which 'add' does not depend; choose a value on the way from the node to that\."
    )
    with raises_sentence(RuleError, sentence):
        fg.grad(loss, rules=DIRECT.with_signal("seen"))(X)
