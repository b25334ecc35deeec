"""What became of the mutants, in a file: a line each, so that a run may be cut off and go on."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from tests.mutation.mutating import Mutation
from tests.mutation.running import Outcome

NOTICED = ("killed", "out of time")


def load(path: Path) -> dict[str, Outcome]:
    """The latest outcome of each mutation, by its key."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    outcomes = [Outcome(**(r | {"mutation": Mutation(**r["mutation"])})) for r in records]
    return {o.mutation.key: o for o in outcomes}


def append(path: Path, outcome: Outcome) -> None:
    """Add one."""
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


def find_undecided(mutations: Iterable[Mutation], known: dict[str, Outcome]) -> list[Mutation]:
    """Those that no test has noticed yet, those not tried yet first."""
    undecided = [m for m in mutations if m.key not in known or known[m.key].verdict not in NOTICED]
    return sorted(undecided, key=lambda m: m.key in known)
