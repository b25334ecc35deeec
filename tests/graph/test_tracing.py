"""A traced function is the function, as nodes with readable names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence


def names(graph: fg.Graph) -> list[str]:
    return [node.name for node in graph.nodes]


X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
W = jnp.linspace(0.5, -0.5, 8).reshape(4, 2)


def test_an_op_is_one_node_and_jax_code_is_its_equations():
    graph = fg.trace(lambda x, w: jnp.sum(jnp.sin(ops.relu(ops.linear(x, w)))), X, W)
    assert names(graph) == ["linear", "relu", "sin", "reduce_sum"]
    assert [v.name for v in graph.structure.inputs] == ["x", "w"]


def test_names_carry_scopes_and_call_order():
    def f(x):
        for block in ("block0", "block1"):
            with fg.scope(block), jax.named_scope("inner"):
                x = ops.relu(ops.relu(x))
        return x

    assert names(fg.trace(f, X)) == [
        "block0/inner/relu",
        "block0/inner/relu#2",
        "block1/inner/relu",
        "block1/inner/relu#2",
    ]


def test_scopes_survive_transformations_and_inner_jits():
    @jax.jit
    def inner(x):
        with fg.scope("inner"):
            return ops.relu(x)

    def f(x):
        with fg.scope("outer"):
            return jax.vmap(inner)(x)

    assert names(fg.trace(f, X)) == ["outer/inner/relu"]


def test_a_name_labels_a_value_that_nothing_else_reads():
    graph = fg.trace(lambda x: fg.name(ops.relu(x), "h1") * 2.0, X)
    assert names(graph) == ["relu", "mul"]
    assert graph.nodes[0].outputs[0].name == "h1"


def test_a_name_inside_a_jitted_function_keeps_the_outer_scope():
    def f(x):
        with fg.scope("outer"):
            return jax.jit(lambda x: fg.name(ops.relu(x), "h") * 2.0)(x)

    assert fg.trace(f, X).nodes[0].outputs[0].name == "outer/h"
    np.testing.assert_array_equal(fg.grad(lambda x: jnp.sum(f(x)), wrt="outer/h")(X), jnp.full(X.shape, 2.0))


def test_a_number_can_have_a_name():
    graph = fg.trace(lambda x: x * fg.name(2.0, "two"), X)
    np.testing.assert_array_equal(graph(X), 2.0 * X)


def test_a_name_on_one_use_of_a_value_is_a_node():
    graph = fg.trace(lambda x: fg.name(x, "x@first") * x, X)
    assert names(graph) == ["x@first", "mul"]


def test_equal_names_are_numbered():
    def f(x):
        for _ in range(3):
            x = fg.name(ops.relu(x), "h")
        return x

    assert [v.name for n in fg.trace(f, X).nodes for v in n.outputs] == ["h", "h#2", "h#3"]


def test_input_names_are_paths():
    params = {"fc": {"w": W}, "list": [X, X]}
    graph = fg.trace(lambda params, *rest, scale: params["fc"]["w"] * scale, params, X, scale=jnp.ones(()))
    assert [v.name for v in graph.structure.inputs] == [
        "params/fc/w",
        "params/list/0",
        "params/list/1",
        "rest1",
        "scale",
    ]


CASES = {
    "unused output": (lambda x: [jnp.split(x, 2)[0]], X[:2]),
    "repeated input": (lambda x: x * x, X),
    "input returned": (lambda x, y: (x, x, y + 1.0), X, X),
    "literal returned": (lambda x: (x, 3.0), X),
    "no arrays in the result": (lambda x: None, X),
    "closure over an array": (lambda x: x @ np.asarray(W), X),
    "nested jit": (jax.jit(lambda x: jax.jit(jnp.cos)(x) + jax.jit(jnp.cos)(x)), X),
    "scan": (lambda x: jax.lax.scan(lambda c, r: (c + r.sum(), c * r), jnp.zeros(()), x), X),
    "cond": (lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), X),
    "while": (lambda x: jax.lax.while_loop(lambda c: c.sum() < 50.0, lambda c: c + 1.0, x), X),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(x) * 2.0), X),
    "custom derivative": (lambda x: jax.nn.relu(x) + jax.nn.logsumexp(x), X),
    "integers and booleans": (lambda x: (x > 0).astype(np.int32).sum(), X),
    "random key": (lambda key: jax.random.normal(key, (3,)), jax.random.key(0)),
    "bfloat16": (lambda x: x.astype(jnp.bfloat16) * 2, X),
}


@pytest.mark.parametrize("case", CASES)
def test_a_graph_computes_what_its_function_does(case):
    function, *args = CASES[case]
    graph = fg.trace(function, *args)
    expected, found = jax.jit(function)(*args), jax.jit(graph)(*args)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_constants_are_the_leaves_of_the_graph_pytree():
    graph = fg.trace(lambda x: x @ W, X)
    doubled = jax.tree.map(lambda c: 2 * c, graph)
    np.testing.assert_allclose(doubled(X), 2 * (X @ W))
    np.testing.assert_allclose(jax.jit(lambda g, x: g(x))(graph, X), X @ W)


def test_numbers_strings_and_functions_are_fixed_in_the_graph():
    def f(x, n, mode, activation):
        for _ in range(n):
            x = activation(x)
        return x if mode == "same" else -x

    graph = fg.trace(f, X, 3, "negate", ops.relu)
    assert names(graph) == ["relu", "relu#2", "relu#3", "neg"]
    np.testing.assert_array_equal(graph(X, 3, "negate", ops.relu), f(X, 3, "negate", ops.relu))


def test_calling_a_graph_with_another_structure_is_an_error():
    graph = fg.trace(lambda p: p["w"], {"w": W})
    with raises_sentence(fg.errors.GraphError, r"The graph was traced with arguments of structure .*; trace again\."):
        graph({"v": W})


def test_a_graph_prints_its_nodes():
    graph = fg.trace(lambda x, w: ops.relu(ops.linear(x, w)) * 2.0, X, W)
    assert str(graph).splitlines() == [
        f"graph(x: {fg.errors.describe(X)}, w: {fg.errors.describe(W)})",
        f"  linear  linear(x, w) -> linear: {fg.errors.describe(X @ W)}",
        f"  relu    relu(linear) -> relu: {fg.errors.describe(X @ W)}",
        f"  mul     mul(relu, 2.0) -> mul: {fg.errors.describe(X @ W)}",
        "  return mul",
    ]


def test_jit_that_fixes_shardings_is_kept_whole():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    graph = fg.trace(jax.jit(lambda x: jnp.sin(x) * 2.0, out_shardings=sharding), X)
    assert len(graph.nodes) == 1
    np.testing.assert_allclose(graph(X), jnp.sin(X) * 2.0)


def test_an_op_that_cannot_take_its_arguments_says_where_it_stands():
    def f(x, w):
        with fg.scope("block3"):
            return ops.linear(x, w)

    expected = rf"block3/linear: w must be \[4, m\] \(because of x: {_pattern(X)}\), got {_pattern(W.T)}\."
    with raises_sentence(fg.errors.ShapeError, expected):
        fg.trace(f, X, W.T)


def _pattern(x) -> str:
    return fg.errors.describe(x).replace("[", r"\[").replace("]", r"\]")
