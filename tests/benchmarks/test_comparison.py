"""The benchmark's checks can fail, our forward without rules is free of them, and the limit runs every product."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from benchmarks.comparison import assert_agree, plain_functions
from benchmarks.limit import back_to_back, products
from benchmarks.networks import ALL
from benchmarks.timing import in_turns
from funcgrad import ops
from funcgrad.graph import flops_of_jaxpr

same = lambda gradient: gradient


def test_agreement_is_checked_in_loss_and_gradient():
    ours = (jnp.float32(2.0), [jnp.ones(3)])
    assert_agree("net", ours, ((jnp.float32(2.0), "the new state"), [jnp.ones(3)]), same, 1e-3)
    with pytest.raises(AssertionError, match=r"net: differs by 0\.01"):
        assert_agree("net", ours, (jnp.float32(2.0), [jnp.ones(3).at[1].add(0.01)]), same, 1e-3)
    with pytest.raises(AssertionError, match=r"net: differs by 0\.01"):
        assert_agree("net", ours, (jnp.float32(2.01), [jnp.ones(3)]), same, 1e-3)
    with pytest.raises(AssertionError, match="shapes"):
        assert_agree("net", ours, (jnp.float32(2.0), [jnp.ones(1)]), same, 1e-3)


def test_own_forward_has_no_rule_of_ours():
    def gradient(x):
        return jax.make_jaxpr(jax.grad(lambda x: ops.sum(ops.gelu(x))))(x)

    assert "gelu" in str(gradient(1.0))
    with plain_functions():
        assert "call=" not in str(gradient(1.0))
    assert "gelu" in str(gradient(1.0))


@pytest.mark.parametrize("name", ["mlp", pytest.param("convnet", marks=pytest.mark.slow)])
def test_the_limit_is_all_products_and_nothing_else(name):
    sizes = {"mlp": {"depth": 3, "width": 8, "batch": 4}, "convnet": {"batch": 2, "size": 8, "width": 2}}
    network = ALL[name](**sizes[name])
    gradient = fg.value_and_grad(network.loss)
    found = products(gradient, network.params, *network.batch)
    # Forward, and backward for each weight and for each input but the network's own.
    n_weights = {"mlp": 3, "convnet": 5}[name]
    assert len(found) == 3 * n_weights - 1
    run, arguments = back_to_back(found)
    traced = jax.make_jaxpr(run)(*arguments).jaxpr
    assert [e.primitive.name for e in traced.eqns] == [e.primitive.name for e in found]
    flops = sum(flops_of_jaxpr(type("One", (), {"eqns": [e]})) for e in found)
    if name == "mlp":  # XLA counts what convolutions skip at the edges
        assert jax.jit(run).lower(*arguments).compile().cost_analysis()["flops"] == flops


def test_nobody_always_follows_the_same():
    order = list(in_turns(["a", "b", "c"], 50))
    assert all(sorted(order[i : i + 3]) == ["a", "b", "c"] for i in range(0, 150, 3))
    before_a = {order[i - 1] for i in range(1, 150) if order[i] == "a"}
    assert before_a >= {"b", "c"}
