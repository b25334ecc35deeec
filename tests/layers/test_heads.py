"""Multi-head attention against its parts, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.layers import chain, multi_head_attention
from tests.raising import raises_sentence

KEY = jax.random.key(2)


def by_hand(params, x, context, heads, kv_heads, mask=None, causal=False, base=None):
    """Projections by numpy, attention by JAX, whose softmax is in float32."""
    q, k, v = (
        source @ np.asarray(params[name]["w"]) + np.asarray(params[name].get("b", 0.0), np.float32)
        for name, source in (("query", x), ("key", context), ("value", context))
    )
    q, k, v = (jnp.asarray(y.reshape(*y.shape[:2], n, -1)) for y, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
    if base is not None:
        q, k = (ops.rotary(y, np.arange(y.shape[1]), base=base) for y in (q, k))
    mask = None if mask is None else jnp.asarray(mask)
    y = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=causal)
    return y.reshape(*y.shape[:2], -1) @ params["out"]["w"] + np.asarray(
        params["out"].get("b", 0.0), np.float32
    ).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, {"query": (16, 16), "key": (16, 16), "value": (16, 16), "out": (16, 16)}),
        ({"kv_heads": 1, "features": 5}, {"query": (16, 16), "key": (16, 4), "value": (16, 4), "out": (16, 5)}),
        (
            {"kv_heads": 2, "head_features": 6, "use_bias": True, "b_init": "ones", "rotary": 100.0},
            {"query": (16, 24), "key": (16, 12), "value": (16, 12), "out": (24, 16)},
        ),
    ],
)
def test_self_attention(options, shapes, rng):
    x = rng.normal(size=(2, 7, 16)).astype(np.float32)
    net = multi_head_attention(4, causal=True, **options)
    params, state = net.init(KEY, x)
    assert state == {}
    assert {name: p["w"].shape for name, p in params.items()} == shapes
    expected = by_hand(params, x, x, 4, net.n_kv, causal=True, base=net.rotary)
    np.testing.assert_allclose(net(params, x), expected, rtol=1e-5, atol=1e-6)


def test_cross_attention_with_a_mask(rng):
    x, context = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 8), (2, 5, 6)))
    mask = rng.random((2, 1, 1, 5)) < 0.6
    mask[..., 0] = True
    net = multi_head_attention(2)
    params, _ = net.init(KEY, x, context)
    assert params["key"]["w"].shape == (6, 8)
    np.testing.assert_allclose(
        net(params, x, context, mask), by_hand(params, x, context, 2, 2, mask), rtol=1e-5, atol=1e-6
    )


def test_nodes_are_named_after_the_projections(rng):
    x = rng.normal(size=(2, 3, 8))
    net = chain(attend=multi_head_attention(2, rotary=10000.0))
    params, _ = net.init(KEY, x)
    names = [node.name for node in fg.trace(net, params, x).nodes]
    for projection in ("query", "key", "value", "out"):
        assert f"attend/{projection}/linear" in names
    assert {"attend/rotary", "attend/attention"} <= set(names)


def test_projections_start_differently(rng):
    params, _ = multi_head_attention(2).init(KEY, rng.normal(size=(3, 8)))
    starts = [np.asarray(p["w"]) for p in params.values()]
    assert not any(np.array_equal(a, b) for i, a in enumerate(starts) for b in starts[:i])


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda: multi_head_attention(4, kv_heads=3),
            r"multi_head_attention: heads must be a multiple of kv_heads, got heads=4 and kv_heads=3\.",
        ),
        (
            lambda: chain(multi_head_attention(3)).init(KEY, np.zeros((2, 8))),
            r"multi_head_attention0/multi_head_attention: 3 heads cannot share 8 features; give head_features=\.",
        ),
    ],
)
def test_bad_use(use, sentence):
    with raises_sentence(fg.errors.GraphError, sentence):
        use()


def test_every_token_sees_only_those_before_it(rng):
    x = jnp.asarray(rng.normal(size=(5, 8)))
    net = multi_head_attention(2, causal=True, rotary=10000.0)
    params, _ = net.init(KEY, x)
    jacobian = jax.jacrev(lambda x: net(params, x))(x)
    reach = np.abs(np.asarray(jacobian)).sum((1, 3)) > 0
    np.testing.assert_array_equal(reach, np.tri(5, dtype=bool))
