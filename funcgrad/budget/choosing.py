"""The cheapest choice of what to keep within a budget."""

from functools import lru_cache

from funcgrad.budget.posing import Choice
from funcgrad.budget.schedules import Schedule, Timeline, simulate
from funcgrad.budget.spans import Span


def choose(schedule: Schedule, budget: int | None) -> Timeline | None:
    """The cheapest choice within a budget; None where none is known to be.

    A smaller budget never gets the larger peak, and the same one always gets the same choice. Where all can be kept,
    nothing is searched.

    Args:
        schedule: the passes.
        budget: bytes that no event may exceed; None for as many as it takes.
    """
    everything = simulate(schedule, range(len(schedule.sizes)))
    if budget is None or everything.peak <= budget:
        return everything
    if everything.kept <= schedule.fixed or budget < (span := _whole(schedule)).low:
        return None
    while not span.closed:
        upper, lower = span.parts
        span = upper if upper.low <= budget else lower
    best = span.best(budget)
    if best is None and (least := frontier(schedule)[-1]).peak <= budget:
        best = least
    return best and simulate(schedule, best.kept)


def smallest(schedule: Schedule) -> Timeline:
    """The choice with the smallest peak."""
    return simulate(schedule, frontier(schedule)[-1].kept)


@lru_cache(maxsize=32)
def frontier(schedule: Schedule) -> tuple[Choice, ...]:
    """Choices for all budgets, none of which beats another: from all that is kept to the smallest peak.

    They are what is found on the way to the smallest; `choose` looks closer around the budget that it is asked for.
    """
    everything = simulate(schedule, range(len(schedule.sizes)))
    if everything.kept <= schedule.fixed:
        return (Choice(everything.peak, 0.0, everything.kept),)
    span = _whole(schedule)
    while not span.closed:
        upper, lower = span.parts
        span = upper if upper.below is None else lower
    return tuple(span.problem.choice(span.front, k) for k in range(len(span.front.peaks)))


@lru_cache(maxsize=32)
def _whole(schedule: Schedule) -> Span:
    return Span.of(schedule)
