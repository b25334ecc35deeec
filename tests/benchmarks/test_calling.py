"""The benchmark of calls counts programs and knows what is above its target."""

import chex
import jax
import jax.numpy as jnp
import pytest

from benchmarks import calling, captured


def test_programs_are_counted_from_empty_caches():
    two = lambda: jax.jit(jnp.cos)(jax.jit(jnp.sin)(jnp.ones(3)))
    assert calling._programs(two) == calling._programs(two) > calling._programs(lambda: jax.jit(jnp.sin)(jnp.ones(3)))


def test_a_ratio_above_its_target_is_told():
    row = lambda name, ratio: {"network": name, "against": "jax", "metric": "eager", "ratio": ratio}
    rows = [row("jitted layers", 1.01), row("a jitted network", 1.0)]
    assert calling.misses(rows) == ["jitted layers, eager: 1.010 > 1"]
    assert "| jitted layers | 1.01 |" in calling.table(rows)


def test_a_model_whose_package_is_missing_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(calling, "FUNCTIONS", {})
    monkeypatch.setattr(captured.importlib.util, "find_spec", lambda _: None)
    assert calling.compare(rounds=1) == []
    assert calling.left_out() == ["diffrax", "equinox", "flax"]


@pytest.mark.parametrize(
    "name", [pytest.param(m, marks=pytest.mark.slow) if "neural ODE" in m else m for m in captured.MODELS]
)
def test_both_find_the_same_gradient_of_what_is_measured(name):
    for package in captured.MODELS[name][1]:
        pytest.importorskip(package, reason=f"{package} is not installed; the extra `models` has it")
    loss, arguments = captured.MODELS[name][0]()
    found = {lib: make(loss)(*arguments) for lib, make in calling.MAKERS.items()}
    chex.assert_trees_all_close(found["ours"], found["jax"], rtol=1e-9)
