"""From a plan that keeps everything to the cheapest one that stays within a number of bytes.

The plan is counted (`plans.accounts`), the numbers are chosen from (`funcgrad.budget`), and what is not kept becomes
segments that are made again (`planning.segments`). A loop's turns come first: for several ways to leave ever less of
each turn, the rest of the graph is chosen from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import jax

from funcgrad.budget import Asked, Timeline, choose, simulate
from funcgrad.errors import BudgetError
from funcgrad.planning.turns import Segments, choices_of, loops_of, segments_of
from funcgrad.plans import Account, Fitted, Plan, account_of
from funcgrad.view import quantity


@dataclass
class Limit:
    """What the memory of one function's passes shall stay within; told of each plan that is made for it."""

    asked: Asked
    aim: int | None = None
    """What plans are made for, where that is less than what was asked: a compiled program took more than foreseen."""
    fitted: list[Fitted] = field(default_factory=list)
    """What was found, for each plan."""


def fit(make: Callable[[Segments], Plan], limit: Limit) -> Plan:
    """The cheapest plan within a limit.

    Args:
        make: plans, with segments of values that are made again instead of kept; each time with the same values.
        limit: what it stays within.

    Raises:
        BudgetError: nothing stays within it.
    """
    plan = make([])
    account = account_of(plan)
    everything = simulate(account.schedule, range(len(account.rooms)))
    size = limit.asked.bytes(everything.peak, device_bytes)
    aim = size if limit.aim is None else limit.aim
    found = None if everything.peak <= aim else _cheapest(make, account, aim, wants_least=limit.asked.word == "min")
    if found is None:
        fitted = Fitted(limit.asked, size, aim, account.forward_cost, everything.peak, 0.0)
        limit.fitted.append(fitted)
        return replace_fitted(plan, fitted)
    segments, timeline, inner_cost = found
    ...
    return plan
