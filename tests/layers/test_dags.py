"""dag: the lecture's example with numbers worked out in numpy, names of nodes and uses, and every bad wiring."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops
from funcgrad.layers import chain, concatenate, dag, dropout, linear, node
from tests.raising import raises_sentence

KEY = jax.random.key(5)


def phi1(w, x0):
    """x1 = tanh(W1 x0)."""
    return jnp.tanh(w @ x0)


def phi2(w, x0, x1):
    """x2 = x0 * (W2 x1)."""
    return x0 * (w @ x1)


def phi3(w, x1, x2):
    """x3 = W1 x1 + x2² (W1 is that of φ1)."""
    return w @ x1 + x2**2


NET = dag(
    "x0",
    x1=node(phi1, "x0", params="w1"),
    x2=node(phi2, "x0", "x1", params="w2"),
    x3=node(phi3, "x1", "x2", params="w1"),
)


class ByHand:
    """Forward and backward of the example in numpy, term by term, for loss = Σ x3."""

    def __init__(self, w1, w2, x0):
        x1 = np.tanh(w1 @ x0)
        m = w2 @ x1
        x2 = x0 * m
        self.output = w1 @ x1 + x2**2
        self.x3_bar = np.ones_like(x0)
        self.x2_bar = 2 * x2 * self.x3_bar
        self.x1_bar = w1.T @ self.x3_bar + w2.T @ (x0 * self.x2_bar)
        s_bar = (1 - x1**2) * self.x1_bar
        self.w1_at_x1 = np.outer(s_bar, x0)
        self.w1_at_x3 = np.outer(self.x3_bar, x1)
        self.w2_bar = np.outer(x0 * self.x2_bar, x1)
        self.x0_bar = w1.T @ s_bar + m * self.x2_bar


@pytest.fixture
def example(rng):
    w1, w2, x0 = rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
    return {"w1": jnp.asarray(w1), "w2": jnp.asarray(w2)}, jnp.asarray(x0), ByHand(w1, w2, x0)


def loss(params, x0):
    return jnp.sum(NET(params, x0))


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_forward(example):
    params, x0, by_hand = example
    assert_close(NET(params, x0), by_hand.output)


def test_gradients(example):
    params, x0, by_hand = example
    params_bar, x0_bar = fg.grad(loss, argnums=(0, 1))(params, x0)
    assert_close(params_bar["w1"], by_hand.w1_at_x1 + by_hand.w1_at_x3)
    assert_close(params_bar["w2"], by_hand.w2_bar)
    assert_close(x0_bar, by_hand.x0_bar)


def test_cotangents_at_the_nodes(example):
    params, x0, by_hand = example
    bars = fg.grad(loss, wrt=["x1", "x2", "x3"])(params, x0)
    assert list(bars) == ["x1", "x2", "x3"]
    for name, bar in bars.items():
        assert_close(bar, getattr(by_hand, f"{name}_bar"))


def test_each_use_of_a_shared_parameter_has_its_term(example):
    params, x0, by_hand = example
    terms = fg.grad(loss, wrt=["w1@x1", "w1@x3"])(params, x0)
    assert_close(terms["w1@x1"], by_hand.w1_at_x1)
    assert_close(terms["w1@x3"], by_hand.w1_at_x3)
    assert_close(terms["w1@x1"] + terms["w1@x3"], fg.grad(loss)(params, x0)["w1"])


def test_only_shared_parameters_have_names_for_their_uses(example):
    params, x0, _ = example
    assert set(fg.grad(loss, wrt="*@*")(params, x0)) == {"w1@x1", "w1@x3"}


def test_terms_of_a_shared_layer_are_named_by_leaf(rng):
    x = rng.normal(size=(3, 4))
    net = dag("x", a=node(chain(linear(4), ops.tanh), "x", params="w"), b=node(chain(linear(4)), "a", params="w"))
    params, _ = net.init(KEY, x)
    total = lambda p: jnp.sum(net(p, x))
    terms = fg.grad(total, wrt="w@**")(params)
    assert set(terms) == {f"w@{n}/linear0/{leaf}" for n in "ab" for leaf in "wb"}
    for leaf, bar in fg.grad(total)(params)["w"]["linear0"].items():
        assert_close(terms[f"w@a/linear0/{leaf}"] + terms[f"w@b/linear0/{leaf}"], bar)


def test_the_order_of_the_lines_is_free(example):
    params, x0, by_hand = example
    for lines in itertools.permutations(NET.nodes):
        net = dag("x0", output="x3", **dict(lines))
        assert [name for name, _ in net.ordered] == ["x1", "x2", "x3"]
        assert_close(net(params, x0), by_hand.output)


def test_the_order_of_the_lines_does_not_change_how_parameters_start(rng):
    x = rng.normal(size=(2, 3))
    lines = {"a": node(linear(4), "x"), "b": node(linear(5), "a")}
    forward, _ = dag("x", **lines).init(KEY, x)
    backward, _ = dag("x", output="b", **dict(reversed(lines.items()))).init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, forward, backward)


def test_several_inputs_and_outputs(rng):
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    net = dag("a", "b", both=node(concatenate(), "a", "b"), sum=node(ops.add, "a", "b"), output=("sum", "both"))
    params, state = net.init(KEY, a, b)
    assert (params, state) == ({}, {})
    total, both = net(params, a, b)
    assert_close(total, a + b)
    assert_close(both, np.concatenate([a, b], axis=-1))


def test_prints_as_it_is_written():
    assert str(NET).splitlines() == [
        "dag(",
        "    'x0',",
        "    x1=node(phi1, 'x0', params='w1'),",
        "    x2=node(phi2, 'x0', 'x1', params='w2'),",
        "    x3=node(phi3, 'x1', 'x2', params='w1'),",
        ")",
    ]
    assert eval(repr(NET), {**vars(layers), "phi1": phi1, "phi2": phi2, "phi3": phi3}) == NET


def test_nested_dags_have_paths(rng):
    x = rng.normal(size=(2, 3))
    net = chain(first=dag("x", h=node(linear(3), "x")), second=dag("x", h=node(linear(3), "x")))
    params, _ = net.init(KEY, x)
    bars = fg.grad(lambda p: jnp.sum(net(p, x)), wrt="*/h")(params)
    assert set(bars) == {"first/h", "second/h"}


def test_random_nodes_draw_independently():
    net = dag("x", a=node(dropout(0.5), "x"), b=node(dropout(0.5), "a"))
    y = np.asarray(net({}, jnp.ones(20000), key=KEY, train=True))
    assert abs((y != 0).mean() - 0.25) < 0.02


def test_shared_parameters_start_once(rng):
    x = rng.normal(size=(2, 3))
    net = dag("x", a=node(linear(3), "x", params="w"), b=node(linear(3), "a", params="w"))
    params, _ = net.init(KEY, x)
    assert jax.tree.map(jnp.shape, params) == {"w": {"w": (3, 3), "b": (3,)}}


GraphError, ShapeError = fg.errors.GraphError, fg.errors.ShapeError


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (
            lambda: dag("x0", block1=node(linear(3), "x0"), head=node(linear(3), "blok1")),
            GraphError,
            r"dag: node 'head' reads 'blok1', which is neither a node nor an input; did you mean 'block1'\?",
        ),
        (
            lambda: dag("image", head=node(linear(3), "z")),
            GraphError,
            r"dag: node 'head' reads 'z', which is neither a node nor an input; there are image, head\.",
        ),
        (
            lambda: dag("x", a=node(ops.add, "x", "c"), b=node(ops.relu, "a"), c=node(ops.relu, "b")),
            GraphError,
            r"dag: the nodes a -> b -> c -> a form a cycle; a node can only read earlier values\.",
        ),
        (
            lambda: dag("x", a=node(ops.relu, "a")),
            GraphError,
            r"dag: the nodes a -> a form a cycle; a node can only read earlier values\.",
        ),
        (
            lambda: dag("x", d=node(ops.relu, "b"), a=node(ops.relu, "b"), b=node(ops.relu, "a")),
            GraphError,
            r"dag: the nodes b -> a -> b form a cycle; a node can only read earlier values\.",
        ),
        (
            lambda: dag("x", a=node(linear(3), "x", "x")),
            ShapeError,
            r"dag: node 'a': linear\(3\) takes 1 input, got 2 \(x, x\)\.",
        ),
        (
            lambda: dag("x", a=node(ops.add, "x")),
            ShapeError,
            r"dag: node 'a': ops\.add takes 2 inputs, got 1 \(x\)\.",
        ),
        (
            lambda: dag("x", a=node(phi2, "x", params="w")),
            ShapeError,
            r"dag: node 'a': parametric\(phi2\) takes 2 inputs, got 1 \(x\)\.",
        ),
        (
            lambda: dag("x", a=node(ops.relu, "x"), output="b"),
            GraphError,
            r"dag: the output 'b' is neither a node nor an input; there are x, a\.",
        ),
        (
            lambda: dag("x", "x", a=node(ops.relu, "x")),
            GraphError,
            r"dag: the input 'x' stands twice; name each input once\.",
        ),
        (
            lambda: dag("x", x=node(ops.relu, "x")),
            GraphError,
            r"dag: 'x' is both an input and a node; rename one of them\.",
        ),
        (
            lambda: dag("x"),
            GraphError,
            r"dag: expects at least one node, got none; write dag\('x0', x1=node\(layer, 'x0'\)\)\.",
        ),
        (lambda: dag("x", a=linear(3)), GraphError, r"dag: 'a' must be made by node\(\.\.\.\), got linear\."),
        (
            lambda: dag(node(linear(3), "x")),
            GraphError,
            r"dag: inputs must be names, got node; write nodes as keywords, x1=node\(\.\.\.\)\.",
        ),
        (
            lambda: node(3, "x"),
            GraphError,
            r"node expects layers or pure functions, got i(32|64)\[\]\.",
        ),
        (
            lambda: dag("x", a=node(linear(4), "x", params="w"), b=node(linear(5), "a", params="w")).init(
                KEY, jnp.ones((2, 4))
            ),
            ShapeError,
            r"dag: nodes 'a' and 'b' share 'w', so 'b' must make it as \{'b': f64\[4\], 'w': f64\[4,4\]\}, "
            r"got \{'b': f64\[5\], 'w': f64\[4,5\]\}; give them parameters of different names\.",
        ),
        (
            lambda: NET({"w1": jnp.ones((4, 4))}, jnp.ones(4)),
            GraphError,
            r"dag: node 'x2' needs params\['w2'\], got params for w1\.",
        ),
        (lambda: NET({}, jnp.ones(4), jnp.ones(4)), ShapeError, r"dag: takes 1 input, got 2\."),
        (
            lambda: NET.init(KEY, jnp.ones(4)),
            GraphError,
            r"x1/parametric: nothing says how phi1 starts; use parametric\(phi1, start\)\.",
        ),
        (
            lambda: dag("x", a=node(linear(4), "x"))(
                {"a": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}}, jnp.ones((2, 5))
            ),
            ShapeError,
            r"a/linear: w must be \[5, m\] \(because of x: f64\[2,5\]\), got f64\[3,4\]\.",
        ),
    ],
)
def test_bad_wiring(make, kind, sentence):
    with raises_sentence(kind, sentence):
        make()


def test_uses_of_parameters_whose_keys_hold_signs_of_patterns():
    """What the keys are made of is escaped when the graph is named, and no two leaves have one name."""
    params = {"w": {"a/b": jnp.ones(2), "a": {"b": jnp.ones(2)}, "c*": jnp.ones(2)}}
    net = dag(
        "x",
        y=node(lambda w, x: x * w["a/b"] * w["a"]["b"] * w["c*"], "x", params="w"),
        z=node(lambda w, y: y + w["c*"], "y", params="w"),
    )
    found = fg.grad(lambda p, x: jnp.sum(net(p, x)), wrt=[r"w@y/c\*", r"w@z/c\*", "w@y/a/b", "w@y/a/b#2"])
    gradients = found(params, jnp.full(2, 3.0))
    assert {n: g.tolist() for n, g in gradients.items()} == {
        r"w@y/c\*": [3.0, 3.0],
        r"w@z/c\*": [1.0, 1.0],
        "w@y/a/b": [3.0, 3.0],
        "w@y/a/b#2": [3.0, 3.0],
    }
