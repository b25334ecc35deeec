"""Memory by rule: the same gradient, and fewer bytes, in the plan and in the compiled program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.rulesets import residuals
from tests.raising import raises_sentence
from tests.rulesets.entries import public

PLAIN = fg.RuleSet()
W = jnp.cos(jnp.arange(256.0)).reshape(16, 16) / 4
# Kinks and their neighbours among ordinary points; no two ways of computing x + 0 differ.
X = jnp.concatenate([jnp.linspace(-8.0, 8.0, 10 * 16), jnp.tile(jnp.array([-1e-30, 0.0, 6.0, 1e-30]), 8)]).reshape(
    12, 16
)
N = X.size


def both(f, rules, *args):
    """The gradients, and what the plans keep, with the rules of the library and with these."""
    gradients = [jax.jit(fg.grad(f, tuple(range(len(args))), rules=r))(*args) for r in (PLAIN, rules)]
    kept = [fg.plan(f, *args, argnums=tuple(range(len(args))), rules=r).totals.kept_bytes for r in (PLAIN, rules)]
    return gradients, kept


def dropped(x, i=0):
    return jnp.where(jax.random.bernoulli(jax.random.key(i), 0.5, x.shape), x / 0.5, 0.0)


OUTPUTS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "elu": jax.nn.elu,
    "elu, 0.5": lambda x: jax.nn.elu(x, 0.5),
    "celu": jax.nn.celu,
    "celu, 2": lambda x: jax.nn.celu(x, 2.0),
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_by_the_output(name):
    def loss(x, w):
        return jnp.sum(jnp.sin(OUTPUTS[name](x + 0.0) @ w))

    (expected, found), (before, after) = both(loss, residuals.from_output(), X, W)
    for a, b in zip(expected, found, strict=True):
        (np.testing.assert_array_equal if "relu" in name else np.testing.assert_allclose)(
            b, a, **({} if "relu" in name else {"rtol": 1e-12, "atol": 1e-14})
        )
    assert before >= 3 * X.nbytes
    assert after == 2 * X.nbytes  # what the product reads, which is the output, and what the sine reads


def test_an_output_that_does_not_tell_is_left_alone():
    loss = lambda x: jnp.sum(jnp.sin(jax.nn.elu(jnp.sin(x), -0.5) + jax.nn.softmax(x, axis=0)))
    (expected, found), (before, after) = both(loss, residuals.from_output(), X)
    np.testing.assert_array_equal(found[0], expected[0])
    assert before == after


SQUARE = jnp.sin(3 * jnp.arange(16.0)).reshape(4, 4)
CUBE = jnp.sin(3 * jnp.arange(64.0)).reshape(4, 4, 4)


@jax.jit
def leaky_relu(x):
    return jnp.where(x > 0, x, 0.3 * x)


@jax.jit
def relu6(x):
    return jnp.clip(x, -0.5, 0.5)


# What a jitted function computes is not told by its name and arguments: static ones, batches, namesakes.
NOT_AS_WRITTEN = {
    "axis 0": (lambda x: jax.nn.log_softmax(x, axis=0), SQUARE),
    "a middle axis": (jax.jit(lambda x: jax.nn.log_softmax(x, axis=1)), CUBE),
    "all axes": (lambda x: jax.nn.log_softmax(x, axis=(0, 1)), SQUARE),
    "a mask": (lambda x: jax.nn.log_softmax(x, where=SQUARE < 2), SQUARE),
    "softmax, jitted": (jax.jit(partial(jax.nn.softmax, axis=0)), SQUARE),
    "log_softmax, batched": (jax.vmap(jax.nn.log_softmax, in_axes=1), CUBE),
    "elu, batched": (jax.vmap(jax.nn.elu, in_axes=1), SQUARE),
    "elu, jitted": (jax.jit(partial(jax.nn.elu, alpha=0.3)), SQUARE),
    "selu, batched": (jax.vmap(jax.nn.selu, in_axes=1), SQUARE),
    "slopes, batched": (lambda x: jax.vmap(jax.nn.leaky_relu, (1, 0))(x, jnp.arange(4.0)), SQUARE),
    "a leaky_relu of one's own": (leaky_relu, SQUARE),
    "a relu6 of one's own": (relu6, SQUARE),
}


@pytest.mark.parametrize("name", NOT_AS_WRITTEN)
def test_static_arguments_batches_and_namesakes(name):
    f, x = NOT_AS_WRITTEN[name]
    loss = lambda x: jnp.sum(f(x) * jnp.cos(jnp.arange(x.size)).reshape(x.shape))
    found = fg.grad(loss, rules=residuals.from_output() | residuals.sign_bits())(x)
    np.testing.assert_allclose(found, jax.grad(loss)(x), rtol=1e-12, atol=1e-14)


def test_under_vmap_it_stands_where_the_layout_is_kept():
    for f in (jax.nn.log_softmax, jax.nn.elu):
        plan = fg.plan(lambda x, f=f: jnp.sum(jax.vmap(f)(x) ** 2), X, rules=residuals.from_output())
        assert plan.totals.kept_bytes == X.nbytes


SIGNS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "leaky_relu, 0.5": lambda x: jax.nn.leaky_relu(x, 0.5),
    "ours": fg.ops.relu,
    "our relu6": fg.ops.relu6,
    "our leaky_relu": lambda x: fg.ops.leaky_relu(x, negative_slope=0.3),
}


@pytest.mark.parametrize("name", SIGNS)
@pytest.mark.parametrize("shape", [(12, 16), (64, 3), (192,)])
def test_by_the_sign(name, shape):
    x = X.reshape(shape)
    (expected, found), (_, after) = both(lambda x: jnp.sum(x * SIGNS[name](x + 0.0)), residuals.sign_bits(), x)
    np.testing.assert_array_equal(found[0], expected[0])
    assert after == x.nbytes + N // 8  # what the product reads, and the bits


@pytest.mark.parametrize("shape", [(), (1,), (3,), (8, 3), (3, 8), (0, 4), (5, 7, 11), (9, 5, 16)])
def test_bits_are_a_mask_in_every_shape(shape, rng):
    m = jnp.asarray(rng.random(shape) > 0.5)
    bits = residuals.packed(m)
    np.testing.assert_array_equal(residuals.unpacked(bits, shape), m)
    assert bits.size <= max(1, m.size * 3 / 16) or max(shape) < 8


WHERE = {
    "dropout": dropped,
    "two arrays": lambda x: jnp.where(x > 1, jnp.sin(x), jnp.cos(x)),
}


@pytest.mark.parametrize("name", WHERE)
def test_by_a_packed_mask(name):
    (expected, found), (before, after) = both(lambda x: jnp.sum(WHERE[name](x)), residuals.packed_masks(), X)
    np.testing.assert_array_equal(found[0], expected[0])
    assert before - after == N - N // 8


@pytest.mark.parametrize(
    "f",
    [jax.nn.softplus, jax.nn.mish, lambda x: jax.scipy.special.xlogy(x, 1 + x * x)],
    ids=["softplus", "mish", "xlogy"],
)
def test_masks_where_jax_differentiates_are_left_alone(f):
    loss = lambda x: jnp.sum(f(x)) + jnp.sum(dropped(x))
    (expected, found), (before, after) = both(loss, residuals.packed_masks(), X)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    assert before - after == N - N // 8


def test_on_a_mesh_the_batch_stays_cut():
    mesh = jax.make_mesh((4,), ("batch",))
    loss = lambda x: jnp.sum(jnp.sin(jax.nn.relu(x + 0.5)) + jnp.where(x > 0.5, jnp.cos(x), 0.0))
    rules = residuals.sign_bits() | residuals.packed_masks()
    with jax.set_mesh(mesh):
        x = jax.device_put(X, jax.NamedSharding(mesh, jax.P("batch", None)))
        found = jax.jit(fg.grad(loss, rules=rules))(x)
    assert jax.typeof(found).sharding.spec == jax.P("batch", None)
    np.testing.assert_array_equal(np.asarray(found), jax.jit(fg.grad(loss))(X))


def test_masks_of_three_and_of_one_number_are_left_alone():
    def loss(x):
        return jnp.sum(jax.lax.select_n(jnp.int32(x > 0), x, 2 * x)) + jnp.sum(jnp.where(x[0, 0] > 0, x, 2 * x))

    plan = fg.plan(loss, X, rules=residuals.packed_masks())
    assert not any("chosen_by_bits" in str(p.name) for p in plan.pullbacks)


@pytest.mark.parametrize("function", [jax.nn.gelu, jax.nn.silu, jax.nn.mish])
def test_by_the_input(function):
    rules = residuals.from_input(function)
    (expected, found), (before, after) = both(lambda x: jnp.sum(function(jnp.sin(x))), rules, X)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-14)
    assert after == X.nbytes
    assert before >= 2 * X.nbytes
    with raises_sentence(RuleError, r"The override of .* at '\*\*' matches nothing; .*"):
        fg.plan(lambda x: jnp.sum(jnp.sin(x)), X, rules=rules)


def blocks(act):
    def loss(ws, x):
        for i, w in enumerate(ws):
            x = x + act(x @ w, i)
        return jnp.sum(x * x)

    return loss


@pytest.mark.parametrize(
    ("act", "rules", "saved"),
    [
        (lambda x, _: jax.nn.relu(x), residuals.sign_bits(), 0.25),
        (dropped, residuals.packed_masks(), 0.1),
        (lambda x, _: jax.nn.gelu(x), residuals.from_input(jax.nn.gelu), 0.15),
    ],
    ids=["bits of signs", "bits of masks", "gelu again"],
)
def test_the_compiled_program_needs_less(act, rules, saved):
    ws, x = [jnp.eye(32, dtype=jnp.float32)] * 8, jnp.ones((512, 32), jnp.float32)
    before, after = (fg.plan(blocks(act), ws, x, rules=r, compiled=True).temp_bytes for r in (PLAIN, rules))
    assert after < (1 - saved) * before


def test_sets_are_no_other_derivative_and_values():
    made = {name: f for name, f in public(residuals).items() if name != "from_input"}
    assert set(made) == {"from_output", "sign_bits", "packed_masks"}
    for f in made.values():
        assert all(o.rule.kind.is_derivative for o in f().overrides)
    assert residuals.sign_bits() == residuals.sign_bits()
    assert "relu_by_sign for x (subgradient (0 at 0)), keeping bits" in str(residuals.sign_bits())
    for rules in (fg.RuleSet((o,)) for o in residuals.sign_bits().overrides):
        op = getattr(fg.ops, rules.overrides[0].target.title)
        assert fg.check(op, [(X,)], rules=rules, groups=("values",)).ok


def test_through_a_scan_a_branch_and_a_checkpoint():
    def turn(c, w):
        c = jax.checkpoint(lambda c: jnp.sin(c + jax.nn.relu(c @ w)))(c)
        return jax.lax.cond(c[0, 0] > 0, lambda c: c + jax.nn.relu(jnp.cos(c)), lambda c: c, c), None

    loss = lambda ws, x: jnp.sum(jax.lax.scan(turn, x, ws)[0])
    args = jnp.stack([W, W + 0.1, W - 0.1]), X
    (expected, found), _ = both(loss, residuals.sign_bits() | residuals.packed_masks(), *args)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-14)
