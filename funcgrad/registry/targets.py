"""Which functions a replaced rule is meant for: an op of ours, a function of JAX's, or whatever has a name."""

from collections.abc import Callable, Iterator
from functools import partial
from inspect import Parameter, signature, unwrap
from pathlib import Path
from typing import Any, NamedTuple

import jax

from funcgrad.errors import RuleError, printed
from funcgrad.naming import name_here
from funcgrad.primitive import CHECKPOINTS, bodies, body, name_as_scope, scope_with_functions
from funcgrad.registry.call import Call
from funcgrad.registry.equation import Equation
from funcgrad.registry.function import Function
from funcgrad.registry.op import Op
from funcgrad.registry.region import Merged, Region
from funcgrad.registry.rule import name_of


class Target(NamedTuple):
    """What a rule is for: the nodes of one op, or those whose function has one of these names."""

    title: str
    op: Op | None = None
    names: frozenset[str] = frozenset()
    written_out: Callable[..., Any] | None = None
    """A function of one array that JAX writes out where it is called, in several equations."""
    written_at: str | None = None
    """Where the function stands that was passed, as JAX remembers it; None for a name, and where nobody knows."""
    region: Region | None = None
    """Nodes that are taken as one."""
    family: "Callable[[Function], str | None] | None" = None
    """Of a target for several functions: the argument of one that a rule serves; None of one that is not meant."""

    @classmethod
    def of(cls, what: Any) -> "Target":
        """What was passed to `RuleSet.override`.

        Raises:
            RuleError: it is neither an op, nor a function, nor a name.
        """
        if isinstance(what, Target):
            return what
        if isinstance(what, Op):
            return cls(what.name, what)
        if isinstance(what, type):
            what = Region(of=what)
        if isinstance(what, Region):
            return cls(what.title, region=what)
        if isinstance(what, str) and what:
            return cls(what, None, frozenset([what, *_also(what)]))
        if callable(what):
            name, equations = name_of(what), [e.name for e in equations_of(what)]
            only = equations if len(equations) == 1 else ()
            names = frozenset([name, f"_{name}", *only, *_also(name)])
            return cls(name, None, names, what if len(equations) > 1 else None, _written_at(what))
        raise RuleError(
            f"RuleSet.override expects an op, a function of JAX's, the name of a node's function, a class of modules "
            f"or an fg.Region, got {printed(what)}."
        )

    def covers(self, function: Function) -> bool:
        """Whether a function is meant."""
        if self.op is not None:
            return isinstance(function, Call) and function.op is self.op
        if self.region is not None or isinstance(function, Merged):
            return isinstance(function, Merged) and function.region == self.region
        if self.family is not None:
            return self.family(function) is not None
        return function.name in self.names and self._is_it(function)

    def argument_of(self, function: Function, rule: str) -> str:
        """The argument of a function that is meant, for a rule that does not say which it serves.

        Raises:
            RuleError: the function has several.
        """
        return (self.family and self.family(function)) or only_argument(function, rule)

    def _is_it(self, function: Function) -> bool:
        """Whether a function of the right name may be the one that was passed, and no namesake.

        Functions of JAX's call each other under several names, so one that stands in JAX will do for another. One of
        somebody else's must stand where the one that was passed does; what a factory makes twice stands there twice.
        """
        if self.written_at is None:
            return True
        if isinstance(function, Call):
            return False
        found = function.written_at if isinstance(function, Equation) else None
        if found is None:  # a primitive
            return _is_in_jax(self.written_at) or f"{self.title} at" not in self.written_at
        return found == self.written_at or (_is_in_jax(found) and _is_in_jax(self.written_at))


def _written_at(function: Callable[..., Any]) -> str | None:
    """A function and where it stands, as JAX writes it."""
    while isinstance(function, partial):
        function = function.func
    function = unwrap(function)
    code = getattr(function, "__code__", None)
    return None if code is None else f"{name_of(function)} at {code.co_filename}:{code.co_firstlineno}"


_JAX = str(Path(jax.__file__).parent)


def _is_in_jax(written_at: str) -> bool:
    return written_at.partition(" at ")[2].startswith(_JAX)


def _also(name: str) -> tuple[str, ...]:
    """What else a jaxpr may call it."""
    return CHECKPOINTS if name in CHECKPOINTS else ()


def equations_of(function: Callable[..., Any]) -> list[Equation]:
    """The equations that a function of arrays leaves in a trace; none where it takes something else.

    `jax.nn.sigmoid` leaves `logistic`: it is jitted, and written out where it is called.
    """
    if (n := _number_of_arguments(function)) is None:
        return []
    for shape in ((), (2, 2)):
        arguments = [jax.ShapeDtypeStruct(shape, "float32")] * n
        try:
            equations = jax.make_jaxpr(lambda *args: function(*args))(*arguments).eqns
        except Exception:
            continue
        return [Equation.of(e) for e in equations] if n == 1 or len(equations) == 1 else []
    return []


def _number_of_arguments(function: Callable[..., Any]) -> int | None:
    """How many arrays a function needs; None where that is not told. A ufunc says it beside its signature."""
    if isinstance(n := getattr(function, "nin", None), int):
        return n
    try:
        needed = [p for p in signature(function).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return None
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return len(needed) if all(p.kind in by_position for p in needed) else None


def functions_in(jaxpr: Any, scope: str = "") -> Iterator[tuple[str, Function]]:
    """The functions that a jaxpr applies, those inside of others included, with their scopes."""
    for equation in jaxpr.eqns:
        here = "/".join(part for part in (scope, scope_with_functions(equation)) if part)
        call = equation.params.get("call")
        is_op = isinstance(call, Call) and equation.primitive is call.op.primitives.forward
        yield here, call if is_op else Equation.of(equation)
        called = body(equation)
        name = name_as_scope(equation, called) if called is not None else ""
        for inner in bodies(equation):
            yield from functions_in(inner, f"{here}/{name}".strip("/"))


def only_argument(function: Function, rule: str) -> str:
    """The argument that a rule serves which does not say.

    Raises:
        RuleError: the function has several.
    """
    arguments = function.inputs if isinstance(function, Merged) else tuple(function.argument_slots)
    if len(arguments) != 1:
        raise RuleError(
            f"{name_here(function.name)} has several arguments ({', '.join(arguments)}); say which the rule serves: "
            f"override('{function.name}', {rule}, '{arguments[0]}')."
        )
    return arguments[0]
