"""What a traced function returns: the arrays it computes are outputs of the graph, anything else is handed through."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.core import Tracer

from funcgrad.aliases import Array, PyTree, PyTreeDef
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Value
from funcgrad.naming import Names
from funcgrad.primitive import type_of, typed

_TRACED = object()


class Returned:
    """The result of a function, taken apart while it is traced.

    As under `jax.grad`, what the function did not compute comes back as the very object that it returned: strings and
    functions, numbers, numpy arrays, arrays that it closes over.
    """

    tree: PyTreeDef
    _leaves: list[Any]
    """The leaves; where one is traced, a mark: a tracer must not outlive its trace."""

    def traced(self, result: PyTree) -> list[Any]:
        """Take a result apart: its traced leaves."""
        leaves, self.tree = jax.tree.flatten(result)
        self._leaves = [_TRACED if isinstance(leaf, Tracer) else leaf for leaf in leaves]
        return [leaf for leaf in leaves if isinstance(leaf, Tracer)]

    def completed(self, structure: Structure, constants: Sequence[Any]) -> tuple[Structure, tuple[Array, ...]]:
        """A graph of the traced leaves with all leaves as outputs, and its constants.

        An array that the function closes over and returns is a constant of the graph. What was traced but needs no
        computing (`jnp.array(True)`, written into the graph as a number) is made an array.
        """
        arrays = dict(zip(structure.constants, constants, strict=True))
        source, outputs = iter(structure.outputs), []
        for leaf in self._leaves:
            output = next(source) if leaf is _TRACED else _described(leaf, arrays, structure)
            if isinstance(output, Value) and output not in arrays and leaf is not _TRACED:
                arrays[output] = leaf
            if leaf is _TRACED and isinstance(output, Constant):
                output = Constant(_array(output.content, output.aval), output.aval)
            elif output in arrays:
                arrays[output] = _array(arrays[output], output.aval)
            outputs.append(output)
        return replace(structure, constants=tuple(arrays), outputs=tuple(outputs)), tuple(arrays.values())


def _described(leaf: Any, arrays: dict[Value, Any], structure: Structure) -> Value | Constant:
    """What stands for a leaf that is not traced; `arrays` are the constants so far."""
    if isinstance(leaf, jax.Array):
        known = next((v for v, x in arrays.items() if x is leaf), None)
        names = Names(x.name for x in (*arrays, *structure.values, *structure.all_nodes))
        return known or Value(names.give(f"const{len(arrays)}"), jax.typeof(leaf))
    return Constant(leaf, type_of(leaf))


def _array(x: Any, aval: Any) -> Array:
    """What JAX keeps as a number or a numpy array while it traces, as an array; an array as it is."""
    if isinstance(x, jax.Array):
        return x
    with jax.ensure_compile_time_eval():
        return typed(x, aval)
