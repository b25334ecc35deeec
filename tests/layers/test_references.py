"""Networks that are pickled and copied are the same networks; what cannot be says so in one sentence."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import GraphError
from funcgrad.layers import Layer, Policy, chain, initializer, linear, mixed, node, parametric, pure, repeat, residual
from tests.layers.networks import NETWORKS
from tests.raising import raises_sentence

OTHERS = {
    "jitted by JAX": chain(linear(3), jax.nn.gelu, jnp.tanh, jax.nn.relu),
    "with options": pure(jax.nn.softmax, axis=-1),
    "an initializer": linear(3, w_init=jax.nn.initializers.zeros, b_init=initializer("normal", stddev=0.1)),
    "mixed": mixed(linear(3), Policy(compute="float16")),
    "nested": repeat(residual(chain(linear(4), ops.relu)), 2),
    "a language model": fg.networks.transformer_lm(16, width=8, depth=1, heads=2),
    "a U-Net": fg.networks.unet(2, widths=(2, 3)),
    "residual": fg.networks.resnet(18, 2),
    "of images": fg.networks.vit(3, width=8, depth=1, heads=2, hidden=8),
    "recurrent": fg.networks.lstm_lm(8, width=4),
}


@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_pickled_and_copied_networks_are_equal(name):
    net = OTHERS[name] if name in OTHERS else NETWORKS[name][0]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(net, protocol))
        assert (twin, hash(twin), repr(twin), type(twin)) == (net, hash(net), repr(net), type(net))
    assert copy.copy(net) == copy.deepcopy(net) == net


def test_what_comes_back_computes_the_same(rng):
    net, shape = NETWORKS["random"]
    x = rng.normal(size=shape)
    twin = pickle.loads(pickle.dumps(net))
    params, state = net.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, twin.init(jax.random.key(0), x), (params, state))
    run = lambda net: net.apply(params, state, x, key=jax.random.key(1), train=True)[0]
    np.testing.assert_array_equal(run(twin), run(net))


@pytest.mark.parametrize(
    "value", [fg.select("a/**"), fg.freeze("b"), initializer("normal"), node(linear(3), "x"), Policy()]
)
def test_what_stands_beside_layers(value):
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_layers_of_lambdas_are_copied():
    net = chain(lambda x: 2 * x)
    assert copy.deepcopy(net) is net


END = r" is not found by that name in tests\.layers\.test_references; define it at the top of a module"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: chain(lambda x: x), r"pure cannot be pickled: its function '.*<lambda>'" + END),
        (lambda: parametric(lambda w, x: w * x), r"parametric cannot be pickled: its function '.*<lambda>'" + END),
        (
            lambda: linear(3, w_init=jax.nn.initializers.he_normal()),
            r"linear cannot be pickled: its w_init 'variance_scaling\.<locals>\.init' is not found by that name in "
            r"jax\._src\.nn\.initializers; define it at the top of a module",
        ),
    ],
)
def test_functions_without_a_name_of_their_own(make, sentence):
    with raises_sentence(GraphError, sentence + r", or save the parameters alone\."):
        pickle.dumps(make())


def test_classes_of_layers_without_a_name_of_their_own():
    class local(Layer):
        def forward(self, params, x):
            return x

    with raises_sentence(GraphError, r"local cannot be pickled: the class '.*<locals>\.local'" + END + r"\."):
        pickle.dumps(local())
