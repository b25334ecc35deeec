"""Arguments made up by Hypothesis, from the shapes an op declares: sizes, batch axes, and awkward numbers.

Hypothesis is needed here and nowhere else; it comes with `funcgrad[test]`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from funcgrad.checking.rules.declared_shapes import Shape, letters, sized
from funcgrad.checking.rules.examples import resize
from funcgrad.errors import CheckError
from funcgrad.primitive import is_inexact
from funcgrad.registry import Example, Op

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

AWKWARD = (0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -3.0, 6.0, 30.0, -30.0)
"""Numbers at which functions have their kinks and ends."""


def arguments(
    op: Op, like: Sequence[Any] = (), min_size: int = 0, max_size: int = 4
) -> "SearchStrategy[tuple[Any, ...]]":
    """A Hypothesis strategy for the arguments of an op: float64 arrays that fit its declaration and each other.

    Args:
        op: an op with `shapes=` for all arguments that have no default, or `elementwise=True`.
        like: an example of its arguments; those that are not floating there (labels, indices) are drawn from its
            values.
        min_size: the smallest size of an axis; 0 makes empty arrays too.
        max_size: the largest.

    Returns:
        The strategy: what `hypothesis.given` takes. It draws a tuple of arguments.

    Raises:
        CheckError: Hypothesis is not installed, or the op declares too little.

    >>> import hypothesis
    >>> import funcgrad as fg
    >>> @hypothesis.settings(max_examples=5, deadline=None)
    ... @hypothesis.given(fg.checking.arguments(fg.ops.linear))
    ... def test_linear(args):
    ...     x, w, *_ = args
    ...     assert x.shape[-1] == w.shape[0]
    >>> test_linear()
    """
    st = _strategies()
    needed = [n for n in op.arguments if op.signature.parameters[n].default is op.signature.empty]
    if op.core_axes != 0 and any(n not in op.shapes.axes for n in needed):
        raise CheckError(
            f"{op.name}: no arguments can be made up, because it does not declare the shape of "
            f"{', '.join(n for n in needed if n not in op.shapes.axes)}; declare shapes=, or pass cases=."
        )
    given = dict(zip(op.arguments, like, strict=False))

    @st.composite
    def drawn(draw: "DrawFn") -> tuple[Any, ...]:
        size = st.integers(min_size, max_size)
        leading = tuple(draw(st.lists(size, max_size=2)))
        if op.core_axes == 0:
            shapes = {n: _broadcastable(draw, st, leading) for n in op.arguments}
        else:
            shapes = sized(op, {a: draw(size) for a in letters(op)}, leading)
        return tuple(_values(draw, st, shapes[n], given.get(n)) for n in op.arguments if n in shapes)

    return drawn()


def _strategies() -> Any:
    try:
        import hypothesis.strategies
    except ImportError:
        raise CheckError(
            "Arguments are made up by Hypothesis, which is not installed; install funcgrad[test] or hypothesis."
        ) from None
    return hypothesis.strategies


def _broadcastable(draw: "DrawFn", st: Any, full: Shape) -> Shape:
    """A shape that broadcasts to the full one: axes of size 1, and the first ones left out."""
    ones = [draw(st.booleans()) for _ in full]
    start = draw(st.integers(0, len(full)))
    return tuple(1 if one else n for n, one in zip(full, ones, strict=True))[start:]


def _values(draw: "DrawFn", st: Any, shape: Shape, like: Any) -> Any:
    """Floating numbers, many of them awkward; where the example has none, values of its own."""
    if like is not None and not is_inexact(jax.typeof(like)):
        return resize(np.random.default_rng(draw(st.integers(0, 1000))), like, shape)
    from hypothesis.extra.numpy import arrays

    elements = st.sampled_from(AWKWARD) | st.floats(-5, 5)
    return draw(arrays(np.float64, shape, elements=elements, fill=st.nothing()))


def find_simplest(op: Op, example: Example, is_wrong: Callable[[Example], bool], n: int) -> Example | None:
    """The simplest made-up example that `is_wrong`, or None where `n` of them are not.

    Raises:
        CheckError: Hypothesis is not installed, or the op declares too little.
    """
    strategy = arguments(op, example.arguments)
    import hypothesis
    from hypothesis.errors import NoSuchExample

    settings = hypothesis.settings(
        max_examples=n,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[*hypothesis.HealthCheck],  # pyright: ignore[reportArgumentType]
    )
    try:
        found = hypothesis.find(strategy, lambda args: is_wrong(Example(args, example.attributes)), settings=settings)
    except NoSuchExample:
        return None
    return Example(found, example.attributes)
