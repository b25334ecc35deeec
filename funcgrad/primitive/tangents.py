"""The tangent that `jax.custom_jvp` was given for a function, as a jaxpr."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jax.extend import core
from jax.interpreters import partial_eval

from funcgrad.primitive.binding import is_inexact
from funcgrad.primitive.jaxprs import Equation, is_literal, named
from funcgrad.primitive.keys import exact


@dataclass(frozen=True, eq=False)
class Tangent:
    """Tangents of a function's outputs, from its inputs and then their tangents.

    Equal to others that compute the same: JAX traces the rule anew at every call of the function.
    """

    closed: Any
    """The jaxpr, without what only the outputs themselves need."""

    @classmethod
    def of(cls, equation: Equation) -> "Tangent | None":
        """What the rule says; None if that equation has no such rule.

        Nor is one read that tells zero tangents from others, or whose function closes over arrays or has outputs that
        cannot move.
        """
        params = equation.source.params
        if equation.source.primitive.name != "custom_jvp_call" or params["symbolic_zeros"] or params["num_consts"]:
            return None
        if not all(is_inexact(v.aval) for v in equation.source.outvars):
            return None
        jaxpr, consts, is_zero = params["jvp_jaxpr_fun"].call_wrapped(*[False] * len(equation.source.invars))
        if any(is_zero):
            return None
        used = [False] * len(is_zero) + [True] * (len(jaxpr.outvars) - len(is_zero))
        jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, used, instantiate=True)
        return cls(core.ClosedJaxpr(jaxpr, consts))

    @cached_property
    def key(self) -> Any:
        """Its equations with numbers for its variables; the tangent itself where a parameter does not hash."""
        jaxpr, seen = self.closed.jaxpr, {}
        for v in (*jaxpr.constvars, *jaxpr.invars):
            seen[v] = (len(seen), v.aval)

        def atom(a: Any) -> Any:
            return (repr(a.val), a.aval) if is_literal(a) else seen[a]

        rows = []
        for e in jaxpr.eqns:
            inputs = tuple(map(atom, e.invars))
            seen.update({v: (len(seen) + i, v.aval) for i, v in enumerate(e.outvars)})
            rows.append((e.primitive, exact(named(e.params)), inputs, e.ctx))
        arrays = tuple(map(id, self.closed.consts))
        key = (arrays, tuple(seen.values()), tuple(rows), tuple(map(atom, jaxpr.outvars)))
        try:
            hash(key)
        except TypeError:
            return self
        return key

    def __hash__(self) -> int:
        return id(self) if self.key is self else hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Tangent) and self.key is not self and self.key == other.key)
