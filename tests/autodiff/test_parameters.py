"""One selector for the gradient, the step and the optimizer: what is frozen costs nothing anywhere."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.autodiff.parameters import join
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 24).reshape(4, 6)
KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {
    "encoder": [{"w": jax.random.normal(k, (6, 6)), "b": jnp.zeros(6)} for k in KEYS[:3]],
    "head": {"w": jax.random.normal(KEYS[3], (6, 2)), "b": jnp.zeros(2)},
    "step": jnp.array(0),
}


def loss(params, x):
    for i, layer in enumerate(params["encoder"]):
        with fg.scope(f"encoder{i}"):
            x = ops.tanh(ops.linear(x, **layer))
    return ops.mean(ops.linear(x, **params["head"]) ** 2)


def test_the_gradient_is_like_the_parameters_with_none_at_what_is_frozen():
    expected = jax.grad(loss, allow_int=True)(PARAMS, X)
    for selector in (fg.select("head/*"), fg.freeze("encoder/**", "step"), ~fg.select("encoder/**", "step")):
        found = fg.grad(loss, wrt=selector)(PARAMS, X)
        assert found["encoder"] == [{"w": None, "b": None}] * 3
        assert found["step"] is None
        chex.assert_trees_all_close(found["head"], expected["head"], rtol=1e-10)
    last = fg.grad(loss, wrt=fg.select("encoder/2/**", "head/b"))(PARAMS, X)
    assert [x.shape for x in jax.tree.leaves(last)] == [(6,), (6, 6), (2,)]
    chex.assert_trees_all_close(last["encoder"][2], expected["encoder"][2], rtol=1e-10)


def test_it_chooses_in_the_arguments_that_argnums_names():
    f = lambda x, p, q: jnp.sum(x) * p["a"] * p["b"] * q["a"]
    p, q = {"a": jnp.array(2.0), "b": jnp.array(3.0)}, {"a": jnp.array(5.0)}
    assert fg.grad(f, 1, wrt=fg.freeze("b"))(X, p, q)["b"] is None
    found = fg.grad(f, (1, 2), wrt=fg.select("a"))(X, p, q)
    chex.assert_trees_all_close(found, ({"a": 15 * X.sum(), "b": None}, {"a": 6 * X.sum()}), rtol=1e-10)


def test_a_frozen_encoder_costs_no_flops_in_the_plan():
    everything = fg.plan(loss, PARAMS, X, wrt=fg.freeze("step"))
    head = fg.plan(loss, PARAMS, X, wrt=fg.select("head/**"))
    assert not any(step.node.name.startswith("encoder") for step in head.steps)
    product = 2 * 4 * 6 * 6
    layers = {row.node: row.backward_flops for row in everything.rows}
    assert [layers[f"encoder{i}/linear"] for i in range(3)] == [product + 24, 2 * product + 24, 2 * product + 24]
    saved = everything.totals.backward_flops - head.totals.backward_flops
    assert saved == sum(f for name, f in layers.items() if name.startswith("encoder")) + 2 * 4 * 6 * 2


def test_a_frozen_layer_in_the_middle_passes_its_cotangent_on_and_has_no_weight_gradient():
    plan = fg.plan(loss, PARAMS, X, wrt=fg.freeze("encoder/1/**", "step"))
    row = next(row for row in plan.rows if row.node == "encoder1/linear")
    assert [rule.name for rule in row.rules] == ["linear_x"]


def test_xla_counts_the_same_saving():
    """XLA's own count of the compiled gradients: less by the weight gradients and all cotangents before the head."""

    def flops(wrt):
        lowered = jax.jit(fg.grad(loss, wrt=wrt)).lower(PARAMS, X)
        return lowered.compile().cost_analysis()["flops"]

    product, head = 2 * 4 * 6 * 6, 2 * 4 * 6 * 2
    saved = flops(fg.freeze("step")) - flops(fg.select("head/**"))
    assert saved >= 5 * product + head
    middle = flops(fg.freeze("step")) - flops(fg.freeze("step", "encoder/1/**"))
    assert product <= middle <= product + 100


def test_split_and_join():
    selector = fg.freeze("encoder/**")
    chosen, others = selector.split(PARAMS)
    assert jax.tree.leaves(chosen["encoder"]) == []
    assert jax.tree.leaves(others["head"]) == []
    chex.assert_trees_all_equal(join(chosen, others), PARAMS)


def test_bare_arrays_are_everything():
    chex.assert_trees_all_close(fg.grad(lambda w: jnp.sum(w**2), wrt=fg.select("**"))(X), 2 * X)


def test_it_prints_as_it_is_made():
    assert str(fg.select("head/**")) == "fg.select('head/**')"
    assert str(~fg.select("a", "b")) == "fg.freeze('a', 'b')"
    assert fg.freeze("a") == ~fg.select("a")


W_ONLY = fg.select("**/w")


def decayed(optimizer, params):
    """Which parameters an optimizer moves where all gradients are zero: those that it decays."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    with jax.numpy_dtype_promotion("standard"):
        updates = jax.jit(optimizer.update)(zeros, optimizer.init(params), params)[0]
    return {jax.tree_util.keystr(p, simple=True, separator="/") for p, u in paths_of(updates) if jnp.any(u != 0)}


paths_of = jax.tree_util.tree_leaves_with_path
FLOATS = jax.tree.map(lambda x: jnp.ones_like(x), {n: PARAMS[n] for n in ("encoder", "head")})
WEIGHTS = {"encoder/0/w", "encoder/1/w", "encoder/2/w", "head/w"}
BIASES = {path.replace("/w", "/b") for path in WEIGHTS}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (optax.adamw(1.0, weight_decay=1.0, mask=W_ONLY), WEIGHTS),
        (optax.adamw(1.0, weight_decay=1.0, mask=~W_ONLY), BIASES),
        (optax.adamw(1.0, weight_decay=1.0, mask=fg.freeze("**/b", "encoder/**")), {"head/w"}),
        (optax.lamb(1.0, weight_decay=1.0, mask=W_ONLY), WEIGHTS),
        (optax.add_decayed_weights(1.0, mask=W_ONLY), WEIGHTS),
        (optax.masked(optax.add_decayed_weights(1.0), W_ONLY), WEIGHTS),
        (optax.masked(optax.add_decayed_weights(1.0, mask=W_ONLY), fg.select("head/*")), {"head/w"}),
        (optax.masked(optax.add_decayed_weights(1.0, mask=fg.select("head/w")), fg.freeze("head/*")), set()),
        (
            optax.masked(
                optax.add_decayed_weights(1.0, mask=fg.select("head/w", "encoder/*/w")), {"encoder": 0, "head": 1}
            ),
            {"head/w"},
        ),
        (
            optax.multi_transform({True: optax.add_decayed_weights(1.0), False: optax.sgd(1.0)}, W_ONLY),
            WEIGHTS,
        ),
    ],
)
def test_it_is_a_mask_where_optax_takes_one(optimizer, expected):
    assert decayed(optimizer, FLOATS) == expected


def test_it_is_a_mask_of_a_part_of_the_parameters():
    """As `train.init(trainable=)` hands them to an optimizer: None at what is frozen."""
    head = {"encoder": [{"w": None, "b": None}] * 3, "head": FLOATS["head"]}
    assert decayed(optax.adamw(1.0, weight_decay=1.0, mask=fg.select("encoder/**", "head/w")), head) == {"head/w"}
    assert decayed(optax.adamw(1.0, weight_decay=1.0, mask=fg.select("encoder/**")), head) == set()


def test_equinox_modules():
    eqx = pytest.importorskip("equinox", reason="Equinox is an optional peer: pip install 'funcgrad[peers]'")
    mlp = eqx.nn.MLP(6, 2, 8, 2, key=KEYS[0])
    f = lambda mlp, x: jnp.mean(jax.vmap(mlp)(x) ** 2)
    found = fg.grad(f, wrt=fg.freeze("layers/0/**"))(mlp, X)
    expected = eqx.filter_grad(f)(mlp, X)
    assert found.layers[0].weight is None
    chex.assert_trees_all_close(found.layers[2].weight, expected.layers[2].weight, rtol=1e-5)
    assert len(jax.tree.leaves(found)) == len(jax.tree.leaves(expected)) - 2
    params = eqx.filter(mlp, eqx.is_array)
    weights = {f"layers/{n}/weight" for n in range(3)}
    assert decayed(optax.adamw(1.0, weight_decay=1.0, mask=fg.freeze("layers/*/bias")), params) == weights


def test_nnx_modules():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is an optional peer: pip install 'funcgrad[peers]'")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.encoder = nnx.Linear(6, 6, rngs=rngs)
            self.head = nnx.Linear(6, 2, rngs=rngs)

        def __call__(self, x):
            return self.head(jnp.tanh(self.encoder(x)))

    net, x = Net(nnx.Rngs(0)), X.astype(jnp.float32)
    f = lambda net, x: jnp.mean(net(x) ** 2)
    found = fg.grad(f, wrt=fg.freeze("encoder/**"))(net, x)
    expected = nnx.grad(f)(net, x)
    assert len(jax.tree.leaves(found)) == 2
    np.testing.assert_allclose(found["head"]["kernel"][...], expected["head"]["kernel"][...], rtol=1e-5)
    optimizer = optax.adamw(1.0, weight_decay=1.0, mask=fg.select("*/kernel"))
    params = jax.tree.map(jnp.ones_like, nnx.state(net, nnx.Param))
    assert decayed(optimizer, params) == {"encoder/kernel/value", "head/kernel/value"}


BAD = {
    "a typing error": (
        lambda: fg.grad(loss, wrt=fg.freeze("encodr/**"))(PARAMS, X),
        r"fg\.freeze\('encodr/\*\*'\): no parameter's path matches 'encodr/\*\*'; did you mean 'encoder/\d/[bw]' or "
        r"'encoder/\d/[bw]'\?",
    ),
    "a branch without stars": (
        lambda: fg.grad(loss, wrt=fg.select("head"))(PARAMS, X),
        r"fg\.select\('head'\): no parameter's path matches 'head'; what is below it matches 'head/\*\*'\.",
    ),
    "nothing like it": (
        lambda: fg.grad(loss, wrt=fg.select("zzz"))(PARAMS, X),
        r"fg\.select\('zzz'\): no parameter's path matches 'zzz'; the first path is 'encoder/0/b'\.",
    ),
    "everything frozen": (
        lambda: fg.grad(loss, wrt=fg.freeze("**"))(PARAMS, X),
        r"fg\.freeze\('\*\*'\) chooses none of the 9 parameters; narrow its patterns\.",
    ),
    "no pattern": (lambda: fg.freeze(), r"fg\.freeze takes patterns such as 'encoder/\*\*', got \(\)\."),
    "a mask that matches nothing": (
        lambda: optax.adamw(1.0, mask=fg.select("**/wieght")).init(FLOATS),
        r"fg\.select\('\*\*/wieght'\): no parameter's path matches '\*\*/wieght'; the first path is 'encoder/0/b'\.",
    ),
    "a mask inside of a mask": (
        lambda: optax.masked(optax.sgd(1.0), {"encoder": fg.select("*/w"), "head": True}).init(FLOATS),
        r"fg\.select\('\*/w'\) is neither true nor false; call it on parameters for a mask of them, or compare it with "
        r"None\.",
    ),
    "an integer": (
        lambda: fg.grad(loss, wrt=fg.select("step"))(PARAMS, X),
        r"Argument 0 has a leaf 'params/step' of i\d+\[\]; gradients need floating or complex arrays: cast it, leave "
        r"it out of argnums, or pass allow_int=True\.",
    ),
    "unreachable": (
        lambda: fg.grad(lambda p, x: jnp.sum(p["a"] * x), wrt=fg.select("*"))({"a": X, "b": X}, X),
        r"The loss does not depend on 'p/b'; leave it out of wrt, or pass unreachable='zero'\.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_selectors_get_one_sentence(case):
    call, message = BAD[case]
    with raises_sentence(GradientError, message):
        call()
