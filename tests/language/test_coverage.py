"""Nothing of JAX's public surface is forgotten: every function has a case, or a reason for having none."""

from tests.language.cases import CASES, FAMILIES
from tests.language.exceptions import EXCEPTIONS, NEWER, REASONS
from tests.language.names import find, public_functions
from tests.language.refused import NO_COMPLEX, NO_HALF

COVERED = {name for case in CASES for name in case.names}
PUBLIC = set(public_functions())


def test_every_public_function_has_a_case_or_a_reason():
    assert sorted(PUBLIC - COVERED - EXCEPTIONS.keys()) == []


def test_no_function_has_both():
    assert sorted(COVERED & EXCEPTIONS.keys()) == []
    assert len(EXCEPTIONS) == sum(len(names.split()) for names in REASONS.values())


def test_a_name_that_is_missing_here_is_one_that_only_the_newer_jax_has():
    missing = {name for name in COVERED if find(name) is None}
    assert sorted(missing - NEWER) == []
    assert sorted(name for name in NEWER if name not in COVERED | EXCEPTIONS.keys()) == []


def test_dtypes_are_left_out_for_functions_with_cases_only():
    assert sorted((NO_HALF | NO_COMPLEX) - COVERED) == []


def test_every_family_has_its_file():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(family.cases for family in FAMILIES)
