"""The derivative of one node in float64, by `jax.vjp` of its plain function, whatever dtype the node computes in."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.numbers import as_dtype
from funcgrad.graph import Constant, Node, Structure, Value, open_jaxpr, read
from funcgrad.plans import as_array
from funcgrad.primitive import bodies, body, is_inexact, is_jit
from funcgrad.registry import Call, Equation

Run = Callable[..., list[Array]]


def widened(x: Any) -> Array:
    """An array in float64 or complex128; integers and keys as they are. To be called under `jax.enable_x64(True)`."""
    aval = jax.typeof(x)
    if not is_inexact(aval):
        return as_array(x)
    return as_dtype(x, np.complex128 if jnp.issubdtype(aval.dtype, jnp.complexfloating) else np.float64)


def given_derivative(node: Node) -> str:
    """What JAX calls the derivative of its own that a node's function was given; empty where it was given none."""
    if not isinstance(node.function, Equation):
        return ""
    return "custom_jvp" if node.function.is_custom_jvp else "custom_vjp" if node.function.is_custom_vjp else ""


def holds_what_cannot_be_widened(node: Node) -> bool:
    """Whether a node runs a body of its own dtypes, and has no plain function that could run in others.

    That is a `while` loop, and a primitive with a body. A custom derivative is opened, and a jitted function that
    stays whole for its rule: their functions are plain.
    """
    if isinstance(node.function, Call):
        return False
    if given_derivative(node) or _is_jitted(node):
        return any(map(holds_what_cannot_be_widened, _given_to(node)[0].nodes))
    if node.holder is None:
        return isinstance(node.function, Equation) and bool(bodies(node.function.source))
    return not node.holder.is_countable or any(map(holds_what_cannot_be_widened, _nodes_inside(node)))


def holds_given_derivatives(node: Node) -> bool:
    """Whether a loop, branch, checkpoint or call holds custom derivatives: what JAX makes of it is by their rules."""
    inside = _given_to(node)[0].nodes if _is_jitted(node) else _nodes_inside(node)
    return any(given_derivative(n) or holds_given_derivatives(n) for n in inside)


def has_plain_derivative(node: Node, leaves: Sequence[Any], positions: Sequence[int], g: Sequence[Array]) -> bool:
    """Whether JAX can differentiate the function that a custom derivative was given to."""
    try:
        jax.eval_shape(lambda leaves, g: derivative(plain(node, wide=False), leaves, positions, g), leaves, g)
    except Exception:  # a callback, a `while` inside of a call, whatever a primitive of the user's lacks
        return False
    return True


def derivative(run: Run, leaves: Sequence[Any], positions: Sequence[int], g: Sequence[Array]) -> list[Array]:
    """J^T of a flat function with respect to the leaves at `positions`, by JAX."""

    def inexact_outputs(*moved: Array) -> list[Array]:
        replaced = dict(zip(positions, moved, strict=True))
        outputs = run(*[replaced.get(i, x) for i, x in enumerate(leaves)])
        return [y for y in outputs if is_inexact(jax.typeof(y))]

    return list(jax.vjp(inexact_outputs, *[leaves[p] for p in positions])[1](list(g)))


def plain(node: Node, wide: bool) -> Run:
    """The function of a node without its rules: as it is, or, `wide`, for inputs in float64."""
    if isinstance(node.function, Call):
        return node.function.plain.evaluate
    return partial(_run, wide, node) if wide or given_derivative(node) else node.run


def _run(wide: bool, node: Node, *leaves: Array) -> list[Array]:
    """Run a node without its rules; where its inputs are `wide`, whatever dtypes it was traced with."""
    if isinstance(node.function, Call):
        return node.function.plain.evaluate(*leaves)
    assert isinstance(node.function, Equation)
    if given_derivative(node) or _is_jitted(node):
        structure, constants = _given_to(node)
        return _run_structure(wide, structure, *leaves, constants=constants)
    if node.holder is None:
        return node.function.run_as(_wide_parameter, *leaves) if wide else node.run(*leaves)
    return node.holder.run([partial(_run_structure, wide, body.structure) for body in node.bodies], *leaves)


def _run_structure(wide: bool, structure: Structure, *inputs: Array, constants: Sequence[Any] = ()) -> list[Array]:
    as_read = widened if wide else as_array
    values: dict[Value, Any] = dict(zip(structure.inputs, inputs, strict=True))
    values.update(zip(structure.constants, map(as_read, constants), strict=True))
    for node in structure.nodes:
        pairs = zip(node.inputs, read(node.inputs, values), strict=True)
        leaves = [as_read(x) if isinstance(v, Constant) else x for v, x in pairs]
        values.update(zip(node.outputs, _run(wide, node, *leaves), strict=True))
    return [as_read(v.content) if isinstance(v, Constant) else values[v] for v in structure.outputs]


def _is_jitted(node: Node) -> bool:
    """Whether a node calls a jitted function that was not opened."""
    if node.holder is not None or not isinstance(node.function, Equation):
        return False
    source = node.function.source
    return is_jit(source) and body(source) is not None


def _given_to(node: Node) -> tuple[Structure, Sequence[Any]]:
    """The graph of the function that a custom derivative was given to, or that is jitted, and its constants."""
    assert isinstance(node.function, Equation)
    source = node.function.source
    closed = source.params["jaxpr" if is_jit(source) else "call_jaxpr"]
    return open_jaxpr(closed), closed.consts


def _nodes_inside(node: Node) -> Iterator[Node]:
    for inner in node.bodies:
        yield from inner.structure.nodes


def _wide_parameter(parameter: Any) -> Any:
    """A dtype that an equation names as float64, where it is a floating one."""
    if isinstance(parameter, np.dtype) and jnp.issubdtype(parameter, jnp.floating):
        return np.dtype(np.float64)
    if isinstance(parameter, np.dtype) and jnp.issubdtype(parameter, jnp.complexfloating):
        return np.dtype(np.complex128)
    return parameter
