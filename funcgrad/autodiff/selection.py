"""What a gradient is taken with respect to: whole arguments, or values by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax

from funcgrad.adapters import ArrayCall, choice
from funcgrad.aliases import Array, Aval, PyTree, PyTreeDef
from funcgrad.autodiff.named_values import Names, listed, position_of
from funcgrad.autodiff.parameters import Selector
from funcgrad.errors import GradientError, describe
from funcgrad.graph import Addresses, Arguments, Found, Graph, Value, leaves_at, merged, refuse_shared
from funcgrad.naming import Where
from funcgrad.plans import Plan
from funcgrad.primitive import is_inexact, no_cotangent, type_of

Place = int | str
"""An argument: its position, or its keyword."""
Wrt = Names | Selector
Argnums = Any
"""One or several positions of arguments, each a number or what a library has for it (`nnx.DiffState`)."""
Unreachable = Literal["raise", "zero"]


class WantedPlaces(NamedTuple):
    """What `argnums` and `wrt` ask for, sorted into arguments and places of values."""

    places: tuple[tuple[int | str, Place], ...]
    """The arguments, each after what the caller calls it, or, in a mapping, after its name."""
    values: tuple[Where, ...]
    form: Literal["one", "tuple", "mapping"]
    """What is handed back: the one thing that was asked for, a tuple of arguments, or a mapping."""
    selector: Selector | None
    is_strict: bool
    """Whether it is an error if something cannot be reached."""
    filters: dict[int, Any]
    """What a library's own filter chooses in the argument at a position."""
    spelled: tuple[str, ...] = ()
    """The arguments that are asked for by name."""
    parameters: tuple[str, ...] = ()
    """The names of the positional arguments."""

    @classmethod
    def of(
        cls,
        argnums: Argnums,
        wrt: Wrt | None,
        unreachable: Unreachable,
        parameters: Sequence[str],
        keywords: Sequence[str],
    ) -> "WantedPlaces":
        """Sort them; `parameters` are the names of the positional arguments, `keywords` those of the others."""
        if unreachable not in ("raise", "zero"):
            raise GradientError(f"unreachable must be 'raise' or 'zero', got {unreachable!r}.")
        strict = wrt is not None and unreachable == "raise"
        selector = wrt if isinstance(wrt, Selector) else None
        places: list[tuple[int | str, Place]] = []
        values: list[Where] = []
        form: Literal["one", "tuple", "mapping"]
        spelled: list[str] = []
        if wrt is None or isinstance(wrt, Selector):
            is_one, filters = not isinstance(argnums, Iterable), {}
            for n, chosen in map(choice, (argnums,) if is_one else argnums):
                position = position_of("argnums", n, len(parameters))
                places.append((n, position))
                filters[position] = chosen
            return cls(
                tuple(places), (), "one" if is_one else "tuple", selector, strict, filters, (), tuple(parameters)
            )
        items = listed("wrt", wrt)
        is_tuple = all(isinstance(item, int) for item in items)
        for item in items:
            if isinstance(item, int):
                position = position_of("wrt", item, len(parameters))
                places.append((item if is_tuple else parameters[position], position))
                continue
            name = item.path if item.is_name and item.turn is None else None
            if name in parameters and name in keywords:
                raise GradientError(
                    f"'{name}' is a positional argument and a keyword; ask for the positional one by its position, or "
                    f"rename the other."
                )
            if name is None or name not in (*parameters, *keywords):
                values.append(item)
            else:
                places.append((name, parameters.index(name) if name in parameters else name))
                spelled.append(name)
        form = "tuple" if is_tuple else "mapping"
        if isinstance(wrt, int | str | Where):
            form = "one" if isinstance(items[0], int) or items[0].is_name else "mapping"
        return cls(tuple(places), tuple(values), form, None, strict, {}, tuple(spelled))

    @property
    def wanted(self) -> dict[int, Any]:
        """The positional arguments among them, with their filters."""
        return {p: self.filters.get(p) for _, p in self.places if isinstance(p, int)}

    @property
    def traced(self) -> tuple[Place, ...]:
        """The arguments whose leaves are all differentiated."""
        return () if self.selector is not None else tuple(place for _, place in self.places)

    def select_from(self, call: ArrayCall, arguments: Arguments, allow_int: bool, described: bool) -> "Selection":
        """Look at the arguments; GradientError where one cannot have a gradient.

        Unless they may be `described`, nor can a `jax.ShapeDtypeStruct`.
        """
        wholes = []
        for key, place in self.places:
            argument = call.args[place] if isinstance(place, int) else call.kwargs[place]
            leaves, tree = jax.tree.flatten(argument)
            flags = [True] * len(leaves)
            if self.selector is not None:
                flags = self.selector.flags(argument, self.parameters[place] if isinstance(place, int) else place)
            slots: list[int | Aval | None] = []
            for i, leaf, flag in zip(arguments.leaves_of(place), leaves, flags, strict=True):
                if flag and not described and isinstance(leaf, jax.ShapeDtypeStruct):
                    raise GradientError(
                        f"{_called(key)} has a leaf '{arguments.names[i]}' that is only described, {describe(leaf)}; "
                        f"pass an array, or use fg.plan, which runs nothing."
                    )
                aval = _aval(leaf, arguments.names[i], key, arguments.is_input[i], allow_int) if flag else None
                slots.append(i if aval is not None and is_inexact(aval) else aval)
            wholes.append(Argument(key, tree, tuple(slots)))
        return Selection(tuple(wholes), self.values, self.form, self.is_strict, self.spelled)


@dataclass(frozen=True)
class Argument:
    """A whole argument; its cotangents come back as a pytree like it."""

    key: int | str
    """What it is called in a mapping: its name."""
    tree: PyTreeDef
    slots: tuple[int | Aval | None, ...]
    """For each of its leaves, which leaf of all arguments it is; its aval, if integer; None, if not chosen."""


@dataclass(frozen=True)
class Selection:
    """A choice of values, and the shape in which their cotangents are handed back."""

    arguments: tuple[Argument, ...]
    values: tuple[Where, ...]
    form: Literal["one", "tuple", "mapping"]
    is_strict: bool
    spelled: tuple[str, ...] = ()
    """The arguments that are asked for by name."""
    found: tuple[Found, ...] = ()
    """What `values` stand for in a graph."""

    def within(self, graph: Graph) -> tuple["Selection", tuple[Value, ...]]:
        """Find the values: those of arguments, then those by name; GradientError where a name finds none."""
        refuse_shared(self.spelled, graph.structure)
        inputs = graph.input_of
        whole = [inputs[slot] for a in self.arguments for slot in a.slots if isinstance(slot, int)]
        addresses = Addresses(graph.structure) if self.values else None
        found = tuple(addresses.find(where) for where in self.values) if addresses else ()
        return replace(self, found=found), (*whole, *dict.fromkeys(merged(found).values()))

    def leaves_of(self, arguments: Arguments) -> frozenset[int]:
        """Which leaves of the arguments are among the values, as far as their names tell."""
        whole = {slot for a in self.arguments for slot in a.slots if isinstance(slot, int)}
        named = {name for where in self.values for name in leaves_at(where, arguments.names)}
        return frozenset(whole.union(i for i, name in enumerate(arguments.names) if name in named))

    def check(self, plan: Plan, subject: str) -> None:
        """GradientError for what `subject` does not depend on; of what a glob matches, one value is enough."""
        if not self.is_strict:
            return
        whole = plan.wanted[: self._n_whole]
        named = [v for f in self.found if f.is_one for v in f.values.values()]
        for value in (*whole, *named):
            if value not in plan.reached:
                raise GradientError(
                    f"{subject} does not depend on '{value.name}'; leave it out of wrt, or pass unreachable='zero'."
                )
        for f in self.found:
            if plan.reached.isdisjoint(f.values.values()):
                raise GradientError(
                    f"{subject} depends on nothing that '{f.where}' matches; leave it out of wrt, or pass "
                    f"unreachable='zero'."
                )

    def assemble(self, plan: Plan, cotangents: Sequence[Array], lead: tuple[int, ...] = ()) -> PyTree:
        """Put the cotangents of `plan.wanted`, which may have further axes `lead` in front, into the caller's shape.

        Integer leaves get `float0` zeros, leaves that were not chosen None.
        """
        n = self._n_whole
        source = iter(cotangents[:n])
        trees = [a.tree.unflatten([_filled(slot, source, lead) for slot in a.slots]) for a in self.arguments]
        if self.form == "tuple":
            return tuple(trees)
        by_value = dict(zip(plan.wanted[n:], cotangents[n:], strict=True))
        turns = {name: turn for f in self.found for name, turn in f.turns.items()}
        whole = (slice(None),) * len(lead)
        found = {
            k: by_value[v][(*whole, *turns[k])] if k in turns else by_value[v]
            for k, v in merged(self.found).items()
            if v in plan.reached or not self.is_strict
        }
        if self.form == "mapping" or not all(f.is_one for f in self.found):
            return {a.key: tree for a, tree in zip(self.arguments, trees, strict=True)} | found
        return next(iter((*trees, *found.values())))

    @property
    def _n_whole(self) -> int:
        """How many of the wanted values are leaves of whole arguments; the others are asked for by name."""
        return sum(isinstance(slot, int) for a in self.arguments for slot in a.slots)


def _aval(leaf: Any, name: str, key: int | str, is_input: bool, allow_int: bool) -> Aval:
    """The aval of a leaf that is to be differentiated."""
    aval: Aval = None
    if is_input:
        aval = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else type_of(leaf)
    argument = _called(key)
    if aval is None:
        raise GradientError(
            f"{argument} has a leaf '{name}' of type {type(leaf).__name__}; gradients need arrays, so pass it as "
            f"another argument."
        )
    if not is_inexact(aval) and not allow_int:
        if key == name:
            raise GradientError(f"'{name}' is {describe(aval)}; only floating or complex values have gradients.")
        raise GradientError(
            f"{argument} has a leaf '{name}' of {describe(aval)}; gradients need floating or complex arrays: "
            f"cast it, leave it out of argnums, or pass allow_int=True."
        )
    return aval


def _called(key: int | str) -> str:
    return f"Argument {key}" if isinstance(key, int) else f"Argument '{key}'"


def _filled(slot: int | Aval | None, cotangents: Any, lead: tuple[int, ...]) -> Any:
    """What stands at a leaf of an argument."""
    if isinstance(slot, int):
        return next(cotangents)
    return None if slot is None else no_cotangent((*lead, *slot.shape))
