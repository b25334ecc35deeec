"""The parts of a graph: values (the edges) and nodes (one function each)."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array, Aval
from funcgrad.errors import describe, printed
from funcgrad.graph.flops import flops_of_call, flops_of_equation, flops_of_jaxpr
from funcgrad.primitive import Holder, is_inexact, source_line, variable_of, zeros_of
from funcgrad.registry import Call, Equation

if TYPE_CHECKING:
    from funcgrad.graph.structures import Body


@dataclass(frozen=True, eq=False)
class Value:
    """An array that the graph computes or takes, known by its name; two values are the same only if identical.

    A value inside a loop has one array per turn; outside of the loop these are stacked, along first axes `loops`.
    """

    name: str
    aval: Aval = field(repr=False)
    loops: tuple[int, ...] = ()
    label: Equation | None = field(default=None, repr=False)
    """The equation that gave it its name, where `fg.name` did."""

    def __str__(self) -> str:
        return f"{self.name}: {describe(self.aval)}"

    @property
    def is_inexact(self) -> bool:
        """Whether it can have a cotangent."""
        return is_inexact(self.aval)

    def seen_from(self, loops: tuple[int, ...]) -> Any:
        """The aval seen from inside the outer `loops` only: over all turns of the others, stacked."""
        inner = self.loops[len(loops) :]
        if not inner or self.aval is None:
            return self.aval
        return jax.ShapeDtypeStruct((*inner, *self.aval.shape), self.aval.dtype)


@dataclass(frozen=True, eq=False)
class Constant:
    """A number or an array written into the graph; among outputs, also any object that is handed through."""

    content: Any
    aval: Aval = field(repr=False)
    """None for an object that is nothing like an array."""

    @property
    def name(self) -> str:
        """The number, as the graph prints it; an array by its shape, an object by its type."""
        if isinstance(self.content, bool | int | float | complex):  # some are JAX's, and print as `TypedInt(..)`
            return repr(np.asarray(self.content).item())
        is_number = self.aval is not None and not self.aval.shape
        return str(self.content) if is_number else printed(self.content)

    is_inexact = False


Statistic = Callable[[Array], Array]
"""From an array to what one wants to know of it: often a scalar."""


@dataclass(frozen=True)
class Measurement:
    """A node's function that takes statistics of one value."""

    statistics: tuple[tuple[str, Statistic], ...]
    name = "measure"
    has_effects = False

    def blocks(self, position: int) -> bool:
        """Whether no cotangent passes: what watches changes nothing."""
        del position
        return True

    def run(self, x: Array) -> list[Array]:
        """Give one array per statistic."""
        return self._compiled(x)

    @cached_property
    def _compiled(self) -> Callable[[Array], list[Array]]:
        """Traced once per kind of array: with `taps="**"` a graph measures every value and every cotangent."""

        def measure(x: Array) -> list[Array]:
            return [statistic(x) for _, statistic in self.statistics]

        return jax.jit(measure)

    def blank(self, value: Value, loops: tuple[int, ...]) -> list[Array]:
        """What zeros give, seen from inside the outer `loops`: for turns and branches that did not run."""
        inner = value.loops[len(loops) :]
        return [jnp.broadcast_to(x, (*inner, *x.shape)) for x in self.run(zeros_of(value.aval))]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the variables of the jaxpr stand for that a node is from.

    JAX runs the rules of a custom derivative long after the function was traced. An array that a rule closes over is
    then one of a trace that has ended; but it has a variable, and that is a value of the graph.
    """

    known: ChainMap[Any, Value | Constant]
    everywhere: list[Mapping[Any, Value | Constant]]
    """The same for all jaxprs of the graph."""

    def find(self, x: Any) -> Value | Constant | None:
        """What an array of the trace stands for, None for any other array.

        Raises:
            LookupError: the array is one of another part of the graph, of the inside of a loop or the outside.
        """
        return self.known[variable_of(x)] if self.holds(x) else None

    def holds(self, x: Any) -> bool:
        """Whether an array is of the trace that became the graph, here or in another part of it."""
        variable = variable_of(x)
        return variable is not None and any(variable in known for known in self.everywhere)

    def precedes(self, x: Any, node: "Node") -> bool:
        """Whether an array that was found was there when the node was traced.

        Each jaxpr's variables are known in the order in which they were made; those of the node, or of the call that
        was opened where it is, come before what was made later.
        """
        variable, made = variable_of(x), [v for e in (node.origin, *node.calls) for v in e.outvars]
        known = next(known for known in self.known.maps if variable in known)
        first = next(v for v in known if v is variable or any(v is out for out in made))
        return not any(first is out for out in made)


@dataclass(frozen=True, eq=False)
class Node:
    """One function applied: `outputs = function(*inputs)`.

    The function is a `Call` of a funcgrad op, an `Equation` of JAX, or a `Measurement` that somebody put in; a loop or
    a branch holds graphs, its `bodies`.
    `scope` is the path it stands in, `name` the path with the function's name, made unique by `#2`, `#3`.
    """

    name: str
    scope: str
    function: Call | Equation | Measurement
    inputs: tuple[Value | Constant, ...]
    outputs: tuple[Value, ...]
    bodies: "tuple[Body, ...]" = ()
    origin: Any = field(default=None, repr=False)
    """The equation it was traced from."""
    calls: tuple[Any, ...] = field(default=(), repr=False)
    """The equations in whose bodies it stands, the outermost first."""
    surroundings: "Surroundings | None" = field(default=None, repr=False)

    @property
    def line(self) -> str:
        """The line of code that it was traced from, as "model.py:41 (`y = x / n`)"; empty where nobody knows.

        What a library jits has no line of the user's inside: then it is the line that calls it.
        """
        origins = () if self.origin is None else (self.origin, *reversed(self.calls))
        return next((line for e in origins if (line := source_line(e))), "")

    @property
    def op_name(self) -> str:
        """Name of the op or JAX primitive."""
        return self.function.name

    @property
    def primitive(self) -> str:
        """The name of JAX's primitive that it applies; empty for an op of ours and for what measures.

        Its `op_name` is what is shown: an op, a jitted function or a custom derivative may be called `max` as well.
        """
        return self.function.source.primitive.name if isinstance(self.function, Equation) else ""

    @property
    def holder(self) -> Holder | None:
        """What it is that holds graphs: a loop, a branch, a checkpoint, a jitted function; None where it holds none."""
        return self.bodies[0].holder if self.bodies else None

    @property
    def loops(self) -> tuple[int, ...]:
        """The lengths of the loops it is in."""
        return self.outputs[0].loops if self.outputs else ()

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of its outputs."""
        return tuple(v.aval.shape for v in self.outputs)

    @cached_property
    def flops(self) -> float:
        """FLOPs of one run of it, in one turn of the loops that it is in: what a plan prints."""
        if isinstance(self.function, Equation):
            return flops_of_equation(self.function.source)
        avals = tuple(v.aval for v in self.inputs)
        if isinstance(self.function, Call):
            return flops_of_call(self.function, avals)
        return flops_of_jaxpr(jax.make_jaxpr(partial(self.function.run))(*avals).jaxpr)

    @property
    def has_effects(self) -> bool:
        """Whether running it does more than compute."""
        return isinstance(self.function, Equation) and self.function.has_effects

    def run(self, *leaves: Array) -> list[Array]:
        """Apply the function to the arrays of the inputs."""
        return self.function.run(*leaves)
