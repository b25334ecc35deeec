"""`fg.value_and_grad` in the place of `nnx.value_and_grad`: gradients, and what the forward changes in the modules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from tests.adapters.asserting import assert_same, scopes
from tests.raising import raises_sentence

nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")


class Cell(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x):
        return nnx.tanh(self.linear(x))


class Net(nnx.Module):
    """Parameters, running statistics, random numbers, and attributes that are no arrays."""

    def __init__(self, rngs):
        self.cells = nnx.List([Cell(rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.activation, self.calls = nnx.relu, 0

    def __call__(self, x):
        self.calls += 1
        for cell in self.cells:
            x = self.activation(cell(x))
        return self.dropout(self.norm(x))


class Shared(nnx.Module):
    """One layer at two paths, and one that is called through another method."""

    def __init__(self, rngs):
        self.a = nnx.Linear(3, 3, rngs=rngs)
        self.b = self.a
        self.embed = nnx.Embed(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.embed.attend(self.b(self.a(x)))


def x():
    return jax.random.normal(jax.random.key(1), (4, 3))


def loss(model, x):
    return (model(x) ** 2).mean()


def test_gradient_and_new_state_are_those_of_nnx():
    ours, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    for _ in range(2):
        assert_same(fg.value_and_grad(loss)(ours, x()), nnx.value_and_grad(loss)(theirs, x()))
        assert_same(nnx.state(ours), nnx.state(theirs))
    assert ours.calls == theirs.calls == 2
    assert int(ours.dropout.rngs.count[...]) == 2


@pytest.mark.parametrize("argnums", [1, (0, 1), (1, 0)])
def test_argnums(argnums):
    ours, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    assert_same(fg.grad(loss, argnums)(ours, x()), nnx.grad(loss, argnums=argnums)(theirs, x()))


@pytest.mark.parametrize(
    "argnums",
    [
        nnx.DiffState(0, nnx.Param),
        nnx.DiffState(0, nnx.All(nnx.Param, nnx.PathContains("cells"))),
        nnx.DiffState(0, nnx.BatchStat),
        (nnx.DiffState(0, nnx.PathContains("norm")), 1),
    ],
)
def test_a_diff_state_chooses_variables(argnums):
    ours, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    assert_same(fg.grad(loss, argnums)(ours, x()), nnx.grad(loss, argnums=argnums)(theirs, x()))
    assert_same(nnx.state(ours), nnx.state(theirs))


def test_auxiliary_output_may_hold_modules():
    def with_aux(model, x):
        return loss(model, x), {"model": model, "x": x}

    net = Net(nnx.Rngs(0))
    gradient, aux = fg.grad(with_aux, has_aux=True)(net, x())
    assert aux["model"] is net
    assert_same(gradient, nnx.grad(loss)(Net(nnx.Rngs(0)), x()))


@pytest.mark.parametrize("is_graph", [True, False])
def test_auxiliary_output_that_is_no_array(is_graph):
    """It is handed through as it is, beside what the model changes."""
    thing, net = object(), nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    f = lambda model, x: (loss(model, x), {"thing": thing, "name": "relu", "n": 3, "is_done": jnp.array(True)})
    with nnx.set_graph_mode(is_graph):
        _, aux = fg.grad(f, has_aux=True)(net, x())
    assert aux["thing"] is thing
    assert (aux["name"], aux["n"]) == ("relu", 3)
    assert isinstance(aux["is_done"], jax.Array)
    assert net.mean[...].any()


def test_keyword_arguments_and_containers():
    def f(models, x, head):
        return loss(models["a"], x) + jnp.sum(head(x))

    ours, theirs = ({"a": Net(nnx.Rngs(0))}, Cell(nnx.Rngs(1))), ({"a": Net(nnx.Rngs(0))}, Cell(nnx.Rngs(1)))
    assert_same(fg.grad(f)(ours[0], x(), head=ours[1]), nnx.grad(f)(theirs[0], x(), head=theirs[1]))
    assert_same(nnx.state(ours[0]["a"]), nnx.state(theirs[0]["a"]))


def test_a_variable_held_twice_has_one_gradient():
    net = Shared(nnx.Rngs(0))
    gradient = fg.grad(loss)(net, x())
    assert_same(gradient, nnx.grad(loss)(net, x()))
    assert set(gradient) == {"a", "embed"}


def test_one_module_in_two_arguments():
    f = lambda a, b, x: loss(a, x) + loss(b, x)
    ours, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    assert_same(fg.grad(f, (0, 1))(ours, ours, x()), nnx.grad(f, argnums=(0, 1))(theirs, theirs, x()))
    assert_same(nnx.state(ours), nnx.state(theirs))
    with raises_sentence(
        fg.errors.GradientError,
        r"Argument 'b' holds a Param that is in 'a' too, by which the loss is differentiated; differentiate by both, "
        r"or pass a copy \(nnx\.clone\)\.",
    ):
        fg.grad(f)(ours, ours, x())


class Cyclic(nnx.Module):
    def __init__(self, rngs):
        self.linear, self.itself = nnx.Linear(3, 3, rngs=rngs), self

    def __call__(self, x):
        return self.itself.linear(x)


class NoPytree(nnx.Module, pytree=False):
    def __init__(self, rngs):
        self.cells, self.head, self.calls = [Cell(rngs)], nnx.BatchNorm(3, rngs=rngs), []

    def __call__(self, x):
        self.calls.append(len(self.calls))
        self.last, self.again = x.shape, [self.head]
        for cell in self.cells:
            x = cell(x)
        return self.head(x)


class Buffered(nnx.Module):
    """An array that is no variable."""

    def __init__(self, rngs):
        self.linear, self.mean = nnx.Linear(3, 3, rngs=rngs), nnx.data(jnp.zeros(3))

    def __call__(self, x):
        self.mean = self.mean + x.mean(0)
        return self.linear(x - self.mean)


@pytest.mark.parametrize("kind", [Cyclic, NoPytree, Buffered])
def test_modules_of_all_kinds(kind):
    ours, theirs = kind(nnx.Rngs(0)), kind(nnx.Rngs(0))
    for _ in range(2):
        assert_same(fg.value_and_grad(loss)(ours, x()), nnx.value_and_grad(loss)(theirs, x()))
    assert_same(nnx.state(ours), nnx.state(theirs))
    assert nnx.graphdef(ours) == nnx.graphdef(theirs)
    assert scopes(loss, ours, x())


def test_a_module_that_is_no_pytree():
    net = NoPytree(nnx.Rngs(0))
    head = net.head
    fg.grad(loss)(net, x())
    assert net.head is net.again[0] is head
    with raises_sentence(
        fg.errors.GradientError,
        r"Argument 'b' holds a BatchStat that is in 'a' too, by which the loss is differentiated; differentiate by "
        r"both, or pass a copy \(nnx\.clone\)\.",
    ):
        fg.grad(lambda a, b, x: loss(a, x) + a.cells[0](b(x)).sum())(net, net.head, x())


@pytest.mark.parametrize("kind", ["ref", "hijax"])
def test_variables_that_are_references(kind):
    with nnx.var_defaults(**{kind: True}):
        net = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    with raises_sentence(
        fg.errors.GradientError,
        rf"'model/bias' is a Param with {kind}=True, by which JAX does not differentiate; differentiate by plain ones: "
        rf"nnx\.with_vars\(model, {kind}=False\)\.",
    ):
        fg.grad(loss)(net, x())
    plain = nnx.with_vars(net, **{kind: False})
    assert_same(fg.grad(loss)(plain, x()), nnx.grad(loss)(plain, x()))


def test_a_variable_that_is_an_object_of_jax_and_no_array():
    """No gradient is lost in it: what is only read is an array, of the rest comes JAX's derivative, or a sentence."""
    c = nnx.Variable(jnp.asarray(3.0), hijax=True)
    read = lambda w: jnp.sin(c[...] * w)
    for grad in (fg.grad(read), jax.jit(fg.grad(read))):
        np.testing.assert_allclose(grad(2.0), 3 * np.cos(6.0), rtol=1e-5)

    def made(w):
        return jnp.sin(nnx.Variable(2 * w, hijax=True)[...] * w)

    if jax.__version_info__ >= (0, 12):
        np.testing.assert_allclose(fg.grad(made)(2.0), 8 * np.cos(8.0), rtol=1e-5)
    else:  # nor has JAX a derivative then
        with pytest.raises(fg.errors.GradientError, match="what its derivative is made by raised"):
            fg.grad(made)(2.0)
    with raises_sentence(
        fg.errors.GraphError,
        r"The function uses an object made outside of it that is no array for JAX but an AbstractVariable \(hijax\), "
        r"which no graph can hold; give it arrays, which for Flax NNX nnx\.with_vars\(model, hijax=False\) has\.",
    ):
        fg.grad(lambda w: jnp.sum(jax.lax.map(lambda s: c[...] * s, w * jnp.ones(2))))(2.0)


def test_training_under_nnx_jit():
    def train(value_and_grad):
        model = Net(nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, x):
            value, gradient = value_and_grad(loss)(model, x)
            optimizer.update(model, gradient)
            return value

        return [step(model, optimizer, x()) for _ in range(3)], nnx.state(model)

    assert_same(train(fg.value_and_grad), train(nnx.value_and_grad))


def test_under_jax_jit_and_vmap():
    net = Cell(nnx.Rngs(0))
    assert_same(jax.jit(lambda m, x: fg.grad(loss)(m, x))(net, x()), nnx.grad(loss)(net, x()))
    found = jax.vmap(fg.grad(loss), (None, 0))(net, x())
    assert_same(jax.tree.map(lambda g: g.mean(0), found), nnx.grad(loss)(net, x()))


def test_split_and_merge():
    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)

    def f(params, x):
        return loss(nnx.merge(graph, params, rest, copy=True), x)

    assert_same(fg.value_and_grad(f)(params, x()), jax.value_and_grad(f)(params, x()))
    assert [v.name for v in fg.trace(f, params, x()).structure.inputs][:2] == [
        "params/cells/0/linear/bias",
        "params/cells/0/linear/kernel",
    ]
    assert scopes(f, params, x())[:2] == ["params/cells/0/linear", "params/cells/0"]


def test_a_graph_is_pure():
    net = Net(nnx.Rngs(0))
    before = jax.tree.map(lambda a: a, nnx.state(net))
    graph = fg.trace(loss, net, x())
    np.testing.assert_allclose(graph(net, x()), loss(nnx.clone(net), x()), rtol=1e-6)
    assert_same(nnx.state(net), before)


def test_a_plan_changes_nothing():
    net = Net(nnx.Rngs(0))
    fg.plan(loss, net, x())
    assert net.calls == 0
    assert int(net.dropout.rngs.count[...]) == 0


def test_shapes_are_enough_for_a_plan():
    model = nnx.eval_shape(lambda: Cell(nnx.Rngs(0)))
    wanted = fg.plan(loss, model, jax.ShapeDtypeStruct((4, 3), jnp.float32)).wanted
    assert [v.name for v in wanted] == ["model/linear/bias", "model/linear/kernel"]


def test_a_tape_pulls_what_is_differentiated():
    net = Shared(nnx.Rngs(0))
    y, tape = fg.record(lambda model, x: model(x), net, x())
    model_bar, x_bar = tape.pull(2 * y / y.size)
    assert_same((model_bar, x_bar), nnx.grad(loss, argnums=(0, 1))(net, x()))


def test_gradients_by_name():
    net = Net(nnx.Rngs(0))
    found = fg.grad(loss, wrt="model/cells/*/linear/*")(net, x())
    expected = nnx.grad(loss)(Net(nnx.Rngs(0)), x())
    for i in range(2):
        np.testing.assert_allclose(
            found[f"model/cells/{i}/linear/kernel"], expected["cells"][i]["linear"]["kernel"][...], rtol=1e-4, atol=1e-6
        )
        # The layer adds its bias last, so the cotangent there is the bias's before the batch is summed away.
        np.testing.assert_allclose(
            found[f"model/cells/{i}/linear/add"].sum(0), found[f"model/cells/{i}/linear/bias"], atol=1e-6
        )


def test_an_error_inside_leaves_everything_as_it_was():
    net, call = Net(nnx.Rngs(0)), Cell.__call__

    def broken(model, x):
        model(x)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fg.grad(broken)(net, x())
    assert Cell.__call__ is call
    assert net.calls == 0
    assert_same(fg.grad(loss)(net, x()), nnx.grad(loss)(Net(nnx.Rngs(0)), x()))


def test_names_of_shared_modules_and_of_other_methods():
    assert scopes(loss, Shared(nnx.Rngs(0)), x())[:2] == ["model/a", "model/embed"]


def test_names_in_stacked_modules_and_recurrent_ones():
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def stack(rngs):
        return Cell(rngs)

    class Deep(nnx.Module):
        def __init__(self, rngs):
            self.cells = stack(rngs)

        def __call__(self, x):
            return nnx.scan(lambda x, cell: cell(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.cells)

    deep = Deep(nnx.Rngs(0))
    assert_same(fg.grad(loss)(deep, x()), nnx.grad(loss)(deep, x()))
    assert scopes(loss, deep, x())[:3] == ["model", "model/cells/linear", "model/cells"]


def test_names_in_methods_that_are_transformed():
    class Remat(nnx.Module):
        def __init__(self, rngs):
            self.cells = nnx.List([Cell(rngs), Cell(rngs)])

        @functools.partial(nnx.remat, static_argnums=())
        def __call__(self, x):
            return self.cells[1](self.cells[0](x))

    net = Remat(nnx.Rngs(0))
    assert_same(fg.grad(loss)(net, x()), nnx.grad(loss)(net, x()))
    # The layers are new objects in there, and alike.
    assert {"model", "model/cells/Cell", "model/cells/Cell/linear"} <= set(scopes(loss, net, x()))
