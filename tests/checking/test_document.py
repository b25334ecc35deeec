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


def test_a_functions_own_nodes():
    code = "\n".join(blocks("docs/checking.md", "python")[2:5])
    printed = run(f"""
import jax, jax.numpy as jnp, funcgrad as fg

def loss(params, batch):
    for i in range(2):
        with fg.scope(f"block{{i}}"):
            batch = fg.ops.tanh(batch @ params) - i
    with fg.scope("head"):
        return jnp.log(batch).sum()

params, batch = jnp.ones((3, 3)), jnp.ones((2, 3))
{code}
""")
    assert printed.startswith("audit: right")
    assert printed.count("forward: 'head/log'") == 1
    assert printed.endswith("no cotangent is out of bounds or zero everywhere, no unit is dead (2 values watched)\n")
