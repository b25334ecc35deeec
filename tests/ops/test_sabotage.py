"""Checks must be able to fail: wrong rules are planted, and each must be caught by the check that claims to."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.ops.asserting import assert_nan_propagates, assert_rule, assert_second_order, assert_vmap

RNG = np.random.default_rng(11)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))


def product(rule: Callable[..., Any], *arguments: str, **options: Any) -> fg.registry.Op:
    """`x @ w` with the right rule for `x`, and `rule` for `w` (or for the arguments named)."""

    def sabotaged(x, w):
        return x @ w

    op = fg.op(name="sabotaged", replace=True, **options)(sabotaged)
    op.pullback(*(arguments or ("w",)))(rule)
    if not arguments:
        op.pullback("x")(lambda g, w: g @ w.T)
    return op


def right(g, x):
    return x.T @ g


def scaled(g, x):
    return 1.01 * (x.T @ g)


def negated(g, x):
    return -(x.T @ g)


def one_example_only(g, x):
    return x[:1].T @ g[:1]


def transposed(g, x):
    return g.T @ x


def one_entry_zeroed(g, x):
    return (x.T @ g).at[1, 2].set(0)


def coarse(g, x):
    return (x.astype(jnp.float32).T @ g.astype(jnp.float32)).astype(g.dtype)


def shifted(g, x):
    return x.T @ g + 1e-3


def clipped(g, x):
    return x.T @ jnp.clip(g, -5, 5)


def twice_under_jit(g, x):
    traced = isinstance(x + 0, jax.core.Tracer)
    return (2 if traced else 1) * (x.T @ g)


def nan_at_zero(g, x):
    return x.T @ (g * g / g)


def of_ones(g, x):
    return x.T @ jnp.ones_like(g)


def last_row_lost(g, x):
    return x.T @ g.at[-1].set(0)


WRONG = [
    scaled, negated, one_example_only, transposed, one_entry_zeroed, coarse, shifted, clipped, twice_under_jit,
    nan_at_zero, of_ones, last_row_lost,
]  # fmt: skip


def test_the_right_rule_passes():
    op = product(right)
    assert_rule(op, (X, W), {})
    assert_vmap(op, (X, W), {}, [0, 1])
    assert_second_order(op, (X, W), {})
    assert_nan_propagates(op, (X, W), {})


@pytest.mark.parametrize("rule", WRONG, ids=lambda r: r.__name__)
def test_a_wrong_rule_is_caught_and_named(rule):
    with pytest.raises(AssertionError, match=r"sabotaged: cotangent of w for a \w+ seed: "):
        assert_rule(product(rule), (X, W), {})


def test_wrong_without_jit_is_caught():
    def wrong_when_concrete(g, x):
        return x.T @ g * (1.0 if isinstance(x + 0, jax.core.Tracer) else 1.01)

    assert_rule(product(wrong_when_concrete), (X, W), {})
    with pytest.raises(AssertionError, match="cotangent of w"):
        assert_rule(product(wrong_when_concrete), (X, W), {}, jit=False)


def test_a_sum_in_low_precision_is_caught():
    def rounded(g, x):
        return jax.lax.reduce_precision(x.T @ g, 8, 2)

    assert_rule(product(right), (X, W), {}, jnp.bfloat16)
    with pytest.raises(AssertionError, match="cotangent of w"):
        assert_rule(product(rounded), (X, W), {}, jnp.bfloat16)


def test_a_missing_batch_sum_is_a_shape_error():
    def unsummed(g, x):
        return x[..., :, None] * g[..., None, :]

    # The library sums over the axes along which an argument was broadcast, and `w` was not.
    with pytest.raises(RuleError, match=r"as f64\[3,3\], got f64\[4,3,3\], and w was not broadcast along the axes"):
        assert_rule(product(unsummed), (X, W), {})

    def summed_away(g, x):
        return (x[..., :, None] * g[..., None, :]).sum((0, 1))

    with pytest.raises(RuleError, match=r"must return the cotangent of w as f64\[3,3\], got f64\[3\]"):
        assert_rule(product(summed_away), (X, W), {})


def test_swapped_arguments_are_caught():
    def swapped(g, x, w):
        return {"x": x.T @ g, "w": g @ w.T}

    with pytest.raises(AssertionError, match="cotangent of x"):
        assert_rule(product(swapped, "x", "w"), (W + 1, W), {})


def test_a_wrong_saved_value_is_caught():
    def sabotaged(x):
        return jnp.sin(x)

    op = fg.op(name="sabotaged", replace=True)(sabotaged)
    op.saving("slope")(lambda x: (jnp.sin(x), {"slope": jnp.cos(x) * 1.001}))
    op.pullback("x")(lambda g, slope: g * slope)
    with pytest.raises(AssertionError, match="cotangent of x"):
        assert_rule(op, (X,), {})


def test_a_wrong_output_of_the_saving_forward_is_caught():
    def sabotaged(x):
        return jnp.sin(x)

    op = fg.op(name="sabotaged", replace=True)(sabotaged)
    op.saving("slope")(lambda x: (jnp.sin(x) + 1e-6, {"slope": jnp.cos(x)}))
    op.pullback("x")(lambda g, slope: g * slope)
    with pytest.raises(AssertionError, match="sabotaged: output"):
        assert_rule(op, (X,), {})


def test_another_convention_at_the_kink_is_caught():
    def sabotaged(x):
        return jax.nn.relu(x)

    op = fg.op(name="sabotaged", replace=True)(sabotaged)
    op.pullback("x")(lambda g, y: jnp.where(y >= 0, g, 0))
    assert_rule(op, (np.array([1.0, 2.0]),), {})
    with pytest.raises(AssertionError, match="cotangent of x"):
        assert_rule(op, (np.array([1.0, 0.0]),), {})


def test_a_hard_coded_batch_rank_is_caught_by_vmap():
    def first_axis_only(g, x):
        return jnp.tensordot(x, g, ((0,), (0,))) if x.ndim == 2 else jnp.einsum("abi,abj->ij", x[:1], g[:1])

    op = product(first_axis_only, leading=("x",))
    assert_rule(op, (X, W), {})
    with pytest.raises(AssertionError, match="grad of vmap of w"):
        assert_vmap(op, (X, W), {}, [0])


def test_a_false_claim_of_leading_axes_is_caught_by_vmap():
    def sabotaged(x):
        return x.sum(0)

    op = fg.op(name="sabotaged", replace=True, leading=("x",))(sabotaged)
    with pytest.raises((AssertionError, ValueError, TypeError)):
        assert_vmap(op, (np.ones((3, 3)),), {}, [0])


def test_a_rule_cut_off_from_its_inputs_is_caught_by_second_order():
    def detached(g, x):
        return jax.lax.stop_gradient(x).T @ g

    assert_rule(product(detached), (X, W), {})
    with pytest.raises(AssertionError, match="over reverse"):
        assert_second_order(product(detached), (X, W), {})


def test_a_swallowed_nan_is_caught():
    def swallowing(g, x):
        return x.T @ jnp.nan_to_num(g)

    with pytest.raises(AssertionError, match="NaN in g lost on the way to w"):
        assert_nan_propagates(product(swallowing), (X, W), {})
