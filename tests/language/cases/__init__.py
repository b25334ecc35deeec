"""The cases, a module per family."""

from tests.language.case import Case
from tests.language.cases import (
    activations,
    control_flow,
    custom_rules,
    derivatives,
    distributions,
    elementwise,
    fourier,
    indexing,
    integers,
    linear_algebra,
    parallel,
    products,
    randomness,
    reductions,
    shaping,
    special,
    values,
)

FAMILIES = tuple(
    module.FAMILY
    for module in (
        elementwise,
        activations,
        special,
        distributions,
        shaping,
        reductions,
        products,
        indexing,
        linear_algebra,
        fourier,
        randomness,
        control_flow,
        custom_rules,
        derivatives,
        values,
        integers,
        parallel,
    )
)
CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in family.cases)
