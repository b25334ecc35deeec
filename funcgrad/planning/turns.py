"""What each turn of a loop leaves for the reverse pass: ever less, for ever more of the turn run again.

A value that every turn keeps is stacked, and takes its bytes as often as there are turns. What a turn reads of its
slices and constants is there anyway; its carry is stacked like any other value if something is made of it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from funcgrad.budget import simulate
from funcgrad.graph import Value
from funcgrad.plans import Account, Plan, Step, account_of
from funcgrad.primitive import Scan

Segments = list[list[Value]]


@dataclass(frozen=True)
class Turns:
    """One choice for one loop."""

    bytes: int
    """What the turns leave, stacked."""
    cost: float
    """What running again takes, in all turns; see `plans.accounts`."""
    segments: Segments


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
    sets = [frozenset(kept), *_leaving_out(turn, frozenset(kept)), *_adding(turn, frozenset(kept))]
    found: list[Turns] = []
    for room_bytes, cost, keep in sorted((*turn.score(keep), sorted(keep)) for keep in set(sets)):
        if not found or cost < found[-1].cost:
            found.append(Turns(room_bytes, cost, turn.segments(keep)))
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

    def segments(self, keep: Collection[int]) -> Segments:
        """What is made again, in the order in which the reverse pass of a turn comes to it."""
        return segments_of(self.account, frozenset(keep) | self.free)


def body_bytes(value: Value) -> int:
    """Bytes of a value in one turn."""
    return value.aval.size * value.aval.dtype.itemsize


def segments_of(account: Account, keep: Collection[int]) -> Segments:
    """The values that are made again together, each time the reverse pass stands before something that is not there.

    A view is made with what it is a view of.
    """
    schedule, segments = account.schedule, dict[int, list[Value]]()
    for run, pull in simulate(schedule, keep).remade:
        rooms = (room for room in schedule.runs[run].writes if room not in keep)
        segments.setdefault(pull, []).extend(v for room in rooms for v in account.rooms[room])
    return [segment for segment in segments.values() if segment]
