"""What is chosen: never above the budget, in the order of the budgets, and near to the cheapest there is."""

import time

import numpy as np
import pytest

from funcgrad.budget import Pull, Run, Schedule, choose, frontier, simulate, smallest, spans
from tests.budget.problems import chain, every_front, irregular, residual, transformer, unet

MADE = {
    "transformer of 2": transformer(2),
    "residual of 8": residual(8),
    "unet of 3": unet(3),
    "irregular of 32": irregular(1, 32),
}


def budgets_of(schedule, count):
    everything = simulate(schedule, range(len(schedule.sizes))).peak
    return np.geomspace(smallest(schedule).peak, everything, count).astype(int).tolist()


def forget():
    for remembered in (frontier, choose.__globals__["_whole"]):
        remembered.cache_clear()


@pytest.mark.parametrize("schedule", [*MADE.values(), irregular(3, 40, several=True)], ids=[*MADE, "several values"])
def test_a_smaller_budget_never_gets_the_larger_peak(schedule):
    budgets = budgets_of(schedule, 6)
    chosen = [choose(schedule, budget) for budget in budgets]
    assert all(line.peak <= budget for line, budget in zip(chosen, budgets, strict=True))
    assert [line.peak for line in chosen] == sorted(line.peak for line in chosen)
    assert [line.overhead for line in chosen] == sorted((line.overhead for line in chosen), reverse=True)
    forget()
    again = [choose(schedule, budget) for budget in reversed(budgets)]
    assert again[::-1] == chosen


def test_what_fits_is_kept_and_nothing_is_searched(monkeypatch):
    monkeypatch.setattr(spans.Span, "of", None)
    schedule = transformer(2)
    everything = simulate(schedule, range(len(schedule.sizes)))
    assert choose(schedule, None) == choose(schedule, everything.peak) == everything
    assert everything.overhead == 0


@pytest.mark.parametrize("schedule", MADE.values(), ids=MADE)
def test_the_smallest_can_be_asked_for_and_nothing_below_it(schedule):
    least = smallest(schedule)
    assert choose(schedule, least.peak) == least
    assert choose(schedule, least.peak - 1) is None
    assert min(choice.peak for choice in frontier(schedule)) == least.peak


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_of_few_values_the_cheapest_is_found(seed, several):
    schedule = irregular(seed, 9 if several else 13, several)
    peaks, overheads = every_front(schedule)
    assert smallest(schedule).peak == peaks[0]
    assert [choose(schedule, int(peak)).overhead for peak in peaks] == overheads.tolist()


def test_a_chain_takes_twice_the_square_root_of_its_length():
    # Pieces of s, n / s of them: n / s kept, s made again, and the cotangents of two. 2 sqrt(n) + 2, and one in it.
    for n in (36, 100, 196):
        least = smallest(chain(n))
        assert least.peak <= 2 * n**0.5 + 3
        assert least.overhead < n


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("name", MADE)
def test_no_choice_is_much_cheaper(name, share):
    pytest.importorskip("scipy.optimize", reason="HiGHS comes with scipy")
    from tests.budget.optimum import least_overhead

    schedule = MADE[name]
    least, *_, most = budgets_of(schedule, 2)
    budget = int(least + share * (most - least))
    bound = least_overhead(schedule, budget, seconds=120)
    points = 100 * (choose(schedule, budget).overhead - bound) / schedule.forward_cost
    assert points <= (1.0 if "irregular" in name else 0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "seconds"), [(transformer(21), 0.5), (irregular(4, 500), 1.0)])
def test_a_choice_takes_less_than_a_second(schedule, seconds):
    budget = int(0.3 * simulate(schedule, range(len(schedule.sizes))).peak)
    forget()
    begin = time.process_time()
    assert choose(schedule, budget) is not None
    assert time.process_time() - begin < seconds


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_where_nothing_can_be_dropped(runs):
    made = tuple(Run((), (i,), 0.0, remakable=False) for i in range(runs))
    schedule = Schedule((3,) * runs, made, tuple(Pull((i,), (i,), ()) for i in range(runs)), resident=5)
    most = simulate(schedule, ()).peak
    assert smallest(schedule).peak == most
    assert choose(schedule, most).peak == most
    assert choose(schedule, most - 1) is None


def test_what_costs_nothing_is_dropped_for_nothing():
    runs = (Run((), (0,), 0.0), Run((0,), (1,), 0.0), Run((1,), (2,), 0.0), Run((2,), (3,), 0.0))
    pulls = tuple(Pull((i,), (i,), (i - 1,) if i else ()) for i in range(4))
    schedule = Schedule((8, 8, 8, 1), runs, pulls)
    everything = simulate(schedule, range(4))
    assert choose(schedule, everything.peak - 1).overhead == 0
