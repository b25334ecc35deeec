"""What rules that are put in may ask for: `pull`, `f`, `node`, `key`, `loss_g`; against gradients worked out by JAX."""

from functools import partial
from inspect import Parameter, Signature

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence

X = jnp.array([[0.3, -0.5, 1.0], [0.2, 0.1, -2.0]])
W = jnp.arange(12.0).reshape(3, 4) / 10
RULES = fg.RuleSet()


def loss(x, w):
    return jnp.sum(jnp.tanh(fg.ops.linear(x, w)) ** 2)


def reversal(g, pull):
    return -pull(g)


def noise(g, pull, key):
    return pull(g) + jax.random.normal(key, g.shape, g.dtype)


def agree(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


GRADIENT = jax.grad(lambda x, w: jnp.sum(jnp.tanh(x @ w) ** 2), argnums=(0, 1))(X, W)


@pytest.mark.parametrize("target", [(fg.ops.linear, "x"), ("tanh",), (jnp.tanh,), (jax.lax.tanh, "x")])
def test_pull_is_what_the_rule_replaces(target):
    function, *arguments = target
    rules = RULES.override(function, reversal, *arguments)
    agree(fg.grad(loss, rules=rules)(X, W), -GRADIENT[0])
    agree(jax.jit(fg.grad(loss, rules=rules))(X, W), -GRADIENT[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.sum(jax.nn.softmax(x) ** 2),
        lambda x: jnp.sum(jax.nn.relu(x) ** 2),
        lambda x: jnp.sum(jax.nn.silu(x) ** 2),
        lambda x: jnp.sum(jnp.cumsum(x) ** 2),
    ],
)
def test_pull_of_what_is_derived(function):
    name = fg.trace(function, X).nodes[0]
    target = {"softmax": jax.nn.softmax, "relu": jax.nn.relu, "silu": jax.nn.silu}
    target = target.get(name.scope.split("/")[-1], target.get(name.op_name, name.op_name))
    agree(fg.grad(function, rules=RULES.override(target, reversal))(X), -jax.grad(function)(X))


def test_pull_of_several_arguments_is_a_mapping():
    def both(g, pull):
        bars = pull(g)
        return {"x": 2 * bars["x"], "w": 3 * bars["w"]}

    found = fg.grad(loss, argnums=(0, 1), rules=RULES.override(fg.ops.linear, both, "x", "w"))(X, W)
    agree(found[0], 2 * GRADIENT[0])
    agree(found[1], 3 * GRADIENT[1])


@pytest.mark.parametrize("bias", [lambda g, pull: pull(g), lambda g, pull: pull(g) | {"b": None}])
def test_an_absent_argument_may_be_given_as_none(bias):
    rules = RULES.override(fg.ops.linear, bias, "x", "w", "b")
    for found, expected in zip(fg.grad(loss, argnums=(0, 1), rules=rules)(X, W), GRADIENT, strict=True):
        agree(found, expected)


def test_of_two_sets_with_keys_the_right_one_s_serves_both():
    left, right = (RULES.override(f, noise).with_key(jax.random.key(i)) for i, f in enumerate(("tanh", "integer_pow")))
    joined = RULES.override("tanh", noise).override("integer_pow", noise).with_key(jax.random.key(1))
    agree(fg.grad(loss, rules=left | right)(X, W), fg.grad(loss, rules=joined)(X, W))


def test_pull_of_the_override_below():
    doubled = RULES.override("tanh", lambda g, y: 2 * g * (1 - y**2))
    stacked = doubled.override("tanh", reversal).override("tanh", lambda g, pull: 5 * pull(g))
    agree(fg.grad(loss, rules=stacked)(X, W), -10 * GRADIENT[0])
    # Of two arguments, one has an override below, the other its own rule.
    below = RULES.override(fg.ops.linear, lambda g, w: 7 * g @ w.T, "x")
    over = below.override(fg.ops.linear, lambda g, pull: pull(-g), "x", "w")
    found = fg.grad(loss, argnums=(0, 1), rules=over)(X, W)
    agree(found[0], -7 * GRADIENT[0])
    agree(found[1], -GRADIENT[1])


def test_pull_of_a_rule_below_that_asks_for_a_key():
    rules = RULES.override("tanh", noise).override("tanh", reversal).with_key(jax.random.key(0))
    alone = RULES.override("tanh", noise).with_key(jax.random.key(0))
    agree(fg.grad(loss, rules=rules)(X, W), -fg.grad(loss, rules=alone)(X, W))


def test_a_marked_argument_is_pulled_as_zeros():
    rules = RULES.override(jnp.round, lambda g, pull: g + pull(g))
    agree(fg.grad(lambda x: jnp.sum(3 * jnp.round(x)), rules=rules)(X), jnp.full(X.shape, 3.0))


def test_f_at_changed_arguments():
    def doubled_weight(g, f, x, w):
        return jax.vjp(lambda x: f(x, 2 * w), x)[1](g)[0]

    def own(g, f, x):
        return jax.vjp(f, x)[1](g)[0]

    def by_name(g, f, x, w):
        return jax.vjp(lambda x: f(x, w=2 * w), x)[1](g)[0]

    for rule, factor in ((doubled_weight, 2), (own, 1), (by_name, 2)):
        agree(fg.grad(loss, rules=RULES.override(fg.ops.linear, rule, "x"))(X, W), factor * GRADIENT[0])


def test_what_is_not_run_costs_nothing():
    asks = RULES.override("tanh", lambda g, pull, f: g)
    plain = RULES.override("tanh", lambda g: g)
    plans = [fg.plan(loss, X, W, rules=rules) for rules in (asks, plain)]
    assert plans[0].totals == plans[1].totals
    read = [next(p.reads for p in plan.pullbacks if p.node.name == "tanh") for plan in plans]
    assert read == [(), ()]


def test_the_node_is_the_one_where_it_stands():
    seen = []

    def rule(g, node):
        seen.append((node.name, node.op_name))
        return g

    fg.grad(lambda x: jnp.tanh(jnp.tanh(x)).sum(), rules=RULES.override("tanh", rule))(X)
    assert set(seen) == {("tanh", "tanh"), ("tanh#2", "tanh")}


def test_keys_differ_by_node_turn_and_seed_and_by_nothing_else():
    def drawn(g, key):
        return jax.random.normal(key, g.shape, g.dtype)

    def loop(x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c), None), jnp.sin(x), None, length=3)[0].sum()

    rules = RULES.override("tanh", drawn).override("sin", drawn)

    def gradients(seed):
        return fg.grad(loop, wrt=fg.Where("tanh") | "sin" | "x", rules=rules.with_key(jax.random.key(seed)))(X)

    first, again, other = gradients(0), jax.jit(gradients)(0), gradients(1)
    for name, g in first.items():
        agree(g, again[name])
    turns = first["tanh"]  # what arrives there in each turn: from the next one, and from the loss at the last
    agree(turns[2], jnp.ones_like(X))
    assert jnp.all(turns[0] != turns[1])
    assert jnp.all(first["sin"] != first["x"])
    assert jnp.all(first["x"] != other["x"])
    assert jnp.all(turns[:2] != other["tanh"][:2])


def test_a_hook_draws():
    def noisy(g, key):
        return g + jax.random.normal(key, g.shape, g.dtype)

    rules = RULES.hook("h", noisy)

    def named(x):
        return jnp.sum(fg.name(2 * x, "h"))

    a, b = (fg.grad(named, rules=rules.with_key(jax.random.key(i)))(X) for i in (0, 1))
    assert jnp.all(a != b)
    agree(jax.jit(lambda: fg.grad(named, rules=rules.with_key(jax.random.key(0)))(X))(), a)
    with raises_sentence(
        RuleError,
        r"h: hook noisy asks for a random key, and the set has none; give it one in every step, as "
        r"rules\.with_key\(jax\.random\.key\(0\)\)\.",
    ):
        fg.grad(named, rules=rules)(X)


def net(x, w, v):
    return jnp.sum(fg.name(jnp.tanh(x @ w) @ v, "logits") ** 2)


V, FEEDBACK = jnp.ones((4, 2)), jnp.arange(8.0).reshape(2, 4)


def broadcast(g, y, loss_g):
    return (loss_g @ FEEDBACK) * (1 - y**2)


def test_direct_feedback():
    rules = RULES.override("tanh", broadcast).with_signal("logits")
    h = jnp.tanh(X @ W)
    expected = ((2 * (h @ V) @ FEEDBACK) * (1 - h**2)) @ W.T
    agree(fg.grad(net, rules=rules)(X, W, V), expected)
    agree(jax.jit(fg.grad(net, rules=rules))(X, W, V), expected)
    # Without a name it is the cotangent of the output: of a loss, one.
    ones = RULES.override("tanh", lambda g, loss_g, y: g * loss_g * (1 - y**2))
    agree(fg.grad(net, rules=ones)(X, W, V), jax.grad(net)(X, W, V))


def test_wrong_requests():
    with raises_sentence(
        RuleError,
        r"tanh: rule noise asks for a random key, and the set has none; give it one in every step, as "
        r"rules\.with_key\(jax\.random\.key\(0\)\)\.",
    ):
        fg.grad(loss, rules=RULES.override("tanh", noise))(X, W)
    with raises_sentence(
        RuleError, r"tanh: rule cut calls pull with f64\[4\], and the cotangent there is f64\[2,4\]\."
    ):

        def cut(g, pull):
            return pull(g[0])

        fg.grad(loss, rules=RULES.override("tanh", cut))(X, W)
    for wrong, found in (
        (lambda g, pull: pull(jnp.ones(3, jnp.int32)), r"i32\[3\], and the cotangent there is f64\[2,4\]"),
        (lambda g, pull: pull(None), r"nothing, and the cotangent there is f64\[2,4\]"),
        (lambda g, pull: pull(), r"\(\), and it takes one argument, the cotangent f64\[2,4\]"),
        (
            lambda g, pull: pull(g, g),
            r"\(f64\[2,4\], f64\[2,4\]\), and it takes one argument, the cotangent f64\[2,4\]",
        ),
        (lambda g, pull: pull(h=g), r"\(h=f64\[2,4\]\), and it takes one argument, the cotangent f64\[2,4\]"),
    ):
        with raises_sentence(RuleError, rf"tanh: rule <lambda> calls pull with {found}\."):
            fg.grad(loss, rules=RULES.override("tanh", wrong))(X, W)
    with raises_sentence(RuleError, r"tanh: f takes x, got 2 of them\."):
        fg.grad(loss, rules=RULES.override("tanh", lambda g, f: f(g, g)))(X, W)
    with raises_sentence(RuleError, r"tanh: f takes x, got 'z'\."):
        fg.grad(loss, rules=RULES.override("tanh", lambda g, f: f(z=g)))(X, W)
    with raises_sentence(RuleError, r"tanh: f takes x as f64\[2,4\], got \(f64\[2,4\], f64\[2,4\]\)\."):
        fg.grad(loss, rules=RULES.override("tanh", lambda g, f: f((g, g))))(X, W)
    with raises_sentence(RuleError, r"with_key: expected a random key, jax\.random\.key\(0\), got i64\[\]\."):
        RULES.with_key(3)


def test_wrong_signals():
    start = r"tanh: the rule asks for loss_g, the cotangent of "
    rules = RULES.override("tanh", broadcast)
    for at, sentence in {
        "dot_general": start + r"'dot_general', which is made before it, so that the cotangent is not there yet; "
        r"choose a value that comes later, or narrow at=\.",
        "*": start + r"one value, and there is 'x', 'w', 'v', 'dot_general', 'tanh'; say which by "
        r"rules\.with_signal\(name\)\.",
        "logit": r"with_signal\('logit'\): no value or scope is named 'logit'; did you mean 'logits'\?",
    }.items():
        with raises_sentence(RuleError, sentence):
            fg.grad(net, rules=rules.with_signal(at))(X, W, V)


def test_printed_and_compared():
    rules = RULES.override("tanh", broadcast, kind=fg.modified).with_signal("logits")
    assert str(rules).splitlines() == [
        "tanh at '**': broadcast for its argument (modified)",
        "loss_g: the cotangent of 'logits'",
    ]
    assert str(rules.with_key(jax.random.key(0))).splitlines() == [*str(rules).splitlines(), "key: one is set"]
    assert "key: one is set" in repr(RULES.with_key(jax.random.key(0)))
    assert "key" not in repr(RULES)


def test_through_vmap_and_second_derivatives():
    rules = RULES.override(fg.ops.linear, reversal, "x")
    agree(jax.vmap(lambda x: fg.grad(loss, rules=rules)(x, W))(X), -GRADIENT[0])
    over = fg.grad(lambda x: jnp.sum(jax.vmap(loss, (0, None))(x, W)), rules=rules)
    agree(over(X), -GRADIENT[0])
    twice = jax.grad(lambda x: fg.grad(loss, rules=rules)(x, W).sum())(X)
    agree(twice, -jax.grad(lambda x: jax.grad(loss)(x, W).sum())(X))


# -- whole numbers that a node reads ---------------------------------------------------------------------------

TABLE, IDS = jnp.arange(12.0).reshape(4, 3), jnp.array([2, 0, 2])


def by_ids(g, table_aval, ids):
    return jnp.zeros(table_aval.shape, table_aval.dtype).at[ids].add(g * (1.0 + ids[:, None].astype(g.dtype)))


READERS = {
    "an op": (fg.ops.embedding, fg.ops.embedding, ("table", "ids")),
    "a function of JAX": (lambda table, ids: jnp.take(table, ids, axis=0), jnp.take, ("a", "indices")),
    "a primitive": (lambda table, ids: table[ids], "gather", ("operand", "start_indices")),
    "a jitted function": (jax.jit(lambda table, ids: table[ids], inline=False), "<lambda>", ("table", "ids")),
    "a custom derivative": (jax.custom_jvp(lambda table, ids: table[ids]), "<lambda>", ("table", "ids")),
}
READERS["a custom derivative"][0].defjvp(lambda x, t: (x[0][x[1]], t[0][x[1]]))


@pytest.mark.parametrize("reader", READERS)
def test_whole_numbers_are_asked_for_by_name(reader):
    function, target, (table, ids) = READERS[reader]

    def named(g, **told):
        at = told[ids].reshape(-1)
        return by_ids(g.reshape(-1, 3), told[f"{table}_aval"], at)

    parameters = [Parameter(n, Parameter.KEYWORD_ONLY) for n in ("g", f"{table}_aval", ids)]
    named.__signature__ = Signature(parameters)
    rules = RULES.override(target, named, table)
    loss = lambda t, i: jnp.sum(function(t, i) ** 2)
    weighted = lambda t, i: jnp.sum((1.0 + i[:, None].astype(t.dtype)) * t[i] ** 2)
    expected = jax.grad(weighted)(TABLE, IDS)
    agree(fg.grad(loss, rules=rules)(TABLE, IDS), expected)
    agree(jax.jit(fg.grad(lambda t: loss(t, IDS), rules=rules))(TABLE), expected)
    scanned = lambda t, i: jax.lax.scan(lambda c, i: (c + jax.checkpoint(loss)(t, i[None]), None), 0.0, i)[0]
    agree(fg.grad(scanned, rules=rules)(TABLE, IDS), expected)


# -- markers ---------------------------------------------------------------------------------------------------


def stopped(x, w):
    return jnp.tanh(fg.ops.linear(jax.lax.stop_gradient(x), w))


@pytest.mark.parametrize("marker", [fg.Marker.ZERO, fg.Marker.NON_DIFFERENTIABLE])
@pytest.mark.parametrize("target", [(fg.ops.linear, "x"), ("dot_general", "lhs")])
def test_a_marked_argument_gets_no_cotangent(marker, target):
    function, argument = target
    product = fg.ops.linear if function is fg.ops.linear else lambda x, w: x @ w

    def scanned(layer):
        return lambda x, ws: jnp.sum(jax.lax.scan(lambda h, w: (layer(h, w), None), x, ws)[0] ** 2)

    ws = jnp.stack([W[:, :3], -W[:, :3]])
    rules = RULES.override(function, marker, argument)
    found = fg.grad(scanned(lambda h, w: jnp.tanh(product(h, w))), argnums=(0, 1), rules=rules)(X, ws)
    for a, b in zip(found, jax.grad(scanned(stopped), argnums=(0, 1))(X, ws), strict=True):
        agree(a, b)
    agree(found[0], jnp.zeros_like(X))


def test_a_marker_is_printed_and_stops_the_pass():
    rules = RULES.override("tanh", fg.Marker.ZERO).override(fg.ops.linear, fg.Marker.ZERO, "w", at="linear")
    assert str(rules).splitlines() == [
        "tanh at '**': zero for its argument (marked)",
        "linear at 'linear': zero for w (marked)",
    ]
    both = lambda x, w: jnp.sum(jnp.sin(fg.ops.linear(x, w)) + jnp.tanh(x @ w))
    plan = fg.plan(both, X, W, argnums=(0, 1), rules=rules)
    printed = {row.node: [(r.arguments, r.name, r.claim) for r in row.rules] for row in plan.rows}
    assert printed["linear"] == [(("x",), "linear_x", "exact"), (("w",), "zero", "marked")]
    assert printed["tanh"] == [(("x",), "zero", "marked")]
    assert "linear_x; w: zero [marked]" in plan.table()
    assert "x: zero [marked]" in plan.table()
    assert "modified" not in dict(plan.totals.kinds)


def test_a_marker_below_a_rule_is_pulled_as_zeros():
    rules = RULES.override("tanh", fg.Marker.ZERO).override("tanh", lambda g, pull: g + pull(g))
    agree(fg.grad(lambda x: jnp.sum(jnp.tanh(x)), rules=rules)(X), jnp.ones_like(X))
    both = RULES.override(fg.ops.linear, fg.Marker.ZERO, "x", "w")
    over = both.override(fg.ops.linear, lambda g, pull, w: pull(g) + g @ w.T, "x")
    agree(fg.grad(lambda x: jnp.sum(fg.ops.linear(x, W)), rules=over)(X), jnp.ones((2, 4)) @ W.T)
    # And one above: the latest wins.
    agree(fg.grad(loss, rules=over.override(fg.ops.linear, fg.Marker.ZERO, "x"))(X, W), jnp.zeros_like(X))


def test_wrong_markers():
    with raises_sentence(
        RuleError,
        r"linear: the derivative with respect to x is marked not implemented, and the gradient passes through it; "
        r"register a rule, override it, or detach x\.",
    ):
        fg.grad(loss, rules=RULES.override(fg.ops.linear, fg.Marker.NOT_IMPLEMENTED, "x"))(X, W)
    for what, given in {"kind": fg.exact, "keep": {"m": lambda x: x > 0}}.items():
        with raises_sentence(
            RuleError,
            rf"override of relu: fg\.Marker\.ZERO says that nothing flows, and takes no {what}=; "
            r"leave that out, or pass a rule\.",
        ):
            RULES.override(fg.ops.relu, fg.Marker.ZERO, **{what: given})


# -- wrong cotangents ------------------------------------------------------------------------------------------


def test_a_wrong_cotangent_is_said_with_the_node_and_the_line_of_the_rule():
    def tall(g, x):
        return jnp.concatenate([g, g])

    def whole(g, x):
        return g.astype(jnp.int32)

    def missing(g, x):
        return None

    def nested(g, x):
        return {"x": g}

    def net(x):
        return jnp.sum(jax.lax.scan(lambda h, _: (jnp.tanh(h), None), jnp.sin(x), None, length=2)[0])

    expected = r"must return the cotangent of x as f64\[2,3\], got "
    for rule, found in (
        (tall, r"f64\[4,3\]\."),
        (whole, r"i32\[2,3\]; return a floating cotangent\."),
        (missing, r"NoneType; return an array\."),
        (nested, r"\{'x': f64\[2,3\]\}\."),
    ):
        line = rule.__code__.co_firstlineno
        for node in ("sin", "tanh"):
            name = rf"{rule.__name__} \(test_settings\.py:{line}\)"
            with raises_sentence(RuleError, rf"{node}: rule {name} {expected}{found}"):
                fg.grad(net, rules=RULES.override(node, rule))(X)
        # Also of a partial, of which the function is named.
        with raises_sentence(RuleError, rf"sin: rule {name} {expected}{found}"):
            fg.grad(net, rules=RULES.override("sin", partial(rule)))(X)
