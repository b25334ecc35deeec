"""`fg.value_and_grad` in the place of `eqx.filter_value_and_grad`, and names however modules are called."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from tests.adapters.asserting import assert_same, scopes

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nn = eqx.nn


class Block(eqx.Module):
    norm: nn.LayerNorm
    linear: nn.Linear
    activation: object
    name: str

    def __init__(self, key):
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 4, key=key)
        self.activation, self.name = jax.nn.gelu, "block"

    def __call__(self, x):
        return x + self.activation(self.linear(self.norm(x)))


class Net(eqx.Module):
    """Leaves of all kinds: floating and integer arrays, functions, numbers, strings."""

    blocks: list
    out: nn.Linear
    order: jax.Array
    scale: float

    def __init__(self, key):
        self.blocks = [Block(k) for k in jax.random.split(key, 2)]
        self.out, self.order, self.scale = nn.Linear(4, 3, key=key), jnp.arange(3), 2.0

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.scale * self.out(x)[self.order]


class Stacked(eqx.Module):
    """Layers in one module, scanned over."""

    blocks: Block

    def __init__(self, key):
        self.blocks = eqx.filter_vmap(Block)(jax.random.split(key, 3))

    def __call__(self, x):
        arrays, static = eqx.partition(self.blocks, eqx.is_array)
        return jax.lax.scan(lambda x, layer: (eqx.combine(layer, static)(x), None), x, arrays)[0]


class Tied(eqx.Module):
    """A module that is handed to another one."""

    embed: nn.Embedding
    decode: eqx.Module

    class Decoder(eqx.Module):
        def __call__(self, embed, token):
            return jnp.sin(embed(token))

    def __init__(self, key):
        self.embed, self.decode = nn.Embedding(5, 4, key=key), Tied.Decoder()

    def __call__(self, token):
        return self.decode(self.embed, token)


KEY = np.array([0, 1], np.uint32)
"""A raw key: no array is made while modules are imported."""


def net(cls=Net):
    return cls(jax.random.wrap_key_data(jnp.asarray(KEY)))


def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)


def loss(model, x):
    return (jax.vmap(model)(x) ** 2).mean()


def test_gradient_is_that_of_equinox():
    model = net()
    value, gradient = fg.value_and_grad(loss)(model, x())
    assert_same((value, gradient), eqx.filter_value_and_grad(loss)(model, x()))
    assert gradient.order is gradient.scale is gradient.blocks[0].activation is None
    eqx.apply_updates(model, gradient)


@pytest.mark.parametrize("wrap", [eqx.filter_jit, eqx.filter_checkpoint])
def test_losses_that_are_transformed(wrap):
    assert_same(fg.grad(wrap(loss))(net(), x()), eqx.filter_grad(loss)(net(), x()))


def test_under_filter_jit():
    assert_same(eqx.filter_jit(fg.grad(loss))(net(), x()), eqx.filter_grad(loss)(net(), x()))


def test_second_arguments_and_containers():
    f = lambda x, models: loss(models["net"], x)
    model = {"net": net(), "power": 2}
    gradient = fg.grad(f, (1, 0))(x(), model)
    expected = eqx.filter_grad(lambda both: f(both[1], both[0]))((model, x()))
    assert_same(gradient, expected)


class Counting(eqx.Module):
    """State of several dtypes, one leaf of which becomes a constant."""

    index: nn.StateIndex
    w: jax.Array

    def __init__(self):
        self.index = nn.StateIndex((jnp.array(0), jnp.array(True), jnp.zeros(4)))
        self.w = jnp.arange(4.0)

    def __call__(self, x, state):
        n, _, total = state.get(self.index)
        y = self.w * x
        return y * (n + 1), state.set(self.index, (n + 1, jnp.array(False), total + y))


def linear():
    return nn.Linear(4, 4, key=jax.random.key(0))


STATEFUL = {
    "batch normalization, ema": lambda: nn.BatchNorm(4, "batch", mode="ema"),
    "batch normalization, batch": lambda: nn.BatchNorm(4, "batch", mode="batch"),
    "spectral normalization": lambda: nn.SpectralNorm(
        nn.Linear(4, 4, key=jax.random.key(0)), "weight", key=jax.random.key(1)
    ),
    "counting": Counting,
}


@pytest.mark.parametrize("make", STATEFUL.values(), ids=STATEFUL.keys())
def test_state_as_auxiliary_output(make):
    """Arrays of the same dtypes come back, so that the state may be used again."""
    model, state = nn.make_with_state(make)()

    def f(model, state, x):
        apply = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
        if make is Counting:
            apply = lambda x, state: model(x.sum(0), state)
        y, state = apply(x, state)
        return (y**3).mean(), state

    both = fg.value_and_grad(f, has_aux=True), eqx.filter_value_and_grad(f, has_aux=True)
    states = state, state
    for _ in range(2):
        ours, theirs = (step(model, state, x()) for step, state in zip(both, states, strict=True))
        assert_same(ours, theirs)
        states = ours[0][1], theirs[0][1]


def test_layers_that_are_shared():
    """As pytrees they are two layers, unless `eqx.nn.Shared` makes one of them."""
    layer = linear()
    f = lambda layers, x: (layers[1](layers[0](x)) ** 2).sum()
    assert_same(fg.grad(f)((layer, layer), x()[0]), eqx.filter_grad(f)((layer, layer), x()[0]))

    class Language(eqx.Module):
        shared: nn.Shared

        def __init__(self, key):
            parts = nn.Embedding(5, 4, key=key), nn.Linear(4, 5, key=key)
            self.shared = nn.Shared(parts, where=lambda parts: parts[1].weight, get=lambda parts: parts[0].weight)

        def __call__(self, token):
            embed, out = self.shared()
            return out(embed(token))

    tokens = jnp.arange(3)
    assert_same(fg.grad(loss)(net(Language), tokens), eqx.filter_grad(loss)(net(Language), tokens))


def test_an_ensemble():
    models = eqx.filter_vmap(lambda key: nn.Linear(4, 2, key=key))(jax.random.split(jax.random.key(0), 3))
    run = lambda grad: eqx.filter_vmap(grad(loss), in_axes=(eqx.if_array(0), None))(models, x())
    assert_same(run(fg.grad), run(eqx.filter_grad))


def test_a_tape_pulls_a_module():
    model = net()
    y, tape = fg.record(lambda model, x: jax.vmap(model)(x), model, x())
    model_bar, x_bar = tape.pull(2 * y / y.size)
    assert_same(model_bar, eqx.filter_grad(loss)(model, x()))
    assert_same(x_bar, jax.grad(loss, 1)(model, x()))


def test_shapes_are_enough_for_a_plan():
    shapes = eqx.filter_eval_shape(net)
    wanted = fg.plan(loss, shapes, jax.ShapeDtypeStruct((5, 4), jnp.float32)).wanted
    assert {"model/blocks/0/linear/weight", "model/out/bias"} <= {v.name for v in wanted}
    assert "model/order" not in {v.name for v in wanted}


def test_a_graph_is_called_with_modules():
    model = net()
    np.testing.assert_allclose(fg.trace(loss, model, x())(model, x()), loss(model, x()), rtol=1e-6)


def test_gradients_by_name():
    found = fg.grad(loss, wrt="model/blocks/*/linear/*")(net(), x())
    expected = eqx.filter_grad(loss)(net(), x())
    for i in range(2):
        name = f"model/blocks/{i}/linear"
        np.testing.assert_allclose(found[f"{name}/weight"], expected.blocks[i].linear.weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[f"{name}/add"].sum(0), expected.blocks[i].linear.bias, rtol=1e-4, atol=1e-6)


BLOCK = ("norm", "linear", "gelu", "")
EXPECTED = [*(f"blocks/{i}/{part}".rstrip("/") for i in range(2) for part in BLOCK), "out", ""]


def under(root):
    """The places of `Net` where it is called `root`."""
    return [f"{root}/{path}".rstrip("/") for path in EXPECTED]


def assert_places(root, function, *args):
    """The places of `Net`, with those of the loss left out."""
    assert [s for s in scopes(function, *args) if s] == under(root)


def test_names_where_the_module_is_an_argument():
    assert_places("model", loss, net(), x())
    assert_places("model", eqx.filter_jit(loss), net(), x())
    assert_places("net", lambda x, net: loss(net, x), x(), net())
    assert_places("models/main", lambda models, x: loss(models["main"], x), {"main": net()}, x())


def test_names_where_the_module_is_closed_over():
    closed = net()
    assert_places("closed", lambda x: loss(closed, x), x())
    assert_places("model", functools.partial(loss, net()), x())
    assert_places("Net", net().__call__, x()[0])

    def helper(x):
        return loss(closed, x)

    assert_places("closed", lambda x: helper(x), x())

    class Trainer:
        def __init__(self):
            self.network = net()

        def loss(self, x):
            return loss(self.network, x)

    assert_places("network", Trainer().loss, x())


def test_names_where_the_module_is_partitioned():
    params, static = eqx.partition(net(), eqx.is_inexact_array)
    assert_places("params", lambda params, static, x: loss(eqx.combine(params, static), x), params, static, x())
    assert_places("params", lambda params, x: loss(eqx.combine(params, static), x), params, x())
    f = lambda params, x: loss(eqx.combine(params, static), x)
    assert_same(fg.grad(f)(params, x()), jax.grad(f)(params, x()))


def test_names_in_a_scan_over_stacked_layers():
    model = net(Stacked)
    assert_same(fg.grad(loss)(model, x()), eqx.filter_grad(loss)(model, x()))
    assert scopes(loss, model, x()) == ["model", *(f"model/blocks/{part}".rstrip("/") for part in BLOCK), ""]


def test_a_module_handed_to_another_keeps_its_own_path():
    tokens = jnp.arange(3)
    assert scopes(loss, net(Tied), tokens)[:2] == ["model/embed", "model/decode"]


def test_modules_alike_that_are_put_together_anew_go_by_their_class():
    f = lambda model, x: (jax.vmap(lambda x: eqx.filter_checkpoint(model.blocks[0])(x))(x) ** 2).mean()
    assert_same(fg.grad(f)(net(), x()), eqx.filter_grad(f)(net(), x()))
    block = "model/blocks/Block"
    assert scopes(f, net(), x()) == ["", *(f"{block}/{part}".rstrip("/") for part in BLOCK)]


def test_names_do_not_depend_on_what_jax_has_traced_before():
    inner = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))
    f = lambda model, x: (inner(model, x) ** 2).mean()
    f(net(), x())
    assert_places("model", f, net(), x())
    assert_places("other", lambda other, x: (inner(other, x) ** 2).mean(), net(), x())


def test_optax_losses():
    labels = jnp.arange(5) % 3
    f = lambda model, x: optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels).mean()
    assert_same(fg.grad(f)(net(), x()), eqx.filter_grad(f)(net(), x()))
