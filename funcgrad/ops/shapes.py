"""Shapes that rules need: aligning ranks, one batch axis in place of many."""

from math import prod

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array


def lift(x: Array, like: Array) -> Array:
    """`x` with axes of size 1 in front, up to the rank of `like`: numpy's broadcasting, said out loud."""
    missing = like.ndim - x.ndim
    return lax.expand_dims(x, range(missing)) if missing > 0 else x


def align(*operands: Array) -> tuple[Array, ...]:
    """All operands at the highest of their ranks."""
    highest = max((jnp.asarray(x) for x in operands), key=lambda x: x.ndim)
    return tuple(lift(jnp.asarray(x), highest) for x in operands)


def flatten_leading(x: Array, keep: int) -> Array:
    """All but the last `keep` axes as one: `[..., n] -> [b, n]`; without leading axes `b` is 1."""
    return x.reshape(prod(x.shape[: x.ndim - keep]), *x.shape[x.ndim - keep :])


def normalize_axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes as non-negative numbers; None means all."""
    if axis is None:
        return tuple(range(rank))
    return tuple(a % rank if rank else a for a in ((axis,) if isinstance(axis, int) else axis))


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """A size for both image axes, given once or per axis."""
    return (value, value) if isinstance(value, int) else value


Padding = str | tuple[tuple[int, int], tuple[int, int]]


def resolve_padding(
    padding: Padding, size: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """`SAME`, `VALID` or explicit pairs as (before, after) for both image axes."""
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding must be 'SAME', 'VALID' or ((top, bottom), (left, right)), got {padding!r}")
        return tuple((int(lo), int(hi)) for lo, hi in lax.padtype_to_pads(size, window, stride, padding))
    return padding
