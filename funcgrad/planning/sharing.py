"""Functions that many nodes run, traced once.

A network of many equal layers has one pullback many times. Written into a jaxpr, it is traced at its first node and
stands at the others as it was traced there. What a rule of the user's reads beside its arguments (a schedule, a flag)
may be another thing the next time, so its trace serves one trace of the gradient and is not remembered beyond; and
where nothing is traced, the rule is simply called.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial, wraps
from typing import Any

import jax

from funcgrad.plans import Pullback
from funcgrad.primitive import current_trace, is_staged, traced_once
from funcgrad.registry import Pull


def _once_per_trace(function: Pull) -> Pull:
    """A function that is traced once in each trace that it is written into."""
    trace, jitted = None, function

    @wraps(function)
    def shared(*operands: Any) -> Sequence[Any]:
        nonlocal trace, jitted
        if not is_staged():
            return function(*operands)
        if trace != (now := current_trace()):
            # A new function object, which JAX's own cache does not know.
            trace, jitted = now, jax.jit(partial(function), inline=True)
        return jitted(*operands)

    return shared


MANY = 4
"""From how many nodes on a function is traced once for all of them.

Of fewer, tracing it at each costs less than calling a jitted one does: of 7 networks and 11 models of other libraries,
4 trace 3 to 6 % faster than with 2 here, none slower beyond the spread.
"""
Shared = dict[Pull, Pull]
"""For the functions of a plan, and of those inside it, the ones that are traced once per trace."""


def share(pullbacks: Iterable[Pullback], made: Shared) -> dict[Pull, Pull]:
    """For each function that many pullbacks run, the one that is traced once for all of them.

    What was derived from a jaxpr reads nothing beside its arguments, so its trace is remembered.
    """
    pullbacks = list(pullbacks)
    uses = Counter(p.pull for p in pullbacks)
    rule_of = {p.pull: p.rule for p in pullbacks}
    often = [pull for pull, n in uses.items() if n >= MANY]
    return {
        pull: _jitted(pull) if rule_of[pull] is None else made.setdefault(pull, _once_per_trace(pull)) for pull in often
    }


@traced_once()
def _jitted(pull: Pull) -> Pull:
    return jax.jit(pull, inline=True)
