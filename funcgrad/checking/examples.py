"""Where to check: the caller's examples, else the op's own, and what follows from them and from declared shapes.

A *point* is other values at the shapes of an example; it costs no compilation. A *relative* of an example has other
shapes that the op declares it can take: an axis of size 1, no entries, no batch axes, more of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.errors import CheckError
from funcgrad.primitive import is_inexact
from funcgrad.registry import Example, Op

Shape = tuple[int, ...]


def chosen(op: Op, cases: Sequence[Any] | None, attributes: Mapping[str, Any]) -> list[Example]:
    """The examples that were given, else registered, else made from the declared shapes.

    Raises:
        CheckError: there are none of these.
    """
    if cases is not None:
        found = [Example(c if isinstance(c, tuple) else (c,), dict(attributes)) for c in cases]
    else:
        found = [Example(e.arguments, {**e.attributes, **attributes}) for e in op.examples]
    if not found:
        found = [e for e in [_declared(op, attributes)] if e is not None]
    if not found:
        raise CheckError(
            f"{op.name}: nothing to check it on; pass cases=[(x, ...), ...], register {op.name}.example(x, ...), "
            f"or declare shapes= for all its arguments."
        )
    return found


def _declared(op: Op, attributes: Mapping[str, Any]) -> Example | None:
    """An ordinary example from the declaration alone: every argument floating."""
    if op.core_axes == 0:
        shapes: dict[str, Shape] = dict.fromkeys(op.arguments, (2, 3))
    else:
        letters = dict.fromkeys(a for axes in op.shapes.axes.values() for a in axes)
        sizes = {a: n for n, a in enumerate((a for a in letters if a != "..."), 2)}
        shapes = _sized(op, sizes, (2,))
    needed = [n for n in op.arguments if op.signature.parameters[n].default is op.signature.empty]
    if not shapes or any(n not in shapes for n in needed):
        return None
    rng = np.random.default_rng(5)
    values = [rng.normal(size=shapes[n]) if n in shapes else op.signature.parameters[n].default for n in op.arguments]
    return Example(tuple(values), dict(attributes))


def _sized(op: Op, sizes: Mapping[str, int], leading: Shape) -> dict[str, Shape]:
    """The shape of each declared argument, for the given sizes of letters."""
    shapes = {}
    for argument, axes in op.shapes.axes.items():
        parts = [leading if a == "..." else (int(a) if a.isdigit() else sizes[a],) for a in axes]
        shapes[argument] = tuple(n for part in parts for n in part)
    return shapes


def relatives(op: Op, example: Example) -> Iterator[tuple[str, Example]]:
    """Examples of other shapes, where the op declares what it takes; the forward may still refuse them."""
    arrays = dict(zip(op.arguments, example.arguments, strict=False))
    if not all(hasattr(x, "shape") or np.isscalar(x) for x in arrays.values()):
        return
    rng = np.random.default_rng(6)
    for label, shapes in _other_shapes(op, {n: np.shape(x) for n, x in arrays.items()}):
        if any(shapes.get(n, np.shape(x)) != np.shape(x) for n, x in arrays.items()):
            values = tuple(_resized(rng, x, shapes.get(n, np.shape(x))) for n, x in arrays.items())
            yield label, Example(values, example.attributes)


def _other_shapes(op: Op, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Mapping[str, Shape]]]:
    if op.core_axes == 0:
        ranked = list(shapes)
        yield "scalars", dict.fromkeys(ranked, ())
        yield "empty", dict.fromkeys(ranked, (0, 3))
        for n in ranked if len(ranked) > 1 else ():
            yield f"{n} of size 1", {m: (2, 1) if m == n else (2, 3) for m in ranked}
            yield f"{n} of lower rank", {m: (3,) if m == n else (2, 3) for m in ranked}
        return
    if not op.shapes.axes or not all(n in shapes for n in op.shapes.axes if n in shapes):
        return
    sizes, leading = _read(op, shapes)
    if sizes is None:
        return
    present = {n: axes for n, axes in op.shapes.axes.items() if n in shapes}

    def resized(sizes: Mapping[str, int], leading: Shape) -> dict[str, Shape]:
        return {
            n: s for n, s in _sized(op, {**dict.fromkeys(_letters(op), 1), **sizes}, leading).items() if n in present
        }

    if any("..." in axes for axes in present.values()):
        yield "no batch axes", resized(sizes, ())
        yield "two batch axes", resized(sizes, (2, 3))
        yield "empty batch", resized(sizes, (0,))
    yield "size 1", resized(dict.fromkeys(sizes, 1), leading)


def _letters(op: Op) -> list[str]:
    return [a for axes in op.shapes.axes.values() for a in axes if a != "..." and not a.isdigit()]


def _read(op: Op, shapes: Mapping[str, Shape]) -> tuple[dict[str, int] | None, Shape]:
    """The sizes of letters, and the leading axes, from the shapes of an example; None where it does not fit."""
    sizes: dict[str, int] = {}
    leading: Shape = ()
    for argument, axes in op.shapes.axes.items():
        if argument in shapes:
            fixed = [a for a in axes if a != "..."]
            split = len(shapes[argument]) - len(fixed)
            if split < 0:
                return None, ()
            leading = shapes[argument][:split] if "..." in axes else leading
            sizes.update((a, n) for a, n in zip(fixed, shapes[argument][split:], strict=True) if not a.isdigit())
    return sizes, leading


def _resized(rng: np.random.Generator, x: Any, shape: Shape) -> Any:
    """Values of another shape, drawn from those of `x`, which may be labels or must be positive."""
    if jnp.issubdtype(jax.typeof(x).dtype, jax.dtypes.extended) or np.shape(x) == shape:
        return x
    values = np.asarray(x).reshape(-1)
    if not values.size:
        values = np.zeros(1, values.dtype)
    drawn = values[rng.integers(0, values.size, size=shape)]
    return drawn * rng.uniform(0.9, 1.1, size=shape).astype(drawn.dtype) if drawn.dtype.kind in "fc" else drawn


def points(leaves: Sequence[Array]) -> Iterator[tuple[str, list[Array]]]:
    """Other values at the same shapes: where functions have kinks, ties and ends, and where they saturate."""
    rng = np.random.default_rng(9)

    def moved(change: Callable[[np.ndarray], np.ndarray]) -> list[Array]:
        inexact = [is_inexact(jax.typeof(x)) for x in leaves]
        return [
            jnp.asarray(change(np.asarray(x)), x.dtype) if yes else x for x, yes in zip(leaves, inexact, strict=True)
        ]

    yield "mirrored", moved(np.negative)
    yield "zeros", moved(np.zeros_like)
    yield "ties", moved(lambda x: rng.integers(-1, 2, size=x.shape))
    yield "positive ties", moved(lambda x: rng.integers(1, 3, size=x.shape))
    yield "wide", moved(lambda x: 20 * x)
