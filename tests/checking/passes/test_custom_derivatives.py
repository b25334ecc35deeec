"""The audit holds what `jax.custom_jvp` and `jax.custom_vjp` were given to the derivative of their function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg

X = np.array([0.5, -1.25, 2.0])


def by_jvp(factor, inner=jnp.sin):
    """A function with a tangent of its own: `factor` times that of sin."""

    @jax.custom_jvp
    def waved(x):
        return inner(x)

    waved.defjvp(lambda p, t: (waved(*p), factor * jnp.cos(p[0]) * t[0]))
    return waved


def by_vjp(factor, inner=jnp.sin):
    """The same with a pullback of its own."""

    @jax.custom_vjp
    def waved(x):
        return inner(x)

    waved.defvjp(lambda x: (inner(x), x), lambda x, g: (factor * jnp.cos(x) * g,))
    return waved


def alone(f, x):
    return f(x).sum()


def in_scan(f, x):
    return jax.lax.scan(lambda c, a: (f(c) + a, c), x, jnp.arange(2.0))[0].sum()


def in_cond(f, x):
    return jax.lax.cond(x[0] > 0, lambda a: f(a).sum(), lambda a: a.sum(), x)


def in_jit(f, x):
    return jax.jit(lambda a: f(2.0 * a).sum())(x)


def in_checkpoint(f, x):
    return jax.checkpoint(lambda a: f(a).sum())(x)


def in_vmap(f, x):
    return jax.vmap(f)(x).sum()


def audited(f, place=alone, x=X):
    return fg.audit(lambda x: place(f, x), x)


PLACES = [alone, in_scan, in_cond, in_jit, in_checkpoint, in_vmap]


@pytest.mark.parametrize("make", [by_jvp, by_vjp])
@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
def test_a_wrong_one_is_found_wherever_it_stands(make, place):
    right, wrong = (audited(make(c), place) for c in (1.0, 1.01))
    assert right.ok, right
    assert not right.untested
    (failure,) = wrong.failures
    assert failure.node.split("/")[-1].startswith("waved")
    assert failure.rule == f"its custom_{make.__name__.removeprefix('by_')}"
    assert "is not the derivative of its function 'waved'" in failure.detail


@pytest.mark.parametrize("make", [by_jvp, by_vjp])
def test_in_single_precision_the_function_is_derived_in_float64(make):
    x = jnp.float32(X)
    assert audited(make(1.0), x=x).ok
    assert not audited(make(1.001), x=x).ok


@pytest.mark.parametrize("outer", [by_jvp, by_vjp])
@pytest.mark.parametrize("inner", [by_jvp, by_vjp])
def test_of_two_nested_ones_the_outer_is_asked(outer, inner):
    """JAX never asks the inner one, so neither does the audit: wrong or not, it changes nothing."""
    for c in (1.0, 7.0):
        assert audited(outer(1.0, inner(c))).ok
        (failure,) = audited(outer(1.01, inner(c))).failures
        assert "is not the derivative of its function 'waved'" in failure.detail


def test_a_choice_at_a_kink_is_no_mistake():
    @jax.custom_jvp
    def zero_at_zero(x):
        return jnp.maximum(x, 0.0)

    zero_at_zero.defjvp(lambda p, t: (zero_at_zero(*p), jnp.where(p[0] > 0, t[0], 0.0)))
    x = np.array([-1.0, 0.0, 2.0])
    assert fg.audit(lambda x: zero_at_zero(x).sum(), x).ok
    assert fg.audit(lambda x: jax.nn.relu(x).sum(), x).ok


def test_one_argument_of_two_and_what_is_closed_over():
    scale = jnp.float64(3.0)

    @jax.custom_vjp
    def scaled(n, x, w):
        return scale * x * w + n

    scaled.defvjp(
        lambda n, x, w: (scaled(n, x, w), (x, w)), lambda kept, g: (None, scale * kept[1] * g, 2.0 * kept[0] * g)
    )
    report = fg.audit(lambda x, w: scaled(3, x, w).sum(), X, 2.0 * X, argnums=(0, 1))
    (failure,) = report.failures
    assert failure.argument == "in3"  # after what it closes over and the number


@pytest.mark.parametrize("make", [by_jvp, by_vjp])
def test_what_jax_cannot_differentiate_is_not_tested(make):
    def looping(x):
        return jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]

    def calling(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for inner in (looping, calling):
        report = audited(make(1.01, inner))
        assert report.ok
        assert [name.split("/")[-1] for name in report.untested] == ["waved"]
        assert "not tested: waved" in str(report)


def test_what_is_meant_to_be_no_derivative_says_so_as_the_rule_of_an_op():
    @jax.custom_vjp
    def clipped(x):
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.1, 0.1),))
    assert not fg.audit(lambda x: clipped(x).sum(), X).ok

    @fg.op(name="clipped_on_the_way_back", replace=True)
    def clipping(x):
        return x

    clipping.pullback("x", kind=fg.modified)(lambda g: jnp.clip(g, -0.1, 0.1))
    assert fg.audit(lambda x: clipping(x).sum(), X).ok
