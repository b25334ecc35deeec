"""The cheapest choices of what to keep, for all budgets at once."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from funcgrad.budget.archive import Archive
from funcgrad.budget.cutting import cut, pieces_of
from funcgrad.budget.schedules import Pull, Run, Schedule, Timeline, simulate
from funcgrad.budget.scoring import Scorer
from funcgrad.budget.searching import breed, walk_down

def compact(schedule: Schedule) -> tuple[Schedule, list[int]]:
    """The schedule with values numbered in the order in which they are written; inputs are left out.

    Returns:
        it, and what each of its values was called before.
    """
    values = [v for run in schedule.runs for v in run.writes]
    number = {v: k for k, v in enumerate(values)}

    def renamed(of: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(number[v] for v in of if v in number)

    runs = (replace(run, reads=renamed(run.reads), writes=renamed(run.writes)) for run in schedule.runs)
    pulls = (
        pull and replace(pull, reads=renamed(pull.reads), takes=renamed(pull.takes), gives=renamed(pull.gives))
        for pull in schedule.pulls
    )
    return values
