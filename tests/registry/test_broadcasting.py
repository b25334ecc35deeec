"""A rule may leave it to the library to sum over the axes along which its argument was broadcast, and no others."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.registry.broadcasting import Room
from tests.raising import raises_sentence

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _allow_rank_promotion():
    """Broadcasting of ranks is what these tests are about."""
    with jax.numpy_rank_promotion("allow"):
        yield


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape))


def assert_right(op, plain, *args):
    """By both roads, and with every argument batched or not, the gradient is that of the plain function."""
    loss = lambda f: lambda *xs: jnp.sum(jnp.sin(f(*xs)))
    numbers = tuple(range(len(args)))

    @partial(jax.jit, static_argnums=(0, 1))
    def gradients(f, lib):
        found = [lib.grad(loss(f), numbers)(*args)]
        for i in numbers:
            axes = tuple(0 if i == k else None for k in numbers)
            batched = [jnp.stack([x, 2 * x]) if i == k else x for k, x in enumerate(args)]
            found.append(lib.grad(loss(jax.vmap(f, axes)), numbers)(*batched))
        return found

    expected = gradients(plain, jax)
    for lib in (fg, jax):
        chex.assert_trees_all_close(gradients(op, lib), expected, rtol=1e-12)


def made(plain, *rules, **declared):
    op = fg.op(name="broadcasting_op", replace=True, **declared)(plain)
    for argument, rule in zip(op.arguments, rules, strict=True):
        op.pullback(argument)(rule)
    return op


@pytest.mark.parametrize("declared", [{}, {"elementwise": True}])
@pytest.mark.parametrize("shapes", [((2,), (3, 2)), ((3, 1), (1, 2)), ((), (2,)), ((1,), (3, 2)), ((2, 1, 1), (3, 2))])
def test_axes_that_another_argument_has(declared, shapes):
    op = made(lambda x, z: x * z, lambda g, z: g * z, lambda g, x: g * x, **declared)
    assert_right(op, lambda x, z: x * z, *(draw(*s) for s in shapes))


def test_axes_that_are_summed_in_part():
    plain = lambda x, z: x + z
    op = made(plain, lambda g: g.sum(0), lambda g: g)
    assert_right(op, plain, draw(2), draw(4, 3, 2))


@pytest.mark.parametrize("declared", [{}, {"core_axes": 2}])
def test_axes_in_front_of_a_matrix(declared):
    x_bar, w_bar = (lambda g, w: g @ jnp.swapaxes(w, -1, -2)), (lambda g, x: jnp.swapaxes(x, -1, -2) @ g)
    op = made(lambda x, w: jnp.matmul(x, w), x_bar, w_bar, **declared)
    for shapes in (((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4))):
        assert_right(op, jnp.matmul, *(draw(*s) for s in shapes))


def test_axes_that_the_output_does_not_have():
    plain = lambda x, b: jnp.sum((x - b) ** 2)
    op = made(plain, lambda g, x, b: 2 * g * (x - b), lambda g, x, b: -2 * g * (x - b))
    assert_right(op, plain, draw(5, 3), draw(3))


def test_a_bias_that_every_example_reads():
    plain = lambda x, w, b: x @ w + b
    rules = (lambda g, w: g @ w.T), (lambda g, x: x.T @ g), (lambda g: g)
    op = made(plain, *rules, shapes="x[n, i] w[i, j] b[j]")
    assert_right(op, plain, draw(5, 3), draw(3, 4), draw(4))


def test_a_jitted_function_broadcasts_as_matmul_for_all_one_knows():
    @jax.jit
    def product(x, w):
        return x @ w

    rules = fg.RuleSet().override("product", lambda g, x: jnp.swapaxes(x, -1, -2) @ g, "w")
    loss = lambda w, x: jnp.sum(jnp.sin(product(x, w)))
    x, w = draw(5, 2, 3), draw(3, 4)
    np.testing.assert_allclose(fg.grad(loss, rules=rules)(w, x), jax.grad(loss)(w, x), rtol=1e-12)


def copies(g):
    return jnp.stack([2 * g] * 3)


@pytest.mark.parametrize("declared", [{}, {"elementwise": True}, {"leading": ("x",)}, {"shapes": "x[n, m]"}])
@pytest.mark.parametrize(("rule", "found"), [(copies, "3,2,2"), (lambda g: copies(g)[:2, None], "2,1,2,2")])
def test_too_many_axes(rule, found, declared):
    op = made(lambda x: 2 * x, rule, **declared)
    for lib in (fg, jax):
        with raises_sentence(
            fg.errors.RuleError,
            r"(.*/)?broadcasting_op: rule .* must return the cotangent of x as f64\[2,2\], got f64\[" + found + r"\], "
            r"and x was not broadcast along the axes that are too many; sum over them in the rule\.",
        ):
            lib.grad(lambda x: op(x).sum())(jnp.ones((2, 2)))


def test_too_many_entries_of_an_axis_of_one():
    op = made(lambda x: 2 * x, lambda g: jnp.repeat(g, 5, axis=0))
    with raises_sentence(fg.errors.RuleError, r".*as f64\[1,2\], got f64\[5,2\], and x was not broadcast .*"):
        fg.grad(lambda x: op(x).sum())(jnp.ones((1, 2)))


@pytest.mark.parametrize("shape", [(5, 3), (5, 6, 3), (3, 3)])
def test_cotangents_of_each_example_are_not_added_up_in_silence(shape):
    """x[..., n, i], w[i, j]: a rule that gives one w_bar[n, i, j] for each example."""
    rules = fg.RuleSet().override(ops.linear, lambda g, x: x[..., :, None] * g[..., None, :], "w")
    loss = lambda w, x: jnp.sum(ops.linear(x, w, jnp.zeros(4)))
    with raises_sentence(fg.errors.RuleError, r".*linear: rule <lambda> \(.*\) must return the cotangent of w as .*"):
        fg.grad(loss, rules=rules)(draw(3, 4), draw(*shape))


@pytest.mark.parametrize(
    ("shape", "found", "room", "explained"),
    [
        ((2,), (3, 2), Room(((3, 2),), ((2,),)), True),
        ((2,), (3, 2), Room(((2,),), ((2,),)), False),
        ((2,), (3, 2), Room(((),), ((2,), (3, 1))), True),
        ((2,), (3, 2), Room(((),), ((2,), (3, 4))), False),
        ((2,), (3, 4, 2), Room(((),), ((2,), (4, 1), (3, 1, 1))), True),
        ((2, 2), (3, 2, 2), Room(((3, 7, 2),), ((2, 2),), core_axes=2), True),
        ((2, 2), (3, 2, 2), Room(((3, 7, 2),), ((2, 2),)), False),
        ((2, 2), (4, 2, 2), Room(((3, 7, 2),), ((2, 2),), core_axes=2), False),
        ((), (4,), Room(((4, 2),), ((), (4, 2))), False),
        ((2,), (3,), Room(((3,),), ((2,),)), False),
        ((2,), (1, 1, 2), Room(((2,),), ((2,),)), True),
    ],
)
def test_what_broadcasting_explains(shape, found, room, explained):
    assert room.explains(shape, found) is explained


# What an op declares of its shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "args", "found"),
    [
        (lambda x: x.sum(), (jnp.ones(3),), "f64[]"),
        (lambda x: x[0], (jnp.ones(3),), "f64[]"),
        (lambda x, z: x, (jnp.ones(1), jnp.ones(3)), "f64[1]"),
        (lambda x, z: x[:, None] * z[None], (jnp.ones(2), jnp.ones(2)), "f64[2,2]"),
    ],
)
def test_an_op_that_is_not_elementwise(function, args, found):
    op = fg.op(name="broadcasting_op", replace=True, elementwise=True)(function)
    shown = ", ".join(f"f64[{','.join(map(str, x.shape))}]" for x in args).replace("[", r"\[").replace("]", r"\]")
    with raises_sentence(
        fg.errors.RuleError,
        rf"broadcasting_op: elementwise=True promises that {shown} are broadcast as numpy does it, got an output of "
        + found.replace("[", r"\[").replace("]", r"\]")
        + r"; broadcast it, or leave out elementwise=True\.",
    ):
        op(*args)


def test_an_op_without_the_axes_in_front_of_its_core():
    op = fg.op(name="broadcasting_op", replace=True, core_axes=1)(lambda x: x.sum(0))
    op(jnp.ones(3))
    with raises_sentence(
        fg.errors.RuleError, r"broadcasting_op: core_axes=1 promises that f64\[2,3\] are broadcast .*f64\[3\].*"
    ):
        op(jnp.ones((2, 3)))


def test_an_elementwise_op_whose_output_is_of_one_argument_alone():
    """It is not seen until the other one is batched."""
    spike = fg.op(name="broadcasting_op", replace=True, elementwise=True)(lambda v, alpha: v * 1.0)
    assert spike(2.0, 3.0) == 2.0
    with raises_sentence(fg.errors.RuleError, r"broadcasting_op: elementwise=True promises .* got an output of f64.*"):
        jax.vmap(spike, (None, 0))(jnp.array(2.0), jnp.ones(2))


@pytest.mark.parametrize("run", [lambda f: f, jax.jit, lambda f: lambda *xs: fg.grad(lambda *xs: jnp.sum(f(*xs)))(*xs)])
def test_an_op_whose_output_does_not_take_the_batch_axis(run):
    sums = fg.op(name="broadcasting_op", replace=True, leading=("v",))(lambda v: v.sum())
    with raises_sentence(
        fg.errors.RuleError,
        r"broadcasting_op: leading=\('v',\) promises that with one axis more, of 2, the op returns f64\[2\], got "
        r"f64\[\]; mend the shape, or leave out leading=\('v',\)\.",
    ):
        run(jax.vmap(sums))(jnp.ones((2, 3)))


def test_a_saved_value_of_one_argument_alone():
    """exp(x) is saved, and only z is batched: what is saved has not the axis, and nobody may think so."""
    op = fg.op(name="broadcasting_op", replace=True, elementwise=True)(lambda x, z: jnp.exp(x) * z)

    @op.saving("e")
    def op_saving(x, z):
        e = jnp.exp(x)
        return e * z, {"e": e}

    op.pullback("x")(lambda g, e, z: g * e * z)
    op.pullback("z")(lambda g, e: g * e)
    assert_right(op, lambda x, z: jnp.exp(x) * z, draw(2, 1), draw(1, 3))
    x, zs = draw(2, 1), draw(4, 1, 3)
    for lib in (fg, jax):
        each = jax.vmap(lib.grad(lambda x, z: jnp.sum(jnp.sin(op(x, z))), (0, 1)), (None, 0))(x, zs)
        expected = jax.vmap(jax.grad(lambda x, z: jnp.sum(jnp.sin(jnp.exp(x) * z)), (0, 1)), (None, 0))(x, zs)
        chex.assert_trees_all_close(each, expected, rtol=1e-12)


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
def test_an_argument_whose_axes_are_not_leading_is_batched_by_itself(axes):
    """The axes in front of x are the output's, those in front of w are not: a batch of w is no axis more of the op."""
    plain = lambda x, w: x @ w
    op = made(plain, lambda g, w: g @ w.T, lambda g, x: jnp.einsum("...i,...j->ij", x, g), leading=("x",))
    x, w = (draw(2, *shape) if axis == 0 else draw(*shape) for axis, shape in zip(axes, ((2, 3), (3, 2)), strict=True))
    for lib in (fg, jax):
        loss = lambda f: lambda x, w: jnp.sum(jnp.sin(jax.vmap(f, axes)(x, w)))
        found, expected = lib.grad(loss(op), (0, 1))(x, w), jax.grad(loss(plain), (0, 1))(x, w)
        chex.assert_trees_all_close(found, expected, rtol=1e-12)
