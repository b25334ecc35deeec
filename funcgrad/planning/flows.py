"""How what moves, and what gets a cotangent, passes through a node: output by output, as JAX's rules have it.

A `custom_jvp` may give some outputs no tangent, a `custom_vjp` some inputs no cotangent; the outputs of a sort, of an
optimization barrier or of a `jit` that is not opened depend on some inputs each. What such a node does not let through
must not be visited: there may be a loop without a known length behind it, or a rule that raises on purpose.
"""

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.errors import FuncgradError, GradientError
from funcgrad.graph import Node
from funcgrad.planning.custom_tangents import find_links
from funcgrad.planning.foreign import errors_from, where
from funcgrad.planning.recording import Recording, find_moved, record
from funcgrad.primitive import TangentRule, bodies, rule_key
from funcgrad.registry import Equation


class Flows:
    """What is found of the nodes of one plan; each is looked at once."""

    def __init__(self, replaces: Callable[[Node, int], bool] | None) -> None:
        """`replaces` tells whether a rule was put in for the input of a node at a position; None where none was."""
        self._replaces = replaces
        self._rules: dict[Any, TangentRule | None] = {}
        self._rules_alike: dict[Any, TangentRule] = {}
        self._moved: dict[Any, Sequence[int]] = {}
        self._recordings: dict[Any, Recording] = {}
        self._raised: dict[Any, FuncgradError] = {}
        """What the rule raised that should have said how these values move."""

    def moved(self, node: Node, moving: tuple[int, ...]) -> Sequence[int]:
        """Tell which outputs move where the inputs `moving` do.

        All of them, where a rule raises: it does so again if the gradient passes; or where one was put in.
        """
        if self.derived(node, moving) != moving:
            return range(len(node.outputs))
        key = node, moving
        if key not in self._moved:
            try:
                self._moved[key] = self._find_moved(node, moving)
            except Exception as error:
                self._moved[key] = range(len(node.outputs))
                if isinstance(error, FuncgradError):
                    self._raised |= dict.fromkeys(node.outputs, error)
        return self._moved[key]

    def _find_moved(self, node: Node, moving: tuple[int, ...]) -> Sequence[int]:
        function, everything = node.function, range(len(node.outputs))
        if not isinstance(function, Equation) or _only_closed_over(function, moving):
            return everything
        if function.is_custom_jvp:
            if (rule := self.rule(node, moving)) is None:
                return everything
            links = find_links(rule.tangent)
            return sorted({k for p in moving for k in links.get(p - rule.n_closed_over, ())})
        if function.is_custom_vjp or not (bodies(function.source) or _has_several(node)):
            return everything
        return find_moved(node, moving)

    def reached(self, node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[int, ...]:
        """Tell which of the inputs `moving` get a cotangent where the outputs at `outputs` have one.

        Raises:
            GradientError: a rule raises, or a function with a derivative of its own closes over all that moves.
        """
        derived = self.derived(node, moving)
        if derived == moving:
            return self._reached(node, moving, outputs)
        found = {*self._reached(node, derived, outputs), *(set(moving) - set(derived))} if derived else moving
        return tuple(p for p in moving if p in found)

    def derived(self, node: Node, positions: tuple[int, ...]) -> tuple[int, ...]:
        """The inputs among those at `positions` for which no rule was put in."""
        replaces = self._replaces
        return positions if replaces is None else tuple(p for p in positions if not replaces(node, p))

    def _reached(self, node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[int, ...]:
        function = node.function
        if not isinstance(function, Equation):
            return moving
        if _only_closed_over(function, moving):
            names = " and ".join(dict.fromkeys(f"'{node.inputs[p].name}'" for p in moving))
            raise GradientError(
                f"{where(node)}: the function closes over {names}, which is differentiated, and its own derivative "
                f"says nothing of that; pass it to '{node.op_name}' as an argument."
            )
        if function.keeps_residuals(in_loop=bool(node.loops)):
            return self.recording(node, moving, outputs).positions
        if function.is_custom_jvp:
            if (rule := self.rule(node, moving)) is None:
                return moving
            n, links = rule.n_closed_over, find_links(rule.tangent)
            return tuple(p for p in moving if p >= n and not links[p - n].isdisjoint(outputs))
        if len(moving) > 1 and _has_several(node):
            return self.recording(node, moving, outputs).positions
        return moving

    def rule(self, node: Node, moving: tuple[int, ...]) -> TangentRule | None:
        """The rule of a `custom_jvp`, traced where the inputs `moving` do; once for all nodes with that rule.

        So one that reads Python state reads the same at all of them, and anew in the next plan; but a rule that was
        asked where its function is called has been traced at each.
        """
        key = node, moving
        if key not in self._rules:
            assert isinstance(node.function, Equation)
            source = node.function.source
            alike = rule_key(source), moving
            rule = self._rules_alike.get(alike)
            if rule is None:
                with errors_from(node):
                    rule = TangentRule.of(source, moving)
                if rule is not None and rule.closes_over_nothing and alike[0] is not None:
                    self._rules_alike[alike] = rule
            self._rules[key] = rule
        return self._rules[key]

    def recording(self, node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> Recording:
        """The node under `jax.vjp`.

        What the function of a custom derivative closes over is not differentiated: its rules know nothing of it. Where
        one raises that is given what another rule refuses to differentiate, JAX never comes to it: the other is to
        blame (`eqx.filter_custom_vjp` refuses so, and its own rule is written for nothing else).
        """
        key = node, moving, outputs
        if key not in self._recordings:
            assert isinstance(node.function, Equation)
            given = tuple(p for p in moving if p >= node.function.n_closed_over)
            try:
                with errors_from(node):
                    self._recordings[key] = record(node, given, outputs)
            except GradientError:
                if refused := [self._raised[v] for p in moving if (v := node.inputs[p]) in self._raised]:
                    raise refused[0] from refused[0].__cause__
                raise
        return self._recordings[key]


def _only_closed_over(function: Equation, moving: tuple[int, ...]) -> bool:
    """Whether nothing moves but what a function with a derivative of its own closes over.

    Its rules are not asked then, and would know nothing of it: the gradient would be zero, silently.
    """
    return bool(moving) and max(moving) < function.n_closed_over


def _has_several(node: Node) -> bool:
    """Whether there are several outputs, which may depend on the inputs in different ways."""
    return sum(v.is_inexact for v in node.outputs) > 1
