"""What no choice within a budget goes below, by HiGHS: a mixed-integer programme, to hold the search to.

The programme has a variable k[v], whether v is kept, and r[i, p], whether run i was made again before pull p or a later
one; a[v, p] says that v is there at pull p. What is alive while a run is made again is not counted, and what makes
several values may be made again earlier than it is asked for: both only make it cheaper, so its optimum is a bound that
no choice goes below.
"""

from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from funcgrad.budget.posing import compact
from funcgrad.budget.scoring import Scorer


def least_overhead(schedule, budget, seconds):
    """No choice within a budget costs less; infinite where there is none at all.

    Args:
        schedule: the passes.
        budget: bytes that no event may exceed.
        seconds: for HiGHS, which gives the bound that it has when they are over.
    """
    small, _ = compact(schedule)
    programme = _Programme(small, Scorer(small))
    programme.constrain(budget)
    return programme.solve(seconds)


class _Programme:
    def __init__(self, schedule, scorer):
        self.schedule, self.scorer = schedule, scorer
        self.names, self.rows, self.limits = {}, [], []
        self.pulls = [p for p, pull in enumerate(schedule.pulls) if pull]
        self.readers = [[] for _ in schedule.sizes]
        for j, run in enumerate(schedule.runs):
            for v in run.reads:
                self.readers[v].append(j)
        self.whole = sum(schedule.sizes)

    def variable(self, *name):
        return self.names.setdefault(name, len(self.names))

    def at_most(self, limit, *terms):
        """The sum of factors times variables is at most a limit; a term of None is left out."""
        self.rows.append([(factor, name) for factor, name in terms if name is not None])
        self.limits.append(limit)

    def keeps(self, v):
        return self.variable("k", v)

    def made(self, i, p):
        """Whether run i was made again before pull p or a later one: none is after the last."""
        later = [q for q in self.pulls if q >= p]
        return self.variable("r", i, later[0]) if later else None

    def constrain(self, budget):
        for v in range(len(self.schedule.sizes)):
            self._ask(v)
        for i, run in enumerate(self.schedule.runs):
            for p, q in pairwise(self.pulls):
                self.at_most(0, (1, self.made(i, q)), (-1, self.made(i, p)))
            self._only_when_asked(i, run)
        for p in self.pulls:
            room = budget - self.scorer.at_pull[p]
            self.at_most(room / self.whole, *self._alive(p))
        for i in range(len(self.schedule.runs)):
            room = budget - self.scorer.at_run[i]
            behind = [v for v in range(len(self.schedule.sizes)) if self.scorer.last_run[v] < i and self._ends(v)]
            self.at_most(room / self.whole, *((self.schedule.sizes[v] / self.whole, self._stays(v)) for v in behind))

    def _ends(self, v):
        return v not in self.schedule.outputs

    def _ask(self, v):
        """What is not kept and asked for is made again."""
        i = self.scorer.writer[v]
        if v in self.schedule.fixed:
            return
        if self.scorer.last_pull[v] >= 0:
            latest = max(p for p in self.pulls if v in self.schedule.pulls[p].reads)
            self.at_most(-1, (-1, self.made(i, latest)), (-1, self.keeps(v)))
        for j in self.readers[v]:
            for p in self.pulls:
                self.at_most(0, (1, self.made(j, p)), (-1, self.made(i, p)), (-1, self.keeps(v)))

    def _only_when_asked(self, i, run):
        """Nothing is made again before a pull or a run that is made again asks for it, nor what is kept."""
        if len(run.writes) == 1 and run.writes[0] not in self.schedule.fixed:
            self.at_most(1, (1, self.made(i, 0)), (1, self.keeps(run.writes[0])))
        for p in self.pulls:
            direct = any(v in self.schedule.pulls[q].reads for q in self.pulls if q >= p for v in run.writes)
            if not direct:
                readers = {j for v in run.writes for j in self.readers[v]}
                self.at_most(0, (1, self.made(i, p)), *((-1, self.made(j, p)) for j in readers))

    def _stays(self, v):
        """Whether v is handed from the forward to the reverse pass."""
        stays = self.variable("s", v)
        fixed = v in self.schedule.fixed
        kept = [] if fixed else [(1, self.keeps(v))]
        if self.scorer.last_pull[v] >= 0:
            self.at_most(-fixed, *kept, (-1, stays))
        for j in self.readers[v]:
            self.at_most(1 - fixed, *kept, (1, self.made(j, 0)), (-1, stays))
        return stays

    def _alive(self, p):
        """The bytes of each value that is there at a pull and read by it, or later."""
        for v, size in enumerate(self.schedule.sizes):
            if not self._ends(v):
                continue
            there = [1] if v in self.schedule.fixed else [(1, self.keeps(v)), (1, self.made(self.scorer.writer[v], p))]
            alive = self.variable("a", v, p)
            for one in there:
                fixed, kept = (1, []) if one == 1 else (0, [one])
                if 0 <= self.scorer.last_pull[v] <= p:
                    self.at_most(-fixed, *kept, (-1, alive))
                for j in self.readers[v]:
                    later = (1, self.made(j, 0)), (-1, self.made(j, p))
                    self.at_most(1 - fixed, *kept, *later, (-1, alive))
            yield size / self.whole, alive

    def solve(self, seconds):
        entries = [(row, name, factor) for row, terms in enumerate(self.rows) for factor, name in terms]
        rows, columns, factors = zip(*entries, strict=True)
        matrix = csr_matrix((factors, (rows, columns)), shape=(len(self.rows), len(self.names)))
        costs = np.zeros(len(self.names))
        for i, cost in enumerate(self.scorer.costs):
            costs[self.made(i, 0)] = cost
        whole = np.array([name[0] in "kr" for name in self.names])
        found = milp(
            costs, integrality=whole, bounds=Bounds(0, 1), options={"time_limit": seconds},
            constraints=LinearConstraint(matrix, ub=np.array(self.limits) + 1e-9),
        )  # fmt: skip
        return np.inf if found.status == 2 else found.mip_dual_bound
