"""Positions: what tells attention where in the sequence a token stands."""

import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.ops.contraction import narrow, widen
from funcgrad.registry import Marker, op


@op(leading=("x",))
def rotary(x: Array, positions: Array, *, base: int | float = 10000.0, fraction: int | float = 1.0) -> Array:
    """Rotate pairs of features by angles that grow with the position: `x[..., t, h, d]`, `positions[t]` or `[..., t]`.

    In the half-split convention (GPT-NeoX, Llama), feature `i` is paired with feature `i + r/2` and, at position
    `p`, turned by `θ = p base^(-2 i / r)`; `r` is the even number of leading features that take part:

        (y_i, y_{i + r/2}) = (x_i cos θ - x_{i + r/2} sin θ, x_i sin θ + x_{i + r/2} cos θ).

    A rotation is orthogonal, so `x_bar` is `g` turned by `-θ`. Keeps the positions only. The product of a rotated
    query and a rotated key depends on the difference of their positions. Angles are in float32 at least.
    Source: Su et al. 2021, eq. 34.

    Args:
        x: queries or keys.
        positions: integers, one per time; leading axes broadcast to those of `x`.
        base: the slowest pair turns by nearly `1/base` a step.
        fraction: the share of the features that take part, in (0, 1]; the others pass unchanged.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: positions are not integers or do not fit `x`; the number of features that turn is not even; or
            `x` is of integers.

    Example:
        >>> y = fg.ops.rotary(jnp.ones((2, 1, 2)), jnp.arange(2))
        >>> print(jnp.array_str(y[:, 0], precision=3))
        [[ 1.     1.   ]
         [-0.301  1.382]]
    """
    _check(x, positions, fraction)
    return _rotate(x, positions, base, fraction, sign=1)


@rotary.pullback("x")
def rotary_x(g: Array, positions: Array, base: int | float, fraction: int | float) -> Array:
    """`x_bar`: `g` turned back."""
    return _rotate(g, positions, base, fraction, sign=-1)


rotary.mark(positions=Marker.NON_DIFFERENTIABLE)


def _rotate(x: Array, positions: Array, base: int | float, fraction: int | float, sign: int) -> Array:
    half = _n_turned(x, fraction) // 2
    dtype = widen(x).dtype
    # By NumPy, so that they are constants: as powers of JAX's they are 123 of a transformer's HLO instructions.
    speeds = np.asarray(base ** (-np.arange(half) / half), dtype)
    angles = positions.astype(dtype)[..., None, None] * speeds.reshape((1,) * (positions.ndim + 1) + (-1,))
    angles = angles.reshape((1,) * (x.ndim - angles.ndim) + angles.shape)
    cos, sin = jnp.cos(angles), sign * jnp.sin(angles)
    wide = widen(x)
    a, b, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    return narrow(jnp.concatenate([a * cos - b * sin, a * sin + b * cos, rest], axis=-1), x)


def _n_turned(x: Array, fraction: int | float) -> int:
    """How many features take part."""
    return round(x.shape[-1] * fraction)


def _check(x: Array, positions: Array, fraction: int | float) -> None:
    """ValueError unless the arguments fit each other."""
    if x.ndim < 3 or positions.ndim < 1 or positions.ndim > x.ndim - 2:
        raise ValueError("x must be [..., t, h, d] and positions [t] or [..., t]")
    shape = x.shape[:-2]
    if any(a not in (1, b) for a, b in zip(positions.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"positions must broadcast to [..., t] = {list(shape)}, got {list(positions.shape)}")
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        raise ValueError(f"positions must be integers, got {positions.dtype}")
    if not 0 < fraction <= 1 or _n_turned(x, fraction) % 2:
        raise ValueError(
            f"an even number of the {x.shape[-1]} features must turn, and fraction={fraction} of them is "
            f"{_n_turned(x, fraction)}"
        )
