"""NNX's tree mode: modules are pytrees, and their gradients modules, as for `jax.grad` and `nnx.grad(graph=False)`."""

import jax
import optax
import pytest

import funcgrad as fg
from tests.adapters.asserting import assert_same, scopes
from tests.raising import raises_sentence

nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")


class Net(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.linear(x))


@pytest.fixture(autouse=True)
def tree_mode():
    with nnx.set_graph_mode(False):
        yield


def net():
    return Net(nnx.Rngs(0))


def x():
    return jax.random.normal(jax.random.key(1), (4, 3))


def loss(model, x):
    return (model(x) ** 2).mean()


def test_the_gradient_is_a_module():
    ours, theirs = net(), net()
    for _ in range(2):
        gradient = fg.grad(loss)(ours, x())
        assert_same(gradient, jax.grad(loss)(theirs, x()))
        assert_same(gradient, nnx.grad(loss, graph=False)(theirs, x()))
        assert_same(ours, theirs)
    assert type(gradient) is Net
    assert type(gradient.linear.kernel) is nnx.Param


def test_auxiliary_output_and_other_arguments():
    f = lambda x, models, head: (loss(models["a"], head(x)), {"head": head, "mean": models["a"].norm.mean[...]})
    (ours, theirs), head = (net(), net()), nnx.Linear(3, 3, rngs=nnx.Rngs(1))
    found = fg.value_and_grad(f, (1, 0), has_aux=True)(x(), {"a": ours}, head=head)
    expected = jax.value_and_grad(f, (1, 0), has_aux=True)(x(), {"a": theirs}, head=head)
    assert_same(found, expected)
    assert_same(ours.norm.mean[...], found[0][1]["mean"])


def test_training_under_jit():
    optimizer = optax.sgd(0.1)

    def train(value_and_grad):
        @jax.jit
        def step(model, x):
            value, gradient = value_and_grad(loss)(model, x)
            updates, _ = optimizer.update(gradient, optimizer.init(model))
            return value, optax.apply_updates(model, updates)

        model, values = net(), []
        for _ in range(3):
            value, model = step(model, x())
            values.append(value)
        return values, model

    assert_same(train(fg.value_and_grad), train(lambda f: nnx.value_and_grad(f, graph=False)))


def test_a_selector_chooses_leaves():
    gradient = fg.grad(loss, wrt=fg.select("linear/*"))(net(), x())
    assert_same(gradient.linear, jax.grad(loss)(net(), x()).linear)
    assert gradient.norm.scale.get_raw_value() is None


def test_names():
    assert scopes(loss, net(), x())[:2] == ["model/linear", "model/norm"]
    assert [v.name for v in fg.plan(loss, net(), x()).wanted][:2] == ["model/linear/bias", "model/linear/kernel"]


def test_a_captured_model():
    model = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    found = jax.jit(lambda s: fg.grad(lambda model: loss(model, x()) * s)(model))(1.0)
    assert_same(found, jax.grad(loss)(model, x()))
    normed = net()
    before = normed.norm.mean.get_raw_value()
    with raises_sentence(
        fg.errors.GradientError,
        r"The function changes 'model/norm/mean' and 1 more, which were made outside of the jit, vmap, scan or other "
        r"transformation around this call; make their module an argument of that transformation \(nnx\.jit, nnx\.vmap, "
        r"nnx\.scan\), or call a copy \(nnx\.clone\) in the function\.",
    ):
        jax.jit(lambda x: fg.grad(loss)(normed, x))(x())
    assert normed.norm.mean.get_raw_value() is before


def test_filters_belong_to_graph_mode():
    with raises_sentence(
        fg.errors.GradientError,
        r"An nnx\.DiffState chooses variables of 'model', which is a pytree in NNX's tree mode; choose leaves by "
        r"wrt=fg\.select\(\.\.\.\), or leave tree mode \(nnx\.set_graph_mode, nnx\.set_graph_updates\)\.",
    ):
        fg.grad(loss, nnx.DiffState(0, nnx.Param))(net(), x())


def test_pytrees_share_nothing():
    layer = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    with raises_sentence(
        fg.errors.GradientError,
        r"'models/b/bias' is the same Param as 'models/a/bias', which pytrees cannot share; leave NNX's tree mode "
        r"\(nnx\.set_graph_mode, nnx\.set_graph_updates\), or pass a copy \(nnx\.clone\)\.",
    ):
        fg.grad(lambda models: models["b"](models["a"](x())).sum())({"a": layer, "b": layer})
    with nnx.set_graph_mode(True):
        gradient = fg.grad(lambda models: models["b"](models["a"](x())).sum())({"a": layer, "b": layer})
    assert list(gradient) == ["a", "b"]


def test_what_graph_mode_gives_as_a_module():
    """Without tree mode: the gradient's `State` in the place of the model's parameters."""
    with nnx.set_graph_mode(True):
        model = net()
        graph, _, rest = nnx.split(model, nnx.Param, ...)
        gradient = nnx.merge(graph, fg.grad(loss)(model, x()), rest)
        assert type(gradient) is Net
        assert_same(gradient.linear.kernel[...], jax.grad(loss)(net(), x()).linear.kernel[...])
