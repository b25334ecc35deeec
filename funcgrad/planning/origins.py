"""Finding where the inputs of a node come from (`registry/origin.py`): up through what moves them and what holds it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Constant, Node, Value
from funcgrad.planning.standing import Standings
from funcgrad.plans import is_view
from funcgrad.primitive import Scan
from funcgrad.registry import Equation, Origin, Turn


class Origins:
    """Those of the inputs of one node that rules ask for."""

    def __init__(self, node: Node, standings: Standings) -> None:
        self.node = node
        self.standings = standings
        self.found: dict[int, Origin] = {}

    @property
    def at(self) -> tuple[Any, ...]:
        """What says which slices they are, of all of them."""
        return tuple(x for origin in self.found.values() for x in origin.at)

    def find(self, position: int) -> Origin:
        """That of the input at a position."""
        if position not in self.found:
            first = len(self.at)
            self.found[position] = self._climb(self.node.inputs[position], first)
        return self.found[position]

    def _climb(self, value: Value | Constant, first: int) -> Origin:
        """Up from a value, as long as there is less above that it is made of: the last such value."""
        if isinstance(value, Constant):
            return Origin(self.node.name, value.aval)
        at: list[Any] = []
        moves: list[Callable[[Array], Array]] = []
        while (step := self._above(value, is_sliced=bool(at))) is not None:
            value, index, move = step
            at[:0], moves[:0] = index, move
        shape = value.aval.shape[len(at) :]
        return Origin(value.name, jax.ShapeDtypeStruct(shape, value.aval.dtype), tuple(at), tuple(moves), first)

    def _above(self, value: Value, is_sliced: bool) -> "tuple[Value, list[Any], list[Callable[[Array], Array]]] | None":
        """What a value is a slice or a view of; which slice, and what is done to it. None where it is none.

        Of what is sliced below, all that is done to the whole must be the same done to the slice.
        """
        standing = self.standings.of_value[value]
        if standing.node is None:
            outside = self.standings.outside(value)
            if not isinstance(outside, Value):
                return None
            assert standing.around is not None
            is_slice = outside.aval.shape != value.aval.shape and isinstance(standing.around.holder, Scan)
            return outside, [Turn(len(standing.around.loops))] if is_slice else [], []
        node = standing.node
        if not node.inputs or not isinstance(node.inputs[0], Value) or not isinstance(node.function, Equation):
            return None
        if node.primitive in ("name", "copy", "copy_p"):
            return node.inputs[0], [], []
        if node.primitive == "convert_element_type":
            return node.inputs[0], [], [partial(_cast, value.aval)]
        if node.primitive == "unstack" and node.function.source.params["axis"] == 0:
            return node.inputs[0], [node.outputs.index(value)], []
        if node.primitive == "squeeze" and (found := self._row(node)) is not None:
            return found[0], [found[1]], []
        if is_view(node) and not is_sliced:
            return node.inputs[0], [], [partial(_run, node)]
        return None

    def _row(self, squeeze: Node) -> tuple[Value, Any] | None:
        """What a squeezed slice is one entry of, along axis 0, and which: as `w[i]` is traced."""
        row = squeeze.inputs[0]
        assert isinstance(row, Value)
        node = self.standings.of_value[row].node
        if node is None or not isinstance(node.function, Equation) or not isinstance(node.inputs[0], Value):
            return None
        whole, params = node.inputs[0], node.function.source.params
        is_one = row.aval.shape == (1, *whole.aval.shape[1:]) and squeeze.outputs[0].aval.shape == row.aval.shape[1:]
        if is_one and node.primitive == "slice":
            return whole, params["start_indices"][0]
        if is_one and node.primitive == "dynamic_slice":
            index = node.inputs[1]
            if isinstance(index, Constant):
                return whole, min(max(int(index.content), 0), whole.aval.shape[0] - 1)
            is_here = self.standings.of_value[index].structure is self.standings.of_node[self.node].structure
            return (whole, index) if is_here else None
        return None


def _cast(like: Aval, x: Array) -> Array:
    return lax.convert_element_type(x, like.dtype)


def _run(node: Node, x: Array) -> Array:
    return node.run(x)[0]
