"""What the rules of other libraries raise comes with the node and the user's line."""

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from tests.raising import raises_sentence

X = jnp.ones(3)


def raising(error):
    """A function whose pullback raises."""

    def back(kept, g):
        raise error

    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), None), back)
    return f


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Unexpected cotangent.\nIt cannot be differentiated."), "RuntimeError: Unexpected cotangent"),
        (
            TypeError("The rule must return:\n    f32[3]\nbut returned:\n    f32[]"),
            r"TypeError: The rule must return: f32\[3\] but returned: f32\[\]",
        ),
        (AssertionError(), "AssertionError"),
    ],
)
@pytest.mark.parametrize("around", [lambda f: f, jax.checkpoint, lambda f: lambda x: jax.lax.map(f, x)])
def test_what_a_rule_raises_names_the_node_and_the_line(around, error, said):
    f = raising(error)
    with raises_sentence(
        fg.errors.GradientError,
        rf"sin( at test_foreign\.py:\d+ \(`.*`\))?: what its derivative is made by raised {said}\.",
    ):
        fg.grad(lambda x: jnp.sum(around(f)(x)))(X)
    with pytest.raises(fg.errors.GradientError) as info:
        fg.plan(lambda x: jnp.sum(around(f)(x)), X)
    assert info.value.__cause__ is error


def test_a_rule_that_the_gradient_does_not_pass_may_raise():
    f = raising(RuntimeError("never"))
    assert fg.grad(lambda x: jnp.sum(x) + jnp.sum(jax.lax.stop_gradient(f(x))))(X).tolist() == [1.0] * 3
