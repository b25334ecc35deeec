"""`docs/errors.md` has an entry for every place that makes an error, and every entry has its test."""

import shutil
from dataclasses import replace

import pytest

from tests.errors.publishing import differences, page, read
from tests.errors.recording import ROOT, producing_tests
from tests.errors.sites import PACKAGE, all_sites

TEXT = (ROOT / "docs" / "errors.md").read_text()
ENTRIES = read(TEXT)
PLANTED = """
def planted(n):
    if n:
        raise ValueError(f"n must be 0, got {n}")
"""


def test_every_error_of_the_source_has_its_entry():
    assert not differences(all_sites(), ENTRIES), "python -m tests.errors --publish docs/errors.md"


def test_every_entry_names_a_test_that_matches_whole_sentences():
    assert {entry.test for entry in ENTRIES} <= set(producing_tests())


def test_every_sentence_is_one():
    for entry in ENTRIES:
        assert entry.sentence[-1] in ".?", entry
        assert "\n" not in entry.sentence


def test_the_page_is_written_as_it_is_read():
    recorded = {s: [(f"{e.test}[a]", e.sentence)] for s, e in zip(all_sites(), ENTRIES, strict=True)}
    assert page(recorded) == TEXT


def test_a_place_that_no_test_reaches_keeps_the_page_from_being_written():
    recorded = {s: [(e.test, e.sentence)] for s, e in zip(all_sites(), ENTRIES, strict=True)}
    del recorded[next(s for s in recorded if s.function == "huber")]
    with pytest.raises(LookupError, match=r"produces these: ops/losses\.py: ValueError in huber$"):
        page(recorded)


def test_an_error_without_an_entry_is_found(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "funcgrad", ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "ops" / "losses.py").open("a") as file:
        file.write(PLANTED)
    assert differences(all_sites(copy), ENTRIES) == [
        "ops/losses.py: ValueError in planted: 1 in the source, 0 on the page"
    ]


def test_an_entry_without_an_error_is_found():
    extra = replace(ENTRIES[0], function="gone")
    where = f"{extra.module}: {extra.kind} in gone"
    assert differences(all_sites(), [*ENTRIES, extra]) == [f"{where}: 0 in the source, 1 on the page"]


def test_a_sentence_that_was_reworded_is_found():
    first, *others = ENTRIES
    old = replace(first, sentence="Something else.")
    where = f"{first.module}: {first.kind} in {first.function}"
    assert differences(all_sites(), [old, *others]) == [f"{where}: does not say 'Something else.'"]
