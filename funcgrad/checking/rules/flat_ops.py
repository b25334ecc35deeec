"""An op at the shapes of an example, as flat functions of its leaves: what all tests run.

A flat op knows no numbers, so each of its programs is compiled once and serves all points, seeds and dtypes of these
shapes, in this check and in the next.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from funcgrad.aliases import Array, Aval, PureFunction
from funcgrad.primitive import is_inexact, traced_once
from funcgrad.registry import Call, Kind, Marker, Op, Rule

Arrays = list[Array]


@dataclass(frozen=True)
class FlatOp:
    """A call of an op, the avals of its leaves in float64, and the rules that the op had when it was made."""

    call: Call
    avals: tuple[Aval, ...]
    paths: tuple[str, ...]
    """Where each leaf stands in its argument: empty for an array, `['r']` in a dictionary."""
    rules: tuple[tuple[str, Rule | Marker], ...]

    @property
    def op(self) -> Op:
        """The op."""
        return self.call.op

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The argument of each leaf."""
        return tuple(self.call.argument_of(i) for i in range(len(self.avals)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each leaf: `x`, `pair.left`."""
        return tuple(a + p for a, p in zip(self.owners, self.paths, strict=True))

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """Positions of the leaves that can move: floating and complex ones."""
        return tuple(i for i, a in enumerate(self.avals) if is_inexact(a))

    @cached_property
    def wanted(self) -> tuple[int, ...]:
        """Positions of the leaves whose cotangents are asked for: all that move and are implemented."""
        return tuple(i for i in self.moving if self.rule(i) is not Marker.NOT_IMPLEMENTED)

    @cached_property
    def outputs(self) -> list[Aval]:
        """Avals of the inexact outputs."""
        return jax.eval_shape(self.plain, *self.avals)

    def rule(self, i: int) -> Rule | Marker | None:
        """What stands for J^T with respect to the i-th leaf."""
        return dict(self.rules).get(self.owners[i])

    def kind(self, i: int) -> Kind | None:
        """What the rule for the i-th leaf claims; None where there is no hand rule."""
        rule = self.rule(i)
        return rule.kind if isinstance(rule, Rule) else None

    def claims_linear(self, i: int) -> bool:
        """Whether the cotangent of the i-th leaf is said to be linear in those of the outputs."""
        kind = self.kind(i)
        return kind is None or kind.is_linear

    def maker(self, i: int) -> str:
        """What gave the cotangent of the i-th leaf: `rule linear_w`."""
        rule = self.rule(i)
        return f"rule {rule.name}" if isinstance(rule, Rule) else "no rule (derived)" if rule is None else str(rule)

    @cached_property
    def claims_derivative(self) -> bool:
        """Whether all cotangents are claimed to be derivatives of the op's own forward."""
        kinds = [self.kind(i) for i in self.wanted]
        silent = any(self.rule(i) is Marker.NON_DIFFERENTIABLE for i in self.wanted)
        return not silent and all(kind is None or kind.is_derivative for kind in kinds)

    def function(self, of: PureFunction) -> Callable[..., Arrays]:
        """`of` (the op, its plain function, a surrogate) from leaves to inexact output leaves."""
        attributes = dict(self.call.attributes)

        def flat(*leaves: Array) -> Arrays:
            outputs = jax.tree.leaves(of(*jax.tree.unflatten(self.call.tree, leaves), **attributes))
            return [y for y in outputs if is_inexact(jax.typeof(y))]

        return flat

    @cached_property
    def ours(self) -> Callable[..., Arrays]:
        """The op."""
        return self.function(self.op)

    @cached_property
    def plain(self) -> Callable[..., Arrays]:
        """The op's plain function."""
        return self.function(self.op.function)

    def pulling(self, wanted: tuple[int, ...]) -> Callable[..., tuple[Arrays, Arrays]]:
        """Not compiled: `(leaves, g) -> (outputs, cotangents of the wanted)`, by the op's rules."""

        def pull(leaves: Sequence[Array], g: Sequence[Array]) -> tuple[Arrays, Arrays]:
            outputs, pull = jax.vjp(partially(self.ours, leaves, wanted), *[leaves[i] for i in wanted])
            return outputs, list(pull(list(g)))

        return pull

    @property
    def pull(self) -> Callable[..., tuple[Arrays, Arrays]]:
        """Compiled: `(leaves, g) -> (outputs, cotangents)`, by the op's rules."""
        return compiled(_pull, self)


def partially(
    function: Callable[..., Arrays], leaves: Sequence[Array], positions: Sequence[int]
) -> Callable[..., Arrays]:
    """A function of all leaves as one of those at `positions`, the others fixed."""

    def of_some(*some: Array) -> Arrays:
        return function(*put(leaves, positions, some))

    return of_some


def put(leaves: Sequence[Array], positions: Sequence[int], some: Sequence[Array]) -> Arrays:
    """The leaves with those at `positions` replaced."""
    replaced = dict(zip(positions, some, strict=True))
    return [replaced.get(i, x) for i, x in enumerate(leaves)]


def _pull(flat: FlatOp) -> Callable[..., Any]:
    return flat.pulling(flat.wanted)


@traced_once(most=256)
def compiled(make: Callable[..., Callable[..., Any]], flat: FlatOp, *options: Any) -> Callable[..., Any]:
    """The program `make(flat, *options)`, jitted once per flat op."""
    return jax.jit(make(flat, *options))
