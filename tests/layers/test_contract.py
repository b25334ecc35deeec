"""What every layer promises: structure is static, prints and reads back; init and apply are pure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops
from funcgrad.layers import chain, dropout, linear, parametric, pure
from tests.layers import networks
from tests.layers.networks import KEY, NETWORKS, start
from tests.raising import raises_sentence


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    """For all tests of one network, which pytest lets follow each other."""
    return start(request.param)


def test_structure_is_a_pytree_without_leaves(case):
    net = case[0]
    assert jax.tree.leaves(net) == []
    assert jax.tree.map(lambda x: 1 / 0, net) == net


def test_passes_through_jit_and_is_traced_once_for_equal_networks(case):
    net, params, state, x = case
    traces = []

    @jax.jit
    def run(net, params, state, x):
        traces.append(net)
        return net.apply(params, state, x)[0]

    expected = net.apply(params, state, x)[0]  # step by step
    twin = eval(repr(net), {**vars(layers), **vars(networks)})
    for same in (net, twin):
        np.testing.assert_allclose(run(same, params, state, x), expected, rtol=1e-12)
    assert len(traces) == 1


def test_passes_through_vmap_over_params(case):
    net, _, state, x = case
    apply = lambda net, params: net.apply(params, state, x)[0]

    @jax.jit
    def mapped(net, keys):
        many = jax.vmap(lambda net, k: net.init(k, x)[0], in_axes=(None, 0))(net, keys)
        return many, jax.vmap(apply, in_axes=(None, 0))(net, many)

    many, found = mapped(net, jax.random.split(KEY, 2))
    for i in range(2):
        one = jax.tree.map(lambda a: a[i], many)  # noqa: B023
        np.testing.assert_allclose(found[i], jax.jit(apply)(net, one), rtol=1e-12, atol=1e-12)


def test_prints_what_python_reads_back(case):
    net = case[0]
    assert eval(repr(net), {**vars(layers), **vars(networks)}) == net


def test_networks_with_other_fields_differ():
    assert len({net for net, _ in NETWORKS.values()}) == len(NETWORKS)
    assert linear(3) != linear(4)
    assert hash(chain(linear(3), ops.relu)) == hash(chain(linear(3), ops.relu))


def test_params_have_the_dtype_of_the_input(case):
    net, _, _, x = case
    for dtype in (jnp.float32, jnp.bfloat16):
        spec = jax.ShapeDtypeStruct(x.shape, dtype)
        params, state = jax.eval_shape(net.init, KEY, spec)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype(dtype), jnp.dtype(jnp.float32)}
        output = jax.eval_shape(net.apply, params, state, spec)[0]
        assert {leaf.dtype for leaf in jax.tree.leaves(output)} == {jnp.dtype(dtype)}


def test_init_depends_on_the_key_alone(case):
    net, params, _, x = case
    again, _ = jax.jit(lambda: net.init(KEY, jax.ShapeDtypeStruct(x.shape, x.dtype)))()
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_state_keeps_its_structure(case):
    net, params, state, x = case
    after = net.apply(params, state, x, key=KEY, train=True)[1]
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [leaf.shape for leaf in jax.tree.leaves(after)] == [leaf.shape for leaf in jax.tree.leaves(state)]


def test_gradients_equal_those_of_jax(case):
    net, params, state, x = case

    def loss(params, x):
        return jnp.sum(jnp.sin(net.apply(params, state, x, key=KEY, train=True)[0]))

    expected = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    found = jax.jit(fg.grad(loss, argnums=(0, 1)))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


@pytest.mark.parametrize("name", ["mlp", "convolutional", "branches", "residual", "random"])
def test_parameter_paths_are_node_prefixes(name, rng):
    net, shape = NETWORKS[name]
    x = rng.normal(size=shape)
    params, _ = net.init(KEY, x)
    graph = fg.trace(net, params, x)
    readers = {v.name: node.name for node in graph.nodes for v in node.inputs}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        path = [k.key for k in path]
        assert readers[f"params/{'/'.join(path)}"].startswith(f"{'/'.join(path[:-1])}/")


def test_stateless_shorthand_refuses_to_lose_state(rng):
    class stubborn(layers.Layer):
        def apply(self, params, state, x, *, key=None, train=False):
            return x, {"n": jnp.zeros(())}

    with raises_sentence(
        fg.errors.GraphError, r"stubborn: keeps state, which net\(params, x\) would lose; use net\.apply\."
    ):
        stubborn()({}, rng.normal(size=3))


def test_long_networks_print_one_layer_a_line():
    net = chain(*[linear(100 + i) for i in range(12)])
    lines = repr(net).splitlines()
    assert lines[0] == "chain("
    assert lines[1] == "    linear(100),"
    assert lines[-1] == ")"
    assert len(lines) == 14


def test_partial_functions_compare_by_value():
    from functools import partial

    assert pure(partial(ops.leaky_relu, negative_slope=0.1)) == pure(ops.leaky_relu, negative_slope=0.1)


def test_no_key_is_split_off_where_nothing_is_random(rng):
    net, _ = NETWORKS["mlp"]
    x = rng.normal(size=(3, 4))
    params, state = net.init(KEY, x)
    jaxpr = jax.make_jaxpr(lambda p, k: net.apply(p, state, x, key=k, train=True)[0])(params, KEY)
    assert "random" not in str(jaxpr)


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (
            lambda: chain(linear),
            fg.errors.GraphError,
            r"chain expects layers or pure functions, got the class linear itself; call it to make a layer\.",
        ),
        (lambda: chain(3), fg.errors.GraphError, r"chain expects layers or pure functions, got i(32|64)\[\]\."),
        (
            lambda: chain(linear(3), linear0=linear(2)),
            fg.errors.GraphError,
            r"chain: the name 'linear0' stands twice \(layers without one are numbered\); rename it\.",
        ),
        (lambda: dropout(1.0), fg.errors.GraphError, r"dropout: rate must be in \[0, 1\), got 1\.0\."),
        (lambda: layers.repeat(linear(3), 0), fg.errors.GraphError, r"repeat: n must be at least 1, got 0\."),
        (
            lambda: linear(3, w_init="he_norml").init(KEY, jnp.ones((2, 3))),
            fg.errors.GraphError,
            r"jax\.nn\.initializers has no 'he_norml'; did you mean 'he_normal'\?",
        ),
        (
            lambda: chain(parametric(networks.shift)).init(KEY, jnp.ones((2, 3))),
            fg.errors.GraphError,
            r"parametric0/parametric: nothing says how shift starts; use parametric\(shift, start\)\.",
        ),
    ],
)
def test_bad_descriptions(make, kind, sentence):
    with raises_sentence(kind, sentence):
        make()
