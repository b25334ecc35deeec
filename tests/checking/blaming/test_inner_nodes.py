"""Where a loop is followed turn by turn, it is so in the order in which its turns run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.checking.blaming import inner_nodes


@pytest.mark.parametrize(("reverse", "turn"), [(False, 1), (True, 2)])
def test_of_a_long_loop_the_turns_that_run_first_are_followed(monkeypatch, reverse, turn):
    monkeypatch.setattr(inner_nodes, "_MOST_TURNS", 2)
    each, few = jnp.array([1.0, 800.0, 800.0, 1.0]), jnp.array([1.0, 1.0, 1.0, 800.0])

    def f(x):
        return jax.lax.scan(lambda c, a: (c + jnp.exp(a), None), 1.0, x, reverse=reverse)[0]

    structure = fg.trace(f, each).structure
    found = inner_nodes.descend(structure, {structure.inputs[0]: each})
    assert (found.node.op_name, found.turns) == ("exp", (turn,))
    found = inner_nodes.descend(structure, {structure.inputs[0]: few[::-1] if reverse else few})
    assert (found.node.op_name, found.turns) == ("scan", ())


def test_of_a_branch_the_one_that_is_taken_is_followed():
    def f(x):
        return jax.lax.cond(x[0] > 0, jnp.sqrt, jnp.log, -x)

    structure = fg.trace(f, jnp.ones(3)).structure
    names = [inner_nodes.descend(structure, {structure.inputs[0]: x}) for x in (jnp.ones(3), jnp.zeros(3))]
    assert [(found.node.op_name, found.holders) for found in names] == [("sqrt", ("cond",)), ("log", ("cond",))]
    assert inner_nodes.descend(structure, {structure.inputs[0]: -np.ones(3)}) is None
