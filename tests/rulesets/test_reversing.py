"""Reversible blocks against the same blocks written out: their gradients, and what they keep, at any depth."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError, ShapeError
from funcgrad.rulesets import residuals
from tests.raising import raises_sentence


def half(w, x):
    return jnp.tanh(x @ w["up"]) @ w["down"]


def parameters(n, dtype=jnp.float64, width=8):
    keys = jax.random.split(jax.random.key(1), 4 * n)
    draw = lambda i, shape: jax.random.normal(keys[i], shape, dtype) / 4
    pair = lambda i: {"up": draw(i, (width, 2 * width)), "down": draw(i + 1, (2 * width, width))}
    return [(pair(4 * i), pair(4 * i + 2)) for i in range(n)]


def halves(dtype=jnp.float64, rows=4, width=8):
    return jax.random.normal(jax.random.key(2), (2, rows, width), dtype)


def written_out(params, x1, x2):
    for p, q in params:
        x1 = x1 + half(p, x2)
        x2 = x2 + half(q, x1)
    return x1, x2


def rebuilt(params, x1, x2):
    chain = residuals.reversible(*((lambda x, p=p: half(p, x), lambda x, q=q: half(q, x)) for p, q in params))
    return chain(x1, x2)


def stacked(params):
    return jax.tree.map(lambda *a: jnp.stack(a), *params)


def scanned(params, x1, x2):
    return residuals.reversible_scan(half, half)(stacked(params), x1, x2)


def loss_of(run):
    def loss(params, x1, x2):
        y1, y2 = run(params, x1, x2)
        return jnp.sum(jnp.sin(y1) * y2)

    return loss


def distance(found, expected):
    """The largest difference, as a share of the largest entry, array by array."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    wide = ((a.astype(jnp.float64), b.astype(jnp.float64)) for a, b in pairs)
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in wide)


@pytest.mark.parametrize("run", [rebuilt, scanned])
@pytest.mark.parametrize("grad", [jax.grad, fg.grad])
@pytest.mark.parametrize(("dtype", "within"), [(jnp.float64, 1e-13), (jnp.float32, 1e-5)])
def test_gradients_are_those_of_the_blocks_written_out(run, grad, dtype, within):
    args = parameters(5, dtype), *halves(dtype)
    expected = jax.grad(loss_of(written_out), (0, 1, 2))(*args)
    found = jax.jit(grad(loss_of(run), (0, 1, 2)))(*args)
    assert distance(found, expected) < within
    assert distance(run(*args), written_out(*args)) < within


@pytest.mark.parametrize("run", [rebuilt, scanned])
def test_second_derivatives_and_batches(run):
    params, x = parameters(2), halves()

    def squared(run):
        slope = jax.grad(loss_of(run), 1)
        return jax.grad(lambda params, x1, x2: jnp.sum(slope(params, x1, x2) ** 2), (0, 1, 2))

    assert distance(squared(run)(params, *x), squared(written_out)(params, *x)) < 1e-12
    many = jnp.stack([x, 2 * x, x - 1], axis=1)
    mapped = lambda run: jax.vmap(jax.grad(loss_of(run), (0, 1, 2)), in_axes=(None, 0, 0))(params, *many)
    assert distance(mapped(run), mapped(written_out)) < 1e-12
    inside = lambda run: lambda p, x1, x2: jnp.sum(jax.vmap(loss_of(run), in_axes=(None, 0, 0))(p, x1, x2))
    found = fg.grad(inside(run))(params, *many)
    assert distance(found, jax.grad(inside(written_out))(params, *many)) < 1e-12


def test_in_a_loop_and_under_a_checkpoint():
    params, x = parameters(2), halves()

    def repeated(run):
        def turn(xs, _):
            return jax.checkpoint(lambda x1, x2: run(params, x1, x2))(*xs), None

        return lambda x1, x2: jnp.sum(jax.lax.scan(turn, (x1, x2), None, length=3)[0][0])

    found = jax.jit(fg.grad(repeated(rebuilt), (0, 1)))(*x)
    assert distance(found, jax.grad(repeated(written_out), (0, 1))(*x)) < 1e-12


def test_what_halves_hold_beside_floating_arrays():
    """Indices and a key do not move; what two blocks share is added up."""
    x, table = halves(), jnp.linspace(-1.0, 1.0, 24).reshape(3, 8)

    def run(chain, table, rows, key):
        dropped = lambda x: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * table[rows], 0)
        return chain(*((dropped, lambda y: jnp.sin(y + table[:1])),) * 3)(*x)

    def plainly(*blocks):
        def chain(x1, x2):
            for f, g in blocks:
                x1 = x1 + f(x2)
                x2 = x2 + g(x1)
            return x1, x2

        return chain

    args = table, jnp.array([0, 2, 1, 1]), jax.random.key(3)
    loss = lambda chain: jax.jit(jax.grad(lambda *args: jnp.sum(run(chain, *args)[0] ** 2)))(*args)
    assert distance(loss(residuals.reversible), loss(plainly)) < 1e-13


def test_modules_are_halves(rng):
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
    x = jnp.asarray(rng.normal(size=(2, 4, 8)), jnp.float32)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.f, self.g = nnx.Linear(8, 8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)

    def loss(chain):
        def of(net):
            f, g = (lambda x: jnp.tanh(net.f(x))), net.g
            y1, y2 = chain(f, g)
            return jnp.sum(y1 * y2)

        return of

    def plainly(f, g):
        y1 = x[0] + f(x[1])
        return y1, x[1] + g(y1)

    def by_rule(f, g):
        return residuals.reversible((f, g))(*x)

    net = Net(nnx.Rngs(0))
    assert distance(nnx.grad(loss(by_rule))(net), nnx.grad(loss(plainly))(net)) < 1e-5
    assert distance(fg.grad(loss(by_rule))(net), nnx.grad(loss(plainly))(net)) < 1e-5

    class Pair(eqx.Module):
        f: eqx.nn.MLP
        g: eqx.nn.MLP

    mlps = [eqx.nn.MLP(8, 8, 8, 1, dtype=jnp.float32, key=k) for k in jax.random.split(jax.random.key(0))]
    of_pair = lambda chain: lambda net: jnp.sum(chain(jax.vmap(net.f), jax.vmap(net.g))[1] ** 2)
    expected = eqx.filter_grad(of_pair(plainly))(Pair(*mlps))
    assert distance(eqx.filter_grad(of_pair(by_rule))(Pair(*mlps)), expected) < 1e-5
    assert distance(fg.grad(of_pair(by_rule))(Pair(*mlps)), expected) < 1e-5


def test_memory_does_not_grow_with_depth():
    x = halves(jnp.float32, rows=128)

    def planned(run, n):
        params = parameters(n, jnp.float32)
        if run is scanned:
            loss, params = loss_of(residuals.reversible_scan(half, half)), stacked(params)
        else:
            loss = loss_of(run)
        return fg.plan(loss, params, *x, argnums=(0, 1, 2), compiled=True)

    few, many = ({run: planned(run, n) for run in (written_out, rebuilt, scanned)} for n in (3, 9))
    for run in (rebuilt, scanned):
        assert few[run].totals.kept_bytes == many[run].totals.kept_bytes == 3 * x[0].nbytes  # y1, y2, and sin(y1)
        assert many[run].temp_bytes < 1.1 * few[run].temp_bytes
        assert many[run].temp_bytes < many[written_out].temp_bytes / 3
    assert many[written_out].totals.kept_bytes > 2 * few[written_out].totals.kept_bytes


def test_bfloat16_is_off_by_some_per_cent_and_halves_of_float32_are_not():
    """What the docstring states."""
    params, x = parameters(12, jnp.bfloat16), halves(jnp.bfloat16)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), x)

    def in_float32(params, x1, x2):
        cast = lambda p: lambda x: half(p, x.astype(jnp.bfloat16)).astype(jnp.float32)
        return residuals.reversible(*((cast(p), cast(q)) for p, q in params))(x1, x2)

    def plain_in_float32(params, x1, x2):
        for p, q in params:
            x1 = x1 + half(p, x2.astype(jnp.bfloat16)).astype(jnp.float32)
            x2 = x2 + half(q, x1.astype(jnp.bfloat16)).astype(jnp.float32)
        return x1, x2

    slope = lambda run, x: jax.jit(jax.grad(loss_of(run)))(params, *x)
    off = distance(slope(rebuilt, x), slope(written_out, x))
    assert 0.003 < off < 0.3
    assert distance(slope(in_float32, wide), slope(plain_in_float32, wide)) < off / 2


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        (jnp.sin, r"reversible: block 0 must be a pair of functions \(F, G\), got .*\."),
        (
            (lambda x: x[:1], jnp.sin),
            r"reversible: F of block 0 must return f64\[4,8\], as what it is added to, got f64\[1,8\]\.",
        ),
        (
            (jnp.sin, lambda x: (x, x)),
            r"reversible: G of block 0 must return f64\[4,8\], as what it is added to, got f64\[4,8\], f64\[4,8\]\.",
        ),
        (
            (lambda x: x.astype(jnp.float32), jnp.sin),
            r"reversible: F of block 0 must return f64\[4,8\], as what it is added to, got f32\[4,8\]\.",
        ),
    ],
)
def test_blocks_that_do_not_fit_are_refused(block, sentence):
    with raises_sentence(ShapeError, sentence):
        residuals.reversible(block)(*halves())


@pytest.mark.parametrize("second", [jnp.ones((3, 4, 4)), jnp.array(1.0)])
def test_loops_of_other_lengths_are_refused(second):
    with raises_sentence(
        ShapeError,
        r"reversible_scan: axis 0 of every parameter says how many blocks there are, got f64\[2,4,4\], f64\[.*\]; "
        r"stack them\.",
    ):
        residuals.reversible_scan(half, half)((jnp.ones((2, 4, 4)), second), *halves())


def test_a_loop_without_parameters_is_refused():
    with raises_sentence(
        ShapeError,
        r"reversible_scan: the parameters have no arrays, whose axis 0 says how many blocks there are\.",
    ):
        residuals.reversible_scan(lambda p, x: x, lambda p, x: x)(((), ()), *halves())


def test_a_rule_for_something_inside_is_refused():
    rules = fg.RuleSet().override("tanh", lambda g: g)
    loss = loss_of(lambda params, x1, x2: rebuilt(params, jnp.tanh(x1), x2))
    with raises_sentence(
        RuleError,
        r"The override of tanh at '\*\*' matches '.*tanh' inside the body of 'reversible', where rules cannot be "
        r"replaced; narrow the pattern, or unroll 'reversible'\.",
    ):
        fg.plan(loss, parameters(1), *halves(), rules=rules)
