"""What many choices of kept values cost, at once: `simulate`, for a matrix of choices.

Arrays have a choice per column: `[V, B]` are values by choices, `[N, B]` runs by choices. A position counts the events
of the reverse pass from its beginning. -1 says that there is none: a value that nobody asks for, a run not run again.
"""

from dataclasses import dataclass

import numpy as np

from funcgrad.budget.schedules import Schedule, cotangents, order


@dataclass(frozen=True)
class Scores:
    """Of each choice, what it costs.

    Args:
        peaks: the most bytes alive, [B].
        overheads: the cost of what is run again, [B].
        needed: which values the reverse pass needs, [V, B].
    """

    peaks: np.ndarray
    overheads: np.ndarray
    needed: np.ndarray


@dataclass(frozen=True)
class Bounds(Scores):
    """What no choice goes below.

    Args:
        excess: bytes over a limit, summed over all events, [B].
    """

    excess: np.ndarray


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
        self._first_pull, self.last_pull = np.full(n_values, -1, np.int32), np.full(n_values, -1, np.int32)
        for i in reversed(range(self._n)):
            if pull := schedule.pulls[i]:
                self.last_pull[list(pull.reads)] = i
                self._first_pull[list(pull.reads)] = np.maximum(self._first_pull[list(pull.reads)], i)
        self._active = np.array([i for i in range(self._n) if schedule.pulls[i] is not None], int)
        active = self._pulled = np.isin(np.arange(self._n), self._active)
        self._pulls_above = (np.cumsum(active[::-1])[::-1] - active).astype(np.int32)
        self._count_forward()
        self._count_cotangents()

    def _count_forward(self) -> None:
        """The bytes at each run where nothing is kept."""
        change = np.zeros(self._n + 1)
        for v, run in self.schedule.writer.items():
            change[run] += self.sizes[v]
            change[self.last_run[v] + 1] -= self.sizes[v] * self._ends[v]
        ending = np.flatnonzero(self._ends)
        self._leaving = ending[np.argsort(self.last_run[ending], kind="stable")]
        self._left = np.searchsorted(self.last_run[self._leaving], np.arange(self._n))
        self.at_run = self.schedule.resident + np.cumsum(change[:-1]) + self._workspaces

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

    def __call__(self, keeps: np.ndarray) -> Scores:
        """Score choices.

        Args:
            keeps: which values are kept, [V, B].
        """
        there = keeps | self.fixed[:, None]
        again, asked, _ = self._remaking(there)
        needed = asked >= 0
        at_pull, at_remake = self._positions(again)
        stays = self.sizes[:, None] * (there & needed)
        taken = [self._forward(stays), *self._reverse(stays, needed & ~there, again, at_pull, at_remake)]
        peaks = np.max([part.max(axis=0, initial=0.0) for part in taken], axis=0)
        return Scores(peaks, self.costs @ (again >= 0), needed)

    def bounds(self, keeps: np.ndarray, limit: float) -> Bounds:
        """The same in less time, with peaks that leave out the events at which a run is run again.

        Args:
            keeps: which values are kept, [V, B].
            limit: bytes, for `Bounds.excess`.
        """
        there = keeps | self.fixed[:, None]
        again, asked, until = self._remaking(there)
        needed = asked >= 0
        stays = self.sizes[:, None] * (there & needed)
        taken = [self._forward(stays), self._at_pulls(stays, needed & ~there, again, until)]
        peaks = np.maximum(*(part.max(axis=0, initial=0.0) for part in taken))
        excess = np.add(*(np.maximum(part - limit, 0.0).sum(axis=0) for part in taken))
        return Bounds(peaks, self.costs @ (again >= 0), needed, excess)

    def _remaking(self, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Before which pull each run is run again, [N, B]; each value is asked for first, and is last read, [V, B]."""
        columns = there.shape[1]
        asked = np.repeat(self._first_pull[:, None], columns, axis=1)
        until = np.full(asked.shape, self._n, np.uint32)  # -1 is more than all
        hidden = -there.astype(np.int32)  # all bits set, so that `|` leaves -1
        again = np.empty((self._n, columns), np.int32)
        rows, unsigned = list(again), list(again.view(np.uint32))
        asked_rows, until_rows, hidden_rows = list(asked), list(until), list(hidden)
        for i in reversed(range(self._n)):
            row = rows[i]
            first, *others = self.schedule.runs[i].writes or (None,)
            if first is None:
                row.fill(-1)
                continue
            np.bitwise_or(asked_rows[first], hidden_rows[first], out=row)
            for v in others:
                np.maximum(row, asked_rows[v] | hidden_rows[v], out=row)
            for v in self._reads[i]:
                np.maximum(asked_rows[v], row, out=asked_rows[v])
                np.minimum(until_rows[v], unsigned[i], out=until_rows[v])
        return again, asked, until

    def _at_pulls(self, stays: np.ndarray, remade: np.ndarray, again: np.ndarray, until: np.ndarray) -> np.ndarray:
        """The bytes at each pull, [N, B].

        A value that is made again before pull p is there from p to its last pull, or to the one behind which the last
        run is run again that reads it, which is before the next one.
        """
        n, columns = again.shape
        direct = np.where(self.last_pull >= 0, self.last_pull, n).astype(np.int64)
        last = np.minimum(until.astype(np.int64) + 1, direct[:, None])
        moving = self._ends[:, None] & (remade | (stays > 0))
        begins = np.where(remade, again[self.writer], n - 1)
        moving &= last <= begins
        choice = np.arange(columns)
        sizes = np.broadcast_to(self.sizes[:, None], moving.shape)[moving]
        flat = np.concatenate([(begins * columns + choice)[moving], (last * columns + choice)[moving] - columns])
        flat = np.where(flat < 0, n * columns, flat)
        change = np.bincount(flat, np.concatenate([sizes, -sizes]), minlength=(n + 1) * columns)
        taken = np.cumsum(change[: n * columns].reshape(n, columns)[::-1], axis=0)[::-1]
        return np.where(self._pulled[:, None], taken + self.at_pull[:, None], 0.0)

    def _positions(self, again: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the reverse pass each pull is, and each run that is run again: [N, B] both."""
        n, columns = again.shape
        # By pull, the last first, then by run: the places among all that is run again.
        keys = np.where(again >= 0, n - 1 - again, n).T.astype(np.uint16 if n < 65535 else np.int32)
        places = np.empty((columns, n), np.int32)
        np.put_along_axis(places, keys.argsort(axis=1, kind="stable"), np.arange(n, dtype=np.int32)[None], axis=1)
        at_remake = np.where(again >= 0, places.T + self._pulls_above[again], -1)
        flat = (again * columns + np.arange(columns, dtype=np.int32))[again >= 0]
        due = np.bincount(flat, minlength=n * columns).astype(np.int32).reshape(n, columns)
        return np.cumsum(due[::-1], axis=0, dtype=np.int32)[::-1] + self._pulls_above[:, None], at_remake

    def _forward(self, stays: np.ndarray) -> np.ndarray:
        """The bytes at each run: those of `_count_forward`, and what stays behind its last reader."""
        behind = np.zeros((len(self._leaving) + 1, stays.shape[1]))
        np.cumsum(stays[self._leaving], axis=0, out=behind[1:])
        return behind[self._left] + self.at_run[:, None]

    def _reverse(
        self, stays: np.ndarray, remade: np.ndarray, again: np.ndarray, at_pull: np.ndarray, at_remake: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bytes at each pull and at each run that is run again, [N, B]; 0 where there is none."""
        n, columns = again.shape
        choice, events = np.arange(columns, dtype=np.int32), len(self._active) + n
        last = np.where(self.last_pull[:, None] >= 0, at_pull[self.last_pull], -1)
        for i, reads in enumerate(self._reads):
            for v in reads:
                np.maximum(last[v], at_remake[i], out=last[v])
        # What does not move, or has no end, ends behind the last event, which is cut off.
        moving = self._ends[:, None] & (remade | (stays > 0))
        ends = np.where(moving, (last + 1) * columns + choice, events * columns)
        sizes = np.broadcast_to(self.sizes[:, None], last.shape)
        change = -np.bincount(ends.ravel(), sizes.ravel(), minlength=(events + 1) * columns)
        made, spared = self._per_run(remade)
        runs = at_remake >= 0
        change[(at_remake * columns + choice)[runs]] += made[runs]
        change[:columns] += (stays * self._ends[:, None]).sum(axis=0)
        taken = np.cumsum(change[: events * columns].reshape(events, columns), axis=0)
        pulls = taken[at_pull[self._active], choice] + self.at_pull[self._active, None]
        extra = spared + self._before_pull[again] + self._workspaces[:, None]
        return pulls, np.where(runs, taken[at_remake, choice] + extra, 0.0)

    def _per_run(self, remade: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bytes that each run makes to be read again, and those that it makes beside, [N, B]."""
        written = self.sizes[:, None] * remade
        if np.array_equal(list(self.schedule.writer.items()), np.arange(self._n)[:, None].repeat(2, axis=1)):
            return written[: self._n], np.zeros(1)
        made, spared = np.zeros((2, self._n, remade.shape[1]))
        for v, i in self.schedule.writer.items():
            made[i] += written[v]
            spared[i] += self.sizes[v] - written[v]
        return made, spared
