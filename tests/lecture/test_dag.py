"""The lecture's DAG, with w1 shared by φ1 and φ3:

x1 = φ1(x0; w1) = tanh(w1 x0),   x2 = φ2(x0, x1; w2) = σ(w2 x0) ⊙ x1,   f(x) = x3 = φ3(x1, x2; w1) = w1 (x1 ⊙ x2),

under ℓ = Σ (x3 - t)². The Jacobians of every φ are written out by hand, entry by entry; the lecture's four equations
are then contractions.
"""

import jax
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.layers import dag, node, parametric

from .by_hand import assert_equals

N = 4


def phi1(w1, x0):
    return ops.tanh(ops.matmul(w1, x0))


def phi2(w2, x0, x1):
    return ops.multiply(ops.sigmoid(ops.matmul(w2, x0)), x1)


def phi3(w1, x1, x2):
    return ops.matmul(w1, ops.multiply(x1, x2))


network = dag(
    "x0",
    x1=node(phi1, "x0", params="w1"),
    x2=node(phi2, "x0", "x1", params="w2"),
    x3=node(phi3, "x1", "x2", params="w1"),
)


def loss_of_network(params, x0, t):
    return ops.sum(ops.squared_error(network(params, fg.name(x0, "x0")), t))


def loss_by_lines(params, x0, t):
    """The same without layers; every single use of a value or parameter carries its own name."""
    w1, w2 = params["w1"], params["w2"]
    x0 = fg.name(x0, "x0")
    x1 = fg.name(phi1(fg.name(w1, "w1@x1"), fg.name(x0, "x0@x1")), "x1")
    x2 = fg.name(phi2(w2, fg.name(x0, "x0@x2"), fg.name(x1, "x1@x2")), "x2")
    x3 = fg.name(phi3(fg.name(w1, "w1@x3"), fg.name(x1, "x1@x3"), x2), "x3")
    return ops.sum(ops.squared_error(x3, t))


@pytest.fixture(params=[loss_of_network, loss_by_lines])
def loss(request):
    return request.param


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(7)
    params = {"w1": rng.normal(size=(N, N)), "w2": rng.normal(size=(N, N))}
    return params, rng.normal(size=N), rng.normal(size=N)


@pytest.fixture(scope="module")
def by_hand(arrays):
    """All cotangents, by name; `"w1@x3"` is the term of [∂ℓ/∂w1] that comes through φ3."""
    params, x0, t = arrays
    w1, w2 = params["w1"], params["w2"]
    x1 = np.tanh(np.einsum("ij,j->i", w1, x0))
    gate = 1 / (1 + np.exp(-np.einsum("ij,j->i", w2, x0)))
    x2 = gate * x1
    x3 = np.einsum("ij,j->i", w1, x1 * x2)

    # J[q, ...] = ∂(output q)/∂(entry ... of the argument)
    phi1_x0, phi2_x0, phi2_x1, phi3_x1, phi3_x2 = (np.zeros((N, N)) for _ in range(5))
    phi1_w1, phi2_w2, phi3_w1 = (np.zeros((N, N, N)) for _ in range(3))
    for q in range(N):
        phi2_x1[q, q] = gate[q]
        for k in range(N):
            phi1_x0[q, k] = (1 - x1[q] ** 2) * w1[q, k]
            phi1_w1[q, q, k] = (1 - x1[q] ** 2) * x0[k]
            phi2_x0[q, k] = x1[q] * gate[q] * (1 - gate[q]) * w2[q, k]
            phi2_w2[q, q, k] = x1[q] * gate[q] * (1 - gate[q]) * x0[k]
            phi3_x1[q, k] = w1[q, k] * x2[k]
            phi3_x2[q, k] = w1[q, k] * x1[k]
            phi3_w1[q, q, k] = x1[k] * x2[k]

    def transposed(jacobian, g):
        return np.einsum("q...,q->...", jacobian, g)

    bars = {"x3": 2 * (x3 - t)}
    bars["x2"] = transposed(phi3_x2, bars["x3"])
    bars["x1@x2"] = transposed(phi2_x1, bars["x2"])
    bars["x1@x3"] = transposed(phi3_x1, bars["x3"])
    bars["x1"] = bars["x1@x2"] + bars["x1@x3"]
    bars["x0@x1"] = transposed(phi1_x0, bars["x1"])
    bars["x0@x2"] = transposed(phi2_x0, bars["x2"])
    bars["x0"] = bars["x0@x1"] + bars["x0@x2"]
    bars["w1@x1"] = transposed(phi1_w1, bars["x1"])
    bars["w1@x3"] = transposed(phi3_w1, bars["x3"])
    bars["w1"] = bars["w1@x1"] + bars["w1@x3"]
    bars["w2"] = transposed(phi2_w2, bars["x2"])
    return bars


@pytest.mark.parametrize("value", ["x3", "x2", "x1", "x0"])
def test_the_cotangent_at_every_value(loss, arrays, by_hand, value):
    assert_equals(fg.grad(loss, wrt=value)(*arrays), by_hand[value])


def test_both_terms_of_the_shared_parameter_and_their_sum(loss, arrays, by_hand):
    """[∂ℓ/∂w1] = J^T_{φ1|w1} [∂ℓ/∂x1] + J^T_{φ3|w1} [∂ℓ/∂x3]."""
    terms = fg.grad(loss, wrt=["w1@x1", "w1@x3"])(*arrays)
    assert_equals(terms["w1@x1"], by_hand["w1@x1"])
    assert_equals(terms["w1@x3"], by_hand["w1@x3"])
    gradient = fg.grad(loss)(*arrays)
    assert_equals(gradient["w1"], by_hand["w1"])
    assert_equals(gradient["w1"], np.asarray(terms["w1@x1"] + terms["w1@x3"]))
    assert_equals(gradient["w2"], by_hand["w2"])


def test_neither_term_is_the_whole(by_hand):
    """So the test above would notice a term that is lost or counted twice."""
    whole = np.abs(by_hand["w1"]).max()
    assert np.abs(by_hand["w1@x1"]).max() > 0.05 * whole
    assert np.abs(by_hand["w1@x3"]).max() > 0.05 * whole


def test_both_terms_of_a_value_that_is_read_twice(arrays, by_hand):
    """[∂ℓ/∂x1] = J^T_{φ2|x1} [∂ℓ/∂x2] + J^T_{φ3|x1} [∂ℓ/∂x3], and the same for x0."""
    terms = fg.grad(loss_by_lines, wrt=["x1@x2", "x1@x3", "x0@x1", "x0@x2"])(*arrays)
    for name, term in terms.items():
        assert_equals(term, by_hand[name])


def test_all_in_one_pass(loss, arrays, by_hand):
    names = ["x3", "x2", "x1", "x0", "w1@x1", "w1@x3"]
    for name, found in jax.jit(fg.grad(loss, wrt=names))(*arrays).items():
        assert_equals(found, by_hand[name])


def test_a_term_alone_visits_only_what_it_needs(arrays):
    """J^T_{φ3|w1} [∂ℓ/∂x3] needs nothing of φ1 and φ2."""
    plan = fg.plan(loss_of_network, *arrays, wrt="w1@x3")
    pruned = {node.name for node in plan.pruned}
    assert pruned >= {"x1/matmul", "x1/tanh", "x2/matmul", "x2/sigmoid", "x2/multiply", "x3/multiply"}
    assert [step.node.name for step in plan.steps] == ["x3/matmul", "squared_error", "sum"]


def test_the_network_makes_its_shared_parameter_once():
    def start(key, x, *_):
        return jax.random.normal(key, (x.shape[0], x.shape[0]), x.dtype)

    made = dag(
        "x0",
        x1=node(parametric(phi1, start), "x0", params="w1"),
        x2=node(parametric(phi2, start), "x0", "x1", params="w2"),
        x3=node(phi3, "x1", "x2", params="w1"),
    )
    params, state = made.init(jax.random.key(0), jax.ShapeDtypeStruct((N,), np.float64))
    assert jax.tree.map(np.shape, params) == {"w1": (N, N), "w2": (N, N)}
    assert state == {}
