"""One rule at one node, ready to run: what it reads and what it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Constant, Node, Value, read
from funcgrad.naming import at_node
from funcgrad.primitive import on_mesh_of, typed
from funcgrad.registry import Pull, Rule, Turn, key_of_turn, turns_here


@dataclass(frozen=True, eq=False)
class Pullback:
    """J^T of one node with respect to some of its inputs."""

    node: Node
    rule: Rule | None
    """None where it is derived."""
    sources: tuple[Value, ...]
    """The outputs whose cotangents it takes."""
    targets: tuple[Value, ...]
    """The inputs that get a cotangent, one entry per use."""
    needs: tuple[Value | Constant, ...]
    """What is read: inputs, outputs and saved values of the node."""
    pull: Pull
    arguments: tuple[str, ...]
    """What its targets are called in the node's function."""
    positions: tuple[int, ...]
    """Where its targets stand among the node's inputs: names are display, and two may be alike."""
    reads: tuple[str, ...]
    """What its needs are called there."""
    derivation: str = "jax.vjp"
    """What it is derived by, where it has no rule."""
    signal: Value | None = None
    """Another value whose cotangent it takes, a value of the whole graph that comes later."""
    key: Any = None
    """The random key that it takes."""
    at: tuple[int | Turn | Value, ...] = ()
    """The numbers that it takes: those of turns that run, and what the values are."""

    @property
    def name(self) -> str:
        """The rule's name, or what it is derived by; a label passes its cotangent on, a loop is run in reverse."""
        if self._is_label:
            return "g"
        if self.node.bodies:
            return "reverse"
        return self.rule.name if self.rule else self.derivation

    @property
    def label(self) -> str:
        """The kind of the rule, `derived`, or `label`."""
        if self._is_label:
            return "label"
        return str(self.rule.kind) if self.rule else "derived"

    @property
    def _is_label(self) -> bool:
        """Whether its node only names a value; an op of somebody's own may be called `name` as well."""
        return self.node.primitive == "name"

    def __call__(self, g: Mapping[Value, Array], values: Mapping[Value, Any]) -> Sequence[Any]:
        """Cotangents of the targets, from those of the node's outputs and what the forward left behind."""
        needs, cotangents = map(as_array, read(self.needs, values)), [g[v] for v in self.sources]
        with at_node(self.node.name, lambda: self.node.line), on_mesh_of(cotangents):
            return self.pull(*needs, *cotangents, *self._handed(g, values))

    def _handed(self, g: Mapping[Value, Array], values: Mapping[Value, Any]) -> list[Any]:
        """What it takes after the cotangents of its node."""
        signal = [] if self.signal is None else [g[self.signal]]
        key = [] if self.key is None else [key_of_turn(self.key)]
        return [*signal, *key, *([self._numbers(values)] if self.at else [])]

    def _numbers(self, values: Mapping[Value, Any]) -> Array:
        """What `at` stands for here."""
        turns = turns_here()[-len(self.node.loops) :]
        found = (turns[x.depth] if isinstance(x, Turn) else values[x] if isinstance(x, Value) else x for x in self.at)
        return jnp.stack([jnp.asarray(x).astype(jnp.int32) for x in found])

    @property
    def operand_avals(self) -> list[Aval]:
        """Of what `pull` takes after the values that it needs."""
        signal = [] if self.signal is None else [self.signal.aval]
        key = [] if self.key is None else [jax.typeof(self.key)]
        at = [jax.ShapeDtypeStruct((len(self.at),), jnp.int32)] if self.at else []
        return [*(v.aval for v in self.sources), *signal, *key, *at]


def as_array(x: Any, aval: Aval | None = None) -> Any:
    """Numbers written into the graph, and numpy arrays, as what rules and loops take: JAX arrays."""
    if isinstance(x, Tracer):
        return x
    is_foreign = isinstance(x, bool | int | float | complex) or (hasattr(x, "dtype") and not isinstance(x, jax.Array))
    return typed(x, aval or jax.typeof(x)) if is_foreign else x
