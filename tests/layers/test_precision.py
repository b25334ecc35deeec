"""Mixed precision: dtypes by role, gradients in the parameters' dtype, sums in float32; policies as text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops
from funcgrad.errors import GraphError
from funcgrad.layers import Policy, chain, conv2d, dropout, flatten, layer_norm, linear, lstm_cell, mixed, recurrent
from tests.layers import networks
from tests.layers.networks import NETWORKS
from tests.raising import raises_sentence

KEY = jax.random.key(5)
F32, BF16, F16 = (jnp.dtype(t) for t in (jnp.float32, jnp.bfloat16, jnp.float16))
STATELESS = [n for n in NETWORKS if n != "stateful"]


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name", STATELESS)
@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_dtypes_by_role(name, compute):
    net, shape = NETWORKS[name]
    net = mixed(net, Policy(compute=compute))
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, state = jax.eval_shape(net.init, KEY, x)
    assert dtypes((params, state)) <= {F32}

    def loss(params, x, state):
        y = net.apply(params, state, x, key=KEY, train=True)[0]
        return ops.mean(ops.square(y))

    value, gradient = jax.eval_shape(fg.value_and_grad(loss, argnums=(0, 1)), params, x, state)
    assert dtypes((value, gradient)) == {F32}


@pytest.mark.parametrize("name", ["mlp", "convolutional", "recurrent"])
def test_it_computes_in_the_compute_dtype(name, rng):
    net, shape = NETWORKS[name]
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    low = mixed(net, "compute=bf16")
    params, _ = low.init(KEY, x)
    found, expected = low(params, x), net(params, x)
    by_hand = net(jax.tree.map(lambda p: p.astype(BF16), params), x.astype(BF16))
    assert found.dtype == F32
    np.testing.assert_array_equal(found, by_hand.astype(F32))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_gradients_are_near_those_of_float32(rng):
    net = chain(conv2d(4, 3), ops.relu, flatten(), layer_norm(), linear(3))
    x = jnp.asarray(rng.normal(size=(8, 6, 6, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, size=8))
    low = mixed(net)
    params, _ = low.init(KEY, x)

    def gradient(net):
        return jax.jit(fg.grad(lambda p: ops.mean(ops.cross_entropy(net(p, x), labels))))(params)

    for found, expected in zip(*(jax.tree.leaves(gradient(n)) for n in (low, net)), strict=True):
        assert found.dtype == F32
        assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_integers_and_keys_pass_through(rng):
    def embed(w, ids):
        return w[ids]

    net = mixed(chain(layers.parametric(embed, lambda key, ids: jnp.ones((5, 2), F32)), dropout(0.5)))
    ids = jnp.asarray([1, 2, 3])
    params, state = net.init(KEY, ids)
    assert net.random
    y, _ = net.apply(params, state, ids, key=KEY, train=True)
    assert (y.shape, y.dtype) == ((3, 2), F32)


def test_a_part_may_have_a_policy_of_its_own(rng):
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    net = chain(body=mixed(recurrent(lstm_cell(4)), "compute=bf16"), head=linear(2))
    params, _ = net.init(KEY, x)
    assert dtypes((params, net(params, x))) == {F32}
    assert "bf16" in str(jax.make_jaxpr(net)(params, x))


N = 4096
ONES = jnp.ones(N, BF16)
COLUMN, ROW = ONES[:, None], jnp.ones((1, 1), BF16)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: ops.sum(ONES), N),
        (lambda: ops.mean(ONES), 1),
        (lambda: ops.avg_pool2d(jnp.ones((1, 64, 64, 1), BF16), window=64)[0, 0, 0, 0], 1),
        (lambda: jnp.sum(ops.softmax(ONES).astype(F32)), 1),
        (lambda: ops.matmul(ONES, ONES), N),
        (lambda: ops.cross_entropy(ONES[None], jnp.zeros(1, jnp.int32))[0], np.log(N)),
        (lambda: ops.layer_norm(jnp.where(jnp.arange(N) < 2049, 0, ONES)[None], ONES, ONES)[0, -1], 2.0),
        (lambda: jax.grad(lambda w: ops.sum(ops.linear(COLUMN, w)))(ROW)[0, 0], N),
        (lambda: jax.grad(lambda b: ops.sum(ops.linear(COLUMN, ROW, b)))(ONES[:1])[0], N),
        (lambda: jax.grad(lambda b: ops.sum(ops.add(COLUMN, b)))(ONES[:1])[0], N),
        (lambda: jax.grad(lambda b: ops.sum(ops.multiply(COLUMN, b)))(ONES[:1])[0], N),
        (lambda: jax.grad(lambda s: ops.sum(ops.layer_norm(jnp.tile(jnp.asarray([[0, 1]], BF16), (N, 1)), s, s)[:, 1]),
                          )(ONES[:2])[1], 2 * N),
        (lambda: jax.grad(lambda k: ops.sum(ops.conv2d(COLUMN.reshape(1, 64, 64, 1), k)))(ROW[None, None])[0, 0, 0, 0],
         N),
    ],
)  # fmt: skip
def test_long_sums_are_not_made_in_bfloat16(found, expected):
    # bfloat16 has 8 bits: added one by one, ones stop at 256.
    np.testing.assert_allclose(float(jax.jit(found)()), expected, rtol=2**-7)


def test_gradients_of_a_long_sequence_are_not_summed_in_bfloat16():
    x, zero = jnp.ones((1, N, 1), BF16), jnp.zeros((1, 1), BF16)
    gradient = jax.grad(lambda b: ops.sum(ops.rnn(x, zero, ROW * 0, ROW * 0, b)))
    np.testing.assert_allclose(float(jax.jit(gradient)(jnp.zeros(1, BF16))[0]), N, rtol=2**-7)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("params=float32,compute=bfloat16,output=float32", Policy()),
        ("compute=f16", Policy(compute="float16")),
        (" params = bf16 , output=bfloat16 ", Policy(params="bfloat16", output="bfloat16")),
        ("compute=f64", Policy(compute=np.float64)),
    ],
)
def test_policies_as_text(text, policy):
    assert Policy.parse(text) == policy
    assert eval(repr(policy), vars(layers)) == policy


def test_it_prints_what_python_reads_back():
    for policy in (Policy(), Policy(compute="float16", output="float16")):
        net = mixed(NETWORKS["mlp"][0], policy)
        assert eval(repr(net), {**vars(layers), **vars(networks)}) == net
    assert repr(mixed(ops.relu, "compute=f16")) == "mixed(pure(ops.relu), policy=Policy(compute='float16'))"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: mixed(linear(3), "computes=f16"),
            r"Policy: 'computes=f16' cannot be read at 'computes=f16'; "
            r"write it as 'params=float32,compute=bfloat16,output=float32'\.",
        ),
        (lambda: Policy(compute="int8"), r"Policy: compute must be a floating dtype such as 'bfloat16', got 'int8'\."),
        (lambda: Policy("brain"), r"Policy: params must be a floating dtype such as 'bfloat16', got 'brain'\."),
        (lambda: mixed(linear), r"mixed expects layers or pure functions, got the class linear itself; .*"),
    ],
)
def test_bad_policies(make, sentence):
    with raises_sentence(GraphError, sentence):
        make()
