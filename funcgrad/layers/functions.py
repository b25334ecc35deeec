"""Pure functions as layers: without parameters (`pure`), or with them (`parametric`)."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError, describe
from funcgrad.layers.layer import Layer, positional_range
from funcgrad.layers.printing import call, function_path
from funcgrad.naming import name_here
from funcgrad.registry import Op


class pure(Layer):
    """A function of arrays as a layer without parameters, keyword arguments fixed.

    Combinators lift functions by themselves; this spells it out. A `functools.partial` of keywords is taken apart, so
    that the layer prints and compares by what it holds.

    Args:
        function: a pure function of arrays; an op, say.
        options: its keyword arguments.

    Example:
        >>> net = fg.layers.pure(fg.ops.softmax, axis=0)
        >>> print(net, net({}, jnp.zeros((2, 1))).ravel())
        pure(ops.softmax, axis=0) [0.5 0.5]
    """

    function: Callable[..., PyTree]
    options: tuple[tuple[str, Any], ...]

    def __init__(self, function: Callable[..., PyTree], /, **options: Any):
        if isinstance(function, functools.partial) and not function.args:
            function, options = function.func, {**function.keywords, **options}
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "options", tuple(sorted(options.items())))

    def forward(self, _: PyTree, *inputs: Any) -> PyTree:
        """`function(*inputs, **options)`."""
        return self.function(*inputs, **dict(self.options))

    @property
    def where(self) -> str:
        """Where the function stands, under its own name."""
        return name_here(getattr(self.function, "__name__", "pure"))

    @property
    def arity(self) -> tuple[int, int | float]:
        """What the function's signature says."""
        return _arity(self.function)

    def __repr__(self) -> str:
        return call("pure", [function_path(self.function), *(f"{n}={v!r}" for n, v in self.options)])

    @property
    def short(self) -> str:
        """As a combinator prints it: a function without options by its name alone."""
        return repr(self) if self.options else function_path(self.function)


class parametric(Layer):
    """A user's φ(params, *inputs) as a layer.

    Args:
        function: `function(params, *inputs) -> output`.
        start: `start(key, *input_specs) -> params`. May be left out where the parameters are given by hand, or
            are shared with a layer that makes them.

    Raises:
        GraphError: from `init`, there is no `start`.

    Example:
        >>> gain = fg.layers.parametric(lambda w, x: w * x, lambda key, x: jnp.ones(x.shape[-1:], x.dtype))
        >>> params, state = gain.init(jax.random.key(0), jnp.ones((2, 3)))
        >>> params.shape
        (3,)
    """

    function: Callable[..., PyTree]
    start: Callable[..., PyTree] | None = None

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """`start(key, *specs)`; no state.

        Raises:
            GraphError: there is no `start`.
        """
        if self.start is None:
            name = function_path(self.function)
            raise GraphError(f"{self.where}: nothing says how {name} starts; use parametric({name}, start).")
        return self.start(key, *specs), {}

    def forward(self, params: PyTree, *inputs: Any) -> PyTree:
        """`function(params, *inputs)`."""
        return self.function(params, *inputs)

    @property
    def arity(self) -> tuple[int, int | float]:
        """What the function's signature says, less the parameters."""
        return _arity(self.function, skip=1)


def lift(value: Any, reader: str) -> Layer:
    """A layer as it is; a function as a `pure` layer; GraphError for anything else that `reader` is given."""
    if isinstance(value, Layer):
        return value
    if isinstance(value, type) or not callable(value):
        raise GraphError(f"{reader} expects layers or pure functions, got {_described(value)}.")
    return pure(value)


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself; call it to make a layer"
    return describe(value)


def _arity(function: Callable[..., Any], skip: int = 0) -> tuple[int, int | float]:
    try:
        signature = function.signature if isinstance(function, Op) else inspect.signature(function)
    except (TypeError, ValueError):
        return 0, float("inf")
    return positional_range(signature, skip)
