"""A rule by itself, traced: what it really returns before the library fits it, and which values it really reads."""

from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import jax

from funcgrad.aliases import Aval
from funcgrad.checking.rules.flat_ops import FlatOp
from funcgrad.primitive import is_inexact, prune, traced_once
from funcgrad.registry import Rule


@dataclass(frozen=True)
class RuleTrace:
    """One rule at one op's shapes."""

    returned: tuple[Aval | None, ...]
    """Avals of the leaves of its result, as returned; None for what is no array."""
    asked: tuple[str, ...]
    """The values it asks for and that must be kept for it."""
    unread: tuple[str, ...]
    """Those of them that its result does not depend on."""
    kept: int
    """Bytes of outputs and saved values that it asks for."""
    in_place: int
    """Bytes of arguments that it asks for: they may have to be kept too, if nothing else keeps them."""


@traced_once(most=256)
def trace_rule(flat: FlatOp, rule: Rule) -> RuleTrace:
    """Trace a rule; what it raises, and RuleError where it breaks its contract, comes through."""
    call, avals, returned = flat.call, flat.avals, []
    outline = call.outline(avals)
    values = [*avals, *outline.avals]
    active = tuple(i for i in flat.wanted if flat.owners[i] in rule.arguments)

    @wraps(rule.function)
    def listening(**needs: Any) -> Any:
        result = rule.function(**needs)
        returned[:] = [_typeof(x) for x in jax.tree.leaves(result)]
        return result

    positions, _, pull = call.pullback(replace(rule, function=listening), active, values)
    g = [a for a in outline.avals[: outline.n_outputs] if is_inexact(a)]
    _, used = prune(pull, [*(values[p] for p in positions), *g])
    names = call.leaf_names(avals)
    unread = [p for n, p in enumerate(positions) if n not in used]
    return RuleTrace(
        tuple(returned),
        tuple(names[p] for p in positions),
        tuple(names[p] for p in unread),
        sum(_bytes(values[p]) for p in positions if p >= len(avals)),
        sum(_bytes(values[p]) for p in positions if p < len(avals)),
    )


def _typeof(x: Any) -> Aval | None:
    try:
        return jax.typeof(x)
    except TypeError:
        return None


def _bytes(aval: Aval) -> int:
    return 0 if jax.numpy.issubdtype(aval.dtype, jax.dtypes.extended) else int(aval.size * aval.dtype.itemsize)
