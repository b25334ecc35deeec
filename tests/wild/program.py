"""A program: a plain function of arrays made with someone else's package, and arguments to differentiate it at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Built = tuple[Callable[..., Any], tuple[Any, ...]]
"""A scalar function and its arguments, pytrees of arrays."""


@dataclass(frozen=True, eq=False)
class Program:
    """One function to be differentiated by its floating arguments; its package is imported when it is built."""

    name: str
    packages: tuple[str, ...]
    """The modules that it imports; where one is missing it is skipped."""
    build: Callable[[], Built]
    argnums: int | tuple[int, ...]
    """The arguments to differentiate by."""
    jit: bool
    """Whether it is run in a compiled function; without, it looks at the contents of its arguments."""
    tolerance: float
    """In units of the dtype's resolution, relative to the largest entry."""
    slow: bool
    """More than four seconds of processor time, for JAX's derivative, ours and the watched one."""

    def __str__(self) -> str:
        return f"{self.packages[0]}-{self.name}"


@dataclass
class Field:
    """The programs of one file."""

    programs: list[Program] = field(default_factory=list)

    def program(
        self,
        packages: str,
        argnums: int | tuple[int, ...] = 0,
        *,
        jit: bool = True,
        tolerance: float = 256.0,
        slow: bool = False,
    ) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
        """Add the program that the decorated function builds."""

        def add(build: Callable[[], Built]) -> Callable[[], Built]:
            self.programs.append(Program(build.__name__, tuple(packages.split()), build, argnums, jit, tolerance, slow))
            return build

        return add
