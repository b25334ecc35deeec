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

from funcgrad.registry import Equation, Rule, rules_of, written

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
        values, g = dict(zip(reads, operands, strict=False)), operands[-1]
        cotangents = {}
        for _, taken, targets, of in made:
            cotangents.update(zip(targets, of(*(values[t] for t in taken), g), strict=True))
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
    ("div", lax.div, (X, Y), (0, 1), (1, 0)),
    ("max", lax.max, (X, TIED), (0, 1), (0, 1)),
    ("min", lax.min, (X, TIED), (0, 1), (0, 1)),
    ("neg", lax.neg, (X,), (0,), ()),
    ("abs", lax.abs, (Y.at[0, 1].set(0.0),), (0,), (0,)),
    ("copy", lax.copy_p.bind if hasattr(lax, "copy_p") else jnp.copy, (X,), (0,), ()),
    ("name", lambda x: checkpoint_name(x, "h"), (X,), (0,), ()),
    ("exp", lax.exp, (X,), (0,), (1,)),
    ("log", lax.log, (X,), (0,), (0,)),
    ("sin", lax.sin, (X,), (0,), (0,)),
    ("cos", lax.cos, (X,), (0,), (0,)),
    ("tanh", lax.tanh, (X,), (0,), (1,)),
    ("logistic", lax.logistic, (X,), (0,), (1,)),
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
    ("convert_element_type", lambda x: lax.convert_element_type(x, jnp.float32), (X,), (0,), ()),
    ("select_n", lax.select_n, (X > TIED, X, TIED), (1, 2), (0,)),
    ("gather", embed, (X, jnp.array([[1], [0], [1]])), (0,), (1,)),
    ("gather", embed_or_fill, (X, jnp.array([[1], [7], [0]])), (0,), (1,)),
    ("gather", embed_batched, (X, jnp.array([[2], [0]])), (0,), (1,)),
    ("concatenate", lambda *xs: lax.concatenate(xs, 1), (X, NOTHING.T, Y, TIED[:, :1]), (0, 1, 2, 3), ()),
    ("dot_general", product, (A, B), (0, 1), (1, 0)),
    ("dot_general", lax.dot, (X, Y.T), (0, 1), (1, 0)),
]


def each() -> list[Any]:
    return [pytest.param(*case, id=f"{case[0]}{i}") for i, case in enumerate(CASES)]


@pytest.mark.parametrize(("name", "f", "operands", "positions", "reads"), each())
def test_it_is_what_jax_derives(name, f, operands, positions, reads):
    equation = equation_of(name, f, *operands)
    (output,) = equation.run(*operands)
    g = jnp.asarray(np.random.default_rng(0).normal(size=output.shape), output.dtype)
    for asked in (positions, *((p,) for p in positions)):
        read, pull = look_up(equation, asked)
        found = pull(*[[*operands, output][r] for r in read], g)
        derive = lambda *moved: move(equation, operands, asked, moved)  # noqa: B023
        expected = jax.vjp(derive, *[operands[p] for p in asked])[1](g)
        chex.assert_trees_all_equal_shapes_and_dtypes(list(found), list(expected))
        chex.assert_trees_all_close(list(found), list(expected), rtol=1e-13, atol=1e-15)
    assert look_up(equation, positions)[0] == reads


def move(equation: Equation, operands: list[Any], positions: tuple[int, ...], moved: tuple[Any, ...]) -> jax.Array:
    replaced = dict(zip(positions, moved, strict=True))
    (output,) = equation.run(*[replaced.get(i, x) for i, x in enumerate(operands)])
    return output


def test_every_rule_has_a_case():
    tried = {name for name, *_ in CASES}
    assert written().keys() - {"copy_p"} == tried  # `copy_p` is what some versions call `copy`


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
    ("select_n", lax.select_n, (jnp.array(True), X, Y), 1),
    ("select_n", lax.select_n, (X > Y, X, Y), 0),
    ("gather", embed, (X, jnp.zeros((0, 1), int)), 0),
    ("gather", embed, (X, jnp.array([[1], [0]])), 1),
    ("dot_general", lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.float32), (HALF, HALF.T), 0),
    ("tan", lax.tan, (X,), 0),
]


@pytest.mark.parametrize(("name", "f", "operands", "position"), REFUSED)
def test_anything_else_is_derived(name, f, operands, position):
    assert look_up(equation_of(name, f, *operands), (position,)) is None


def test_the_zeroth_power_is_flat():
    equation = equation_of("integer_pow", lambda x: lax.integer_pow_p.bind(x, y=0), X)
    _, pull = look_up(equation, (0,))
    np.testing.assert_array_equal(pull(X, Y), [jnp.zeros_like(X)])
