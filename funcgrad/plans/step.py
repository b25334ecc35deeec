"""One node of a backward pass: its rules, what its forward leaves for them, and what is made again for them."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Node, Value
from funcgrad.naming import at_node
from funcgrad.plans.groups import Groups
from funcgrad.plans.pullback import Pullback
from funcgrad.plans.recomputation import Recomputation, is_view
from funcgrad.primitive import fence, on_mesh_of

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the backward pass: its rules, and what its forward must leave for them."""

    node: Node
    positions: tuple[int, ...]
    """The inputs that get a cotangent."""
    pullbacks: tuple[Pullback, ...]
    saved: tuple[Value, ...]
    """Values that only the rules read, made by the forward beside the node's outputs."""

    forward: Callable[..., list[Any]]
    """Runs the node: its outputs, then what it saves."""
    bodies: "tuple[Plan, ...]" = ()
    """The plans of the graphs that the node holds."""
    captured: tuple[Value | Constant, ...] = ()
    """Values beside the node's inputs that `forward` takes after these: what the rules of a custom derivative close
    over, as far as it was traced."""
    remade: Recomputation | None = None
    """How what the rules read of a graph that the node holds is made again from what is kept; None where all of that
    is kept."""
    groups: Groups | None = None
    """How the turns of a loop run again, some at a time; None where each leaves what its rules read."""
    again: Recomputation | None = None
    """What of the plan's own graph is made again when the reverse pass comes here, the first of the steps that read
    it; None where nothing is, or where a step before it in that order has done so."""
    borrowed: frozenset[Value] = frozenset()
    """What it reads of what `again` makes, its own or that of a step before it in reverse order."""
    fenced: tuple[Value, ...] = ()
    """What it reads of what is kept, and may read no earlier than its cotangents are there: of what its rules make of
    that alone, a compiler would else make some on the way forward, and keep it."""
    in_turn: bool = False
    """Whether the cotangents that go further wait for those of parameters: what these are made of is free then."""
    returned: frozenset[Value] = frozenset()
    """Those of them that no step reads after this one, and that are dropped."""

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """The node's outputs whose cotangents its rules take, and the value that they are told of."""
        signals = (p.signal for p in self.pullbacks if p.signal is not None)
        return tuple(dict.fromkeys((*(v for p in self.pullbacks for v in p.sources), *signals)))

    @cached_property
    def asks(self) -> dict[Value | Constant, str]:
        """What of the plan's graph its rules read, and what is made again for them inside of its node.

        Each with the name that its reader has for it.
        """
        inside = self.remade
        given = {v: v.name for v in inside.given.values()} if inside else {}
        named = ((v, name) for p in self.pullbacks for v, name in zip(p.needs, p.reads, strict=True))
        numbers = {v: v.name for p in self.pullbacks for v in p.at if isinstance(v, Value)}
        return given | numbers | {v: name for v, name in named if inside is None or v not in inside.found}

    @cached_property
    def reads(self) -> dict[Value | Constant, str]:
        """What must be kept until the reverse pass comes to it: what it asks for, or makes that again from."""
        given = self.again.names_of_given(self.asks) if self.again else {}
        return {v: name for v, name in (given | self.asks).items() if v not in self.borrowed}

    @property
    def runs_again(self) -> tuple[Node, ...]:
        """The nodes that are run again before its rules; not those that only give arrays other shapes."""
        both = (made for made in (self.again, self.remade) if made)
        return tuple(node for made in both for node in made.nodes if not is_view(node))

    @property
    def targets(self) -> tuple[Value, ...]:
        """What its rules give cotangents to, in their order."""
        return tuple(v for pullback in self.pullbacks for v in pullback.targets)

    def remake(
        self, values: dict[Value, Any], until: dict[Value, Array]
    ) -> tuple[Mapping[Value, Any], dict[Value, Array]]:
        """What is there for its rules: `values`, and what is made again once its cotangents `until` are there.

        What other steps read too of what is made stays in `values` until the last of them has come. The cotangents
        that are returned are to be read in the place of those given.
        """
        if self.again is None and self.remade is None and not (self.returned or self.fenced):
            return values, until
        inside: dict[Value, Any] = {}
        with at_node(self.node.name, lambda: self.node.line), on_mesh_of(list(until.values())):
            if self.again is not None:
                found, until = self.again.run(values, until)
                values.update((v, found[v]) for v in self.again.made)
            if self.remade is not None:
                inside, until = self.remade.run(values, until)
            if self.fenced:
                late, g = fence([values[v] for v in self.fenced], until=list(until.values()))
                inside |= zip(self.fenced, late, strict=True)
                until = dict(zip(until, g, strict=True))
        last = {v: values.pop(v) for v in self.returned}
        return ChainMap(inside, last, values), until
