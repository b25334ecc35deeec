"""Planted wrong rules, by what is wrong with them: `fg.check` must catch every one, and pass their right versions."""

import importlib
import pkgutil

from tests.mutants.mutant import MUTANTS as MUTANTS
from tests.mutants.mutant import Mutant as Mutant

FAMILIES = {
    "algebra": "Wrong formulas",
    "shapes": "Wrong sums and shapes",
    "linearity": "Not linear in g",
    "points": "Wrong at some arguments only",
    "outputs": "Several outputs",
    "saving": "What the forward saves",
    "precision": "Wrong in some dtypes only",
    "transformations": "Wrong under some transformations only",
    "second_order": "Wrong second derivatives",
    "claims": "Wrong claims",
}
for _family in FAMILIES:
    importlib.import_module(f"{__name__}.{_family}")
assert {m.name for m in pkgutil.iter_modules(__path__)} >= set(FAMILIES)
