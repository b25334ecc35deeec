"""Names for the places of a program: scopes for nodes, names for values.

Scopes are `jax.named_scope`s, so they are also what profilers and HLO dumps show. The path is kept a second
time in a context variable, because an error raised while tracing must say where it is.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import jax
from jax.ad_checkpoint import checkpoint_name

from funcgrad.aliases import PyTree
from funcgrad.errors import GraphError, printed
from funcgrad.primitive import type_of

_path: ContextVar[tuple[str, ...]] = ContextVar("funcgrad_scope", default=())
_node: ContextVar[str] = ContextVar("funcgrad_node", default="")
_line: ContextVar[Callable[[], str]] = ContextVar("funcgrad_line", default=str)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefix the names of all nodes made inside with `name/`.

    Args:
        name: one segment of a path, or several (`"block3/attn"`).

    Raises:
        GraphError: the name is empty, or no string.

    Example:
        >>> def f(x):
        ...     with fg.scope("block3"):
        ...         return fg.ops.relu(x)
        >>> [node.name for node in fg.trace(f, jnp.ones(2)).nodes]
        ['block3/relu']
    """
    _check("scope", name)
    token = _path.set((*_path.get(), name))
    try:
        with jax.named_scope(name):
            yield
    finally:
        _path.reset(token)


@contextlib.contextmanager
def at_node(node_name: str, line: Callable[[], str] = str) -> Iterator[None]:
    """While the rules of a node run, errors name that node, and where it matters the line it was traced from."""
    token, line_token = _node.set(node_name), _line.set(line)
    try:
        yield
    finally:
        _node.reset(token)
        _line.reset(line_token)


def name_here(op_name: str) -> str:
    """Where an op or its rule stands now, as errors write it: `block3/relu`."""
    return _node.get() or resolve("/".join((*_path.get(), op_name)))


def line_here() -> str:
    """The line of code of the node whose rules run now, as `model.py:41 (...)`; empty where nobody knows."""
    return _line.get()()


def resolve(path: str) -> str:
    """A path without its `..`: each takes away the part before it.

    >>> resolve("model/decoder/../embed")
    'model/embed'
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def name(value: PyTree, label: str) -> PyTree:
    """Give an intermediate value (every leaf of a pytree) a name; returns the value.

    The name is what `fg.grad(f, wrt=label)` finds, and what the plan prints. It is JAX's own
    `checkpoint_name`, so rematerialisation policies see it too. A name that is given again is numbered, in the order
    of the program: `h`, `h#2`.

    Args:
        value: an array, or a pytree of arrays.
        label: its name; in the scope `block3`, that of the value is `block3/label`.

    Returns:
        The value.

    Raises:
        GraphError: the name is empty, or no string.

    Example:
        >>> loss = lambda x: jnp.sum(fg.name(2.0 * x, "h") ** 2)
        >>> print(fg.grad(loss, wrt="h")(jnp.ones(2)))
        [4. 4.]
    """
    _check("name", label)
    _check_arrays("name", value)
    return checkpoint_name(value, label)


def _check(what: str, label: str) -> None:
    if not isinstance(label, str) or not label.strip("/ "):
        around = "/".join(_path.get())
        raise GraphError(f"fg.{what}{f' in {around!r}' * bool(around)} takes a name such as 'h1', got {label!r}.")


def detach(value: PyTree) -> PyTree:
    """Return the value; no cotangent passes through it (`jax.lax.stop_gradient`).

    Args:
        value: an array, or a pytree of arrays.

    Returns:
        The value.

    Raises:
        GraphError: it is neither.

    Example:
        >>> print(fg.grad(lambda x: jnp.sum(x * fg.detach(x)))(jnp.array([1.0, 2.0])))
        [1. 2.]
    """
    _check_arrays("detach", value)
    return jax.lax.stop_gradient(value)


def _check_arrays(what: str, value: PyTree) -> None:
    for x in jax.tree.leaves(value):
        if not isinstance(x, jax.Array) and type_of(x) is None:
            raise GraphError(f"fg.{what} takes an array, or a pytree of arrays, got {printed(x)}.")
