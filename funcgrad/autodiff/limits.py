"""Programs that are held to a memory budget: compiled, measured, and compiled again where they take more.

What a plan foresees is near what XLA makes of it, a few hundredths above or below; so what it takes too much is fed
back, and the next plan aims for as much less.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.aliases import PyTreeDef
from funcgrad.autodiff.changes import Changing, put
from funcgrad.budget import Budget
from funcgrad.errors import BudgetError, require_function
from funcgrad.planning import Limit, refuse_budget
from funcgrad.primitive import current_context, is_staged, type_of
from funcgrad.registry import name_of
from funcgrad.view import quantity

TRIES = 3
"""How often a program is compiled at most."""
USED = 0.95
"""Where a program takes less of what was asked, and makes values again, another is tried that keeps more."""


@dataclass(frozen=True)
class Certified:
    """What a compiled program takes, as XLA says: `fg.certify`."""

    bytes: int
    """Beside its arguments: temporaries and results, without what reuses the arguments' buffers."""
    argument_bytes: int
    asked: int | None = None
    """What it was to stay within, in bytes."""
    foreseen: int | None = None
    """What the plan of a gradient inside of it said; None where none was asked for within a budget."""
    compilations: int = 1

    def __str__(self) -> str:
        text = f"{quantity(self.bytes, 'B')} beside {quantity(self.argument_bytes, 'B')} of arguments"
        text += f", {quantity(self.foreseen, 'B')} foreseen" if self.foreseen is not None else ""
        return text + (f", {quantity(self.asked, 'B')} asked" if self.asked is not None else "")


class Program(NamedTuple):
    """A function that was compiled for a limit."""

    lowered: Any
    compiled: Any
    certified: Certified | None
    """What it takes, where the device says that."""


def program_bytes(compiled: Any) -> tuple[int, int] | None:
    """What a compiled program takes beside its arguments, and these; None where the device does not say.

    XLA:TPU says what is alive at the peak, with the arguments; elsewhere that figure is no peak, and temporaries and
    results are added up.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    arguments = int(analysis.argument_size_in_bytes)
    if jax.default_backend() == "tpu":
        return int(analysis.peak_memory_in_bytes) - arguments, arguments
    results = int(analysis.output_size_in_bytes) - int(analysis.alias_size_in_bytes)
    return int(analysis.temp_size_in_bytes) + results, arguments


def compile_within(
    make: Callable[[], Callable[..., Any]], limit: Limit, where: str, arguments: Sequence[Any], **options: Any
) -> Program:
    """Compile a function until its program stays within a limit.

    Args:
        make: makes the function anew, so that it is traced anew.
        limit: what its gradients are planned for.
        where: what errors call it.
        arguments: arrays, or descriptions of them.
        options: for `jax.jit`.

    What leaves much of what was asked unused is planned again too, for more. Where nothing is foreseen to stay within,
    the least that can be had is compiled: it may take less than foreseen.

    Raises:
        BudgetError: no program of those that were tried stays within.
    """
    limit.aim, limit.least = None, False
    tried: list[_Try] = []
    while len(tried) < TRIES:
        try:
            found = _Try.of(make(), limit, arguments, options, {t.foreseen for t in tried})
        except BudgetError:
            if limit.least:
                raise
            limit.least = True
            continue
        if found is None:
            break
        tried.append(found)
        if limit.least or found.is_near:
            break
        limit.aim = found.aim
    if fitting := [t for t in tried if t.program.certified is None or t.excess <= 0]:
        best = min(fitting, key=lambda t: t.overhead).program
        return best._replace(certified=best.certified and replace(best.certified, compilations=len(tried)))
    found, plan = min(tried, key=lambda t: t.excess).program.certified, limit.plans[-1]
    assert found is not None
    assert plan.fitted is not None
    if limit.least:
        refuse_budget(f"{where}: memory={limit.asked.said}", plan.memory, found.bytes, plan.fitted.everything)
    raise BudgetError(
        f"{where}: memory={limit.asked.said}: the smallest program of {len(tried)} that were compiled takes "
        f"{quantity(found.bytes, 'B')}, where {quantity(found.asked or 0, 'B')} were asked and "
        f"{quantity(found.foreseen or 0, 'B')} foreseen; ask for more."
    )


class _Try(NamedTuple):
    """A program, and how far from what was asked it is."""

    program: Program
    excess: int = 0
    """Bytes above what was asked; negative below."""
    is_near: bool = True
    """Whether it stays within, and another plan would not use much more of what was asked."""
    aim: int = 0
    """What to plan for the next time."""
    overhead: float = 0.0
    foreseen: int = 0

    @classmethod
    def of(
        cls,
        fun: Callable[..., Any],
        limit: Limit,
        arguments: Sequence[Any],
        options: dict[str, Any],
        known: Collection[int],
    ) -> "_Try | None":
        """None where it is planned as one before was: `known` are the peaks that were foreseen."""
        limit.plans.clear()
        lowered = jax.jit(fun, **options).lower(*arguments)
        plans = [plan for plan in limit.plans if plan.fitted]
        foreseen = max((plan.memory.peak for plan in plans), default=0)
        if foreseen in known:
            return None
        compiled = lowered.compile()
        sizes = program_bytes(compiled)
        if sizes is None or not plans:
            return cls(Program(lowered, compiled, None))
        fitted, overhead = plans[-1].fitted, plans[-1].memory.overhead
        assert fitted is not None
        if limit.asked.word == "min" or limit.asked.share == 1.0:  # what was asked binds nothing
            return cls(Program(lowered, compiled, Certified(*sizes, None, foreseen)))
        found = Certified(*sizes, fitted.size, foreseen)
        excess = found.bytes - fitted.size
        is_near = excess <= 0 and (not overhead or found.bytes >= USED * fitted.size)
        aim = min(fitted.aim, foreseen) - excess
        return cls(Program(lowered, compiled, found), excess, is_near, aim, overhead, foreseen)


def held_to(memory: Any, make: Callable[[Limit], Callable[..., Any]]) -> Callable[..., Any]:
    """The function that `make` gives for a limit, held to it.

    A call is compiled and measured, as `jax.jit` would compile it. Inside of a trace it is the function itself, whose
    plans do as foreseen; so it is for a `Limit`, whose owner compiles the whole.
    """
    if isinstance(memory, Limit):
        return make(memory)
    asked = Budget.of(memory)
    inside = make(Limit(asked))
    programs = _Calls(asked, make)

    @wraps(inside)
    def limited(*args: Any, **kwargs: Any) -> Any:
        is_traced = is_staged() or any(isinstance(x, Tracer) for x in jax.tree.leaves((args, kwargs)))
        return inside(*args, **kwargs) if is_traced else programs.run(args, kwargs)

    limited.__name__ = inside.__name__
    return limited


class Programs:
    """The programs of a function of arrays that is held to a limit, each for one kind of arguments."""

    def __init__(self, memory: Any, make: Callable[[Limit], Callable[..., Any]], where: str, **options: Any):
        """`where` is what errors call it; `options` are for `jax.jit`."""
        self.asked, self.make, self.where, self.options = Budget.of(memory), make, where, options
        self._found: dict[Hashable, Program] = {}

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        return self._of(*args).compiled(*args)

    def lower(self, *args: Any) -> Any:
        """As of a jitted function: of the program that stays within."""
        return self._of(*args).lowered

    def _of(self, *args: Any) -> Program:
        leaves, tree = jax.tree.flatten(args)
        key = (tree, *map(_kind, leaves), current_context())
        if key not in self._found:
            limit = Limit(self.asked)
            self._found[key] = compile_within(lambda: self.make(limit), limit, self.where, args, **self.options)
        return self._found[key]


class _Calls:
    """The same of a function of anything: what is no array is a constant of a program, and modules may change."""

    def __init__(self, asked: Budget, make: Callable[[Limit], Callable[..., Any]]):
        self.asked, self.make = asked, make
        self.found: dict[Hashable, tuple[Any, Changing]] = {}

    def run(self, *given: Any) -> Any:
        """A call with arguments by position and by name; modules among them have what it changes in them."""
        leaves, tree = jax.tree.flatten(given)
        places = [i for i, x in enumerate(leaves) if _is_array(x)]
        key = (tree, *map(_kind, leaves), current_context())
        if key not in self.found:
            self.found[key] = self.compiled(leaves, tree, places)
        compiled, changing = self.found[key]
        out, new = compiled(*[leaves[i] for i in places])
        changing.hand_over(given, new)
        return out

    def compiled(self, leaves: Sequence[Any], tree: PyTreeDef, places: Sequence[int]) -> tuple[Any, Changing]:
        """A program for arguments like these."""
        limit = Limit(self.asked)
        function = self.make(limit)
        changing = Changing(function.__name__, lambda args, kwargs: function(*args, **kwargs), tree)
        others = [None if _is_array(x) else x for x in leaves]  # the program must not hold the arrays

        def make() -> Callable[..., Any]:
            return lambda *moved: changing(*jax.tree.unflatten(tree, put(others, places, moved)))

        return compile_within(make, limit, function.__name__, [leaves[i] for i in places]).compiled, changing


def _kind(x: Any) -> Hashable:
    """What a program is compiled for: an array's type and where it is; anything else as it is."""
    if not _is_array(x):
        return x if isinstance(x, Hashable) else id(x)
    return type_of(x), x.sharding if isinstance(x, jax.Array) else None


def certify(fun: Callable[..., Any], *args: Any, memory: Any = None, **kwargs: Any) -> Certified:
    """What the compiled program of a function takes, as XLA says; nothing runs.

    Args:
        fun: a function of arrays: a step under `jax.jit`, say, with a gradient inside that has a memory budget.
        args: its arguments, pytrees of arrays or of `jax.ShapeDtypeStruct`.
        memory: what it shall stay within, in bytes or as a size such as `"2 GiB"`.
        kwargs: arguments by keyword.

    Returns:
        A `Certified`: its `bytes` beside arguments, and those of the arguments.

    Raises:
        BudgetError: the program takes more than `memory`, or the device does not say what it takes.

    Example:
        >>> step = jax.jit(lambda w, x: fg.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(w))
        >>> found = fg.certify(step, jnp.ones((8, 8), jnp.float32), jnp.ones((4, 8), jnp.float32), memory="1 MiB")
        >>> found.bytes < found.asked
        True
    """
    require_function("certify", fun)
    asked = None if memory is None else Budget.of(memory)
    if asked is not None and asked.size is None:
        raise BudgetError(
            f"certify: memory= takes bytes as an int or a size such as '2 GiB', got {memory!r}; of what keeping "
            f"everything takes, it does not know."
        )
    lower = getattr(fun, "lower", None) or jax.jit(fun).lower
    sizes = program_bytes(lower(*args, **kwargs).compile())
    if sizes is None:
        raise BudgetError("certify: the device does not say what a program takes; use another one.")
    found = Certified(*sizes, None if asked is None else asked.size)
    if found.asked is not None and found.bytes > found.asked:
        raise BudgetError(f"certify: {name_of(fun)} takes {found}; give its gradient memory={found.asked}, or less.")
    return found


def _is_array(x: Any) -> bool:
    """Whether a leaf is an array, or a number that `jax.jit` takes for one; flags decide what is traced."""
    return isinstance(x, jax.Array | np.ndarray | np.generic | int | float | complex) and not isinstance(x, bool)
