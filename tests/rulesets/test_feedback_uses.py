"""One fixed matrix per weight, wherever it is used: shared, transposed, cast, scanned; against chains by hand."""

import math
from functools import partial
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.rulesets import feedback

KEY = jax.random.key(5)
X = jax.random.normal(jax.random.key(0), (5, 4))
STACK = jax.random.normal(jax.random.key(1), (3, 4, 4)) / 2
V = jax.random.normal(jax.random.key(2), (4, 2))


def agree(found, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), found, expected)


def drawn(name, shape, *slices, low=-1, dtype=float):
    """The fixed numbers of a slice of a weight, as the module says that they are drawn, up to 1."""
    key = jax.random.fold_in(KEY, crc32(name.encode()))
    for i in slices:
        key = jax.random.fold_in(key, i)
    return jax.random.uniform(key, shape, dtype, low, 1)


def aligned(k, w, g, e):
    return g @ drawn("stack", (4, 4), k).T / 2


def signed(k, w, g, e):
    return g @ (jnp.sign(w) * drawn("stack", (4, 4), k, low=0)).T


def directed(k, w, g, e):
    return e @ drawn("stack", (2, 4), k) / math.sqrt(4)


METHODS = {
    "alignment": (feedback.alignment(KEY), aligned),
    "sign_symmetric": (feedback.sign_symmetric(KEY), signed),
    "direct": (feedback.direct(KEY, "logits"), directed),
}


def by_hand(back, stack, v, x):
    """The cotangents of the stack of weights and of `x`: `back` is that of what one layer takes."""
    inputs = [x]
    for w in stack:
        inputs.append(jnp.tanh(inputs[-1] @ w))
    e = 2 * inputs[-1] @ v
    x_bar, bars = e @ v.T, []
    for k in reversed(range(len(stack))):
        g = x_bar * (1 - inputs[k + 1] ** 2)
        bars.append(inputs[k].T @ g)
        x_bar = back(k, stack[k], g, e)
    return jnp.stack(bars[::-1]), x_bar


def layer(h, w):
    return jnp.tanh(fg.ops.linear(h, w))


def scanned(h, stack, layer=layer):
    return lax.scan(lambda h, w: (layer(h, w), None), h, stack)[0]


def written_out(h, stack):
    for i in range(len(stack)):
        h = layer(h, stack[i])
    return h


def unpacked(h, stack):
    for w in stack:
        h = layer(h, w)
    return h


WAYS = {
    "a scan": scanned,
    "by index": written_out,
    "by iteration": unpacked,
    "a count": lambda h, stack: lax.fori_loop(0, 3, lambda i, h: layer(h, stack[i]), h),
    "a count from below zero": lambda h, stack: lax.fori_loop(-2, 1, lambda i, h: layer(h, stack[2 + i]), h),
    "checkpoints": partial(scanned, layer=jax.checkpoint(layer)),
    "branches": partial(
        scanned, layer=lambda h, w: lax.cond(jnp.sum(w) < 1e9, lambda h, w: layer(h, w), lambda h, w: h, h, w)
    ),
    "loops in loops": lambda h, stack: lax.scan(
        lambda h, w: (lax.scan(lambda h, _: (layer(h, w), None), h, None, length=1)[0], None), h, stack
    )[0],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_each_slice_of_a_stack_has_its_own_matrix(way, method):
    rules, back = METHODS[method]

    def loss(stack, x):
        h = WAYS[way](x, stack)
        return jnp.sum(fg.name(h @ V, "logits") ** 2)

    expected = by_hand(back, STACK, V, X)
    gradient = fg.grad(loss, argnums=(0, 1), rules=rules)
    agree(jax.jit(gradient)(STACK, X), expected)
    if way in ("a scan", "by index"):
        agree(gradient(STACK, X), expected)
        each = jax.vmap(gradient, (None, 0))(STACK, jnp.stack([X, -2 * X]))
        agree(jax.tree.map(lambda g: g[1], each), by_hand(back, STACK, V, -2 * X))


def test_uses_of_one_weight_have_one_matrix():
    """Read at two nodes, by another name, transposed (tied), in a narrower dtype, and in all turns of a loop."""
    w = STACK[0]
    own = drawn("w", (4, 4)) / 2

    def loss(x, w):
        h = fg.ops.linear(x, w)
        h = fg.ops.linear(h, fg.name(w, "again"))
        h = fg.ops.linear(h, w.T)
        h = lax.scan(lambda h, _: (jax.checkpoint(fg.ops.linear)(h, w), None), h, None, length=2)[0]
        return jnp.sum(fg.ops.linear(h, w.astype(jnp.float32).astype(jnp.float64)))

    narrow = own.astype(jnp.float32).astype(jnp.float64)
    expected = jnp.ones((5, 4)) @ narrow.T @ own.T @ own.T @ own @ own.T @ own.T
    rules = feedback.alignment(KEY)
    found = fg.grad(loss, rules=rules)(X, w)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Asking for the cotangent of one use is no other use.
    at = fg.grad(loss, wrt=["x", "w@*"], rules=rules)(X, w)
    np.testing.assert_allclose(at["x"], found, rtol=1e-12)


def test_stacks_of_stacks_and_what_is_done_to_them():
    stack = jnp.stack([STACK, 2 * STACK])

    def loss(x, stack):
        narrow = stack.astype(jnp.float32)  # a cast of all slices is one of each

        def block(h, ws):
            return scanned(h, ws, lambda h, w: fg.ops.linear(h, w.astype(jnp.float64))), None

        return jnp.sum(lax.scan(block, x, narrow)[0])

    expected = jnp.ones((5, 4))
    for i in (1, 0):
        for k in (2, 1, 0):
            expected = expected @ (drawn("stack", (4, 4), i, k).astype(jnp.float32).astype(jnp.float64) / 2).T
    found = fg.grad(loss, rules=feedback.alignment(KEY))(X, stack)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # One index may be written out, and the other a turn.
    half = fg.grad(lambda x, stack: jnp.sum(scanned(x, stack[1], fg.ops.linear)), rules=feedback.alignment(KEY))(
        X, stack
    )
    expected = jnp.ones((5, 4))
    for k in (2, 1, 0):
        expected = expected @ drawn("stack", (4, 4), 1, k).T / 2
    agree(half, expected)


def test_what_is_made_of_weights_is_known_by_its_own_name():
    def loss(x, w, scale):
        return jnp.sum(fg.ops.linear(x, fg.name(w * scale, "scaled")))

    found = fg.grad(loss, rules=feedback.alignment(KEY))(X, STACK[0], 2.0)
    agree(found, jnp.ones((5, 4)) @ drawn("scaled", (4, 4)).T / 2)


def test_an_affine_region_is_known_by_the_weight_of_its_product():
    def loss(x, params):
        h = jax.vmap(lambda x: params["w"] @ x + params["b"])(x)
        return jnp.sum(jax.vmap(lambda x: params["w"] @ x + params["c"])(h))

    params = {"w": STACK[0], "b": jnp.ones(4), "c": jnp.zeros(4)}
    found = fg.grad(loss, rules=feedback.alignment(KEY, of=fg.Region(affine="dot_general")))(X, params)
    own = drawn("params/w", (4, 4)) / 2
    agree(found, jnp.ones((5, 4)) @ own @ own)


@pytest.mark.parametrize("product", [(lambda x, w: x @ w, "dot_general"), (fg.ops.linear, fg.ops.linear)])
def test_weights_under_a_vmap(product):
    """Of JAX's product each has its own matrix; an op's rule sees one weight, and all have the same."""
    function, of = product
    many = jnp.stack([X, 2 * X, X])
    loss = lambda x, stack: jnp.sum(jax.vmap(function)(x, stack))
    found = fg.grad(loss, rules=feedback.alignment(KEY, of=of))(many, STACK)
    own = drawn("stack", (3, 4, 4)) if of == "dot_general" else drawn("stack", (4, 4))[None]
    agree(found, jnp.broadcast_to(jnp.sum(own, 2)[:, None] / 2, many.shape))


def test_a_rule_of_ones_own_asks_where_an_argument_comes_from():
    seen = []

    def rule(g, w, w_origin):
        seen.append((w_origin.name, w_origin.aval.shape, len(w_origin.at)))
        return g @ w_origin.moved(jnp.ones(w_origin.aval.shape, w.dtype)).T

    rules = fg.RuleSet().override(fg.ops.linear, rule, "x")
    fg.grad(lambda x, stack: jnp.sum(scanned(x, stack, fg.ops.linear)), rules=rules)(X, STACK)
    assert set(seen) == {("stack", (4, 4), 1)}
    # A rule below that asks for it as well, and one that asks for nothing.
    below = rules.override(fg.ops.linear, lambda g, pull: 2 * pull(g), "x")
    agree(
        fg.grad(lambda x, stack: jnp.sum(scanned(x, stack, fg.ops.linear)), rules=below)(X, STACK),
        jnp.full((5, 4), (2 * 4) ** 3.0),
    )


def stacked_net(params, x):
    h = jnp.tanh(fg.ops.linear(x, params["first"]))
    h = scanned(h, params["hidden"])
    return fg.name(fg.ops.linear(h, params["last"]), "logits")


def cross_entropy(params, x, labels):
    return jnp.mean(fg.ops.cross_entropy(stacked_net(params, x), labels))


def angles(rules, params, x, labels):
    """Between what each hidden layer is told and its gradient, in degrees."""
    told, true = (fg.grad(cross_entropy, rules=r)(params, x, labels)["hidden"] for r in (rules, None))
    cosines = jax.vmap(lambda a, b: jnp.vdot(a, b) / jnp.linalg.norm(a) / jnp.linalg.norm(b))(told, true)
    return jnp.degrees(jnp.arccos(cosines))


def test_direct_feedback_trains_layers_that_are_scanned(digits):
    """From 99, 89 and 86 degrees between what a layer is told and its gradient to 72, 66 and 71; 0.90 are right."""
    (x, labels), (test_x, test_labels) = digits
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = {"first": (64, 48), "hidden": (3, 48, 48), "last": (48, 10)}
    params = {
        n: jax.random.normal(k, s, jnp.float32) / jnp.float32(7) for k, (n, s) in zip(keys, sizes.items(), strict=True)
    }
    rules, optimizer = feedback.direct(KEY, "logits"), optax.adam(0.01)
    before = angles(rules, params, x, labels)

    def step(state, _):
        params, moments = state
        gradient = fg.grad(cross_entropy, rules=rules)(params, x, labels)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    with jax.numpy_dtype_promotion("standard"):  # optax counts in whole numbers
        (params, _), _ = lax.scan(step, (params, optimizer.init(params)), length=100)
    after = angles(rules, params, x, labels)
    right = float(jnp.mean(jnp.argmax(stacked_net(params, test_x), -1) == test_labels))
    assert right > 0.85
    assert float(jnp.max(after)) < 80
    assert float(jnp.max(before)) > 90
