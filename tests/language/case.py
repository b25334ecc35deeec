"""A case: a public function of JAX with arguments to differentiate it at; one line or a few each.

Names are written without `jax.`: `lax.sin`, `numpy.linalg.inv`. Every floating argument is drawn in each of the dtypes
that the function takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from tests.language.drawing import draw
from tests.language.names import find
from tests.language.refused import NO_COMPLEX, NO_HALF

DTYPES = {"f": (jnp.float64, jnp.float32), "h": (jnp.bfloat16, jnp.float16), "c": (jnp.complex128, jnp.complex64)}
"""The kinds of dtype: full precision, half precision, complex."""


@dataclass(frozen=True, eq=False)
class Case:
    """One function to be differentiated, at one set of arguments."""

    family: str
    names: tuple[str, ...]
    """The public functions that it covers; the first is what it runs, unless it has a `call`."""
    args: tuple[Any, ...]
    """Pytrees of draws and arrays."""
    call: Callable[..., Any] | None
    statics: dict[str, Any]
    label: str
    kinds: str
    """The keys of `DTYPES` that it takes."""
    raises: str
    """What JAX has no gradient of: then the test demands that JAX raises, and that we do."""
    slow: bool
    """Worth its time only in the long run of the tests."""
    tolerance: float
    """In units of the dtype's resolution, relative to the largest entry."""
    in_float32: bool
    """Whether JAX rounds to float32 inside, whatever the dtype."""

    def __str__(self) -> str:
        return f"{self.names[0]}-{self.label}" if self.label else self.names[0]

    @property
    def exists(self) -> bool:
        """Whether the JAX at hand has what the case needs."""
        return all(find(name) is not None for name in self.names)

    @cached_property
    def run(self) -> Callable[..., Any]:
        """The function, its static arguments fixed."""
        function = self.call or find(self.names[0])
        return partial(function, **self.statics) if self.statics else function

    @property
    def dtypes(self) -> Iterator[Any]:
        """Every dtype it is to be run in; a slow case in one of each kind."""
        return (dtype for kind in self.kinds for dtype in DTYPES[kind][: 1 if self.slow else 2])

    @property
    def is_floating(self) -> bool:
        """Whether an argument has the dtype that it is run in."""
        leaves = jax.tree.leaves(self.drawn(jnp.float32))
        return any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves)

    def tolerance_in(self, dtype: Any) -> float:
        """The tolerance in units of a dtype's resolution."""
        own, single = jnp.finfo(dtype).eps, jnp.finfo(jnp.float32).eps
        return self.tolerance * float(max(single / own, 1)) if self.in_float32 else self.tolerance

    def drawn(self, dtype: Any) -> tuple[Any, ...]:
        """The arguments as arrays."""
        return draw(self.args, dtype)


@dataclass
class Family:
    """The cases of one file."""

    name: str
    cases: list[Case] = field(default_factory=list)

    def case(
        self,
        names: str,
        *args: Any,
        call: Callable[..., Any] | None = None,
        label: str = "",
        dtypes: str | None = None,
        raises: str = "",
        slow: bool = False,
        tolerance: float = 16.0,
        in_float32: bool = False,
        **statics: Any,
    ) -> None:
        """Add a case; `call` is what to run where that is not the first of the names itself."""
        covered = tuple(names.split())
        kinds = dtypes or kinds_of(covered[0])
        self.cases.append(
            Case(self.name, covered, args, call, statics, label, kinds, raises, slow, tolerance, in_float32)
        )

    def each(self, prefix: str, names: str, *args: Any, **options: Any) -> None:
        """Add a case with these arguments for each of several functions of one module."""
        for name in names.split():
            self.case(f"{prefix}.{name}", *args, **options)


def kinds_of(name: str) -> str:
    """The keys of `DTYPES` that a function takes, where its cases do not say otherwise."""
    return "f" + "h" * (name not in NO_HALF) + "c" * (name not in NO_COMPLEX)
