"""Mutation testing of the core: plant small faults, one at a time, and see whether the tests notice.

python -m tests.mutation --record FILE: takes an hour on two cores, may be cut off, and goes on where it was. What the
file says to be noticed is not tried again; what survived is, with the tests as they are now.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.mutation.focus import find_modules, judges_of
from tests.mutation.mutating import Mutation, find_mutations, sample
from tests.mutation.publishing import find_unexplained, write
from tests.mutation.record import append, find_undecided, load
from tests.mutation.running import ROOT, judge


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="file of outcomes, read and added to")
    parser.add_argument("--sample", type=int, default=300, help="how many of all mutations are tried")
    parser.add_argument("--workers", type=int, default=2, help="how many are tried at a time")
    parser.add_argument("--only", default="", help="a part of the module's path")
    parser.add_argument("--publish", type=Path, help="a page to write the tables into, such as docs/mutation.md")
    options = parser.parse_args()

    offered = {module: find_mutations(ROOT, module) for module in find_modules(ROOT)}
    chosen = sample((m for found in offered.values() for m in found), options.sample)
    known = load(options.record)
    undecided = [m for m in find_undecided(chosen, known) if options.only in m.module]
    print(f"{len(chosen)} mutations, {len(undecided)} to try", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for done, outcome in enumerate(judge(undecided, partial(judges_of, root=ROOT), Path(work), options.workers), 1):
            append(options.record, outcome)
            print(f"{done}/{len(undecided)} {_line(outcome.mutation)}: {outcome.verdict} {outcome.by}", flush=True)

    known = load(options.record)
    outcomes = [known[m.key] for m in chosen if m.key in known]
    if options.publish:
        write(options.publish, outcomes, {module: len(found) for module, found in offered.items() if found})
    unexplained = find_unexplained(outcomes)
    print(*unexplained, sep="\n")
    return 1 if unexplained else 0


def _line(mutation: Mutation) -> str:
    return f"{mutation.module}:{mutation.line} {mutation.before} -> {mutation.after}"


sys.exit(main())
