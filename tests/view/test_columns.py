"""Cells in columns: which form of a cell is shown, what becomes narrower first, and what is never cut."""

import pytest

from funcgrad.naming import matches
from funcgrad.view.columns import Column, lay_out
from funcgrad.view.words import columns_of, cut, shorter_paths

NAME, NOTE, NUMBER = Column("name", least=6), Column("note", least=6, rank=1), Column("n")
WHOLE = ["name         note             n", "a/long/name  some words      12", "b                        3.45 k"]
LINES = [[("a/long/name", "**/name"), ("some words", "some …"), "12"], ["b", "", "3.45 k"]]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            None,
            ["name         note             n", "a/long/name  some words      12", "b                        3.45 k"],
        ),
        (31, ["name         note             n", "a/long/name  some words      12", "b                        3.45 k"]),
        (30, ["name         note         n", "a/long/name  some …      12", "b                    3.45 k"]),
        (24, ["name     note         n", "**/name  some …      12", "b                3.45 k"]),
        (20, ["name              n", "a/long/name      12", "b            3.45 k"]),  # the higher rank is left out
    ],
)
def test_the_longest_form_that_fits_is_shown(width, expected):
    assert lay_out([NAME, NOTE, NUMBER], LINES, width) == expected


def test_what_has_no_shorter_form_ends_in_dots_and_numbers_never_do():
    found = lay_out([NAME, NUMBER], [["abcdefghijklmnopqrstuvwxyz", "1234567"]], 18)
    assert found[1] == "abcdefgh…  1234567"
    found = lay_out([NAME, *[NUMBER] * 3], [["abcdefgh", *["12345678"] * 3]], 20)
    assert found[1].split() == ["abcde…", *["12345678"] * 3]


def test_no_lines_are_titles_only():
    assert lay_out([NAME, NUMBER], [], 100) == ["name  n"]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("注意力", 6, "注意力"),
        ("注意力", 5, "注意…"),
        ("注意力", 4, "注…"),
        ("é́é́é́", 2, "é́…"),
    ],
)
def test_text_is_cut_by_the_columns_that_it_takes(text, width, expected):
    assert cut(text, width) == expected
    assert columns_of(cut(text, width)) <= width


@pytest.mark.parametrize("path", ["sin", "a/sin", "a/b/c/d/e/f/g/h/sin", r"a\/b/c\*d/e/sin"])
def test_shorter_paths_are_patterns_of_the_path(path):
    shorter = shorter_paths(path)
    assert shorter[0] == path
    assert all(matches(pattern, path) for pattern in shorter)
    assert len(shorter) == len(set(shorter))
