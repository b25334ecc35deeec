"""Equations that hold jaxprs which are graphs of their own: loops, branches, checkpoints, jitted functions.

A holder is what such an equation is: how its operands and results are wired to the jaxprs inside, how it runs with
other functions in their place, what its operands are called, what it costs. One description serves all: the operands,
from `offset` on, are the inputs of a body; the body's outputs are the results; some outputs come back as inputs of the
next turn. What JAX alone can open (a custom derivative, `shard_map`, a solver) is no holder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.extend.core import primitives

from funcgrad.aliases import Array, Aval
from funcgrad.primitive.jaxprs import as_function, body, holds_references
from funcgrad.primitive.upgrades import downgraded

CHECKPOINTS = ("checkpoint", "remat", "remat2")
"""What `jax.checkpoint` has been called in jaxprs."""

Flat = Callable[..., Sequence[Array]]
"""A function of arrays that returns arrays."""


class Turn(NamedTuple):
    """One turn of a loop, as it runs."""

    number: int
    """Counted from the front, whichever runs first."""
    inputs: Sequence[Any]
    outputs: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What an equation is that holds graphs. As it stands here, one function that is called once."""

    jaxprs: tuple[Any, ...]
    """The bodies, closed."""
    deciding: tuple[str, ...] = ()
    """The operands before those of a body, by what they are called: they decide which runs, or how often."""
    lengths: tuple[int, ...] = ()
    """The turns, along first axes of which the values inside are stacked outside; nothing for what runs once."""
    backwards: bool = False
    """Whether the last turn runs first."""
    is_countable: bool = True
    """Whether one knows how often a body runs, so that the values inside are values outside."""

    @property
    def offset(self) -> int:
        """Position of the operand that is a body's first input."""
        return len(self.deciding)

    @property
    def feedback(self) -> tuple[tuple[int, int], ...]:
        """Pairs (output, input): the output of one turn is that input of the next."""
        return ()

    @property
    def opens(self) -> bool:
        """Whether the bodies are DAGs of values; mutable arrays make none."""
        return not any(holds_references(inner.jaxpr) for inner in self.jaxprs)

    @property
    def input_names(self) -> list[str]:
        """What a body's inputs are called: `carry0` what comes back, `slice0` what is sliced, `in0` the rest."""
        kinds = self._kinds(len(self.jaxprs[0].in_avals))
        return [f"{kind}{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]

    def _kinds(self, n: int) -> list[str]:
        return ["in"] * n

    def flops(self, of_jaxprs: Sequence[float]) -> float:
        """What one run costs, from what its jaxprs do."""
        return sum(of_jaxprs)

    def entering(self, leaves: Sequence[Any]) -> tuple[int, Sequence[Any]] | None:
        """Which body runs first, and its inputs; None where none does."""
        return 0, leaves[self.offset :]

    def run(self, bodies: Sequence[Flat], *leaves: Array) -> list[Array]:
        """What the equation does, with other functions in the place of the bodies.

        What they return beyond the outputs of the bodies is returned beyond the results; in a scan it is stacked.
        """
        return list(bodies[0](*leaves))


@dataclass(frozen=True, kw_only=True)
class JittedCall(Holder):
    """A jitted function that stays whole. Only a trace says which does: `holder_of` finds none."""

    jaxprs: tuple[Any, ...] = ()
    """Not held: its graph is kept for as long as JAX keeps the jaxpr."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Holder):
    """A function of `jax.checkpoint`."""

    policy: Any
    prevent_cse: Any
    """One flag, or one for each argument."""

    @property
    def opens(self) -> bool:
        """Also, whether the policy says no more than what is saved and what is computed again."""
        return super().opens and _decides(self.policy, self.jaxprs[0].jaxpr)


@dataclass(frozen=True, kw_only=True)
class Cond(Holder):
    """Branches, and an index that says which is taken."""

    platforms: tuple[tuple[str, ...] | None, ...] | None
    """Where it is the platform that decides: those of each branch, None for all others."""

    def flops(self, of_jaxprs: Sequence[float]) -> float:
        """Those of the dearest branch."""
        return max(of_jaxprs)

    def entering(self, leaves: Sequence[Any]) -> tuple[int, Sequence[Any]]:
        """The branch that is taken; JAX has clamped the index."""
        return int(leaves[0]), leaves[1:]

    def run(self, bodies: Sequence[Flat], *leaves: Array) -> list[Array]:
        """The branch that is taken.

        Branches for platforms stay that, so that only the one for the platform at hand is compiled: another may hold
        a kernel that cannot be.
        """
        index, *operands = leaves
        if self.platforms is None:
            return list(jax.lax.switch(index, bodies, *operands))
        by_name = {name: f for names, f in zip(self.platforms, bodies, strict=True) for name in names or ()}
        default = next((f for names, f in zip(self.platforms, bodies, strict=True) if names is None), None)
        return list(jax.lax.platform_dependent(*operands, default=default, **by_name))


@dataclass(frozen=True, kw_only=True)
class Loop(Holder):
    """Turns of one body: it takes constants, the carry, and slices of arrays; it returns the carry, and slices."""

    n_constants: int
    n_carry: int

    @property
    def n_unsliced(self) -> int:
        """Inputs of the body that are no slices: constants and carry."""
        return self.n_constants + self.n_carry

    @property
    def feedback(self) -> tuple[tuple[int, int], ...]:
        """The carry."""
        return tuple((i, self.n_constants + i) for i in range(self.n_carry))

    def _kinds(self, n: int) -> list[str]:
        return ["in"] * self.n_constants + ["carry"] * self.n_carry + ["slice"] * (n - self.n_unsliced)

    def _parts(self, leaves: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Constants, carry, and what is sliced."""
        inputs, n, m = leaves[self.offset :], self.n_constants, self.n_unsliced
        return inputs[:n], inputs[n:m], inputs[m:]


@dataclass(frozen=True, kw_only=True)
class Scan(Loop):
    """A loop over slices, as many turns as there are."""

    unroll: Any

    @cached_property
    def reversed(self) -> "Scan":
        """The turns in the other order."""
        return replace(self, backwards=not self.backwards)

    def flops(self, of_jaxprs: Sequence[float]) -> float:
        """Those of all turns."""
        return self.lengths[0] * sum(of_jaxprs)

    def entering(self, leaves: Sequence[Any]) -> tuple[int, Sequence[Any]] | None:
        """Those of the turn that runs first."""
        constants, carry, arrays = self._parts(leaves)
        first = -1 if self.backwards else 0
        return (0, [*constants, *carry, *(x[first] for x in arrays)]) if self.lengths[0] else None

    def turns(self, leaves: Sequence[Any], body: Flat) -> Iterator[Turn]:
        """The turns on these arrays, one after the other."""
        constants, carry, arrays = self._parts(leaves)
        for number in range(self.lengths[0])[:: -1 if self.backwards else 1]:
            inputs = [*constants, *carry, *(x[number] for x in arrays)]
            outputs = body(*inputs)
            yield Turn(number, inputs, outputs)
            carry = outputs[: self.n_carry]

    def run(self, bodies: Sequence[Flat], *leaves: Array) -> list[Array]:
        """The loop."""
        constants, carry, arrays = self._parts(leaves)

        def turn(carry: Sequence[Array], x: Sequence[Array]) -> tuple[list[Array], list[Array]]:
            outputs = list(bodies[0](*constants, *carry, *x))
            return outputs[: self.n_carry], outputs[self.n_carry :]

        carry, ys = self.scan(turn, list(carry), list(arrays))
        return [*carry, *ys]

    def scan(self, turn: Callable[..., Any], start: Any, xs: Any) -> Any:
        """Other turns of the same number and order."""
        options: dict[str, Any] = {"length": self.lengths[0], "reverse": self.backwards, "unroll": self.unroll}
        return jax.lax.scan(turn, start, xs, **options)


@dataclass(frozen=True, kw_only=True)
class While(Loop):
    """A loop that goes on while a condition holds, so that nobody knows how often."""

    is_countable: bool = False
    condition: Any
    """A closed jaxpr of constants of its own and of the carry."""

    def turns(self, leaves: Sequence[Any], body: Flat) -> Iterator[Turn]:
        """The turns on these arrays, as long as the condition holds."""
        goes_on, tested = jax.jit(as_function(self.condition)), leaves[: self.offset]
        constants, carry, _ = self._parts(leaves)
        for number in count():
            if not goes_on(*tested, *carry)[0]:
                return
            inputs = [*constants, *carry]
            carry = body(*inputs)
            yield Turn(number, inputs, carry)

    def run(self, bodies: Sequence[Flat], *leaves: Array) -> list[Array]:
        """The loop."""
        goes_on, tested = as_function(self.condition), leaves[: self.offset]
        constants, carry, _ = self._parts(leaves)
        turn = lambda carry: list(bodies[0](*constants, *carry))  # noqa: E731
        return jax.lax.while_loop(lambda carry: goes_on(*tested, *carry)[0], turn, list(carry))


def _checkpoint(equation: Any) -> Checkpoint:
    params = equation.params
    return Checkpoint(jaxprs=(closed(params["jaxpr"]),), policy=params["policy"], prevent_cse=params["prevent_cse"])


def _cond(equation: Any) -> Cond:
    branches, platforms = equation.params["branches"], equation.params.get("branches_platforms")
    return Cond(jaxprs=tuple(map(closed, branches)), deciding=("index",), platforms=platforms)


def _scan(equation: Any) -> Scan:
    params = equation.params
    if "ft_in" in params:  # as JAX 0.12 writes it
        constants, carry, _ = (len(list(part)) for part in params["ft_in"].update(equation.invars).unpack())
    else:
        constants, carry = params["num_consts"], params["num_carry"]
    return Scan(
        jaxprs=(closed(params["jaxpr"]),),
        lengths=(params["length"],),
        backwards=params["reverse"],
        n_constants=constants,
        n_carry=carry,
        unroll=params["unroll"],
    )


def _while(equation: Any) -> While:
    params, n = equation.params, equation.params["cond_nconsts"]
    return While(
        jaxprs=(closed(params["body_jaxpr"]),),
        deciding=("test",) if n == 1 else tuple(f"test{i}" for i in range(n)),
        n_constants=params["body_nconsts"],
        n_carry=len(equation.outvars),
        condition=closed(params["cond_jaxpr"]),
    )


_KINDS: dict[Any, Callable[[Any], Holder]] = {
    primitives.scan_p: _scan,
    primitives.cond_p: _cond,
    primitives.while_p: _while,
    primitives.remat_p: _checkpoint,
}


def holder_of(equation: Any) -> Holder | None:
    """What an equation is as one that holds graphs; None for any other."""
    equation = downgraded(equation)
    make = _KINDS.get(equation.primitive)
    return make(equation) if make is not None else None


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
