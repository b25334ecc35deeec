"""Rules that break their word in ways that give numbers all the same: the checker and the audit say so."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence

X = jnp.linspace(0.5, 1.0, 2)


def three_times_too_many():
    @fg.op(name="tripled_rule", replace=True)
    def tripled(x):
        return 2 * x

    tripled.pullback("x")(lambda g: jnp.stack([2 * g] * 3))
    tripled.example(X)
    return tripled


def not_elementwise():
    @fg.op(name="not_elementwise", elementwise=True, replace=True)
    def spike(v, alpha):
        return (v > 0).astype(v.dtype)

    spike.pullback("v", kind=fg.surrogate("alpha"))(lambda g, alpha: g * alpha)
    spike.mark(alpha=fg.Marker.NON_DIFFERENTIABLE)
    spike.example(X, X)
    return spike


@pytest.mark.parametrize(
    ("make", "what"),
    [(three_times_too_many, "was not broadcast along the axes"), (not_elementwise, "elementwise=True promises")],
)
def test_the_checker_has_a_row_for_it(make, what):
    report = fg.check(make())
    assert not report.ok
    assert what in str(report)


def test_the_audit_refuses_a_rule_with_axes_of_its_own():
    op = three_times_too_many()
    sentence = (
        r"tripled_rule: rule <lambda> \(test_custom_rules\.py:\d+\) must return the cotangent of x as f64\[2\], "
        r"got f64\[3,2\], and x was not broadcast along the axes that are too many; sum over them in the rule\."
    )
    with raises_sentence(RuleError, sentence):
        fg.audit(lambda x: op(x).sum(), X)


def test_the_audit_refuses_a_custom_derivative_that_closes_over_what_moves():
    def f(x):
        @jax.custom_jvp
        def shifted(y):
            return x + y

        shifted.defjvp(lambda p, t: (shifted(*p), t[0]))
        return shifted(2.0 * x)

    with pytest.raises(GradientError, match=r"a rule of its derivative closes over 'x', which is differentiated"):
        fg.audit(f, 1.0)
