"""Leaky integrate-and-fire: membranes by hand, resets, what passes and what is cut, snntorch's neuron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers import leaky_integrate_and_fire, recurrent
from tests.raising import raises_sentence

X = jnp.full((4, 1), 0.75)
CURRENTS = np.random.default_rng(2).uniform(0.0, 1.0, size=(3, 12, 4))


@pytest.mark.parametrize(
    ("reset", "membranes", "spikes"),
    [("subtract", [0.75, 1.125, 0.3125, 0.90625], [0, 1, 0, 0]), ("zero", [0.75, 1.125, 0.75, 1.125], [0, 1, 0, 1])],
)
def test_membranes_by_hand(reset, membranes, spikes):
    cell, u, found = leaky_integrate_and_fire(beta=0.5, reset=reset), jnp.zeros(1), []
    for x in X:
        y, u = cell({}, x, u)
        found.append((float(u[0]), float(y[0])))
    assert found == list(zip(membranes, spikes, strict=True))
    y, last = recurrent(cell, return_carry=True)({}, X)
    np.testing.assert_array_equal(y[:, 0], spikes)
    assert last == membranes[-1]


def test_without_a_surrogate_the_gradient_is_cut_at_the_spikes():
    loss = lambda x: jnp.sum(recurrent(leaky_integrate_and_fire())({}, x))
    findings = fg.blame(loss, X).findings
    assert {f.kind for f in findings} == {"cut"}
    assert all(f.node.endswith(("heaviside", "heaviside#2")) for f in findings)


def by_hand(x: np.ndarray, beta: float, zero: bool, detached: bool) -> np.ndarray:
    """Backpropagation through time of the sum of spikes, with the slope 1 / (1 + |v|)², written out."""
    slope = lambda v: 1 / (1 + np.abs(v)) ** 2
    u, before = np.zeros_like(x[0]), []
    for current in x:
        before.append(u)
        r = (u > 1).astype(float)
        u = beta * (1 - r) * u + current if zero else beta * u + current - r
    g, x_bar = np.zeros_like(u), np.zeros_like(x)
    for t in reversed(range(len(x))):
        after = before[t + 1] if t + 1 < len(x) else u
        g = g + slope(after - 1)
        x_bar[t] = g
        r = (before[t] > 1).astype(float)
        through_r = 0 if detached else slope(before[t] - 1) * (-beta * before[t] if zero else -1)
        g = g * ((beta * (1 - r) if zero else beta) + through_r)
    return x_bar


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_cotangents_through_time_by_hand(reset, detached):
    net = recurrent(leaky_integrate_and_fire(0.8, reset=reset, detach_reset=detached))
    rules = fg.rulesets.surrogates.superspike()
    found = fg.grad(lambda x: jnp.sum(net({}, x)), rules=rules)(jnp.asarray(CURRENTS))
    for x, x_bar in zip(CURRENTS, found, strict=True):
        np.testing.assert_allclose(x_bar, by_hand(x, 0.8, reset == "zero", detached), rtol=1e-12)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_as_snntorch(reset):
    torch = pytest.importorskip("torch", reason="pip install 'funcgrad[rulesets]'")
    snntorch = pytest.importorskip("snntorch", reason="pip install 'funcgrad[rulesets]'")
    theirs = snntorch.Leaky(beta=0.8, reset_mechanism=reset, spike_grad=snntorch.surrogate.atan(alpha=2.0)).double()
    x = torch.tensor(CURRENTS, requires_grad=True)
    u, spikes = torch.zeros(3, 4, dtype=torch.float64), []
    for t in range(x.shape[1]):
        y, u = theirs(x[:, t], u)
        spikes.append(y)
    weights = np.random.default_rng(3).normal(size=CURRENTS.shape)
    expected = torch.stack(spikes, 1)
    (expected * torch.tensor(weights)).sum().backward()
    net = recurrent(leaky_integrate_and_fire(0.8, reset=reset))
    rules = fg.rulesets.surrogates.atan(alpha=2.0)
    np.testing.assert_array_equal(net({}, CURRENTS), expected.detach().numpy())
    found = fg.grad(lambda x: jnp.sum(weights * net({}, x)), rules=rules)(jnp.asarray(CURRENTS))
    # Its β is a number of float32.
    np.testing.assert_allclose(found, x.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_what_cannot_be():
    with raises_sentence(GraphError, r"leaky_integrate_and_fire: reset must be 'subtract' or 'zero', got 'none'\."):
        leaky_integrate_and_fire(reset="none")  # pyright: ignore[reportArgumentType]
    with raises_sentence(ShapeError, r"leaky_integrate_and_fire: the input must have at least 1 axis, got f64\[\]\."):
        leaky_integrate_and_fire().init(jax.random.key(0), jnp.ones(()))
