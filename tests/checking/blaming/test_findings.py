"""A finding says its op where its name does not."""

import jax.numpy as jnp
import numpy as np

import funcgrad as fg


def test_the_op_is_told_where_the_name_does_not_tell_it():
    @fg.op(name="by/slash", replace=True)
    def root(x):
        return jnp.sqrt(x)

    def f(x):
        with fg.scope("log"):
            return (fg.name(jnp.log(x), "logits") + jnp.log(x) + root(x)).sum()

    first, second, third = map(str, fg.blame(f, -np.ones(2)).of_kind("forward"))
    assert first.startswith("forward: 'log/log' at test_findings.py:")
    assert second.startswith("forward: 'log/log#2' at test_findings.py:")
    assert third.startswith("forward: 'log/by/slash' at test_findings.py:")
    found = fg.blame(f, np.full(2, np.nan)).forward
    assert str(found) == "forward: 'x' (argument): 'x' (f64[2]) comes in with NaN"
