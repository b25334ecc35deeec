"""Reference networks: as many parameters as their papers say, gradients as JAX's, and depth at no cost with scan."""

import re
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import networks, ops
from funcgrad.errors import GraphError
from funcgrad.layers import Layer
from tests.raising import raises_sentence

KEY = jax.random.key(0)


def specs(shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def count(net: Layer, spec) -> int:
    """Parameters of a network, none of them drawn."""
    params, _ = jax.eval_shape(net.init, KEY, spec)
    return sum(prod(x.shape) for x in jax.tree.leaves(params))


IMAGE, TOKENS = specs((1, 224, 224, 3)), specs((1, 8), jnp.int32)
LLAMA_7B = {"width": 4096, "depth": 32, "heads": 32, "hidden": 11008, "tied": False}
TINY_LLAMA = {"width": 2048, "depth": 22, "heads": 32, "kv_heads": 4, "hidden": 5632, "tied": False}
# Where the paper gives no number, that of the widely used implementation of the same network.
COUNTS = [
    ("mlp", networks.mlp((300, 100), 10), specs((1, 784)), 266_610),
    ("lenet", networks.lenet(), specs((1, 28, 28, 1)), 61_706),
    ("resnet18", networks.resnet(18), IMAGE, 11_689_512),
    ("resnet34", networks.resnet(34), IMAGE, 21_797_672),
    ("resnet50", networks.resnet(50), IMAGE, 25_557_032),
    ("resnet50 by scan", networks.resnet(50, scan=True), IMAGE, 25_557_032),
    ("unet", networks.unet(2), specs((1, 32, 32, 1)), 31_030_658),
    ("vit b16", networks.vit(scan=True), IMAGE, 86_567_656),
    ("llama 7b", networks.transformer_lm(32_000, **LLAMA_7B, scan=True), TOKENS, 6_738_415_616),
    ("tiny llama", networks.transformer_lm(32_000, **TINY_LLAMA, scan=True), TOKENS, 1_100_048_384),
    ("zaremba", networks.lstm_lm(10_000), TOKENS, 19_775_200),
]


@pytest.mark.parametrize(("net", "spec", "expected"), [c[1:] for c in COUNTS], ids=[c[0] for c in COUNTS])
def test_parameter_counts(net, spec, expected):
    assert count(net, spec) == expected


SMALL_TRANSFORMER = {"width": 16, "depth": 2, "heads": 4, "kv_heads": 2}
SMALL = {
    "mlp": (networks.mlp((8, 8), 3, activation=ops.gelu), (4, 5)),
    "lenet": (networks.lenet(4), (2, 28, 28, 1)),
    "resnet": (networks.resnet(18, 3, width=4, small_images=True, scan=True), (2, 16, 16, 3)),
    "resnet50": (networks.resnet(50, 3, width=2), (2, 32, 32, 3)),
    "unet": (networks.unet(1, widths=(4, 8, 8)), (1, 8, 8, 1)),
    "vit": (networks.vit(3, patch=4, width=16, depth=2, heads=4, hidden=32), (2, 8, 8, 3)),
    "transformer": (networks.transformer_lm(11, **SMALL_TRANSFORMER), (2, 6)),
    "untied": (networks.transformer_lm(11, **SMALL_TRANSFORMER, tied=False, scan=True), (2, 6)),
    "lstm": (networks.lstm_lm(11, width=8), (2, 6)),
}


def begin(name):
    net, shape = SMALL[name]
    if name in ("transformer", "untied", "lstm"):
        x = jnp.asarray(np.random.default_rng(0).integers(0, 11, size=shape))
    else:
        x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    with jax.numpy_dtype_promotion("standard"):
        params, state = jax.jit(net.init)(KEY, x)
    # A head that starts at zero would let no gradient through.
    params = jax.tree.map(lambda p: p + 0.05, jax.tree.map(lambda p: p.astype(jnp.float64), params))
    return net, params, jax.tree.map(lambda s: s.astype(jnp.float64), state), x


def heavy(name):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name", [heavy(n) if n in ("resnet", "resnet50", "unet", "untied", "lenet") else n for n in SMALL]
)
def test_gradients_equal_those_of_jax(name):
    net, params, state, x = begin(name)

    def loss(params):
        output, _ = net.apply(params, state, x, train=True)
        return jnp.mean(jnp.sin(output))

    ours = jax.jit(fg.value_and_grad(loss))(params)
    theirs = jax.jit(jax.value_and_grad(loss))(params)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(theirs[1]))
    assert scale > 0
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("name", [heavy("resnet"), heavy("vit"), "transformer"])
def test_scanned_and_unrolled_compute_the_same(name):
    """The same parameters, stacked for `repeat`, give the same output."""
    options = {
        "resnet": lambda scan: networks.resnet(34, 3, width=4, small_images=True, scan=scan),
        "vit": lambda scan: networks.vit(3, patch=4, width=16, depth=3, heads=4, hidden=32, scan=scan),
        "transformer": lambda scan: networks.transformer_lm(11, **SMALL_TRANSFORMER, scan=scan),
    }[name]
    unrolled, scanned = options(False), options(True)
    _, _, _, x = begin(name)
    params, state = jax.jit(scanned.init)(KEY, x)
    flat, flat_state = _unroll(params), _unroll(state)
    shapes = jax.eval_shape(unrolled.init, KEY, x)
    assert jax.tree.structure((flat, flat_state)) == jax.tree.structure(shapes)
    a, _ = jax.jit(scanned.apply)(params, state, x)
    b, _ = jax.jit(unrolled.apply)(flat, flat_state, x)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def _unroll(tree):
    """`repeat0` with stacked leaves as the chain of blocks that stands in its place when unrolled."""
    if not isinstance(tree, dict):
        return tree
    unrolled = {}
    for name, value in tree.items():
        if name == "blocks" and isinstance(value, dict) and "blocks" in value:  # the transformer's
            value = value["blocks"]
            unrolled[name] = {"blocks": _blocks(value)}
        elif name == "blocks":
            unrolled[name] = _blocks(value)
        elif name == "repeat0":
            stacked = [f"chain{i + 1}" for i in range(len(jax.tree.leaves(value)[0]))]
            unrolled |= dict(zip(stacked, _parts(value), strict=True))
        else:
            unrolled[name] = _unroll(value)
    return unrolled


def _blocks(stacked):
    return {f"block{i}": part for i, part in enumerate(_parts(stacked))}


def _parts(stacked):
    n = len(jax.tree.leaves(stacked)[0])
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(n)]


def test_depth_costs_nothing_to_lower_with_scan():
    def operations(depth, scan):
        net = networks.transformer_lm(11, width=16, depth=depth, heads=4, scan=scan)
        params, state = jax.eval_shape(net.init, KEY, TOKENS)

        def loss(params, tokens):
            return jnp.mean(net.apply(params, state, tokens)[0])

        return jax.jit(fg.grad(loss)).lower(params, TOKENS).as_text().count("stablehlo.")

    assert operations(4, scan=True) == operations(2, scan=True)
    assert operations(4, scan=False) > 1.3 * operations(2, scan=False)


def test_the_two_terms_of_a_tied_embedding():
    net, params, state, x = begin("transformer")
    loss = lambda p: jnp.mean(jnp.sin(net.apply(p, state, x)[0]))
    terms = jax.jit(fg.grad(loss, wrt=["embedding@embedded/table", "embedding@logits/table"]))(params)
    whole = jax.jit(fg.grad(loss))(params)["embedding"]["table"]
    np.testing.assert_allclose(sum(terms.values()), whole, rtol=1e-10)


def test_networks_print_as_the_calls_that_make_them():
    for net, _ in SMALL.values():
        assert eval(repr(net), dict(vars(fg.layers))) == net


def test_sizes_that_make_no_sense():
    with raises_sentence(GraphError, re.escape("resnet: depth must be one of 18, 34, 50, got 20.")):
        networks.resnet(20)
    with raises_sentence(GraphError, re.escape("unet: widths must name at least one level, got ().")):
        networks.unet(1, widths=())
