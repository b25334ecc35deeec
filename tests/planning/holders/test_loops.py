"""A scan runs in reverse turn by turn: names, rules and wanted values reach inside, and only what is read is kept."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.planning.asserting import assert_like_jax
from tests.raising import raises_sentence

W = jnp.linspace(0.5, -0.5, 16).reshape(4, 4)
H = jnp.linspace(0.1, 1.0, 4)
XS = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
ITEM = W.dtype.itemsize


def cell(w, h, x):
    with fg.scope("cell"):
        return fg.name(ops.tanh(ops.linear(h, w) + x), "h")


def rnn(w, h, xs):
    def turn(h, x):
        h = cell(w, h, x)
        return h, h

    h, hs = jax.lax.scan(turn, h, xs)
    return jnp.sum(h**2) + jnp.sum(hs**3)


def unrolled(w, h, xs):
    hs = []
    for x in xs:
        h = cell(w, h, x)
        hs.append(h)
    return jnp.sum(h**2) + jnp.sum(jnp.stack(hs) ** 3)


def scanned(**options):
    def f(c, xs):
        def turn(c, x):
            return jnp.sin(c) * x, jnp.cos(c).sum()

        c, ys = jax.lax.scan(turn, c, xs, **options)
        return c.sum() + (ys**2).sum()

    return f


def counting(c, xs):
    """A carry with an integer in it; slices of integers; an output that is one."""

    def turn(state, x):
        (n, c), (k, row) = state, x
        return (n + k, c * row + n.astype(c.dtype)), n

    (n, c), ns = jax.lax.scan(turn, (jnp.zeros((), jnp.int32), c), (jnp.arange(3, dtype=jnp.int32), xs))
    return c.sum() * n.astype(c.dtype) + ns.sum().astype(c.dtype)


def nested(w, h, xs):
    def outer(h, x):
        def inner(c, _):
            c = jax.lax.cond(c[0] > 0.1, lambda c: jax.nn.logsumexp(c) + c @ w, lambda c: jnp.cos(c) * 2.0, c)
            return jax.checkpoint(jnp.sin)(c), c

        return jax.lax.scan(inner, h + x, None, length=3)

    h, ys = jax.lax.scan(outer, h, xs, reverse=True, unroll=2)
    return jnp.sum(h) + jnp.sum(ys**2)


CASES = {
    "rnn": (rnn, W, H, XS),
    "reverse": (scanned(reverse=True), H, XS),
    "unroll": (scanned(unroll=2), H, XS),
    "no turn": (scanned(), H, XS[:0]),
    "one turn": (scanned(), H, XS[:1]),
    "nothing sliced": (lambda h: jax.lax.scan(lambda c, _: (jnp.sin(c), None), h, None, length=3)[0].sum(), H),
    "no carry": (lambda xs: jax.lax.scan(lambda _, x: (None, jnp.sin(x)), None, xs)[1].sum(), XS),
    "carry not used": (lambda h, xs: jax.lax.scan(lambda c, x: (c * x, x * x), h, xs)[1].sum() + h.sum(), H, XS),
    "carry handed through": (lambda h, xs: jax.lax.scan(lambda c, x: (c, c * x), h, xs)[1].sum(), H, XS),
    "carries change places": (
        lambda a, b: sum(
            jnp.sin(v).sum() for v in jax.lax.scan(lambda c, _: ((c[1], c[0]), None), (a, b), length=3)[0]
        ),
        H,
        2 * H,
    ),
    "number in the carry": (lambda xs: jax.lax.scan(lambda c, x: (c + x.sum(), c), 0.0, xs)[1].sum(), XS),
    "carry written as a number": (lambda xs: jax.lax.scan(lambda c, x: (2.0, c * x), 1.0, xs)[1].sum(), XS),
    "same output twice": (
        lambda h: sum(v.sum() for v in jax.lax.scan(lambda c, _: (c * c, (c, c)), h, length=2)[1]),
        H,
    ),
    "integers": (counting, H, XS),
    "nested": (nested, W, H, XS),
    "fori_loop": (lambda h: jax.lax.fori_loop(0, 4, lambda i, c: jnp.sin(c) * i, h).sum(), H),
    "map": (lambda xs: jax.lax.map(lambda x: jnp.sin(x) * x.sum(), xs).sum(), XS),
    "associative scan": (lambda xs: jax.lax.associative_scan(jnp.multiply, xs).sum(), XS),
    "complex": (
        lambda h: jnp.abs(jax.lax.scan(lambda c, _: (c * c + 1j, None), h, length=3)[0]).sum(),
        jax.lax.complex(H, 2 * H),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_loop_has_the_gradient_that_jax_gives_it(case):
    assert_like_jax(*CASES[case])


def test_a_loop_in_bfloat16():
    f = lambda h, xs: scanned()(h, xs).astype(jnp.float32)
    args = (H.astype(jnp.bfloat16), XS.astype(jnp.bfloat16))
    found, expected = jax.jit(fg.grad(f, (0, 1)))(*args), jax.jit(jax.grad(f, (0, 1)))(*args)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=2e-2, atol=2e-2)


def test_hessians_through_a_loop():
    of_h = lambda h: nested(W, h, XS)
    expected = jax.jit(jax.hessian(of_h))(H)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(fg.grad(of_h)))(H), expected, rtol=1e-10)
    np.testing.assert_allclose(jax.jit(jax.jacrev(fg.grad(of_h)))(H), expected, rtol=1e-10)
    along = fg.grad(lambda h: fg.grad(of_h)(h).sum())
    np.testing.assert_allclose(jax.jit(along)(H), expected.sum(0), rtol=1e-10)


def test_vmap_over_the_gradient_of_a_loop():
    hs = jnp.stack([H, 2 * H, -H])
    np.testing.assert_allclose(
        jax.vmap(fg.grad(nested, 1), (None, 0, None))(W, hs, XS), jnp.stack([fg.grad(nested, 1)(W, h, XS) for h in hs])
    )


def test_cotangents_inside_a_loop_are_stacked_turn_by_turn():
    found = fg.grad(rnn, wrt=["cell/h", "cell/linear", "scan/w", "scan/carry0", "w"])(W, H, XS)
    expected = fg.grad(unrolled, wrt=["cell/h*", "cell/linear*"])(W, H, XS)
    for name in ("cell/h", "cell/linear"):
        by_turn = [expected[name], expected[f"{name}#2"], expected[f"{name}#3"]]
        np.testing.assert_allclose(found[name], jnp.stack(by_turn), rtol=1e-12)
    assert found["scan/carry0"].shape == XS.shape
    np.testing.assert_allclose(found["scan/w"].sum(0), found["w"], rtol=1e-12)  # a weight's share, turn by turn


def test_cotangents_inside_nested_loops_have_an_axis_per_loop():
    found = fg.grad(nested, wrt="**")(W, H, XS)
    assert found["cos"].shape == found["dot_general"].shape == (3, 3, 4)
    assert found["add#2"].shape == (3, 4)  # the outermost addition is the first
    taken = np.any(found["cos"] != 0, axis=-1)
    assert 0 < taken.sum() < 9  # zeros where the other branch ran
    np.testing.assert_array_equal(taken, ~np.any(found["dot_general"] != 0, axis=-1))


def test_rules_are_overridden_inside_a_loop():
    double = lambda g, y: 2 * g * (1 - y * y)
    swapped = fg.RuleSet().override(ops.tanh, double, at="cell/*")
    found = fg.grad(rnn, (0, 1, 2), rules=swapped)(W, H, XS)
    expected = fg.grad(unrolled, (0, 1, 2), rules=swapped)(W, H, XS)
    chex.assert_trees_all_close(found, expected, rtol=1e-12)
    assert not np.allclose(found[0], fg.grad(rnn)(W, H, XS))
    assert fg.plan(rnn, W, H, XS, rules=swapped).totals.kinds == (("exact", 9), ("modified", 1))


def test_a_loop_keeps_what_its_rules_read_and_nothing_twice():
    plan = fg.plan(rnn, W, H, XS, argnums=(0, 1, 2))
    # The results of the scan are the states: tanh reads them there. Only the state before each turn is stacked.
    assert [v.name for v in plan.steps[0].saved] == ["scan/carry0"]
    without_h = fg.plan(lambda h: rnn(W, h, XS), H)
    assert without_h.steps[0].saved == ()


def test_what_depends_on_constants_alone_is_made_once():
    def f(w, h, xs):
        return jax.lax.scan(lambda h, x: (ops.linear(h, jnp.exp(w)) * x, None), h, xs)[0].sum()

    plan = fg.plan(f, W, H, XS, argnums=(0, 1, 2))
    assert not {"exp"} & {v.name for v in plan.steps[0].saved}
    assert_like_jax(f, W, H, XS)


def test_rows_of_a_loop_stand_indented_below_it():
    plan = fg.plan(rnn, W, H, XS)
    by_name = {r.node: r for r in plan.rows}
    assert by_name["cell/linear"].depth == 1
    assert by_name["cell/linear"].forward_flops == 3 * 2 * 4 * 4
    assert by_name["scan"].forward_flops == 3 * (2 * 4 * 4 + 4 + 4)
    assert plan.totals.forward_flops == sum(r.forward_flops for r in plan.rows if r.depth == 0)
    assert by_name["cell/linear"].new_bytes == XS.size * ITEM
    assert "\n  cell/linear " in str(plan)


def test_a_loop_without_known_length_has_no_reverse_pass():
    def f(x):
        with fg.scope("solver"):
            return jax.lax.while_loop(lambda c: c[0] < 5.0, lambda c: c * 2.0, x).sum()

    with raises_sentence(
        fg.errors.GradientError,
        r"solver/while: a reverse pass needs to know how many turns a loop makes, and a while loop does not say; use "
        r"jax\.lax\.scan, or fori_loop with bounds that are numbers\.",
    ):
        fg.grad(f)(H)
    assert_like_jax(lambda x: (x * jax.lax.stop_gradient(f(x))).sum(), H)


def test_a_loop_inside_shard_map():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    part = jax.sharding.PartitionSpec("d")

    w, h, xs = jnp.tile(W[None], (4, 1, 1)), jnp.stack([H, 2 * H, 3 * H, -H]), jnp.stack([XS] * 4)
    with jax.set_mesh(mesh):
        one = lambda w, h, xs: jax.tree.map(lambda x: x[None], fg.grad(rnn, (1, 2))(w[0], h[0], xs[0]))
        found = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(part, part, part), out_specs=part))(w, h, xs)
    expected = jax.vmap(jax.grad(rnn, (1, 2)))(w, h, xs)
    chex.assert_trees_all_close(found, expected, rtol=1e-11)


def test_what_is_made_once_more_is_not_kept_by_the_compiler():
    """XLA:CPU would take what loops compute from constants alone for what it made on the way forward."""

    def f(ws, h):
        for w in ws:
            h, _ = jax.lax.scan(
                lambda h, _, w=w: (jnp.tanh(h @ jnp.exp(-(jnp.tanh(w @ w) ** 2))) + h, None), h, length=3
            )
        return jnp.sum(h**2)

    ws, h = jnp.cos(jnp.arange(6 * 64 * 64.0)).reshape(6, 64, 64) / 64, jnp.ones((4, 64))
    ours, theirs = (jax.jit(g).lower(ws, h).compile() for g in (fg.grad(f), jax.grad(f)))
    assert ours.memory_analysis().temp_size_in_bytes < 0.65 * theirs.memory_analysis().temp_size_in_bytes
    np.testing.assert_allclose(ours(ws, h), theirs(ws, h), rtol=1e-11)
