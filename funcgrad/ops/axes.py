"""Shapes that rules need: aligning ranks, one batch axis in place of many."""

from math import prod
from numbers import Integral
from typing import Any

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


def find_axis(axis: int, rank: int) -> int:
    """An axis as a non-negative number; ValueError where it is not there."""
    if not rank:
        raise ValueError(f"x must have an axis to go along, and a scalar has none, got axis={axis}")
    if not -rank <= axis < rank:
        raise ValueError(f"axis must be one of the {rank} axes of x, got {axis}")
    return axis % rank


def normalize_axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes as non-negative numbers; None means all. ValueError for an axis that is not there, or there twice."""
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int) else axis
    found = tuple(find_axis(a, rank) for a in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"axis must name each axis once, got {axis}")
    return found


def per_axis(name: str, value: int | tuple[int, ...], n: int, least: int = 1) -> tuple[int, ...]:
    """An attribute of each of `n` image axes, given once or per axis."""
    values = value if isinstance(value, tuple) else (value,) * n
    if len(values) != n or any(not isinstance(v, Integral) or v < least for v in values):
        per = f" or {n} of them" if n > 1 else ""
        raise ValueError(f"{name} must be a number of at least {least}{per}, got {value}")
    return values


Padding = str | int | tuple[int | tuple[int, int], ...]
_SIDES = ("(front, back)", "(top, bottom)", "(left, right)")


def resolve_padding(
    padding: Padding, size: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """`SAME`, `VALID`, a number, or a number or pair for each image axis, as (before, after) for each."""
    if padding in ("SAME", "VALID"):
        return tuple((int(lo), int(hi)) for lo, hi in lax.padtype_to_pads(size, window, stride, padding))
    if isinstance(padding, int):
        padding = (padding,) * len(size)
    if isinstance(padding, str) or len(padding) != len(size) or not all(map(_is_side, padding)):
        pairs = ", ".join(_SIDES[-len(size) :]) + ("," if len(size) == 1 else "")
        raise ValueError(f"padding must be 'SAME', 'VALID', a number or ({pairs}), got {padding!r}")
    return tuple((p, p) if isinstance(p, int) else p for p in padding)


def _is_side(padding: Any) -> bool:
    """One number for both sides, or a pair."""
    return isinstance(padding, int) or (isinstance(padding, tuple) and len(padding) == 2)
