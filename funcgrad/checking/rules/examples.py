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
from funcgrad.checking.rules.declared_shapes import Shape, letters, other_shapes, sized
from funcgrad.errors import CheckError
from funcgrad.primitive import is_inexact
from funcgrad.registry import Example, Op


def choose_examples(op: Op, cases: Sequence[Any] | None, attributes: Mapping[str, Any]) -> list[Example]:
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
        shapes = sized(op, {a: n for n, a in enumerate(letters(op), 2)}, (2,))
    needed = [n for n in op.arguments if op.signature.parameters[n].default is op.signature.empty]
    if not shapes or any(n not in shapes for n in needed):
        return None
    rng = np.random.default_rng(5)
    values = [rng.normal(size=shapes[n]) if n in shapes else op.signature.parameters[n].default for n in op.arguments]
    return Example(tuple(values), dict(attributes))


def make_relatives(op: Op, example: Example) -> Iterator[tuple[str, Example]]:
    """Examples of other shapes, where the op declares what it takes; the forward may still refuse them."""
    arrays = dict(zip(op.arguments, example.arguments, strict=False))
    if not all(hasattr(x, "shape") or np.isscalar(x) for x in arrays.values()):
        return
    rng = np.random.default_rng(6)
    for label, shapes in other_shapes(op, {n: np.shape(x) for n, x in arrays.items()}):
        if any(shapes.get(n, np.shape(x)) != np.shape(x) for n, x in arrays.items()):
            values = tuple(resize(rng, x, shapes.get(n, np.shape(x))) for n, x in arrays.items())
            yield label, Example(values, example.attributes)


def resize(rng: np.random.Generator, x: Any, shape: Shape) -> Any:
    """Values of another shape, drawn from those of `x`, which may be labels or must be positive."""
    if jnp.issubdtype(jax.typeof(x).dtype, jax.dtypes.extended) or np.shape(x) == shape:
        return x
    values = np.asarray(x).reshape(-1)
    if not values.size:
        values = np.zeros(1, values.dtype)
    drawn = values[rng.integers(0, values.size, size=shape)]
    return drawn * rng.uniform(0.9, 1.1, size=shape).astype(drawn.dtype) if drawn.dtype.kind in "fc" else drawn


def make_points(leaves: Sequence[Array]) -> Iterator[tuple[str, list[Array]]]:
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
