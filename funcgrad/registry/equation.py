"""One equation of a jaxpr as a function of named arguments: a primitive, a custom derivative, a jitted call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import jax

from funcgrad.aliases import Array, Aval, PyTree
from funcgrad.primitive import FLAT, bind, bodies, downgraded, exact, named, parameter_names, wrapped_name
from funcgrad.registry.broadcasting import Room
from funcgrad.registry.function import Function, Pull, Reading, Slot, leaf_names, targets_of, with_integers
from funcgrad.registry.kind import Marker
from funcgrad.registry.rows import row_of
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import Setting

# A call that the compiler sees twice where its J^T is made from its inputs, and computes once; but not where a loop
# stands between the two.
_RERUNNABLE = ("custom_jvp_call",)
_CALLS = ("jit", "pjit", "closed_call")
_RENAMED = {("integer_pow", "y"): "exponent"}
"""Parameters of primitives that are called as the output is."""


@dataclass(frozen=True, eq=False)
class Equation(Function):
    """One equation of a jaxpr, as a function of its inputs."""

    source: Any
    """As it is read: one of an upgraded primitive as what it was before."""
    applied: Any = field(default=None, repr=False)
    """As it is run, where that differs."""

    @classmethod
    def of(cls, equation: Any) -> "Equation":
        """An equation of a jaxpr."""
        source = downgraded(equation)
        return cls(equation) if source is equation else cls(source, equation)

    @property
    def name(self) -> str:
        """The primitive's name; of a custom derivative or a call, that of the function it was given to."""
        return self._name

    @cached_property
    def _name(self) -> str:
        if self.source.primitive.name.startswith("custom_"):
            inner = self.source.params.get("call_jaxpr") or self.source.params.get("fun_jaxpr")
            name = getattr(self._info, "func_name", None) or self.source.primitive.name
            return wrapped_name(getattr(inner, "jaxpr", inner), name)
        if self.source.primitive.name in _CALLS:
            return self.source.params.get("name") or self.source.primitive.name
        return self.source.primitive.name

    @property
    def _info(self) -> Any:
        """What JAX remembers of the function that was jitted, or given a derivative; None of a primitive."""
        params = self.source.params
        inner = params.get("call_jaxpr") or params.get("fun_jaxpr") or params.get("jaxpr")
        return getattr(inner, "debug_info", None) or getattr(getattr(inner, "jaxpr", None), "debug_info", None)

    @cached_property
    def written_at(self) -> str | None:
        """The function that it calls and where that stands, `act at model.py:3`; None of a primitive."""
        is_call = self.source.primitive.name.startswith("custom_") or self.source.primitive.name in _CALLS
        return getattr(self._info, "func_src_info", None) if is_call else None

    # -- what a rule can name ----------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> "_Names":
        return _names_of(parameter_names(self.source), len(self.source.outvars))

    @cached_property
    def argument_slots(self) -> Mapping[str, Slot]:
        """Which inputs make up which argument; several inputs of one name are a tuple."""
        return self._names.arguments

    @property
    def output_name(self) -> str:
        """What rules call the output, or the tuple of outputs: `y`; `out` where an argument is called so."""
        return self._names.output

    def argument_of(self, position: int) -> str:
        """The argument to which the input at a position belongs."""
        return self._names.owners[position]

    def leaf_names(self, avals: Sequence[Aval]) -> Sequence[str]:
        """What rules call each input, then each output."""
        del avals
        return self._names.leaves

    @cached_property
    def statics(self) -> Mapping[str, Any]:
        """The parameters of the primitive, by the names that rules ask for; none of a call, which are JAX's affair."""
        if bodies(self.source):
            return {}
        primitive, params = self.source.primitive.name, self.source.params
        return {_RENAMED.get((primitive, n)) or n: x for n, x in params.items()}

    @property
    def known(self) -> tuple[str, ...]:
        """The names that a rule may ask for."""
        avals = tuple(f"{a}_aval" for a in self.argument_slots)
        return tuple(dict.fromkeys(("g", *self.argument_slots, *avals, self._names.output, *self.statics)))

    @cached_property
    def rules(self) -> Mapping[str, Rule | Marker]:
        """The rules that are written down for its primitive, as far as they hold for its arrays."""
        row = row_of(self.source.primitive.name)
        return row.rules if row is not None and row.holds(self) else {}

    @property
    def avals(self) -> tuple[Aval, ...]:
        """Of the inputs, as they were traced."""
        return tuple(v.aval for v in self.source.invars)

    @property
    def output_avals(self) -> tuple[Aval, ...]:
        """Of the outputs."""
        return tuple(v.aval for v in self.source.outvars)

    def pullback(
        self, rule: Rule, positions: tuple[int, ...], avals: Sequence[Aval], setting: Setting | None = None
    ) -> tuple[tuple[int, ...], tuple[int, ...], Pull]:
        """A rule for inputs at `positions` as a flat function; see `Function`."""
        targets = targets_of(self.argument_slots, rule, positions)
        taken, pull = self.reading(avals).flat(rule, targets, setting)
        return taken, targets, pull

    def keeping(self, rule: Rule, avals: Sequence[Aval]) -> Callable[..., list[Array]]:
        """What is kept for a rule; see `Function`."""
        return self.reading(avals).keep(rule)

    def reading(self, avals: Sequence[Aval]) -> Reading:
        """All that a rule can read."""
        outputs = self.output_avals
        # A call broadcasts as `matmul` does, for all one knows.
        core_axes = 2 if bodies(self.source) else 0
        room = Room(tuple(a.shape for a in outputs), tuple(a.shape for a in avals), core_axes)
        cotangents = partial(_cotangents, outputs)
        return Reading(
            self.name,
            self.argument_slots,
            self._names.slots,
            self.statics,
            avals,
            room,
            cotangents,
            _tree(len(outputs)),
            self.run,
        )

    # -- what it is --------------------------------------------------------------------------------------------

    @cached_property
    def key(self) -> Any:
        """Equal for equations that compute the same function; the equation itself where its parameters do not hash."""
        try:
            key = (self.source.primitive, exact(named(self.source.params)), self.source.ctx)
            hash(key)
        except TypeError:
            return self
        return key

    def blocks(self, position: int) -> bool:
        """Whether no cotangent passes: it is stopped, or the derivative is zero wherever there is one."""
        del position
        return self.source.primitive.name in FLAT

    @property
    def is_custom_jvp(self) -> bool:
        """Whether it applies a function with a tangent of its own."""
        return self.source.primitive.name == "custom_jvp_call"

    @property
    def is_custom_vjp(self) -> bool:
        """Whether it applies a function with a pullback of its own."""
        return self.source.primitive.name in ("custom_vjp_call", "custom_vjp_call_jaxpr")

    @property
    def n_closed_over(self) -> int:
        """How many of its inputs, the first ones, are values that a custom derivative's function closes over."""
        return self.source.params["num_consts"] if self.is_custom_jvp or self.is_custom_vjp else 0

    @cached_property
    def has_effects(self) -> bool:
        """Whether running it does more than compute, as printing does."""
        return bool(self.source.effects)

    def keeps_residuals(self, in_loop: bool) -> bool:
        """Whether its pullback must be made in the forward pass, because making it later would run a body twice."""
        return bool(bodies(self.source)) and (in_loop or self.source.primitive.name not in _RERUNNABLE)

    # -- forward -----------------------------------------------------------------------------------------------

    def run(self, *leaves: Array) -> list[Array]:
        """Apply the equation."""
        applied = self.applied or self.source
        return bind(applied, applied.params, leaves, self.source.ctx)

    def run_as(self, change: Callable[[Any], Any], *leaves: Array) -> list[Array]:
        """Apply it with each of its parameters changed: to operands of other dtypes than those it was traced with."""
        applied = self.applied or self.source
        return bind(applied, {name: change(x) for name, x in applied.params.items()}, leaves, self.source.ctx)


class _Names(NamedTuple):
    """What rules call the inputs and outputs of an equation."""

    arguments: Mapping[str, Slot]
    output: str
    """The output, or the tuple of outputs: `y`; `out` where an argument is called so."""
    slots: Mapping[str, Slot]
    """Arguments and output."""
    owners: tuple[str, ...]
    """The argument of each input."""
    leaves: tuple[str, ...]


@lru_cache(maxsize=1024)
def _names_of(parameters: tuple[str, ...], n_outputs: int) -> _Names:
    owners = tuple("g_" if name == "g" else name for name in parameters)
    positions: dict[str, list[int]] = {}
    for i, name in enumerate(owners):
        positions.setdefault(name, []).append(i)
    arguments = {name: Slot(_tree(len(at)), tuple(at)) for name, at in positions.items()}
    output, n = "out" if "y" in arguments else "y", len(owners)
    slots = {**arguments, output: Slot(_tree(n_outputs), tuple(range(n, n + n_outputs)))}
    found = dict(zip((p for slot in slots.values() for p in slot.positions), leaf_names(slots), strict=True))
    return _Names(arguments, output, slots, owners, tuple(found[p] for p in range(len(found))))


def _tree(n: int) -> Any:
    return jax.tree.structure(0 if n == 1 else (0,) * n)


def _cotangents(outputs: Sequence[Aval], g: Sequence[Array]) -> dict[str, PyTree]:
    leaves = with_integers(g, outputs)
    return {"g": leaves[0] if len(leaves) == 1 else tuple(leaves)}
