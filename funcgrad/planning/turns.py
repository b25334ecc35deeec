"""What each turn of a loop leaves for the reverse pass: ever less, for ever more of the turn run again.

A value that every turn keeps is stacked, and takes its bytes as often as there are turns. What a turn reads of its
slices and constants is there anyway; its carry is stacked like any other value if something is made of it. Where turns
run again in groups, only the carry between groups is there for all turns, and the rest for the turns of one group.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from math import inf, isqrt

from funcgrad.budget import Run, simulate
from funcgrad.graph import Value
from funcgrad.planning.segments import Remaking
from funcgrad.plans import Account, Plan, Step, account_of
from funcgrad.primitive import Scan


@dataclass(frozen=True)
class Turns:
    """One choice for one loop."""

    bytes: int
    """What the turns leave, stacked; in groups, what is there between groups and of one of them."""
    cost: float
    """What running again takes, in all turns; see `plans.accounts`."""
    remaking: Remaking


def loops_of(plan: Plan) -> list[Step]:
    """The loops of a plan that have a reverse pass, those inside of what it holds included."""
    found = []
    for step in plan.steps:
        if step.bodies and step.pullbacks:
            found += [step] if isinstance(step.node.holder, Scan) else []
            found += [inner for body in step.bodies for inner in loops_of(body)]
    return found


def choices_of(step: Step) -> list[Turns]:
    """The choices for a loop, none of which another one beats: from all that is read to nothing but the carry.

    Found by leaving out what saves most for its cost, from everything on, and by keeping what saves most time for its
    room, from nothing on.
    """
    turn = _Turn(step)
    kept = turn.needed(turn.inner)[0]
    sets = {frozenset(kept), *_leaving_out(turn, frozenset(kept)), *_adding(turn, frozenset(kept))}
    scores = [(*turn.score(keep), (), sorted(keep)) for keep in sets]
    scores += [(*score, sorted(keep)) for keep in sets for score in turn.scores_in_groups(keep)]
    found: list[Turns] = []
    for room_bytes, cost, sizes, keep in sorted(scores):
        if not found or cost < found[-1].cost:
            remaking = Remaking(tuple(turn.segments(keep)), {step.node: sizes} if sizes else {})
            found.append(Turns(room_bytes, cost, remaking))
    return found[::-1]


def _leaving_out(turn: "_Turn", keep: frozenset[int]) -> Iterable[frozenset[int]]:
    now = turn.score(keep)
    while keep:
        scores = {room: turn.score(keep - {room}) for room in turn.large(keep)}
        if not scores:
            return
        best = max(sorted(scores), key=lambda room: (now[0] - scores[room][0]) / (scores[room][1] - now[1] + 1.0))
        keep, now = keep - {best}, scores[best]
        yield keep


def _adding(turn: "_Turn", all_kept: frozenset[int]) -> Iterable[frozenset[int]]:
    keep = all_kept - frozenset(turn.large(all_kept))
    yield keep
    now = turn.score(keep)
    while keep < all_kept:
        scores = {room: turn.score(keep | {room}) for room in all_kept - keep}
        best = max(sorted(scores), key=lambda room: (now[1] - scores[room][1]) / (scores[room][0] - now[0] + 1.0))
        keep, now = keep | {best}, scores[best]
        yield keep


class _Turn:
    """One turn of a loop as numbers."""

    def __init__(self, step: Step):
        holder, (body,) = step.node.holder, step.bodies
        assert isinstance(holder, Scan)
        self.account: Account = account_of(body)
        self.schedule = self.account.schedule
        self.turns = holder.lengths[0]
        room_of, inputs = self.account.room_of, body.structure.inputs
        carry = inputs[holder.n_constants : holder.n_unsliced]
        self.carry = {room_of[v]: body_bytes(v) for v in carry}
        self.next = {room_of[v]: room_of[end] for v, end in zip(carry, body.structure.outputs, strict=False)
                     if isinstance(end, Value)}  # fmt: skip
        """The carry that a turn hands on, by the one that it takes."""
        free = (*inputs[: holder.n_constants], *inputs[holder.n_unsliced :], *body.structure.outputs[holder.n_carry :])
        constant = {room_of[v] for v in inputs[: holder.n_constants]}
        for run in self.schedule.runs:  # what is made of constants alone is made once, for all turns
            if run.writes and constant.issuperset(run.reads):
                constant.update(run.writes)
        self.free = constant.union(room_of[v] for v in free if isinstance(v, Value))
        self.maker = {room: run for run in self.schedule.runs for room in run.writes}
        self.inner = frozenset(self.maker) - self.free

    def large(self, keep: Collection[int]) -> list[int]:
        """Those that are worth the trying."""
        sizes = self.schedule.sizes
        whole = sum(sizes[room] for room in keep)
        return [room for room in sorted(keep) if sizes[room] * 100 >= whole and self.maker[room].remakable]

    def needed(self, keep: Collection[int]) -> tuple[set[int], set[int], float]:
        """What the reverse pass starts from: values kept, parts of the carry; and the cost of what it runs again."""
        kept, carried, cost = set[int](), set[int](), 0.0
        seen, pending = set[int](), [room for pull in self.schedule.pulls if pull for room in pull.reads]
        again = set[int]()
        while pending:
            room = pending.pop()
            if room in seen:
                continue
            seen.add(room)
            if room in self.carry:
                carried.add(room)
            elif room in keep:
                kept.add(room)
            elif room in self.inner:
                run = self.maker[room]
                if id(run) not in again:
                    again.add(id(run))
                    cost += run.cost
                    pending += run.reads
        return kept, carried, cost

    def score(self, keep: Collection[int]) -> tuple[int, float]:
        """Bytes that all turns leave, and what running again costs in all of them."""
        kept, carried, cost = self.needed(keep)
        room_bytes = sum(self.schedule.sizes[r] for r in kept) + sum(self.carry[r] for r in carried)
        return self.turns * room_bytes, self.turns * cost

    def scores_in_groups(self, keep: Collection[int]) -> Iterator[tuple[int, float, tuple[int, ...]]]:
        """The same where turns run again in groups, once, or more often for less; and the sizes of the groups."""
        kept, carried, cost = self.needed(keep)
        left = sum(self.schedule.sizes[r] for r in kept) + sum(self.carry[r] for r in carried)
        runs, begin = self.again([*kept, *carried])
        if not left or not all(run.remakable for run in runs):
            return
        between, again = sum(self.carry[r] for r in begin), sum(run.cost for run in runs)
        least = inf
        for depth in count(1):
            room_bytes, sizes = group_sizes(self.turns, between, left, depth)
            if room_bytes >= least * 0.99:
                return
            yield int(room_bytes), self.turns * (cost + depth * again), sizes
            least = room_bytes

    def again(self, left: Collection[int]) -> tuple[list[Run], set[int]]:
        """What running a turn again for what it leaves takes, and what of the carry; that of the next turn as well."""
        seen, runs, pending = set[int](), dict[int, Run](), list(left)
        while pending:
            room = pending.pop()
            if room in seen:
                continue
            seen.add(room)
            if room in self.carry and room in self.next:
                pending.append(self.next[room])
            if room in self.maker:
                runs[id(self.maker[room])] = self.maker[room]
                pending += self.maker[room].reads
        return list(runs.values()), seen & self.carry.keys()

    def segments(self, keep: Collection[int]) -> list[list[Value]]:
        """What is made again, in the order in which the reverse pass of a turn comes to it."""
        return segments_of(self.account, frozenset(keep) | self.free)


def group_sizes(turns: int, between: int, left: int, depth: int) -> tuple[int | float, tuple[int, ...]]:
    """The sizes of groups, and of groups in these, that take the least bytes; before them how many, inf where none do.

    The carry that a group begins with is there beside those between groups. A group is cut into equal ones. So are all
    turns, unless that takes much more: those that are left over are a group that is compiled by itself. Of equally good
    ones the largest groups are taken: what is there between them is there all along.

    Args:
        turns: of the loop.
        between: bytes of the carry between two groups.
        left: bytes that a turn leaves while the smallest group that it is in is pulled back.
        depth: how many sizes.
    """

    @cache
    def cut(n: int, depth: int) -> tuple[int | float, tuple[int, ...]]:
        return least(n, depth, [size for size in _divisors(n) if size < n]) if depth else (n * left, ())

    def least(n: int, depth: int, sizes: Iterable[int]) -> tuple[int | float, tuple[int, ...]]:
        inner = ((size, cut(size, depth - 1)) for size in sizes)
        found = (((-(-n // size) + 1) * between + room_bytes, (size, *more)) for size, (room_bytes, more) in inner)
        return min(found, default=(inf, ()), key=lambda one: (one[0], [-size for size in one[1]]))

    equal = cut(turns, depth)
    round_numbers = [m << k for m in (1, 3) for k in range(turns.bit_length()) if 2 * (m << k) <= turns]
    unequal = least(turns, depth, round_numbers)
    return equal if equal[0] <= 1.1 * unequal[0] else unequal


def _divisors(n: int) -> Iterator[int]:
    for i in range(1, isqrt(n) + 1):
        if n % i == 0:
            yield from (i, n // i)


def body_bytes(value: Value) -> int:
    """Bytes of a value in one turn."""
    return value.aval.size * value.aval.dtype.itemsize


def segments_of(account: Account, keep: Collection[int]) -> list[list[Value]]:
    """The values that are made again together, each time the reverse pass stands before something that is not there.

    A view is made with what it is a view of.
    """
    schedule, segments = account.schedule, dict[int, list[Value]]()
    for run, pull in simulate(schedule, keep).remade:
        rooms = (room for room in schedule.runs[run].writes if room not in keep)
        segments.setdefault(pull, []).extend(v for room in rooms for v in account.rooms[room])
    return [segment for segment in segments.values() if segment]
