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
        (fg.Region(sums="add"), r"the graph has no such sum of two activations\."),
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
        r"affine= or bilinear= products, sums= of activations, statistics=True\."
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


# -- what is affine ------------------------------------------------------------------------------------------------

V = jnp.asarray(np.random.default_rng(1).standard_normal((4, 3)), jnp.float32)
B = jnp.asarray(np.random.default_rng(2).standard_normal(3), jnp.float32)


def pieces_of(f, p, x, target):
    """Weight and bias of the one affine region that `target` finds in `f`, whose gradient by them is held to JAX's."""
    seen = []

    def rule(g, affine, x, y):
        jax.debug.callback(lambda *pieces: seen.append(pieces), affine.weight, affine.bias)
        return rebuilt(g, affine, x, y)

    loss = lambda x: jnp.sum(jnp.sin(f(p, x)))
    with jax.numpy_rank_promotion("allow"):
        agree(fg.grad(loss, rules=RULES.override(target, rule))(x), jax.grad(loss)(x))
    jax.effects_barrier()
    ((weight, bias),) = seen
    return weight, bias


SHAPES = {"[d]": (3,), "[1,d]": (1, 3), "[1,1,d]": (1, 1, 3), "scalar": ()}
ADD = {"jnp": jnp.add, "ops": fg.ops.add, "first": lambda z, b: b + z, "sub": lambda z, b: b - (-z)}


@pytest.mark.parametrize("batch", [(), (2,), (1,), (2, 5)], ids=str)
def test_what_is_added_to_a_product_is_its_bias_whatever_its_shape(batch):
    x = jnp.asarray(np.random.default_rng(3).standard_normal((*batch, 4)), jnp.float32)
    biases = {n: jnp.broadcast_to(B, s) if s else B[0] for n, s in SHAPES.items()}
    biases |= {"of each example": jnp.cos(jnp.arange(3.0 * x.size / 4, dtype=jnp.float32)).reshape(*batch, 3)}
    biases |= {"a number": np.float32(0.3), "broadcast": jnp.broadcast_to(B, (*batch, 3))}
    for name, add in [*((name, "jnp") for name in biases), *(("[1,d]", add) for add in ADD)]:
        b, f = biases[name], lambda p, x, add=add: ADD[add](x @ p["w"], p["b"])
        weight, bias = pieces_of(f, {"w": V, "b": b}, x, fg.Region(affine="dot_general"))
        agree(weight, V)
        np.testing.assert_allclose(bias, np.broadcast_to(b, bias.shape), rtol=1e-6, err_msg=name)
        assert bias.size == 3 * x.size / 4


FACTORS = {
    "jnp": lambda z, p: (z - p["m"]) * p["s"] + p["t"],
    "shift first": lambda z, p: z * p["s"] + (p["t"] - p["m"] * p["s"]),
    "ops": lambda z, p: fg.ops.add(fg.ops.multiply(fg.ops.subtract(z, p["m"]), p["s"]), p["t"]),
    "the factor first": lambda z, p: fg.ops.multiply(p["s"], z - p["m"]) + p["t"],
    "divided": lambda z, p: fg.ops.divide(z - p["m"], 1 / p["s"]) + p["t"],
    "turned": lambda z, p: -((p["m"] - z) * p["s"] - p["t"]),
    "negative": lambda z, p: fg.ops.negative(fg.ops.subtract(p["m"], z)) * p["s"] + p["t"],
    "broadcast before": lambda z, p: (z - jnp.broadcast_to(p["m"], z.shape)) * (
        2 * jnp.broadcast_to(p["s"], z.shape) / 2) + p["t"],
    "batch norm": lambda z, p: fg.ops.batch_norm_inference(z, p["m"], 1 / p["s"] ** 2, bias=p["t"], eps=0.0),
}  # fmt: skip
NORM = {"m": B, "s": jnp.abs(B) + 0.5, "t": B[::-1]}
X4 = jnp.asarray(np.random.default_rng(4).standard_normal((2, 5, 4)), jnp.float32)


@pytest.mark.parametrize("name", FACTORS)
def test_scales_are_merged_however_they_are_written(name):
    f = lambda p, x: FACTORS[name](x @ p["w"], p)
    weight, bias = pieces_of(f, {"w": V, **NORM}, X4, fg.Region(affine="dot_general"))
    agree(weight, V * NORM["s"][None])
    agree(bias, jnp.broadcast_to(NORM["t"] - NORM["m"] * NORM["s"], bias.shape))


@pytest.mark.parametrize("name", ["jnp", "shift first", "ops", "batch norm"])
def test_merged_scales_keep_their_digits_beside_large_means(name):
    """`f(1) - f(0)` would have none left: the mean is 1e7 of them."""
    p = {"w": V, **NORM, "m": jnp.full(3, 1e7, jnp.float32)}
    region, f = fg.Region(affine="dot_general"), lambda p, x: FACTORS[name](x @ p["w"], p)
    seen = []
    rule = lambda g, affine, pull: (jax.debug.callback(seen.append, affine.weight), pull(g))[1]
    with jax.numpy_rank_promotion("allow"):
        fg.grad(lambda x: jnp.sum(f(p, x)), rules=RULES.override(region, rule))(X4)
    jax.effects_barrier()
    exact = np.asarray(V, np.float64) * np.asarray(NORM["s"], np.float64)
    np.testing.assert_allclose(seen[0], exact, rtol=3e-7)


ENTRIES = {
    "add": lambda p, x: x + p["t"],
    "sub": lambda p, x: x - p["m"],
    "mul": lambda p, x: p["s"] * x,
    "div": lambda p, x: x / p["s"],
    "batch_norm_inference": lambda p, x: fg.ops.batch_norm_inference(x, p["m"], p["s"], bias=p["t"]),
    "multiply": lambda p, x: fg.ops.multiply(x, p["s"]),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_affine_region_may_begin_with_no_product(name):
    p, x = {"w": V, **NORM}, jnp.asarray(np.random.default_rng(5).standard_normal((2, 5, 3)), jnp.float32)
    after = lambda p, x: (ENTRIES[name](p, jnp.cos(x)) * p["s"] - p["t"]).transpose(2, 0, 1)
    weight, bias = pieces_of(after, p, x, fg.Region(affine=name))
    with jax.numpy_rank_promotion("allow"):
        one, zero = (ENTRIES[name](p, jnp.full((1, 1, 3), v, jnp.float32)) * p["s"] - p["t"] for v in (1.0, 0.0))
    assert weight.shape == (1, 1, 3)
    agree(weight, one - zero)
    agree(bias, jnp.broadcast_to(zero, bias.shape))


def test_what_begins_no_affine_region():
    """Two activations, a number from which they are taken, a divisor; and a later factor that differs by example."""
    x, p = jnp.ones((2, 3), jnp.float32), {"m": B}
    for f in (lambda p, x: jnp.sin(x) - jnp.cos(x), lambda p, x: p["m"] - x, lambda p, x: p["m"] / jnp.exp(x)):
        with (
            jax.numpy_rank_promotion("allow"),
            raises_sentence(
                RuleError,
                r"The override of affine sub\|div at '\*\*' matches nothing; the graph has no such product of "
                r"activations with parameters, which are constants and what comes in containers; pass a weight in one, "
                r"as \{'w': w\}\.",
            ),
        ):
            fg.grad(lambda x, f=f: f(p, x).sum(), rules=RULES.override(fg.Region(affine=("sub", "div")), reversal))(x)


# -- statistics ----------------------------------------------------------------------------------------------------


def softmax(x):
    e = jnp.exp(x - jax.lax.stop_gradient(x.max(-1, keepdims=True)))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x):
    c = x - x.mean(-1, keepdims=True)
    return c * jax.lax.rsqrt((c**2).mean(-1, keepdims=True) + 1e-5)


def shared(x):
    """What excites and squeezes: its mean comes back by way of a product."""
    return x * jax.nn.sigmoid(x.mean((0, 1)) @ jnp.ones((8, 8), jnp.float32))[None, None]


NORMALIZED = {
    "softmax": softmax,
    "layer norm": layer_norm,
    "jax.nn.softmax": jax.nn.softmax,
    "jax.nn.log_softmax": jax.nn.log_softmax,
    "jax.nn.standardize": jax.nn.standardize,
    "norm of length one": lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
    "nnx.LayerNorm": nnx.LayerNorm(8, rngs=nnx.Rngs(0)),
    "nnx.LayerNorm, two passes": nnx.LayerNorm(8, use_fast_variance=False, rngs=nnx.Rngs(0)),
    "nnx.RMSNorm": nnx.RMSNorm(8, rngs=nnx.Rngs(0)),
    "nnx.GroupNorm": nnx.GroupNorm(8, num_groups=4, rngs=nnx.Rngs(0)),
    "eqx.nn.LayerNorm": jax.vmap(jax.vmap(eqx.nn.LayerNorm(8))),
    "eqx.nn.RMSNorm": jax.vmap(jax.vmap(eqx.nn.RMSNorm(8))),
    "our ops": lambda x: fg.ops.subtract(x, fg.ops.mean(x, axis=-1, keepdims=True)),
}


def test_statistics_are_one_region_with_what_they_are_of():
    """Each of them one, and what is added around it none of it; all reversed in one gradient, a row each."""
    x = jnp.asarray(np.random.default_rng(6).standard_normal((len(NORMALIZED), 2, 5, 8)), jnp.float32)
    w = jnp.asarray(np.random.default_rng(7).standard_normal(x.shape), jnp.float32)
    rules = RULES.override(fg.Region(statistics=True), reversal)

    def loss(x):
        rows = [jnp.sum(jnp.sin(x[i] + f(2 * x[i])) * w[i]) for i, f in enumerate(NORMALIZED.values())]
        return sum(rows[1:], rows[0])

    def turned(x):
        through = lambda f, x: 2 * jax.lax.stop_gradient(f(x)) - f(x)
        rows = [jnp.sum(jnp.sin(x[i] + through(f, 2 * x[i])) * w[i]) for i, f in enumerate(NORMALIZED.values())]
        return sum(rows[1:], rows[0])

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        plan, expected = fg.plan(loss, x, rules=rules), jax.grad(turned)(x)
        agree(fg.grad(loss, rules=rules)(x), expected)
        assert np.abs(expected - jax.grad(loss)(x)).max((1, 2, 3)).min() > 0.1
    regions = [step.node.name for step in plan.steps if step.node.op_name == "statistics"]
    assert len(regions) == len(NORMALIZED)


def test_what_is_no_statistic():
    for f in (shared, lambda x: x.mean((0, 1)), lambda x: x * jnp.sin(x), lambda x: x - jnp.ones(8, x.dtype).sum()):
        plan = fg.plan(
            lambda x, f=f: jnp.sum(f(x)),
            jnp.ones((2, 5, 8), jnp.float32),
            rules=RULES.override(fg.Region(statistics=True), reversal, optional=True),
        )
        assert not [step for step in plan.steps if step.node.op_name == "statistics"]
