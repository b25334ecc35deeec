"""Matrix products: the linear layer, and numpy's matmul."""

from string import ascii_lowercase
from typing import Any

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.contraction import accumulator, bias_cotangent, contract_leading
from funcgrad.ops.labelled_axes import cut_by_labels
from funcgrad.registry import op


@op(leading=("x",), shapes="x[..., n] w[n, m] b[m]")
def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """`y = x w + b`, row by row: `x[..., n]`, `w[n, m]`, `b[m] -> y[..., m]`.

        [∂ℓ/∂x] = g wᵀ,   [[∂ℓ/∂w]] = Σ xᵀ g,   [∂ℓ/∂b] = Σ g,   sums over the leading axes.

    Keeps `x` and `w`. Leading axes are batch axes, so a `vmap` over `x` leaves one contraction for `w_bar`.

    Args:
        x: rows, with any leading axes.
        w: the matrix.
        b: a term for each column of `w`; none by default.

    Returns:
        `y[..., m]`, in the dtype that `x` and `w` have together.

    Raises:
        ShapeError: the shapes do not fit each other.

    Example:
        >>> x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
        >>> print(fg.ops.linear(x, w, jnp.arange(4.0)))
        [[3. 4. 5. 6.]
         [3. 4. 5. 6.]]
        >>> fg.grad(lambda w: fg.ops.linear(x, w).sum())(w).shape
        (3, 4)
    """
    rows = [*range(x.ndim - 1)]
    y = cut_by_labels(_rows_times, (x, w), ([*rows, "n"], ["n", "m"]), [*rows, "m"])
    return y if b is None else y + lax.expand_dims(b, range(y.ndim - 1))


def _rows_times(x: Array, w: Array) -> Array:
    return lax.dot_general(x, w, (((x.ndim - 1,), (0,)), ((), ())))


@linear.pullback("x")
def linear_x(g: Array, w: Array) -> Array:
    """`[∂ℓ/∂x] = g wᵀ`."""
    return lax.dot_general(g, w, (((g.ndim - 1,), (1,)), ((), ())))


@linear.pullback("w")
def linear_w(g: Array, x: Array) -> Array:
    """`[[∂ℓ/∂w]] = Σ xᵀ g`."""
    return contract_leading(x, g)


@linear.pullback("b")
def linear_b(g: Array) -> Array:
    """`[∂ℓ/∂b] = Σ g`."""
    return bias_cotangent(g)


@op(core_axes=2)
def matmul(a: Array, b: Array) -> Array:
    """`y = a b` as `jnp.matmul`: `a[..., i, k]`, `b[..., k, j] -> y[..., i, j]`, leading axes broadcast.

        a_bar = g bᵀ,   b_bar = aᵀ g,   summed over the leading axes that were broadcast.

    The sums are part of the same contraction: no product per example is made. A vector `a[k]` stands for one
    row, `b[k]` for one column. Keeps the other factor.

    Args:
        a: matrices, or a vector.
        b: matrices, or a vector.

    Returns:
        `y[..., i, j]`, without `i` where `a` is a vector and without `j` where `b` is one.

    Raises:
        ShapeError: the inner sizes differ, the leading axes do not broadcast, or a factor is a scalar.

    Example:
        >>> fg.ops.matmul(jnp.ones((5, 2, 3)), jnp.ones((3, 4))).shape
        (5, 2, 4)
    """
    output = [*range(2 - max(a.ndim, b.ndim), 0), *(c for c, x in (("i", a), ("j", b)) if x.ndim > 1)]
    return cut_by_labels(jnp.matmul, (a, b), (_labels(a.ndim, "ik"), _labels(b.ndim, "kj")), output)


def _labels(rank: int, matrix: str) -> list[Any]:
    """Labels of a factor's axes; the batch axes count back from the last one, since they broadcast."""
    return ["k"] if rank == 1 else [*range(2 - rank, 0), *matrix]


@matmul.pullback("a")
def matmul_a(g: Array, a_aval: Aval, b: Array) -> Array:
    """`a_bar = g bᵀ`, summed over the leading axes that `a` lacks."""
    columns, out = b[:, None] if b.ndim == 1 else b, _of_matrices(g, a_aval, b)
    row = (1,) if a_aval.ndim == 1 else ()
    return _product("ij", out, "kj", columns, "ik", row + a_aval.shape).reshape(a_aval.shape)


@matmul.pullback("b")
def matmul_b(g: Array, a: Array, b_aval: Aval) -> Array:
    """`b_bar = aᵀ g`, summed over the leading axes that `b` lacks."""
    rows, out = a[None, :] if a.ndim == 1 else a, _of_matrices(g, a, b_aval)
    column = (1,) if b_aval.ndim == 1 else ()
    return _product("ik", rows, "ij", out, "kj", b_aval.shape + column).reshape(b_aval.shape)


def _of_matrices(g: Array, a: Array | Aval, b: Array | Aval) -> Array:
    """The cotangent with the axes that vectors took away: a vector `a` is a row, a vector `b` a column."""
    if b.ndim == 1:
        g = g[..., None]
    return jnp.expand_dims(g, -2) if a.ndim == 1 else g


def _product(left: str, a: Array, right: str, b: Array, target: str, shape: tuple[int, ...]) -> Array:
    """`a` times `b` with matrix axes so labelled, summed over the batch axes along which `shape` is 1 or absent."""
    labels = ascii_lowercase.translate(str.maketrans("", "", "ijk"))
    rank = max(a.ndim, b.ndim) - 2
    operands, subscripts = [], []
    for x, matrix in ((a, left), (b, right)):
        batch = x.shape[:-2]
        stretched = tuple(i for i, n in enumerate(batch) if n == 1)
        operands.append(jnp.squeeze(x, stretched))
        subscripts.append("".join(labels[rank - len(batch) + i] for i, n in enumerate(batch) if n != 1) + matrix)
    here = set(subscripts[0] + subscripts[1])
    batch = shape[:-2]
    kept = [labels[rank - len(batch) + i] for i, n in enumerate(batch) if n != 1]
    equation = f"{subscripts[0]},{subscripts[1]}->{''.join(c for c in kept if c in here)}{target}"
    return jnp.einsum(equation, *operands, preferred_element_type=accumulator(a.dtype))
