"""Surrogates: the slopes of snntorch and norse, values by hand, and that each lets something pass."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import surrogates
from tests.rulesets.entries import ROWS

X = np.array([-3.0, -1.0, -0.4, -0.05, 0.05, 0.3, 0.7, 1.0, 2.5])
"""Nowhere the threshold itself: there libraries differ."""
FLOAT32 = {"rtol": 1e-6, "atol": 1e-30}
"""Some constants of theirs are numbers of float32."""


def slopes(rules: fg.RuleSet, x: np.ndarray = X, of=fg.ops.heaviside) -> np.ndarray:
    return np.asarray(fg.grad(lambda x: jnp.sum(of(x)), rules=rules)(jnp.asarray(x)))


# What the other library computes, as our entry at the parameters it has there.
SNNTORCH = {
    "straight_through_estimator()": fg.rulesets.straight_through.identity(fg.ops.heaviside),
    "triangular(threshold=0.7)": surrogates.tent(0.7),
    "fast_sigmoid()": surrogates.fast_sigmoid(),
    "atan()": surrogates.atan(),
    "heaviside()": surrogates.leaky_relu(leak=0.0),
    "sigmoid()": surrogates.sigmoid(),
    "spike_rate_escape()": surrogates.spike_rate_escape(),
    "spike_rate_escape(beta=2, slope=3)": surrogates.spike_rate_escape(2.0, 3.0),
}
NORSE = {
    "super_fn(x, 100.0)": (surrogates.superspike(), 1.0),
    "triangle_fn(x, 0.3)": (surrogates.triangle(), 1.0),
    "triangle_fn(x, 0.8)": (surrogates.triangle(height=0.8), 1.0),
    "heavi_tanh_fn(x, 1.5)": (surrogates.tanh(slope=1.5), 1.0),
    "heavi_circ_fn(x, 0.6)": (surrogates.inverse_square_root(alpha=0.6), 1.0),
    "heavi_erfc_fn(x, 1.5)": (surrogates.erf(alpha=1.5), 2 / 1.5),
}


def of_torch(module: str, call: str) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="pip install 'funcgrad[rulesets]'")
    library = pytest.importorskip(module, reason="pip install 'funcgrad[rulesets]'")
    x = torch.tensor(X, requires_grad=True)
    made = eval(call, vars(library), {"x": x})
    spikes = made(x) if callable(made) else made
    np.testing.assert_array_equal(spikes.detach().numpy(), X > 0)
    spikes.backward(torch.ones_like(spikes))
    return x.grad.numpy()


@pytest.mark.parametrize("call", SNNTORCH)
def test_as_snntorch(call):
    np.testing.assert_allclose(slopes(SNNTORCH[call]), of_torch("snntorch.surrogate", call), **FLOAT32)


@pytest.mark.parametrize("call", NORSE)
def test_as_norse(call):
    rules, factor = NORSE[call]
    expected = of_torch("norse.torch.functional.threshold", call.replace("super_fn", "superspike_fn"))
    np.testing.assert_allclose(factor * slopes(rules), expected, **FLOAT32)


E = math.exp
BY_HAND = {
    "fast_sigmoid": (1 / 11**2, dict(slope=25.0), 0.4),
    "superspike": (3 / 4, dict(alpha=3.0), 1.0),
    "soft_sign": (1 / 9, dict(alpha=2.0), 1.0),
    "sigmoid": (4 * E(-4) / (1 + E(-4)) ** 2, dict(slope=4.0), 1.0),
    "tanh": (4 / (E(0.5) + E(-0.5)) ** 2, dict(slope=0.5), 1.0),
    "atan": (1 / (1 + math.pi**2), dict(alpha=2.0), 1.0),
    "erf": (2 / math.sqrt(math.pi) * E(-4), dict(alpha=2.0), 1.0),
    "inverse_square_root": (0.6**3 / (0.36 + 0.64) ** 1.5, dict(alpha=0.6), 0.8),
    "gaussian": (0.5 * E(-2) / (0.5 * math.sqrt(2 * math.pi)), dict(sigma=0.5, scale=0.5), 1.0),
    "multi_gaussian": (
        2 * (1.5 * E(-0.5) - 0.5 * (1 / 3 + E(-2 / 9) / 3)) / math.sqrt(2 * math.pi),
        dict(h=0.5, s=3.0, sigma=1.0, scale=2.0),
        1.0,
    ),
    "triangle": (0.3 * 0.75, dict(height=0.3, width=2.0), 0.5),
    "piecewise_quadratic": (2 - 4 * 0.25, dict(alpha=2.0), 0.25),
    "boxcar": (0.25, dict(width=1.0, height=0.25), 0.4),
    "piecewise_leaky_relu": (0.25, dict(width=2.0, leak=0.125), 1.5),
    "piecewise_exp": (1.5 * E(-3), dict(alpha=3.0), 1.0),
    "slayer": (E(-3), dict(alpha=3.0), 1.0),
    "spike_rate_escape": (3 * E(-1), dict(beta=2.0, slope=3.0), 0.5),
    "sparse_fast_sigmoid": (1 / 4, dict(slope=2.0, bound=0.6), 0.5),
    "s2nn": (2 / 1.5, dict(alpha=4.0, beta=2.0), 0.5),
    "q_pseudo_spike": (2.0**-3, dict(q=3.0), 1.0),
    "nonzero_sign_log": (1 / 2.5, dict(alpha=0.5), 0.5),
    "squarewave_fourier": (0.5 * (math.cos(math.pi / 4) + math.cos(3 * math.pi / 4)), dict(terms=2, period=8.0), 1.0),
    "leaky_relu": (3.0, dict(leak=0.5, slope=3.0), 0.01),
    "log_tailed_relu": (0.4, dict(alpha=0.5), 2.5),
    "fake_numerical_gradient": (0.5, dict(alpha=0.8), 2.0),
    "tent": (-2.0, dict(height=2.0), 0.5),
}
LEFT = {
    "piecewise_leaky_relu": (0.125, -2.5),
    "boxcar": (0.0, -0.6),
    "spike_rate_escape": (3 * E(-5), -1.5),
    "sparse_fast_sigmoid": (0.0, -0.7),
    "s2nn": (4 * E(2) / (1 + E(2)) ** 2, -0.5),
    "leaky_relu": (0.5, -0.01),
    "log_tailed_relu": (0.5, -2.5),
    "fake_numerical_gradient": (0.8, -1.0),
    "tent": (2.0, -0.5),
}


def test_every_row_has_values_by_hand():
    assert set(BY_HAND) == set(ROWS)


@pytest.mark.parametrize("name", BY_HAND)
def test_slopes_by_hand_on_both_sides(name):
    expected, parameters, x = BY_HAND[name]
    left, at = LEFT.get(name, (expected, -x))
    found = slopes(ROWS[name](**parameters), np.array([x, at]))
    np.testing.assert_allclose(found, [expected, left], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ROWS)
def test_something_passes_near_the_threshold(name):
    found = slopes(ROWS[name](), np.array([-0.2, -1e-3, 1e-3, 0.2]))
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0.01


def test_a_surrogate_stands_where_it_is_put():
    two = lambda x: jnp.sum(fg.name(fg.ops.heaviside(x), "a") + 2.0 * fg.ops.heaviside(x))
    rules = surrogates.boxcar() | surrogates.boxcar(height=0.25, at="a")
    assert [str(o).partition(":")[0] for o in rules.overrides] == ["heaviside at '**'", "heaviside at 'a'"]
    assert fg.grad(two, rules=rules)(jnp.zeros(1)) == 0.25 + 2 * 0.5


@pytest.mark.parametrize("of", [jnp.sign, jnp.floor, jnp.round, "sign"], ids=lambda f: getattr(f, "__name__", f))
def test_of_another_function(of):
    function = jnp.sign if of == "sign" else of
    np.testing.assert_allclose(slopes(surrogates.superspike(of=of), of=function), 1 / (1 + np.abs(X)) ** 2, rtol=1e-12)


def test_under_the_transformations_of_jax():
    rules = surrogates.atan()
    loss = lambda x: jnp.sum(jax.lax.scan(lambda u, x: (fg.ops.heaviside(u + x), u), jnp.zeros(3), x)[1])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    plain = fg.grad(loss, rules=rules)(x)
    assert np.abs(plain).sum() > 1
    np.testing.assert_allclose(jax.jit(fg.grad(loss, rules=rules))(x), plain, rtol=1e-12)
    np.testing.assert_allclose(fg.grad(jax.checkpoint(loss), rules=rules)(x), plain, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(fg.grad(loss, rules=rules))(x[None])[0], plain, rtol=1e-12)
