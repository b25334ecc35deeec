"""The J^T that is written down for JAX's equations is the one JAX would derive, and is used where it is meant to be."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.registry import Equation, Rule, row, rules_of, written
from tests.raising import raises_sentence

X = jnp.linspace(0.2, 1.7, 6).reshape(2, 3)
Y = jnp.linspace(1.4, -0.9, 6).reshape(2, 3)
TIED = jnp.array([[0.2, 2.0, 0.8], [1.0, 1.4, 3.0]])
"""Some entries above those of X, some below, some equal."""
NOTHING = jnp.zeros((0, 2))
A = jnp.linspace(-1.0, 1.0, 120).reshape(2, 3, 4, 5)
B = jnp.linspace(0.7, -1.3, 240).reshape(5, 2, 6, 4)
ROWS = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))


def equation_of(name: str, f: Callable[..., Any], *args: Any) -> Equation:
    """The only equation of a primitive in a function's jaxpr."""
    (found,) = [e for e in map(Equation.of, jax.make_jaxpr(f)(*args).eqns) if e.source.primitive.name == name]
    return found


def look_up(equation: Equation, positions: tuple[int, ...]) -> Any:
    """What the rules of the inputs at `positions` read, and the rules as one function; None where one is derived."""
    found = rules_of(equation, positions, equation.rules.get, "here")
    made = [(at, *equation.pullback(rule, at, equation.avals)) for rule, at in found if isinstance(rule, Rule)]
    if len(made) < len(found) or not found:
        return None
    reads = tuple(dict.fromkeys(r for _, taken, _, _ in made for r in taken))

    def pull(*operands: Any) -> list[Any]:
        values, g = dict(zip(reads, operands, strict=False)), operands[len(reads) :]
        cotangents = {}
        for _, taken, targets, of in made:
            cotangents.update(zip(targets, of(*(values[t] for t in taken), *g), strict=True))
        return [cotangents[p] for p in positions]

    return reads, pull


def add_cotangents(x: jax.Array, y: jax.Array) -> jax.Array:
    """What JAX does with the cotangents of a value that is read twice."""
    return jax.linear_transpose(lambda v: (v, v), x)((x, y))[0]


def embed(x: jax.Array, indices: jax.Array) -> jax.Array:
    return lax.gather(x, indices, ROWS, (1, 3))


def embed_or_fill(x: jax.Array, indices: jax.Array) -> jax.Array:
    return lax.gather(x, indices, ROWS, (1, 3), mode="fill", fill_value=0.0, unique_indices=True)


def embed_batched(x: jax.Array, indices: jax.Array) -> jax.Array:
    """A lookup per example: both arrays have a batch axis."""
    dimensions = lax.GatherDimensionNumbers(
        offset_dims=(),
        collapsed_slice_dims=(1,),
        start_index_map=(1,),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    return lax.gather(x, indices, dimensions, (1, 1))


def part_of(x: jax.Array, *at: jax.Array) -> jax.Array:
    return lax.dynamic_slice_p.bind(x, *at, slice_sizes=(1, 2))


AT = jnp.array(-1), jnp.array(7)
K = jnp.sin(jnp.arange(60.0)).reshape(2, 2, 5, 3)
J = jnp.cos(jnp.arange(60.0)).reshape(2, 3, 5, 2)
L = jnp.sin(jnp.arange(36.0)).reshape(6, 1, 2, 3)
CONV = "conv_general_dilated"


def convolution(images: str, kernel: str, strides: Any, padding: Any, dilation: Any, holes: Any, groups: int = 1):
    """Axes in any order, strides, holes in both, padding that is negative too."""
    return lambda x, k: lax.conv_general_dilated(
        x, k, strides, padding, dilation, holes, (images, kernel, images), feature_group_count=groups
    )


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Two contracted axes in different orders, a batch axis at another place, free axes on both sides."""
    return lax.dot_general(x, y, (((3, 2), (0, 3)), ((0,), (1,))))


# Primitive, a function of its operands that is it alone, the operands, those with rules, what these read (the output
# counts last).
CASES = [
    ("add", lax.add, (X, Y), (0, 1), ()),
    ("add_any", add_cotangents, (X, Y), (0, 1), ()),
    ("sub", lax.sub, (X, Y), (0, 1), ()),
    ("mul", lax.mul, (X, Y), (0, 1), (1, 0)),
    ("div", lax.div, (X, Y), (0, 1), (1, 2)),
    ("div", lax.div, (X, jnp.array(0.7)), (0, 1), (1, 2)),
    ("max", lax.max, (X, TIED), (0, 1), (0, 1)),
    ("max", lax.max, (jnp.array(0.8), X), (0, 1), (0, 1)),
    ("min", lax.min, (X, TIED), (0, 1), (0, 1)),
    ("clamp", lax.clamp, (X - 0.5, TIED, X), (1,), (0, 1, 2)),
    ("clamp", lax.clamp, (jnp.array(0.8), X, jnp.array(1.1)), (1,), (0, 1, 2)),
    ("pow", lax.pow, (X.at[0, 0].set(0.0), TIED), (0, 1), (0, 1, 2)),
    ("pow", lax.pow, (Y, jnp.array(3.0)), (0,), (0, 1)),
    ("pow", lax.pow, (jnp.array(1.7), Y), (0, 1), (0, 1, 2)),
    ("neg", lax.neg, (X,), (0,), ()),
    ("abs", lax.abs, (Y.at[0, 1].set(0.0),), (0,), (0,)),
    ("copy", jnp.copy, (X,), (0,), ()),
    ("name", lambda x: checkpoint_name(x, "h"), (X,), (0,), ()),
    ("exp", lax.exp, (X,), (0,), (1,)),
    ("exp2", lax.exp2, (Y,), (0,), (1,)),
    ("expm1", lax.expm1, (Y,), (0,), (1,)),
    ("log", lax.log, (X,), (0,), (0,)),
    ("log1p", lax.log1p, (Y,), (0,), (0,)),
    ("sin", lax.sin, (X,), (0,), (0,)),
    ("cos", lax.cos, (X,), (0,), (0,)),
    ("tan", lax.tan, (Y,), (0,), (1,)),
    ("tanh", lax.tanh, (X,), (0,), (1,)),
    ("logistic", lax.logistic, (X,), (0,), (1,)),
    ("erf", lax.erf, (Y,), (0,), (0,)),
    ("erfc", lax.erfc, (Y,), (0,), (0,)),
    ("sqrt", lax.sqrt, (X,), (0,), (1,)),
    ("rsqrt", lax.rsqrt, (X,), (0,), (0, 1)),
    ("square", lax.square, (X,), (0,), (0,)),
    ("integer_pow", lambda x: lax.integer_pow(x, 3), (Y,), (0,), (0,)),
    ("integer_pow", lambda x: lax.integer_pow(x, -2), (Y,), (0,), (0,)),
    ("reshape", lambda x: lax.reshape(x, (3, 2)), (X,), (0,), ()),
    ("squeeze", lambda x: lax.squeeze(x, (1,)), (X[:, None],), (0,), ()),
    ("transpose", lambda x: lax.transpose(x, (2, 0, 3, 1)), (A,), (0,), ()),
    ("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (4, 2, 5, 3), (1, 3)), (X,), (0,), ()),
    ("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 1, 2)), (X[:, None],), (0,), ()),
    ("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3, 1), (0, 1)), (X,), (0,), ()),
    ("reduce_sum", lambda x: jnp.sum(x, (0, 2)), (A,), (0,), ()),
    ("reduce_max", lambda x: lax.reduce_max(x, (1, 3)), (jnp.round(3 * A),), (0,), (0,)),
    ("reduce_max", lambda x: lax.reduce_max(x, (0,)), (TIED.at[0, 1].set(jnp.nan),), (0,), (0,)),
    ("reduce_min", lambda x: lax.reduce_min(x, (1,)), (jnp.round(TIED),), (0,), (0,)),
    ("cumsum", lambda x: lax.cumsum(x, 2), (A,), (0,), ()),
    ("cumsum", lambda x: lax.cumsum(x, 0, reverse=True), (A,), (0,), ()),
    ("rev", lambda x: lax.rev(x, (0, 2)), (A,), (0,), ()),
    ("pad", lambda x, y: lax.pad(x, y, ((1, 2, 2), (-1, 0, 0))), (X, jnp.array(0.5)), (0, 1), ()),
    ("slice", lambda x: lax.slice(x, (0, 1, 0, 2), (2, 3, 4, 4), (1, 1, 3, 1)), (A,), (0,), ()),
    ("slice", lambda x: x[1:], (X,), (0,), ()),
    ("dynamic_slice", part_of, (X, jnp.array(1), jnp.array(0)), (0,), (1, 2)),
    # An index before the first, or too large, is moved; counted from the end it would be another.
    ("dynamic_slice", part_of, (X, jnp.array(-1), jnp.array(7)), (0,), (1, 2)),
    ("dynamic_slice", lambda x, i: lax.dynamic_slice_p.bind(x, i, slice_sizes=(2,)), (X[0], jnp.array(-1)), (0,), (1,)),
    ("dynamic_update_slice", lax.dynamic_update_slice_p.bind, (X, TIED[:1, 1:], *AT), (0, 1), (2, 3)),
    ("stack", lambda x, y: jnp.stack([x, y], 1), (X, Y), (0, 1), ()),
    ("unstack", lambda x: jnp.unstack(x, axis=2), (A,), (0,), ()),
    ("unstack", jnp.unstack, (X[:1],), (0,), ()),
    ("split", lambda x: lax.split(x, (1, 3), 2), (A[:, :, :4],), (0,), ()),
    ("convert_element_type", lambda x: lax.convert_element_type(x, jnp.float32), (X,), (0,), ()),
    ("select_n", lax.select_n, (X > TIED, X, TIED), (1, 2), (0,)),
    ("select_n", lax.select_n, (jnp.array(True), X, TIED), (1, 2), (0,)),
    ("gather", embed, (X, jnp.array([[1], [0], [1]])), (0,), (1,)),
    ("gather", embed_or_fill, (X, jnp.array([[1], [7], [0]])), (0,), (1,)),
    ("gather", embed_batched, (X, jnp.array([[2], [0]])), (0,), (1,)),
    ("concatenate", lambda *xs: lax.concatenate(xs, 1), (X, NOTHING.T, Y, TIED[:, :1]), (0, 1, 2, 3), ()),
    ("dot_general", product, (A, B), (0, 1), (1, 0)),
    ("dot_general", lax.dot, (X, Y.T), (0, 1), (1, 0)),
    (
        "conv_general_dilated",
        convolution("NHWC", "HWIO", (2, 1), ((1, 2), (0, 1)), (1, 2), (1, 2)),
        (A, K),
        (0, 1),
        (1, 0),
    ),
    (
        "conv_general_dilated",
        convolution("HNWC", "WOIH", (1, 2), ((-1, 1), (3, 0)), (2, 1), (1, 1)),
        (A, J),
        (0, 1),
        (1, 0),
    ),
    (
        "conv_general_dilated",
        convolution("NCHW", "OIHW", (2, 2), ((1, 0), (0, 1)), (1, 1), (1, 2), groups=3),
        (A, jnp.sin(jnp.arange(36.0)).reshape(6, 1, 2, 3)),
        (0, 1),
        (1, 0),
    ),
]


def each() -> list[Any]:
    return [pytest.param(*case, id=f"{case[0]}{i}") for i, case in enumerate(CASES)]


@pytest.mark.parametrize(("name", "f", "operands", "positions", "reads"), each())
def test_it_is_what_jax_derives(name, f, operands, positions, reads):
    equation = equation_of(name, f, *operands)
    outputs = equation.run(*operands)
    g = [jnp.asarray(np.random.default_rng(0).normal(size=y.shape), y.dtype) for y in outputs]
    derive = lambda *moved: move(equation, operands, positions, moved)
    # By all together: JAX fails where it is asked for the cotangent of a padding value alone.
    by_jax = dict(zip(positions, jax.vjp(derive, *[operands[p] for p in positions])[1](g), strict=True))
    for asked in (positions, *((p,) for p in positions)):
        read, pull = look_up(equation, asked)
        found, expected = pull(*[[*operands, *outputs][r] for r in read], *g), [by_jax[p] for p in asked]
        chex.assert_trees_all_equal_shapes_and_dtypes(list(found), expected)
        chex.assert_trees_all_close(list(found), expected, rtol=1e-13, atol=1e-15)
    assert look_up(equation, positions)[0] == reads


def move(equation: Equation, operands: list[Any], positions: tuple[int, ...], moved: tuple[Any, ...]) -> list[Any]:
    replaced = dict(zip(positions, moved, strict=True))
    return equation.run(*[replaced.get(i, x) for i, x in enumerate(operands)])


def test_every_rule_has_a_case():
    tried = {name for name, *_ in CASES}
    assert written().keys() == tried


def three_ways(which: jax.Array, x: jax.Array) -> jax.Array:
    return lax.select_n(which, x, x, x)


Z = lax.complex(X, Y)
HALF = X.astype(jnp.bfloat16)
REFUSED = [
    ("sin", lax.sin, (Z,), 0),
    ("abs", lax.abs, (Z,), 0),
    ("convert_element_type", lambda x: lax.convert_element_type(x, jnp.complex128), (X,), 0),
    ("convert_element_type", lambda x: lax.convert_element_type(x, jnp.float64), (jnp.arange(3),), 0),
    ("reduce_sum", lambda x: jnp.sum(x, 0), (NOTHING,), 0),
    ("select_n", three_ways, (jnp.array([[0, 1, 2], [2, 1, 0]]), X), 1),
    ("slice", lambda x: x[1:1], (X,), 0),
    ("pad", lambda x, y: lax.pad(x, y, ((0, 0, 0), (1, 0, 0))), (NOTHING, jnp.array(1.0)), 1),
    ("pow", lax.pow, (X, jnp.array(2)), 0),
    ("clamp", lax.clamp, (X, Y, X), 0),
    ("select_n", lax.select_n, (X > Y, X, Y), 0),
    ("gather", embed, (X, jnp.zeros((0, 1), int)), 0),
    ("gather", embed, (X, jnp.array([[1], [0]])), 1),
    ("dot_general", lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.float32), (HALF, HALF.T), 0),
    ("atan", lax.atan, (X,), 0),
    ("split", lambda x: lax.split(x, (1, 2), 1), (Z,), 0),
    (CONV, lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME"), (A[:0], A[:, :, :2, :2]), 0),
    (
        CONV,
        lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", batch_group_count=2),
        (A, A[:, :, :2, :2]),
        0,
    ),
]


@pytest.mark.parametrize(("name", "f", "operands", "position"), REFUSED)
def test_anything_else_is_derived(name, f, operands, position):
    assert look_up(equation_of(name, f, *operands), (position,)) is None


def test_the_zeroth_power_is_flat():
    equation = equation_of("integer_pow", lambda x: lax.integer_pow_p.bind(x, y=0), X)
    _, pull = look_up(equation, (0,))
    np.testing.assert_array_equal(pull(X, Y), [jnp.zeros_like(X)])


def test_an_infinite_cotangent_of_what_lost_is_nan_as_in_jax():
    """The root of a clipped number: 0 · ∞ at what was clipped."""
    f = lambda x: jnp.sum(jnp.sqrt(jnp.maximum(x, 0.0)) + jnp.sqrt(jnp.minimum(-x, 0.0) * -1))
    found, expected = (lib.grad(f)(jnp.array([-1.0, 4.0])) for lib in (fg, jax))
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found[0])


def test_a_primitive_has_one_row():
    sentence = r"The primitive 'exp' has rules already; use fg\.RuleSet\(\)\.override\(\.\.\.\) for others\."
    with raises_sentence(RuleError, sentence):
        row("exp", lambda equation: True, x=lambda g: g)
