"""Transformers' relevance: of unmodified Flax NNX and Equinox models against the equations by hand; and of our ops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import relevance
from funcgrad.rulesets.attribution import gradient_times_input
from tests.rulesets.vision import WIDTH, ByHand, FlaxViT, as_equinox, drawn

LABEL = 1
TOKENS = np.random.default_rng(4).standard_normal((4, WIDTH))


def of_tokens(weights, rules):
    """Relevances of the tokens of one example, by both libraries."""
    flax, equinox, x = FlaxViT(*weights), as_equinox(*weights), jnp.asarray(TOKENS, jnp.float32)
    one = lambda x: flax.encode(x[None])[0, LABEL]
    batch = lambda x: jax.vmap(equinox.encode)(x[None])[0, LABEL]
    return [jax.jit(gradient_times_input(f, rules=rules))(x) for f in (one, batch)]


@pytest.mark.parametrize("frozen", [False, True], ids=["attn_lrp", "relp"])
def test_relevances_are_those_of_the_equations(frozen):
    weights = drawn(0)
    hand = ByHand(*weights)
    expected = hand.relevance(TOKENS, LABEL, frozen)
    logit = FlaxViT(*weights).encode(jnp.asarray(TOKENS, jnp.float32)[None])[0, LABEL]
    np.testing.assert_allclose(hand.forward(TOKENS)[LABEL], logit, rtol=1e-4)
    for found in of_tokens(weights, relevance.relp() if frozen else relevance.attn_lrp()):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_relevance_is_conserved_through_a_block():
    weights = drawn(1, biases=False)
    hand = ByHand(*weights)
    logit = hand.forward(TOKENS)[LABEL]
    hand.relevance(TOKENS, LABEL, frozen=False)
    assert abs(hand.absorbed) > 0.01 * abs(logit)
    for rules, sum_of_all in ((relevance.relp(), logit), (relevance.attn_lrp(), logit - hand.absorbed)):
        for found in of_tokens(weights, rules):
            np.testing.assert_allclose(found.sum(), sum_of_all, rtol=1e-4)


def test_without_rules_it_is_neither():
    weights = drawn(1, biases=False)
    logit = ByHand(*weights).forward(TOKENS)[LABEL]
    for found in of_tokens(weights, None):
        assert abs(float(found.sum()) - logit) > 0.05 * abs(logit)


def centred(x):
    return x - x.mean(-1, keepdims=True)


def grouped(x):
    z = x.reshape(2, 4, 3, 2)
    z = z - z.mean((1, 3), keepdims=True)
    return (z / jnp.sqrt((z**2).mean((1, 3), keepdims=True) + 1e-5)).reshape(x.shape)


def attended(x):
    q, k, v = (jnp.sin(i * x).reshape(2, 4, 2, 3) for i in (1.0, 2.0, 3.0))
    s = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k) / 3**0.5, axis=-1)
    return jnp.einsum("bhts,bshd->bthd", s, v).reshape(x.shape)


def attended_by_op(x, bias=None):
    return fg.ops.attention(*(jnp.sin(i * x).reshape(2, 4, 2, 3) for i in (1.0, 2.0, 3.0)), bias).reshape(x.shape)


def squared(x):
    return fg.ops.matmul(x, x)


SCALE = jnp.linspace(0.5, 2.0, 6)
PAIRS = {
    "layer_norm": (
        lambda x: centred(x) * jax.lax.rsqrt((centred(x) ** 2).mean(-1, keepdims=True) + 1e-6) * SCALE[None, None],
        lambda x: fg.ops.layer_norm(x, SCALE),
    ),
    "layer_norm, unscaled": (
        lambda x: centred(x) / jnp.sqrt((centred(x) ** 2).mean(-1, keepdims=True) + 1e-6),
        fg.ops.layer_norm,
    ),
    "rms_norm": (
        lambda x: x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * SCALE[None, None],
        lambda x: fg.ops.rms_norm(x, SCALE),
    ),
    "group_norm": (lambda x: grouped(x) * SCALE[None, None], lambda x: fg.ops.group_norm(x, SCALE, groups=3)),
    "swiglu": (lambda x: jax.nn.silu(x) * jnp.cos(x), lambda x: fg.ops.swiglu(x, jnp.cos(x))),
    "attention": (attended, attended_by_op),
    "attention with a bias": (attended, lambda x: attended_by_op(x, jnp.zeros((4, 4)))),
    "multiply": (lambda x: jnp.sin(x) * jnp.cos(x), lambda x: fg.ops.multiply(jnp.sin(x), jnp.cos(x))),
    "square": (lambda x: x * x, fg.ops.square),
    "matmul": (lambda x: x @ x.mT, lambda x: fg.ops.matmul(x, x.mT)),
    "matmul of one": (lambda x: x[:, :, :4] @ x[:, :, :4], lambda x: squared(x[:, :, :4])),
    "gelu": (jax.nn.gelu, fg.ops.gelu),
}
VALUES = jnp.asarray(np.random.default_rng(7).standard_normal((2, 4, 6)))


@pytest.mark.parametrize("rules", [relevance.attn_lrp(), relevance.relp()], ids=["attn_lrp", "relp"])
@pytest.mark.parametrize("name", PAIRS)
def test_our_ops_are_as_they_are_written_out(name, rules):
    written, by_op = (gradient_times_input(lambda x, f=f: jnp.sum(jnp.cos(f(x)) * 2), rules=rules) for f in PAIRS[name])
    expected = written(VALUES)
    np.testing.assert_allclose(by_op(VALUES), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("rules", [relevance.attn_lrp(), relevance.relp()], ids=["attn_lrp", "relp"])
def test_gates_and_activations_share_all_that_there_is(rules):
    x = jnp.array([1.3, -0.7])
    gated = lambda x: jax.nn.silu(x[0]) * jnp.tanh(x[1])
    np.testing.assert_allclose(gradient_times_input(gated, rules=rules)(x), 2 * [gated(x) / 2], rtol=1e-5)
    square = lambda x: (x * x).sum() + (x**2).sum()
    np.testing.assert_allclose(gradient_times_input(square, rules=rules)(x), 2 * x**2, rtol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_a_network_of_ours_conserves_it(scan):
    net = fg.networks.vit(3, patch=2, width=8, depth=2, heads=2, hidden=12, scan=scan)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 1))
    params, _ = net.init(jax.random.key(1), x)  # its biases are 0, and its class token is no input
    params["head"]["w"] = jax.random.normal(jax.random.key(2), params["head"]["w"].shape)
    score = lambda params, x: net(params, x)[0, LABEL]
    tokens = gradient_times_input(score, wrt="position_embedding0/add", rules=relevance.relp())(params, x)
    np.testing.assert_allclose(tokens.sum(), score(params, x), rtol=1e-4)


def test_a_rule_for_relevances_serves_products_with_parameters():
    w = {n: jax.random.normal(jax.random.key(i), s) for i, (n, s) in enumerate({"a": (6, 5), "b": (5, 3)}.items())}
    f = lambda x: jax.nn.silu(x @ w["a"] + 0.1) @ w["b"] + 0.2
    x, products = VALUES[0], relevance.gamma(0.3)
    y, pull = fg.vjp(f, x, rules=relevance.passing() | relevance.norm() | products)
    (expected,) = pull(y)
    found = gradient_times_input(lambda x: f(x).sum(), rules=relevance.attn_lrp(products))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
