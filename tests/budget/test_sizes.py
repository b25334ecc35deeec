"""Sizes of memory as users write them."""

import pytest

from funcgrad.budget import Budget
from funcgrad.errors import BudgetError
from tests.raising import raises_sentence


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (1234, 1234),
        ("2 GiB", 2**31),
        ("2GiB", 2**31),
        (" 2 gib ", 2**31),
        ("1.5 MB", 1_500_000),
        ("1.5 MiB", 3 * 2**19),
        ("10 kB", 10_000),
        ("7 B", 7),
        ("1 TiB", 2**40),
        (1.0, 1000),
        (0.25, 250),
        ("min", 0),
        ("auto", 77),
    ],
)
def test_a_size_is_read(memory, expected):
    asked = Budget.of(memory)
    assert asked.bytes(1000, lambda: 77) == expected
    assert Budget.of(asked) is asked


@pytest.mark.parametrize(
    "memory", [0, -1, 0.0, 1.5, -0.5, float("nan"), True, "2", "2 XB", "0 B", "-1 MB", "", "most", [1]]
)
def test_what_is_no_size_is_refused(memory):
    with raises_sentence(
        BudgetError,
        r"memory= takes bytes as an int, a size such as '2 GiB', a share of what keeping everything takes as a float "
        r"up to 1\.0, 'min' or 'auto', got .+\.",
    ):
        Budget.of(memory)


def test_what_becomes_of_checkpoints_is_read():
    assert Budget("2 GiB", checkpoints="replaced").said == "2 GiB, with checkpoints replaced"
    with raises_sentence(BudgetError, r"Budget\(checkpoints=\) takes 'kept' or 'replaced', got 'gone'\."):
        Budget(0.5, checkpoints="gone")
