"""The parts of a graph: values (the edges) and nodes (one function each)."""

from dataclasses import dataclass, field
from typing import Any

from funcgrad.aliases import Array, Aval
from funcgrad.errors import describe
from funcgrad.primitive import Equation, is_inexact
from funcgrad.registry import Call


@dataclass(frozen=True, eq=False)
class Value:
    """An array that the graph computes or takes, known by its name; two values are the same only if identical."""

    name: str
    aval: Aval = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}: {describe(self.aval)}"

    @property
    def is_inexact(self) -> bool:
        """Whether it can have a cotangent."""
        return is_inexact(self.aval)


@dataclass(frozen=True, eq=False)
class Constant:
    """A number written into the graph."""

    content: Any
    aval: Aval = field(repr=False)

    @property
    def name(self) -> str:
        """The number, as the graph prints it."""
        return str(self.content)

    is_inexact = False


@dataclass(frozen=True, eq=False)
class Node:
    """One function applied: `outputs = function(*inputs)`.

    The function is a `Call` of a funcgrad op or an `Equation` of JAX. `scope` is the path it stands in, `name`
    the path with the function's name, made unique by `#2`, `#3`.
    """

    name: str
    scope: str
    function: Call | Equation
    inputs: tuple[Value | Constant, ...]
    outputs: tuple[Value, ...]

    @property
    def op_name(self) -> str:
        """Name of the op or JAX primitive."""
        return self.function.name

    def run(self, *leaves: Array) -> list[Array]:
        """Apply the function to the arrays of the inputs."""
        if isinstance(self.function, Call):
            return self.function.op.primitives.bind(leaves, self.function)
        return self.function.run(*leaves)
