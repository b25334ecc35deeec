"""Attributions against the same worked out by hand in JAX; what they sum to; their errors."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from funcgrad.rulesets import attribution
from tests.raising import raises_sentence

KEYS = jax.random.split(jax.random.key(0), 4)
W = jax.random.normal(KEYS[0], (3, 5))
V = jax.random.normal(KEYS[1], (5, 4))
X = jax.random.normal(KEYS[2], (2, 3)).at[0].set(0.0)  # of which the first layer makes zeros, where kinks are
OUT = jnp.array([1.0, -2.0, 3.0, -1.0])
START = jax.random.normal(KEYS[3], (2, 3))


def net(x, relu=jax.nn.relu):
    return jnp.sum(relu(relu(x @ W) @ V) @ OUT)


def agree(found, expected, rtol=1e-12):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


# -- every ReLU ----------------------------------------------------------------------------------------------------

RELUS = {
    "fg.ops.relu": fg.ops.relu,
    "jax.nn.relu": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "maximum, the number first": lambda x: jnp.maximum(0.0, x),
    "lax.max": lambda x: jax.lax.max(x, 0.0),
    "clip": lambda x: jnp.clip(x, 0),
    "a jitted one": jax.jit(jax.nn.relu),
    "in a scan": lambda x: jax.lax.scan(lambda c, _: (jax.nn.relu(c), None), x, length=1)[0],
    "in a checkpoint": jax.checkpoint(jax.nn.relu),
    "mapped": jax.vmap(lambda x: jnp.maximum(x, 0)),
}


def by_hand(x, pass_on):
    """Both layers backwards, where a ReLU hands on `pass_on(g, y)`."""
    hidden = jnp.maximum(x @ W, 0)
    g = jnp.broadcast_to(OUT, (2, 4))
    g = pass_on(g, jnp.maximum(hidden @ V, 0)) @ V.T
    return pass_on(g, hidden) @ W.T


@pytest.mark.parametrize("name", RELUS)
def test_guided_backprop_and_deconvnet_at_every_relu(name):
    loss = lambda x: net(x, RELUS[name])
    guided = by_hand(X, lambda g, y: jnp.where((y > 0) & (g > 0), g, 0))
    assert np.abs(guided - jax.grad(net)(X)).max() > 0.1
    agree(fg.grad(loss, rules=attribution.guided_backprop())(X), guided)
    agree(jax.jit(fg.grad(loss, rules=attribution.deconvnet()))(X), by_hand(X, lambda g, y: jnp.where(g > 0, g, 0)))


def test_all_kinds_of_relu_in_one_model():
    """One set serves them, and another maximum keeps its rule."""

    def mixed(relu, other_relu, x):
        return jnp.sum(jnp.maximum(other_relu(relu(x @ W) @ V), 0.25) @ OUT)

    rules = attribution.guided_backprop()
    found = fg.grad(lambda x: mixed(jax.nn.relu, lambda x: jnp.maximum(x, 0), x), rules=rules)(X)
    agree(found, fg.grad(lambda x: mixed(fg.ops.relu, fg.ops.relu, x), rules=rules)(X))
    plan = fg.plan(lambda x: mixed(jax.nn.relu, lambda x: jnp.maximum(x, 0), x), X, rules=rules)
    kinds = {p.node.name: str(p.rule.kind) for p in plan.pullbacks if p.rule and p.node.op_name in ("relu", "max")}
    assert kinds == {
        "relu": "nonlinear",
        "max": "nonlinear",
        "max#2": "subgradient (half to each at a tie)",
    }


def test_at_one_place_and_where_there_is_no_relu():
    two = lambda x: jnp.sum(-jax.nn.relu(fg.name(jax.nn.relu(x), "first")))
    agree(fg.grad(two, rules=attribution.deconvnet(at="first"))(X), 0)
    agree(fg.grad(lambda x: jnp.sum(jax.nn.relu(x)), rules=attribution.deconvnet())(-X), 1)
    with raises_sentence(
        RuleError, r"The override of relu at '\*\*' matches nothing; the graph has no relu node, did you mean 'relu6'\?"
    ):
        fg.grad(lambda x: jnp.sum(jax.nn.relu6(x)), rules=attribution.guided_backprop())(X)
    with raises_sentence(
        RuleError,
        r"The override of relu at '\*\*' matches 'relu6/max' inside the body of 'relu6', where rules cannot be "
        r"replaced; narrow the pattern, or unroll 'relu6'\.",
    ):
        fg.grad(lambda x: jnp.sum(jax.nn.relu6(jax.nn.relu(x))), rules=attribution.guided_backprop())(X)


def test_functions_of_many_arrays_are_none():
    joined = lambda x: jnp.sum(jax.nn.relu(jnp.concatenate([x, -x, 2 * x])))
    agree(fg.grad(joined, rules=attribution.guided_backprop())(X), jax.grad(joined)(X))
    agree(attribution.deeplift_rescale(joined)(X).sum(), joined(X))


@pytest.mark.parametrize("make", [attribution.guided_backprop, attribution.deconvnet])
def test_a_set_is_a_value(make):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert pickle.loads(pickle.dumps(make())) == make()
    assert str(make(at="block1")).startswith("relu at 'block1': ")


# -- around a gradient ---------------------------------------------------------------------------------------------

SMOOTH = lambda x, y: jnp.sum(jnp.tanh(x @ W) @ V * jnp.sin(y))
Y = jnp.arange(8.0).reshape(2, 4) / 5
METHODS = {
    "gradient_times_input": attribution.gradient_times_input,
    "integrated_gradients": lambda f, argnums=0: attribution.integrated_gradients(f, argnums, steps=5),
    "smooth_grad": lambda f, argnums=0: attribution.smooth_grad(f, KEYS[0], argnums, samples=3),
    "deeplift_rescale": attribution.deeplift_rescale,
}


@pytest.mark.parametrize("name", METHODS)
def test_under_jit_vmap_and_of_several_arguments(name):
    method = METHODS[name]
    plain = method(SMOOTH)(X, Y)
    assert plain.shape == X.shape
    assert np.abs(plain[1]).min() > 0
    agree(jax.jit(method(SMOOTH))(X, Y), plain)
    two, of_y = method(SMOOTH, (0, 1))(X, Y)[0], method(SMOOTH, 1)(X, Y)
    assert (two.shape, of_y.shape) == (X.shape, Y.shape)
    each = jax.vmap(method(lambda x, y: SMOOTH(x[None], y[None])))(X, Y)
    if name != "smooth_grad":  # whose noise is the same for all examples
        agree(each, plain)
    tree = method(lambda p: SMOOTH(p["x"], p["y"]))({"x": X, "y": Y})
    assert jax.tree.map(jnp.shape, tree) == {"x": X.shape, "y": Y.shape}


def test_gradient_times_input_of_arguments_and_of_values_inside():
    agree(attribution.gradient_times_input(net)(X), X * jax.grad(net)(X))
    inside = lambda x: net(fg.name(2 * x, "doubled"))
    agree(attribution.gradient_times_input(inside, wrt="doubled")(X), X * jax.grad(inside)(X))
    both = attribution.gradient_times_input(lambda x: jnp.sum(fg.name(x**2, "a") * fg.name(3 * x, "b")), wrt=["a", "b"])
    found = both(X)
    agree(found["a"], 3 * X**3)
    agree(found["b"], 3 * X**3)
    # Of an output that is no number, and with other rules.
    logits = lambda x: jax.nn.relu(x @ W)
    g = jnp.zeros((2, 5)).at[:, 1].set(-1.0)
    rules = attribution.deconvnet()
    agree(attribution.gradient_times_input(logits, cotangent=g)(X), X * jax.vjp(logits, X)[1](g)[0])
    agree(attribution.gradient_times_input(logits, cotangent=g, rules=rules)(X), 0)


def test_integrated_gradients_by_hand():
    nodes, weights = np.polynomial.legendre.leggauss(7)
    way = X - START
    mean = sum(w / 2 * jax.grad(SMOOTH)(START + (a + 1) / 2 * way, Y) for a, w in zip(nodes, weights, strict=True))
    found = attribution.integrated_gradients(SMOOTH, baseline=START, steps=7)(X, Y)
    agree(found, way * mean)
    assert np.abs(found.sum() - (SMOOTH(X, Y) - SMOOTH(START, Y))) < 1e-3


def test_smooth_grad_by_hand():
    keys = [jax.random.split(k, 1)[0] for k in jax.random.split(KEYS[2], 4)]
    expected = sum(jax.grad(SMOOTH)(X + 0.3 * jax.random.normal(k, X.shape), Y) for k in keys) / 4
    agree(attribution.smooth_grad(SMOOTH, KEYS[2], sigma=0.3, samples=4)(X, Y), expected)


@pytest.mark.parametrize("first", [False, True], ids=["channels last", "channels first"])
def test_grad_cam_by_hand(first):
    image = jax.random.normal(KEYS[2], (2, 4, 6))

    def maps(x):
        found = jnp.tanh(jnp.einsum("nhw,k->nhwk", x, W[0])) - 0.2
        return jnp.moveaxis(found, -1, 1) if first else found

    rest = lambda a: jnp.sum(jnp.sin(a) ** 2 * a)
    g = jax.grad(rest)(maps(image))
    axes = {"positions": (-2, -1), "channel": -3} if first else {}
    alpha = g.mean((2, 3) if first else (1, 2))
    expected = jnp.maximum(jnp.einsum("nkhw,nk->nhw" if first else "nhwk,nk->nhw", maps(image), alpha), 0)
    assert (expected > 0).any()
    score = lambda x: rest(fg.name(maps(x), "maps"))
    agree(attribution.grad_cam(score, "maps", **axes)(image), expected)
    agree(jax.jit(attribution.grad_cam(score, "maps", **axes))(image), expected)
    agree(jax.vmap(attribution.grad_cam(score, "maps", **axes))(image[:, None])[:, 0], expected)


# -- DeepLift ------------------------------------------------------------------------------------------------------


def test_deeplift_by_hand():
    hidden, hidden_start = X @ W, START @ W
    gained = jnp.maximum(hidden, 0) - jnp.maximum(hidden_start, 0)
    g = V.sum(1)[None] * gained / (hidden - hidden_start)
    score = lambda x: jnp.sum(jax.nn.relu(x @ W) @ V)
    agree(attribution.deeplift_rescale(score, baseline=START)(X), (X - START) * (g @ W.T))


PRIMITIVES = "abs asin asinh atan atanh cos cosh erf erfc exp exp2 expm1 log log1p rsqrt sin sinh sqrt square tan tanh"
ACTIVATIONS = (
    "celu elu gelu hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid mish relu relu6 selu sigmoid silu soft_sign "
    "softplus sparse_plus sparse_sigmoid squareplus"
)
NONLINEAR = {
    **{f"lax.{n}": getattr(jax.lax, n) for n in PRIMITIVES.split()},
    **{f"nn.{n}": getattr(jax.nn, n) for n in ACTIVATIONS.split()},
    **{f"ops.{n}": getattr(fg.ops, n) for n in ACTIVATIONS.split()},
    "gelu as PyTorch's": lambda x: jax.nn.gelu(x, approximate=False),
    "leaky_relu with a slope": lambda x: jax.nn.leaky_relu(x, 0.3),
    "a power": lambda x: x**3,
    "maximum": lambda x: jnp.maximum(0.4, x),
    "minimum": lambda x: jnp.minimum(x, 0.4),
    "clip": lambda x: jnp.clip(x, 0.3, 0.5),
    "clamp": lambda x: jax.lax.clamp(0.3, x, 0.5),
    "rounding": lambda x: jnp.round(8 * x),
    "linear": lambda x: 2 * x,
    "in a scan": lambda x: jax.lax.scan(lambda c, _: (jax.nn.relu(c - 0.3), None), x, length=2)[0],
    "in a checkpoint": jax.checkpoint(jax.nn.softplus),
}


@pytest.mark.parametrize("house", ["lax", "nn", "ops", "other"])
def test_contributions_are_the_differences_of_outputs(house):
    """Of elementwise functions, each entry's; all in one gradient, a row each."""
    functions = {n: f for n, f in NONLINEAR.items() if (n.split(".")[0] if "." in n else "other") == house}
    factors = jnp.array([1.0, -2.0, 3.0, 5.0])
    at, start = jnp.array([0.1, 0.35, 0.8, 0.6]), jnp.array([0.5, 0.45, 0.2, 0.6])  # the last is where it started
    rows = lambda x: {n: f(x[n] + 0.01) for n, f in functions.items()}
    score = lambda x: sum(y @ factors for y in rows(x).values())
    x, x_start = dict.fromkeys(functions, at), dict.fromkeys(functions, start)
    found = attribution.deeplift_rescale(score, baseline=x_start)(x)
    gained = jax.tree.map(jnp.subtract, rows(x), rows(x_start))
    for name in functions:
        np.testing.assert_allclose(found[name], factors * gained[name], rtol=1e-9, atol=1e-12, err_msg=name)


POOLS = {
    "ops": lambda x: fg.ops.max_pool2d(x, window=2),
    "lax": lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
}


@pytest.mark.parametrize("name", POOLS)
def test_max_pooling_by_hand(name):
    """What the input's maximum has over the reference's belongs to the place of either."""
    x, start = (jnp.array(v)[None, :, :, None] for v in ([[5.0, 1.0], [0.0, 2.0]], [[1.0, 1.0], [3.0, 0.0]]))
    score = lambda x: 7 * jnp.sum(POOLS[name](x))
    agree(attribution.deeplift_rescale(score, baseline=start)(x)[0, :, :, 0], [[14.0, 0.0], [0.0, 0.0]])
    agree(attribution.deeplift_rescale(score, baseline=x)(start)[0, :, :, 0], [[-14.0, 0.0], [0.0, 0.0]])
    x = x.at[0, 1, 0, 0].set(-1.0)
    assert attribution.deeplift_rescale(score, baseline=start)(x).sum() == 7 * (5 - 3)


def test_rules_of_the_user_come_first():
    rules = fg.RuleSet().override(jnp.tanh, lambda g: g)
    score = lambda x: jnp.sum(jnp.tanh(jax.nn.relu(x)))
    agree(attribution.deeplift_rescale(score, rules=rules)(X), jnp.maximum(X, 0))


@pytest.mark.parametrize(
    "f", [lambda x: x @ jnp.sin(x), lambda x: jax.nn.softmax(x)[0], jnp.max, lambda x: jnp.where(x > 1, x**2, 0).sum()]
)
def test_what_keeps_its_gradient_makes_the_sum_another(f):
    x = jnp.array([0.3, 1.2, 2.0])
    start = jnp.array([2.5, 0.9, -1.0])
    found = attribution.deeplift_rescale(f, baseline=start)(x).sum()
    assert abs(found - (f(x) - f(start))) > 1e-3


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 1 / (1 + x), lambda x: (1 + x) ** 1.5, lambda x: 2.0**x, lambda x: x / 2,
        lambda x: jax.scipy.special.gammaln(1 + x), lambda x: jax.scipy.special.erfinv(x / 5),
        lambda x: jax.scipy.special.digamma(1 + x),
    ],
)  # fmt: skip
def test_contributions_sum_to_the_difference(f):
    x, start = jnp.array([1.0, 3.0]), jnp.array([0.3, 0.2])
    found = attribution.deeplift_rescale(lambda x: f(x).sum(), baseline=start)(x).sum()
    np.testing.assert_allclose(found, f(x).sum() - f(start).sum(), rtol=1e-9)


# -- errors --------------------------------------------------------------------------------------------------------


def test_what_does_not_fit():
    for name in ("gradient_times_input", "deeplift_rescale"):
        with raises_sentence(GradientError, rf"{name}: argnums has 2, but there are 1 positional arguments\."):
            METHODS[name](net, (0, 2))(X)
    for baseline, found in ((jnp.zeros(2), r"f64\[2\]"), ((X, X), r"\(f64\[2,3\], f64\[2,3\]\)")):
        with raises_sentence(
            GradientError,
            rf"integrated_gradients: the baseline must be like the input, f64\[2,3\], got {found}\.",
        ):
            attribution.integrated_gradients(net, baseline=baseline)(X)
    with raises_sentence(GradientError, r"integrated_gradients: steps must be 1 or more, got 0\."):
        attribution.integrated_gradients(net, steps=0)
    with raises_sentence(GradientError, r"smooth_grad: samples must be 1 or more, got 0\."):
        attribution.smooth_grad(net, KEYS[0], samples=0)
    with raises_sentence(
        GradientError,
        r"grad_cam: 'h' is f64\[2,3\], which has no axis -3; say by positions= and channel= which axes are what\.",
    ):
        attribution.grad_cam(lambda x: jnp.sum(fg.name(2 * x, "h")), "h")(X)
    for axes, twice in (({"channel": 1}, 1), ({"positions": (2, -2)}, 2)):
        positions, channel = axes.get("positions", (-3, -2)), axes.get("channel", -1)
        with raises_sentence(
            GradientError,
            rf"grad_cam: 'h' is f64\[1,2,3,4\], of which positions={re.escape(str(positions))} and channel={channel} "
            rf"name axis {twice} twice; where channels come first, pass positions=\(-2, -1\), channel=-3\.",
        ):
            attribution.grad_cam(lambda x: jnp.sum(fg.name(2 * x, "h")), "h", **axes)(jnp.ones((1, 2, 3, 4)))


def test_the_rules_hold_to_what_they_claim_where_they_are_linear():
    """They are not where the cotangent changes its sign; so the two rows of signs are wrong, and nothing else."""
    x = np.random.default_rng(5).normal(size=(3, 4))
    for rules in (attribution.guided_backprop(), attribution.deconvnet()):
        rule = fg.Rule(rules.overrides[0].rule.function, ("x",), fg.modified)
        report = fg.check(fg.ops.relu, [(x,)], rules=fg.RuleSet().override(fg.ops.relu, rule))
        assert {row.name for row in report.wrong} == {"sums", "tiny and huge"}
