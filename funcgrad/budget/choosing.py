"""Interim: to be replaced."""

from funcgrad.budget.schedules import Schedule, Timeline, simulate


def frontier(schedule: Schedule) -> tuple[Timeline, ...]:
    """Choices none of which another beats, the largest peak first."""
    keep = set(simulate(schedule, range(len(schedule.sizes))).kept)
    found = [simulate(schedule, keep)]
    while keep:
        trials = []
        for v in sorted(keep):
            if schedule.sizes[v] * 200 < max(schedule.sizes):
                continue
            line = simulate(schedule, keep - {v})
            now = found[-1]
            area = lambda t: sum(e.bytes for e in t.events if e.kind != "run") / max(1, len(t.events))
            trials.append(((line.overhead - now.overhead + 1e-9) / max(1e-9, area(now) - area(line) + 1e-9), v, line))
        if not trials:
            break
        trials.sort(key=lambda t: (t[0] if t[0] > 0 else 1e30, t[1]))
        _, v, line = trials[0]
        keep -= {v}
        found.append(line)
    best: list[Timeline] = []
    for line in sorted(found, key=lambda t: (t.overhead, t.peak)):
        if not best or line.peak < best[-1].peak:
            best.append(line)
    return tuple(best)


def choose(schedule: Schedule, budget: int) -> Timeline | None:
    return next((t for t in frontier(schedule) if t.peak <= budget), None)
