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


def all_names(structure):
    """The names of all nodes, and those of all values."""
    nodes = [node.name for node in structure.all_nodes]
    return nodes, [v.name for v in (*structure.constants, *structure.values)]


def clashing(x, w):
    with fg.scope("h#2"):
        x = ops.relu(x)
    with fg.scope("scan"):
        x = fg.name(fg.name(x, "0") * x, "carry0")
    x = fg.name(x * W[0, 0], "scan.0") + fg.name(x + 1, "const0") + fg.name(ops.relu(x), "relu") * jnp.sin(W).sum()
    x, _ = jax.lax.scan(lambda c, r: (fg.name(c * r.sum(), "mul"), c), x, x)
    x = jax.lax.cond(x.sum() > 0, lambda x: jnp.sin(fg.name(x * x, "h")), lambda x: jnp.cos(fg.name(x * x, "h")), x)
    x = ops.layer_norm(fg.name(x, "layer_norm.rstd"), jnp.ones(4), jnp.ones(4))
    x = x + fg.name(x, "x") + fg.name(x * 2, "w/a/b") + fg.name(x * 3, "w") + fg.name(x * 4, "cond/kept0")
    with fg.scope("w/a"):
        return jax.nn.relu(x * w["a/b"].sum() * w["a"]["b"].sum()).sum()


CLASHING = (X, {"a/b": W, "a": {"b": 2 * W}})


def test_no_two_values_or_nodes_have_one_name():
    structure = fg.trace(clashing, *CLASHING).structure
    nodes, values = all_names(structure)
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)
    for node in structure.all_nodes:  # a node shares its name with its only output, or with no value
        assert node.name not in set(values) or [v.name for v in node.outputs] == [node.name]
    asked = {"x", "w/a/b", r"w/a\/b", "scan/0", "scan/carry0", "scan.0", "const0", "relu", "mul", "h", "h#2"}
    assert asked <= set(values)


def test_what_a_plan_adds_has_names_of_its_own():
    plan = fg.plan(clashing, *CLASHING, argnums=(0, 1))
    inside = [plan, *(body for step in plan.steps for body in step.bodies)]
    _, values = all_names(plan.structure)
    added = {v for p in inside for step in p.steps for v in step.saved} - set(plan.structure.values)
    assert {"layer_norm.rstd#2", "cond/kept0#2"} <= {v.name for v in added}
    names = [*values, *(v.name for v in added)]
    assert len(set(names)) == len(names)


def test_the_name_that_a_node_has_anyway_is_shared_with_it():
    graph = fg.trace(lambda x: fg.name(ops.relu(fg.name(ops.relu(x), "relu")), "relu").sum(), X)
    assert names(graph) == ["relu", "relu#2", "reduce_sum"]
    assert [v.name for n in graph.nodes for v in n.outputs] == ["relu", "relu#2", "reduce_sum"]


def test_outer_nodes_are_numbered_before_those_inside():
    def f(x):
        inner = lambda c, r: (jax.lax.cond(r.sum() > 0, lambda c: c * 3.0, jnp.sin, c) * 2.0, None)
        return jax.lax.scan(inner, x[0], x)[0] * 5.0

    graph = fg.trace(f, X)
    assert names(graph)[-1] == "mul"
    inside = graph.nodes[-2].bodies[0].structure
    assert [n.name for n in inside.nodes if n.op_name == "mul"] == ["mul#2"]
    assert "mul#3" in [n.name for n in inside.all_nodes]


def test_a_wrapped_function_has_its_own_name():
    eqx = pytest.importorskip("equinox")

    @eqx.filter_custom_jvp
    def quadratic(x):
        return jnp.sin(x) * x

    @quadratic.def_jvp
    def quadratic_jvp(primals, tangents):
        return quadratic(*primals), tangents[0]

    @eqx.filter_custom_vjp
    def cubic(x):
        return jnp.cos(x) * x

    cubic.def_fwd(lambda perturbed, x: (cubic(x), None))
    cubic.def_bwd(lambda residuals, g, perturbed, x: g)
    found = names(fg.trace(lambda x: quadratic(x) + cubic(x), X))
    assert {"quadratic", "cubic"} < set(found)
    assert not any("wrap" in name for name in found)
