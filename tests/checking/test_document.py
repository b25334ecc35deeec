"""The code in docs/checking.md runs, and prints what it says it prints."""

import pytest

from tests.test_documents import blocks, run


def test_the_example_names_the_mistake():
    assert run(blocks("docs/checking.md", "python")[0]) == blocks("docs/checking.md", "text")[0]


@pytest.mark.slow
def test_the_right_rule_passes():
    wrong = blocks("docs/checking.md", "python")[0]
    right = wrong.replace("* g.sum()", "* g.sum(-1, keepdims=True)").replace("print(report.wrong[0].detail)", "")
    assert right != wrong
    assert run(right + "print(report.ok)") == "True\n"
