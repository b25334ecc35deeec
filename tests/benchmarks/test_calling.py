"""The benchmark of calls counts programs and knows what is above its target."""

import jax
import jax.numpy as jnp

from benchmarks import calling


def test_programs_are_counted_from_empty_caches():
    two = lambda: jax.jit(jnp.cos)(jax.jit(jnp.sin)(jnp.ones(3)))
    assert calling._programs(two) == calling._programs(two) > calling._programs(lambda: jax.jit(jnp.sin)(jnp.ones(3)))


def test_a_ratio_above_its_target_is_told():
    row = lambda name, ratio: {"network": name, "against": "jax", "metric": "eager", "ratio": ratio}
    rows = [row("jitted layers", 1.01), row("a jitted network", 1.0), row("nothing jitted", 1.5)]
    assert calling.misses(rows) == ["jitted layers, eager: 1.010 > 1"]
    assert "| jitted layers | 1.01 |" in calling.table(rows)
