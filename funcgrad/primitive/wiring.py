"""The jaxprs inside loops and branches, and how they are wired to the equation that holds them.

One description serves all: the equation's operands, from `offset` on, are the inputs of the body; the body's outputs
are the equation's results; some outputs come back as inputs of the next turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jax.extend import core

from funcgrad.aliases import Aval
from funcgrad.primitive.jaxprs import body, holds_references
from funcgrad.primitive.upgrades import downgraded

CHECKPOINTS = ("checkpoint", "remat", "remat2")
"""What `jax.checkpoint` has been called in jaxprs."""


@dataclass(frozen=True)
class Wiring:
    """One body of an equation."""

    jaxpr: Any
    """Closed."""
    offset: int = 0
    """Position of the operand that is the body's first input."""
    feedback: tuple[tuple[int, int], ...] = ()
    """Pairs (output, input): the output of one turn is that input of the next."""
    n_unsliced: int | None = None
    """Inputs from here on are slices of the operands; None where no input is."""

    @property
    def carried(self) -> frozenset[int]:
        """The inputs that are outputs of the turn before."""
        return frozenset(i for _, i in self.feedback)

    @property
    def input_names(self) -> list[str]:
        """What the inputs are called: `carry0` what comes back, `slice0` what is sliced, `in0` the rest."""
        n = len(self.jaxpr.in_avals)
        carried, sliced = self.carried, range(n if self.n_unsliced is None else self.n_unsliced, n)
        kinds = ["carry" if i in carried else "slice" if i in sliced else "in" for i in range(n)]
        return [f"{kind}{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]


@dataclass(frozen=True)
class Loop:
    """The layout of a scan: its operands are constants, carry, slices of arrays; its results carry and slices."""

    n_constants: int
    n_carry: int
    length: int
    backwards: bool
    unroll: Any

    @property
    def n_unsliced(self) -> int:
        """Operands that are not sliced: constants and carry."""
        return self.n_constants + self.n_carry

    @cached_property
    def reversed(self) -> "Loop":
        """The turns in the other order."""
        return Loop(self.n_constants, self.n_carry, self.length, not self.backwards, self.unroll)


def loop_of(equation: Any) -> Loop:
    """The layout of a `scan` equation."""
    params = equation.params
    if "ft_in" in params:  # as JAX 0.12 writes it
        constants, carry, _ = (len(list(part)) for part in params["ft_in"].update(equation.invars).unpack())
    else:
        constants, carry = params["num_consts"], params["num_carry"]
    return Loop(constants, carry, params["length"], params["reverse"], params["unroll"])


def wirings(equation: Any) -> tuple[Wiring, ...]:
    """The bodies of a `scan`, `cond`, `while` or `checkpoint`, in JAX's order; none for any other equation.

    Nor for one with a body that holds mutable arrays, whose equations are no DAG of values.
    """
    found = _wirings(downgraded(equation))
    return () if any(holds_references(wiring.jaxpr.jaxpr) for wiring in found) else found


def _wirings(equation: Any) -> tuple[Wiring, ...]:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        loop = loop_of(equation)
        turns = tuple((i, loop.n_constants + i) for i in range(loop.n_carry))
        return (Wiring(closed(params["jaxpr"]), 0, turns, loop.n_unsliced),)
    if name == "cond":
        return tuple(Wiring(closed(branch), 1) for branch in params["branches"])
    if name == "while":
        n, carry = params["body_nconsts"], len(equation.outvars)
        return (Wiring(closed(params["body_jaxpr"]), params["cond_nconsts"], tuple((i, n + i) for i in range(carry))),)
    if name in CHECKPOINTS and _decides(params["policy"], params["jaxpr"]):
        return (Wiring(closed(params["jaxpr"])),)
    return ()


def _decides(policy: Any, jaxpr: Any) -> bool:
    """Whether a checkpoint's policy only says what is saved and what is computed again."""
    for equation in map(downgraded, jaxpr.eqns):
        inner = body(equation)
        if inner is not None:
            if not _decides(policy, inner.jaxpr):
                return False
        elif saves(policy, equation.primitive, [v.aval for v in equation.invars], equation.params) is None:
            return False
    return True


def saves(policy: Any, primitive: Any, avals: Sequence[Aval], params: Mapping[str, Any]) -> bool | None:
    """Whether a checkpoint's policy saves what a primitive computes; None for an answer that is JAX's own affair.

    Such is "offload": to keep the value in another memory.
    """
    if policy is None:
        return False
    answer = policy(primitive, *avals, **params)
    return answer if isinstance(answer, bool) else None


def closed(jaxpr: Any) -> Any:
    """The same with its constants: none, where it is an open one."""
    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())
