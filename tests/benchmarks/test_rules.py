"""The benchmark of overrides compares what is equal, and knows what is above its target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import rules


@pytest.mark.parametrize("name", rules.CASES)
def test_all_find_the_same_gradient_with_the_same_work_which_is_not_that_without_the_rule(name):
    case = rules.CASES[name](small=True)
    compiled = {n: jax.jit(step).lower(*case.arguments).compile() for n, step in rules.steps(case).items()}
    found = {n: program(*case.arguments) for n, program in compiled.items()}
    rules.assert_agree(found)
    costs = {n: program.cost_analysis() for n, program in compiled.items()}
    for cost in costs.values():  # of the compiled programs, which no other load on the machine changes
        assert costs["override"]["flops"] <= rules.TARGET * cost["flops"]
        assert costs["override"]["bytes accessed"] <= rules.TARGET * cost["bytes accessed"]
    _, plain = jax.value_and_grad(lambda *args: case.loss(case.plain, *args), case.argnums)(*case.arguments)
    ours, without = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (found["override"][1], plain))
    assert float(jnp.linalg.norm(ours - without)) > 0.1 * float(jnp.linalg.norm(ours))


def test_gradients_that_differ_are_seen():
    found = dict.fromkeys(("override", rules.BY_JAX, rules.BY_OURS), jnp.ones(2))
    rules.assert_agree(found)
    with pytest.raises(AssertionError):
        rules.assert_agree(found | {rules.BY_OURS: 1.01 * np.ones(2)})


def test_a_ratio_above_its_target_is_told():
    row = lambda against, ratio: {"network": "reversal", "against": against, "metric": "step", "ratio": ratio}
    rows = [row(rules.BY_JAX, 1.021), row(rules.BY_OURS, 1.02)]
    assert rules.misses(rows) == ["reversal, step against custom_vjp, jax.grad: 1.021 > 1.02"]
