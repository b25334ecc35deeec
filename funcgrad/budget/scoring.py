"""What many choices of kept values cost, at once: `simulate`, for a matrix of choices.

Arrays have a choice per column: `[V, B]` are values by choices, `[N, B]` runs by choices. A position counts the events
of the reverse pass from its beginning. -1 says that there is none: a value that nobody asks for, a run not run again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from funcgrad.budget.schedules import Schedule, cotangents, order


@dataclass(frozen=True)
class Scores:
    """Of each choice, what it costs.

    Args:
        peaks: the most bytes alive, [B].
        overheads: the cost of what is run again, [B].
        excess: bytes over a limit, summed over all events, [B].
        needed: which values the reverse pass needs, [V, B].
    """

    peaks: np.ndarray
    overheads: np.ndarray
    excess: np.ndarray
    needed: np.ndarray


class Scorer:
    """A schedule whose choices are to be compared."""

    def __init__(self, schedule: Schedule):
        self.schedule, self._n, n_values = schedule, len(schedule.runs), len(schedule.sizes)
        written = schedule.writer
        self.sizes = np.array(schedule.sizes, np.float64)
        self.fixed = np.array([v in schedule.fixed for v in range(n_values)], bool)
        self.costs = np.array([run.cost for run in schedule.runs], np.float64)
        self._workspaces = np.array([run.workspace for run in schedule.runs], np.float64)
        self._reads = [[v for v in run.reads if v in written] for run in schedule.runs]
        self._ends = np.array([v in written and v not in schedule.outputs for v in range(n_values)], bool)
        self.writer = np.array([written.get(v, 0) for v in range(n_values)])
        self.last_run = self.writer.copy()
        for i, reads in enumerate(self._reads):
            self.last_run[reads] = i
        self._first_pull, self.last_pull = np.full(n_values, -1, np.int32), np.full(n_values, -1)
        for i in reversed(range(self._n)):
            if pull := schedule.pulls[i]:
                self.last_pull[list(pull.reads)] = i
                self._first_pull[list(pull.reads)] = np.maximum(self._first_pull[list(pull.reads)], i)
        self._active = np.array([i for i in range(self._n) if schedule.pulls[i] is not None], int)
        self._count_forward()
        self._count_cotangents()

    def _count_forward(self) -> None:
        """The bytes at each run where nothing is kept."""
        change = np.zeros(self._n + 1)
        for v, run in self.schedule.writer.items():
            change[run] += self.sizes[v]
            change[self.last_run[v] + 1] -= self.sizes[v] * self._ends[v]
        self._at_run = self.schedule.resident + np.cumsum(change[:-1]) + self._workspaces

    def _count_cotangents(self) -> None:
        """The bytes of cotangents, outputs and what is resident: at each pull, and while is remade what it reads."""
        schedule, n = self.schedule, self._n
        steps = order(schedule, {})
        at, before = np.zeros(len(steps)), np.zeros(len(steps))
        given = {v for pull in schedule.pulls if pull for v in pull.gives}
        for (kind, v), born, last, size in cotangents(schedule, steps):
            at[born : last + 1] += size
            seed = kind == "cotangent" and v not in given
            before[born if seed else born + 1 : last + 1] += size
        constant = schedule.resident + sum(schedule.sizes[v] for v in schedule.outputs if v in schedule.writer)
        self.at_pull, self._before_pull = np.zeros(n), np.zeros(n)
        for event in range(n, len(steps)):
            i = steps[event][1]
            pull = schedule.pulls[i]
            self.at_pull[i] = constant + at[event] + (pull.workspace if pull else 0)
            self._before_pull[i] = constant + before[event]

    def __call__(self, keeps: np.ndarray, limit: float = np.inf) -> Scores:
        """Score choices.

        Args:
            keeps: which values are kept, [V, B].
            limit: bytes, for `Scores.excess`.
        """
        there = keeps | self.fixed[:, None]
        again, asked = self._remaking(there)
        needed = asked >= 0
        at_pull, at_remake = self._positions(again)
        stays = self.sizes[:, None] * (there & needed)
        taken = [self._forward(stays), *self._reverse(stays, needed & ~there, again, at_pull, at_remake)]
        peaks = np.max([part.max(axis=0, initial=0.0) for part in taken], axis=0)
        excess = sum(np.maximum(part - limit, 0.0).sum(axis=0) for part in taken) if np.isfinite(limit) else 0 * peaks
        return Scores(peaks, self.costs @ (again >= 0), np.asarray(excess), needed)

    def _remaking(self, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Before which pull each run is run again, [N, B], and each value is asked for first, [V, B]."""
        columns = there.shape[1]
        asked = np.repeat(self._first_pull[:, None], columns, axis=1)
        hidden = -there.astype(np.int32)  # all bits set, so that `|` leaves -1
        again = np.full((self._n, columns), -1, np.int32)
        for i in reversed(range(self._n)):
            row = again[i]
            for v in self.schedule.runs[i].writes:
                np.maximum(row, asked[v] | hidden[v], out=row)
            for v in self._reads[i]:
                np.maximum(asked[v], row, out=asked[v])
        return again, asked

    def _positions(self, again: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the reverse pass each pull is, and each run that is run again: [N, B] both."""
        n, columns = again.shape
        flat = (again * columns + np.arange(columns, dtype=np.int32))[again >= 0]
        due = np.bincount(flat, minlength=n * columns).reshape(n, columns)
        due[self._active] += 1
        at_pull = np.cumsum(due[::-1], axis=0)[::-1] - 1
        # Behind a run that is run again, before the same pull: the later ones, of which there are `behind`.
        behind, choice, at_remake = np.zeros((n, columns), np.int64), np.arange(columns), np.full((n, columns), -1)
        for i in reversed(range(n)):
            row = again[i]
            chosen = choice[row >= 0]
            if chosen.size:
                pulls = row[chosen]
                behind[pulls, chosen] += 1
                at_remake[i, chosen] = at_pull[pulls, chosen] - behind[pulls, chosen]
        return at_pull, at_remake

    def _forward(self, stays: np.ndarray) -> np.ndarray:
        """The bytes at each run: those of `_count_forward`, and what stays behind its last reader."""
        change = np.zeros((self._n + 1, stays.shape[1]))
        for v in np.flatnonzero(self._ends):
            change[self.last_run[v] + 1] += stays[v]
        return np.cumsum(change[:-1], axis=0) + self._at_run[:, None]

    def _reverse(
        self, stays: np.ndarray, remade: np.ndarray, again: np.ndarray, at_pull: np.ndarray, at_remake: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bytes at each pull and at each run that is run again, [N, B]; 0 where there is none."""
        n, columns = again.shape
        choice, events = np.arange(columns), len(self._active) + n
        last = np.where(self.last_pull[:, None] >= 0, at_pull[self.last_pull], -1)
        for i, reads in enumerate(self._reads):
            for v in reads:
                np.maximum(last[v], at_remake[i], out=last[v])
        moving = self._ends[:, None] & (remade | (stays > 0))
        ends = np.bincount(
            ((last + 1) * columns + choice)[moving],
            np.broadcast_to(self.sizes[:, None], last.shape)[moving],
            minlength=(events + 1) * columns,
        ).reshape(events + 1, columns)
        made, spared = np.zeros((n, columns)), np.zeros((n, columns))
        for v, i in self.schedule.writer.items():
            made[i] += self.sizes[v] * remade[v]
            if len(self.schedule.runs[i].writes) > 1:  # what else it writes lives while it runs
                spared[i] += self.sizes[v] * ~remade[v]
        runs = at_remake >= 0
        change = -ends
        change.ravel()[(at_remake * columns + choice)[runs]] += made[runs]
        change[0] += (stays * self._ends[:, None]).sum(axis=0)
        taken = np.cumsum(change, axis=0)
        pulls = taken[at_pull[self._active], choice] + self.at_pull[self._active, None]
        remakes = np.where(runs, taken[at_remake, choice] + spared + self._before_pull[again], 0.0)
        return pulls, remakes + runs * self._workspaces[:, None]


