"""A plan knows, before anything runs, which rules run, what they read and what that costs."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.naming import matches
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
W1 = jnp.linspace(0.5, -0.5, 20).reshape(4, 5)
W2 = jnp.linspace(-0.3, 0.7, 10).reshape(5, 2)
ITEM = X.dtype.itemsize


def mlp(params, x):
    h = ops.relu(ops.linear(x, params["w1"]))
    return jnp.sum(ops.linear(h, params["w2"]) ** 2)


PARAMS = {"w1": W1, "w2": W2}


def row(plan: fg.Plan, node: str):
    return next(r for r in plan.rows if r.node == node)


def test_a_rule_keeps_only_what_it_names():
    plan = fg.plan(mlp, PARAMS, X)
    assert row(plan, "relu").keeps == ("relu",)  # its own output, which linear#2 keeps anyway
    assert row(plan, "linear").keeps == ("x",)
    (read,) = row(plan, "linear").reads
    assert (str(read), read.value, read.in_place) == ("x*", "x", True)  # an input: read in place, it costs nothing
    assert [v.name for v in plan.kept] == ["x", "relu", "params/w2", "linear#2"]
    assert plan.totals.kept_bytes == (3 * 5 + 3 * 2) * ITEM


def test_what_no_wanted_gradient_passes_through_is_pruned():
    plan = fg.plan(mlp, PARAMS, X)
    (rule,) = row(plan, "linear").rules  # x is not asked for
    assert (rule.arguments, rule.name, rule.kind) == (("w",), "linear_w", "exact")
    (rule,) = row(plan, "relu").rules
    assert (str(rule), rule.kind) == ("x: relu_x [subgradient (0 at 0)]", "subgradient")
    only_w2 = fg.plan(lambda w2: mlp({"w1": W1, "w2": w2}, X), W2)
    assert [n.name for n in only_w2.pruned] == ["linear", "relu"]
    assert list(map(str, row(only_w2, "linear#2").rules)) == ["w: linear_w"]
    assert row(only_w2, "linear").rules == ()


def test_a_rule_of_several_arguments_gives_what_is_asked_for():
    @fg.op(name="scaled_by_both", replace=True)
    def scaled(x, w):
        return x * w

    scaled.pullback("x", "w")(lambda g, x, w: {"x": g * w, "w": g * x})
    plan = fg.plan(lambda x, w: jnp.sum(scaled(x, w)), X, 2 * X, argnums=1)
    (pullback,) = plan.steps[0].pullbacks
    assert (pullback.arguments, [v.name for v in pullback.targets]) == (("w",), ["w"])
    np.testing.assert_array_equal(fg.grad(lambda x, w: jnp.sum(scaled(x, w)), 1)(X, 2 * X), X)


def test_integers_and_detached_values_stop_cotangents():
    def f(x):
        labels = jnp.argmax(x, -1)
        return jnp.sum(ops.cross_entropy(x, labels)) + jnp.sum(fg.detach(jnp.sin(x)))

    plan = fg.plan(f, X)
    assert {"argmax", "sin"} <= {n.name for n in plan.pruned}


def test_saved_values_are_made_only_where_a_rule_reads_them():
    scale, bias = jnp.ones(4), jnp.zeros(4)
    f = lambda x, scale, bias: jnp.sum(ops.layer_norm(x, scale, bias))
    step = fg.plan(f, X, scale, bias, argnums=(0, 1, 2)).steps[0]
    assert step.saved
    assert not fg.plan(f, X, scale, bias, argnums=2).steps[0].saved


def test_flops_are_those_of_the_matrix_products():
    f = lambda x, w: ops.linear(x, w)
    plan = fg.plan(f, X, W1, argnums=(0, 1))
    assert plan.totals.forward_flops == 2 * 3 * 4 * 5
    assert plan.totals.backward_flops == 2 * plan.totals.forward_flops
    assert plan.totals.ratio == 2.0
    assert fg.plan(f, X, W1, argnums=1).totals.ratio == 1.0


@pytest.mark.parametrize(
    ("f", "flops"),
    [
        (lambda x: jnp.sin(x) + x, 24),
        (lambda x: x.reshape(4, 3).T, 0),
        (lambda x: x.sum(), 12),
        (lambda x: jax.lax.scan(lambda c, r: (c + r, None), jnp.zeros(4), x)[0], 3 * 4),
        (lambda x: jnp.einsum("ab,cb->ac", x, x), 2 * 3 * 3 * 4),
        (lambda x: jax.lax.conv(x.reshape(1, 1, 3, 4), jnp.ones((2, 1, 2, 2)), (1, 1), "VALID"), 2 * 2 * 2 * 3 * 4),
    ],
)
def test_flops_of_jax_code(f, flops):
    assert fg.plan(f, X).totals.forward_flops == flops


def test_the_sums_of_cotangents_are_counted_everywhere_in_the_same_way():
    """By hand, of 12 entries: the sine's rule takes a cosine and a product, each other rule a product or nothing."""

    def block(x, w):
        return x + jnp.sin(x) * w  # x is read twice: one addition; w of the first block as well, by the second

    def unrolled(x, w):
        return jnp.sum(block(block(x, w), w))

    def looped(x, w):
        return jnp.sum(jax.lax.scan(lambda x, _: (block(x, w), None), x, None, 2)[0])

    rows = {r.node: r.backward_flops for r in fg.plan(unrolled, X, X, argnums=(0, 1)).rows}
    products, sine, addition = 2 * X.size, 2 * X.size, X.size
    half = addition / 2  # of two readers, each has one half
    block_rows = {"sin": sine + half, "mul": products + half, "add": half}
    assert rows == block_rows | {f"{name}#2": flops for name, flops in block_rows.items()} | {"reduce_sum": 0}
    only_x = fg.plan(unrolled, X, X).totals.backward_flops
    assert only_x == 2 * (sine + X.size + addition)
    loop, *inside, _ = fg.plan(looped, X, X, argnums=(0, 1)).rows
    assert loop.backward_flops == sum(r.backward_flops for r in inside) == 2 * (sine + products + 2 * addition)


def test_flops_agree_with_xla():
    """XLA counts the compiled program; on matrix products the two must be close."""
    width = 256
    params = [jnp.full((width, width), 0.01) for _ in range(3)]

    def loss(params, x):
        for w in params:
            x = ops.tanh(ops.linear(x, w))
        return jnp.sum(x)

    x = jnp.ones((64, width))
    plan = fg.plan(loss, params, x)
    analysis = jax.jit(fg.value_and_grad(loss)).lower(params, x).compile().cost_analysis()
    ours = plan.totals.forward_flops + plan.totals.backward_flops
    assert abs(ours / analysis["flops"] - 1) < 0.03


def test_the_residuals_of_a_loop_are_counted_from_its_vjp():
    f = lambda c, x: jax.lax.scan(lambda c, r: (jnp.sin(c) * r, None), c, x)[0].sum()
    plan = fg.plan(f, X[0], X)
    residuals = jax.tree.leaves(jax.eval_shape(lambda c: jax.vjp(lambda c: f(c, X), c)[1], X[0]))
    assert plan.totals.kept_bytes >= 3 * 4 * ITEM
    assert plan.totals.kept_bytes <= sum(r.size * r.dtype.itemsize for r in residuals)


def test_the_table_names_rules_kinds_bytes_and_totals():
    rules = fg.RuleSet().override(ops.relu, guided, at="relu")
    lines = str(fg.plan(mlp, PARAMS, X, rules=rules)).splitlines()
    assert lines[0].split() == "node shape rule reads keeps forward backward".split()
    assert "x: guided [modified]" in lines[3]
    text = "\n".join(lines)
    assert "times the forward" in text
    assert "1 modified" in text
    assert "wanted   params/w1, params/w2" in text


def guided(g, y):
    return jnp.where((y > 0) & (g > 0), g, jnp.zeros_like(g))


def test_an_override_holds_only_where_its_pattern_matches():
    def f(x):
        with fg.scope("block0"):
            x = ops.relu(x)
        with fg.scope("block1"):
            return jnp.sum(ops.relu(x))

    double = lambda g: 2 * g
    at = lambda pattern: fg.grad(f, rules=fg.RuleSet().override(ops.relu, double, at=pattern))(X)
    plain = np.where(X > 0, 1.0, 0.0)
    np.testing.assert_array_equal(at("block1/*"), 2 * plain)
    np.testing.assert_array_equal(at("block0/relu"), 2 * plain)
    np.testing.assert_array_equal(at("**"), np.full_like(X, 4.0))


def test_an_override_that_matches_nothing_is_an_error():
    rules = fg.RuleSet().override(ops.relu, guided, at="block7/*")
    with raises_sentence(
        fg.errors.RuleError, r"The override of relu at 'block7/\*' matches nothing; its nodes are relu\."
    ):
        fg.plan(mlp, PARAMS, X, rules=rules)
    rules = fg.RuleSet().override(ops.gelu, lambda g: g)
    with raises_sentence(
        fg.errors.RuleError,
        r"The override of gelu at '\*\*' matches nothing; the graph has no gelu node, did you mean 'relu'\?",
    ):
        fg.plan(mlp, PARAMS, X, rules=rules)


def test_an_override_of_what_a_custom_derivative_holds_is_an_error():
    @jax.custom_vjp
    def twice(x):
        return ops.relu(ops.relu(x))

    twice.defvjp(lambda x: (twice(x), None), lambda _, g: (g,))

    def f(x):
        with fg.scope("head"):
            x = ops.relu(x)
        with fg.scope("tail"):
            return jnp.sum(twice(x))

    double = lambda g: 2 * g
    np.testing.assert_array_equal(
        fg.grad(f, rules=fg.RuleSet().override(ops.relu, double, at="head/*"))(X), np.full(X.shape, 2.0)
    )
    with raises_sentence(
        fg.errors.RuleError,
        r"The override of relu at '\*\*' matches 'tail/relu' inside the body of 'tail/twice', where rules cannot be "
        r"replaced; narrow the pattern, or unroll 'tail/twice'\.",
    ):
        fg.plan(f, X, rules=fg.RuleSet().override(ops.relu, double))


def test_markers_stop_or_raise():
    @fg.op(name="test_plans_marked")
    def marked(x, zero, never):
        return x * zero * never

    marked.mark(zero=fg.Marker.ZERO, never=fg.Marker.NOT_IMPLEMENTED)
    f = lambda x, zero, never: jnp.sum(marked(x, zero, never))
    np.testing.assert_array_equal(fg.grad(f, 0)(X, 2 * X, X), 2 * X * X)
    np.testing.assert_array_equal(fg.grad(f, 1)(X, 2 * X, X), 0 * X)
    expected = (
        r"test_plans_marked: the derivative with respect to never is marked not implemented, and the gradient passes "
        r"through it; register a rule, override it, or detach never\."
    )
    with raises_sentence(fg.errors.RuleError, expected):
        fg.plan(f, X, X, X, argnums=2)
    rules = fg.RuleSet().override(marked, lambda g, x, zero: g * x * zero, "never")
    np.testing.assert_array_equal(fg.grad(f, 2, rules=rules)(X, 2 * X, X), 2 * X * X)


def test_layers_of_equal_shape_trace_their_rule_once():
    traced = []

    @fg.op(name="test_plans_counted")
    def counted(x):
        return jnp.sin(x)

    @counted.pullback("x")
    def counted_x(g, x):
        traced.append(1)
        return g * jnp.cos(x)

    def deep(x):
        for _ in range(10):
            x = counted(x)
        return jnp.sum(x)

    jax.jit(fg.grad(deep)).lower(X)
    assert len(traced) == 1


def test_the_table_of_a_loop_with_many_arrays_fits_a_page():
    def f(xs):
        return sum(x.sum() for x in jax.lax.scan(lambda c, _: ([jnp.sin(x) for x in c], None), xs, None, length=2)[0])

    plan = fg.plan(f, [X] * 9)
    assert max(map(len, plan.table().splitlines())) < 200
    assert "and 5 more: reverse" in plan.table()


def test_costs_are_counted_once_for_equal_nodes(monkeypatch):
    traced = []
    make = jax.make_jaxpr
    monkeypatch.setattr(jax, "make_jaxpr", lambda f, **kwargs: traced.append(f) or make(f, **kwargs))

    def deep(x, n):
        for _ in range(n):
            x = jnp.sin(ops.relu(ops.linear(x, W1[:, :4]))) * 2.0
        return x.sum()

    counts = []
    for n in (3, 30):
        plan = fg.plan(lambda x, n=n: deep(x, n), X)
        traced.clear()
        totals = plan.totals
        counts.append(len(traced))
        assert totals.forward_flops == n * (2 * 3 * 4 * 4 + 3 * 12) + 12
    assert counts[1] <= counts[0] < 10  # the ops' own are remembered from the first


def test_the_table_of_many_nested_scopes_has_their_ends():
    def f(x):
        with contextlib.ExitStack() as stack:
            for i in range(60):
                stack.enter_context(fg.scope(f"s{i}"))
                x = jnp.sin(x)
        return jnp.sum(x)

    plan = fg.plan(f, X)
    lines = plan.table(width=100).splitlines()
    nodes = [line.split()[0] for line in lines[2:] if " sin_x " in line]
    assert nodes[0] == "s0/sin"
    assert nodes[59] == "s0/s1/**/s58/s59/sin"
    assert [r.node for r in plan.rows if matches(nodes[59], r.node)] == ["/".join(f"s{i}" for i in range(60)) + "/sin"]


def test_the_figure_of_the_compiler_is_printed_beside_the_plans():
    """Sizes large enough that the program keeps what the plan says: the gradient is small, so no buffer is lent."""

    def loss(x, scales):
        for scale in scales:
            x = ops.tanh(x @ jnp.ones((64, 64)) * scale)
        return jnp.sum(x), None

    scales = [jnp.ones(())] * 6
    plan = fg.plan(loss, jnp.ones((256, 64)), scales, argnums=1, has_aux=True, compiled=True)
    temp_bytes = plan.temp_bytes
    assert temp_bytes is not None
    program = jax.jit(fg.value_and_grad(loss, 1, has_aux=True)).lower(jnp.ones((256, 64)), scales).compile()
    assert abs(temp_bytes / program.memory_analysis().temp_size_in_bytes - 1) < 0.1
    assert re.search(r"^compiled [\d.]+ MB beside arguments and results, says XLA on this device$", str(plan), re.M)
    assert "compiled" not in str(fg.plan(loss, jnp.ones((256, 64)), scales, argnums=1, has_aux=True))
