"""Several nodes as one that a rule stands for, on unmodified models; against gradients that JAX works out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")

RULES = fg.RuleSet()


def reversal(g, pull):
    return -pull(g)


def rebuilt(g, affine, x, y):
    """The pullback by the merged weight; NaN where product, weight and bias do not make the region's output."""
    z = affine.product(x, affine.weight) + affine.bias
    right = jnp.max(jnp.abs(z - y)) < 1e-5
    (x_bar,) = jax.vjp(lambda x: affine.product(x, affine.weight), x)[1](g)
    return jnp.where(right, x_bar, jnp.nan)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.fc = nnx.Linear(4, 5, rngs=rngs)
        self.out = nnx.Linear(5, 2, rngs=rngs)
        for i, name in enumerate(("mean", "var", "scale", "bias")):
            getattr(self.norm, name)[...] = jnp.array([0.3, 1.5, -0.7, 0.2], jnp.float32) ** (2 if i == 1 else 1)

    def __call__(self, x):
        h = nnx.relu(self.norm(self.conv(x))).mean((1, 2))
        return self.out(jnp.tanh(self.fc(h)))


@pytest.fixture(scope="module")
def model():
    return Net(nnx.Rngs(0))


X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 6, 3)), jnp.float32)


def loss(m, x):
    return jnp.sum(m(x) ** 2)


def agree(found, expected, tol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tol, atol=tol)


@pytest.mark.parametrize(
    ("target", "at", "factor"),
    [
        (nnx.Linear, "**", 1),  # two of them
        (nnx.Linear, "m/fc", -1),
        (fg.Region(of=nnx.Linear), "m/out", -1),
        (fg.Region("m/fc"), "**", -1),
        (fg.Region("m/*"), "m/norm", -1),
        (fg.Region(ops=("conv_general_dilated", "add")), "**", -1),
        (fg.Region(affine="conv_general_dilated"), "**", -1),
        (fg.Region(affine=("dot_general", "conv_general_dilated")), "**", -1),  # three of them
    ],
)
def test_a_region_is_reversed_as_a_whole(model, target, at, factor):
    expected = factor * jax.grad(loss, argnums=1)(model, X)
    gradient = fg.grad(loss, argnums=1, rules=RULES.override(target, reversal, at=at))
    agree(gradient(model, X), expected)
    agree(nnx.jit(gradient)(model, X), expected)


def test_batch_norm_is_merged_into_weight_and_bias(model):
    for products in ("conv_general_dilated", "dot_general", ("dot_general", "conv_general_dilated")):
        rules = RULES.override(fg.Region(affine=products), rebuilt)
        agree(fg.grad(loss, argnums=1, rules=rules)(model, X), jax.grad(loss, argnums=1)(model, X))


def test_arguments_have_names_and_parameters_their_gradients(model):
    seen = []

    def rule(g, x, kernel, bias, parameters):
        seen.append(parameters)
        assert (x.shape, kernel.shape, bias.shape) == ((2, 4), (4, 5), (5,))
        return {"x": 2 * (g @ kernel.T), "kernel": 3 * (x.T @ g)}

    rules = RULES.override(nnx.Linear, rule, "x", "kernel", at="m/fc")
    found, own = fg.grad(loss, argnums=(0, 1), rules=rules)(model, X), jax.grad(loss, argnums=(0, 1))(model, X)
    agree(found[1], 2 * own[1])
    agree(found[0].fc.kernel[...], 3 * own[0].fc.kernel[...])
    agree(found[0].fc.bias[...], own[0].fc.bias[...])  # derived
    agree(found[0].conv.kernel[...], 2 * own[0].conv.kernel[...])
    assert {tuple(sorted(p)) for p in seen} == {("bias", "kernel")}


def test_the_plan_shows_it_as_one_node(model):
    plan = fg.plan(loss, model, X, argnums=1, rules=RULES.override(nnx.Linear, reversal))
    nodes = {step.node.name: step.node.op_name for step in plan.steps if step.node.name.startswith("m/")}
    assert nodes["m/fc"] == nodes["m/out"] == "Linear"
    assert not any(name.startswith("m/fc/") for name in nodes)


def test_later_overrides_win_and_none_reaches_inside(model):
    own = jax.grad(loss, argnums=1)(model, X)
    twice = RULES.override(nnx.Linear, lambda g, pull: 2 * pull(g))
    by_scope = twice.override(fg.Region("m/fc"), lambda g, pull: 5 * pull(g))
    agree(fg.grad(loss, argnums=1, rules=by_scope)(model, X), 10 * own)
    inside = by_scope.override("dot_general", lambda g, rhs: jnp.zeros_like(g @ rhs.T), "lhs")
    with raises_sentence(
        RuleError,
        r"The override of dot_general at '\*\*' matches nothing; its nodes are inside of region 'm/fc', for all of "
        r"which another rule stands; narrow that\.",
    ):
        fg.grad(loss, argnums=1, rules=inside)(model, X)


class Pair(eqx.Module):
    a: eqx.nn.Linear
    b: eqx.nn.Linear

    def __call__(self, x):
        return self.b(jax.nn.relu(self.a(x)))


def test_equinox_under_vmap():
    keys = jax.random.split(jax.random.key(0))
    pair = Pair(eqx.nn.Linear(3, 4, key=keys[0]), eqx.nn.Linear(4, 2, key=keys[1]))
    x = jnp.ones((5, 3))

    def loss(x, pair):
        return jnp.sum(jax.vmap(pair)(x) ** 2)

    own = jax.grad(loss)(x, pair)
    agree(fg.grad(loss, rules=RULES.override(eqx.nn.Linear, reversal, at="pair/a"))(x, pair), -own)
    agree(fg.grad(loss, rules=RULES.override(fg.Region(affine="dot_general"), rebuilt))(x, pair), own)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint, lambda f: lambda c, w: jax.lax.cond(True, f, f, c, w)])
def test_inside_of_what_holds_graphs(wrap):
    def turn(c, w):
        return jnp.tanh(c @ w["w"] + w["b"][None])

    def loss(x, p):
        return jax.lax.scan(lambda c, w: (wrap(turn)(c, w), None), x, p)[0].sum()

    x, p = jnp.ones((5, 3)), {"w": jnp.full((3, 3, 3), 0.1), "b": jnp.ones((3, 3))}
    own = jax.grad(loss)(x, p)
    agree(fg.grad(loss, rules=RULES.override(fg.Region(affine="dot_general"), rebuilt))(x, p), own)
    agree(fg.grad(loss, rules=RULES.override(fg.Region(affine="dot_general"), reversal))(x, p), -own)


def test_what_is_no_region(model):
    def two(x):
        with jax.named_scope("s"):
            a, b = jnp.sin(x), jnp.cos(x)
        return jnp.sum(a * b)

    def refused(sentence, f, *args, **kwargs):
        with raises_sentence(kwargs.pop("kind", RuleError), sentence):
            f(*args, **kwargs)

    refused(
        r"The region 's' must have one output for a rule to stand for it, and has 2 \(s/sin: f64\[2\], "
        r"s/cos: f64\[2\]\); narrow it to a scope inside\.",
        fg.grad(two, rules=RULES.override(fg.Region("s"), reversal)),
        jnp.ones(2),
    )
    for target, why in (
        (fg.Region("m/fcc"), r"no scope is called so, did you mean 'm/fc'\?"),
        (nnx.Embed, r"the function holds no module of class Embed that it calls\."),
        (
            fg.Region(affine="linear"),
            r"the graph has no such product of activations with parameters, which are constants and what comes in "
            r"containers; pass a weight in one, as \{'w': w\}\.",
        ),
        (
            fg.Region(statistics=True),
            r"no normalization or softmax is written out in the graph; one of fg\.ops is a node by itself\.",
        ),
        (
            fg.Region(ops=("tanh", "tanh")),
            r"no such operations stand one after the other, each the only reader of the one before\.",
        ),
    ):
        refused(
            rf"The override of .* at '\*\*' matches nothing; {why}",
            fg.grad(loss, argnums=1, rules=RULES.override(target, reversal)),
            model,
            X,
        )
    refused(
        r"No value or scope is named 'm/fc/dot_general'.*",
        fg.grad(loss, argnums=1, of="m/fc/dot_general", rules=RULES.override(fg.Region("m/fc"), reversal)),
        model,
        X,
        kind=GradientError,
    )
    sentence = (
        r"fg\.Region takes one of these: the name of a scope, of= a class of modules, ops= a chain of operations, "
        r"affine= or bilinear= products, statistics=True\."
    )
    refused(sentence, fg.Region)
    refused(sentence, fg.Region, "m", of=nnx.Linear)
    for name in ("cumsum", "maximum", ("dot_general", "max")):
        refused(
            rf"fg\.Region: affine= takes names of what is affine in activations \(dot_general, conv_general_dilated, "
            rf"linear, matmul, conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, add, "
            rf"add_any, sub, mul, div, subtract, multiply, divide, batch_norm_inference, or an op of yours\), got "
            rf"'{name if isinstance(name, str) else name[-1]}'\.",
            fg.Region,
            affine=name,
        )
    refused(r"fg\.Region: a scope is given by its name, got 3; a class by of=\.", fg.Region, 3)
    refused(
        r"m/fc: Linear has no argument 'w' to override; it has .*\.",
        fg.grad(loss, argnums=1, rules=RULES.override(nnx.Linear, reversal, "w", at="m/fc")),
        model,
        X,
    )
