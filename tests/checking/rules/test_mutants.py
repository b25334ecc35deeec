"""The battery: every planted wrong rule is caught, and no right one rejected; the documented table is that."""

import pytest

import funcgrad as fg
from tests.mutants import FAMILIES, MUTANTS, Mutant
from tests.mutants.peers import torch_is_here
from tests.mutants.table import MISSED, line, written

FIRST = {next(m.name for m in MUTANTS if m.family == family) for family in FAMILIES}


def one_per_family(quick: set[str]) -> pytest.MarkDecorator:
    marks = {True: [], False: [pytest.mark.thorough]}
    return pytest.mark.parametrize(
        "mutant", [pytest.param(m, id=m.name, marks=marks[m.name in quick]) for m in MUTANTS]
    )


def test_the_battery_is_large_and_has_all_families():
    assert len(MUTANTS) >= 100
    assert {m.family for m in MUTANTS} == set(FAMILIES)
    assert len({m.what for m in MUTANTS}) == len(MUTANTS)


@one_per_family(FIRST)
def test_a_wrong_rule_is_caught(mutant: Mutant):
    report = fg.check(mutant.make(), mutant.cases, mutant.attributes, fail_fast=True)
    assert report.wrong, report
    assert report.wrong[0].group == mutant.group, report


@one_per_family({"dropped_term"})
def test_its_right_version_passes(mutant: Mutant):
    report = fg.check(mutant.right(), mutant.cases, mutant.attributes)
    assert report.ok, report


def test_the_document_lists_the_battery_and_nothing_is_missed():
    table = written()
    assert set(table) == {m.what for m in MUTANTS}
    assert [what for what, cells in table.items() if cells[0] == MISSED] == []
    rows = {m.what: m.group for m in MUTANTS}
    assert {what: cells[0].split(":")[0] for what, cells in table.items()} == rows


@pytest.mark.thorough
@pytest.mark.skipif(not torch_is_here(), reason="gradcheck needs PyTorch: pip install torch")
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FIRST], ids=lambda m: m.name)
def test_the_document_says_what_the_checkers_do(mutant: Mutant):
    what, *cells = line(mutant)
    assert written()[what] == tuple(cells)
