"""What a call changes in the user's NNX modules: what the loss changed, all of it or nothing, and no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.adapters.asserting import assert_same
from tests.raising import raises_sentence

nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")


class Net(nnx.Module):
    """Running statistics and counts of random numbers change; the layer that it shares does not."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, rngs=rngs)
        self.again = self.first
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.dropout(self.norm(self.again(self.first(x))))


def linear():
    return nnx.Linear(3, 3, rngs=nnx.Rngs(0))


def x():
    return jax.random.normal(jax.random.key(1), (4, 3))


def loss(model, x):
    return (model(x) ** 2).mean()


def contents(*modules):
    """All that belongs to modules, by identity: attributes, and the arrays and metadata of variables."""
    found = {}
    same = lambda x: (id(x), x)  # which lives on, so that no other object gets its place
    for n, module in enumerate(modules):
        for path, node in nnx.iter_graph(module):
            if isinstance(node, nnx.Variable):
                found[n, *path] = (same(node), same(node.get_raw_value()), repr(node.get_metadata()))
            elif isinstance(node, nnx.Pytree):
                found[n, *path] = (same(node), {name: same(value) for name, value in vars(node).items()})
    return found


def refusal(path, n_more):
    return (
        f"The function changes '{path}' and {n_more} more, which were made outside of the jit, vmap, scan or other "
        r"transformation around this call; make their module an argument of that transformation \(nnx\.jit, nnx\.vmap, "
        r"nnx\.scan\), or call a copy \(nnx\.clone\) in the function\."
    )


CALLS = {
    "grad": lambda f, *args: fg.grad(f)(*args),
    "value_and_grad": lambda f, *args: fg.value_and_grad(f)(*args)[1],
    "vjp": lambda f, *args: fg.vjp(f, *args)[1](jnp.float32(1.0))[0],
    "record": lambda f, *args: fg.record(f, *args)[1].pull(jnp.float32(1.0))[0],
    "jacobian": lambda f, *args: fg.jacobian(f)(*args),
    "taps": lambda f, *args: fg.grad(f, taps="**")(*args)[0],
    "wrt": lambda f, *args: fg.grad(f, wrt="model")(*args),
    "of": lambda f, *args: fg.grad(f, of="model/dot_general", cotangent=jnp.ones((4, 3)))(*args),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_captured_model_under_jit(call):
    model = linear()
    before = contents(model)
    f = lambda model, x, s: loss(model, x) * s
    found = jax.jit(lambda s: CALLS[call](f, model, x(), s))(2.0)
    assert contents(model) == before
    if call == "of":
        np.testing.assert_allclose(found["kernel"][...], x().T @ np.ones((4, 3)), rtol=1e-5)
        return
    assert_same(found, jax.tree.map(lambda g: 2 * g, nnx.grad(loss)(model, x())))
    model.kernel[...] *= 2  # as before, it may be changed


TRANSFORMATIONS = {
    "vmap": lambda f: jax.vmap(f)(jnp.array([2.0, 2.0])),
    "scan": lambda f: jax.lax.scan(lambda c, s: (c, f(s)), 0, jnp.array([2.0, 2.0]))[1],
    "map": lambda f: jax.lax.map(f, jnp.array([2.0, 2.0])),
    "checkpoint": lambda f: jax.tree.map(lambda g: jnp.stack([g, g]), jax.checkpoint(f)(2.0)),
    "nnx.jit": lambda f: jax.tree.map(lambda g: jnp.stack([g, g]), nnx.jit(f)(2.0)),
    "grad of grad": lambda f: jax.tree.map(
        lambda g: jnp.stack([g, g]), jax.jacobian(lambda s: jax.tree.map(lambda g: s * g / 2, f(s)))(jnp.float32(2.0))
    ),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_a_captured_model_in_other_transformations(transformation):
    model, held = linear(), linear()
    before = contents(model, held)
    f = lambda s: fg.grad(lambda models, x, other: (loss(models["a"], x) + loss(other, x)) * s)(
        {"a": model}, x(), other=held
    )
    found = TRANSFORMATIONS[transformation](f)["a"]
    assert contents(model, held) == before
    expected = jax.tree.map(lambda g: 2 * jnp.stack([g, g]), nnx.grad(loss)(model, x()))
    assert_same(found, expected)


def test_a_captured_model_that_the_loss_changes():
    model = Net(nnx.Rngs(0))
    before = contents(model)
    with raises_sentence(
        fg.errors.GradientError,
        refusal("model/calls", 3),
    ):
        jax.jit(lambda x: fg.grad(loss)(model, x))(x())
    assert contents(model) == before
    model.eval()
    frozen = contents(model)

    def quiet(model, x):
        return (model.dropout(model.norm(model.again(model.first(x)))) ** 2).mean()

    found = jax.jit(lambda x: fg.grad(quiet)(model, x))(x())
    assert contents(model) == frozen
    assert_same(found, nnx.grad(quiet)(model, x()))


def test_a_variable_that_cannot_be_changed_is_named():
    model = Net(nnx.Rngs(0))
    f = lambda models, x: (models[1].norm(x) ** 2).sum()
    with raises_sentence(
        fg.errors.GradientError,
        refusal("models/1/norm/mean", 1),
    ):
        jax.vmap(lambda x: fg.grad(f)((linear(), model), x), axis_size=2)(jnp.stack([x(), x()]))


def test_one_model_from_outside_and_one_from_inside():
    """What belongs to this level is changed, beside a model that may not be."""
    frozen = linear()
    before = contents(frozen)

    @nnx.jit
    def step(model, x):
        f = lambda model, frozen, x: (model(frozen(x)) ** 2).mean()
        return fg.grad(f)(model, frozen, x)

    ours, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    assert_same(step(ours, x()), nnx.grad(loss)(theirs, frozen(x())))
    assert_same(nnx.state(ours), nnx.state(theirs))
    assert contents(frozen) == before
    frozen.kernel[...] += 1


def test_only_what_changed_is_written():
    model = Net(nnx.Rngs(0))
    before = contents(model)
    fg.grad(loss)(model, x())
    after = contents(model)
    changed = {path[1:] for path in before if before[path] != after[path]}
    assert changed == {(), ("norm", "mean"), ("norm", "var"), ("dropout", "rngs", "count")}
    assert {name for name in before[0,][1] if before[0,][1][name] != after[0,][1][name]} == {"calls"}


def interrupted(model, x):
    loss(model, x)
    raise KeyboardInterrupt


def broken_in_the_plan(model, x):
    start = jnp.abs(model.first.bias[0])
    return loss(model, x) * jax.lax.while_loop(lambda c: c < 9.0, lambda c: c * 2 + 1, start)


def returns_a_vector(model, x):
    return model(x)


@pytest.mark.parametrize("f", [interrupted, broken_in_the_plan, returns_a_vector])
def test_a_call_that_fails_changes_nothing(f):
    model = Net(nnx.Rngs(0))
    before = contents(model)
    with pytest.raises((KeyboardInterrupt, fg.errors.FuncgradError)):
        fg.value_and_grad(f)(model, x())
    assert contents(model) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_reverse_pass_that_fails_changes_nothing(error):
    model = Net(nnx.Rngs(0))
    before = contents(model)

    def rule(g):
        raise error("stop")

    f = lambda model, x: fg.ops.relu(model(x)).sum()
    with pytest.raises((error, fg.errors.RuleError)):
        fg.grad(f, rules=fg.RuleSet().override(fg.ops.relu, rule))(model, x())
    assert contents(model) == before


def test_an_interruption_while_changes_are_written(monkeypatch):
    """All or nothing: what was written already is taken back."""
    model = Net(nnx.Rngs(0))
    before, update, n = contents(model), nnx.Variable.update_from_state, 0

    def interrupted(self, state):
        nonlocal n
        n += 1
        if n == 2:
            raise KeyboardInterrupt
        update(self, state)

    monkeypatch.setattr(nnx.Variable, "update_from_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fg.grad(loss)(model, x())
    monkeypatch.undo()
    assert n == 2
    assert contents(model) == before


class Growing(nnx.Module):
    """Changes its own structure while it runs."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs)])
        self.cache = nnx.data(None)
        self.spare = nnx.Linear(3, 3, rngs=rngs)
        self.history = nnx.data([nnx.Intermediate(jnp.zeros(3))])

    def __call__(self, x):
        y = self.layers[0](x)
        self.cache = nnx.Cache(y)
        self.layers.append(self.layers[0])
        self.history.append(nnx.Intermediate(y.sum(0)))
        self.wrapped = Holder(self.layers[0])
        del self.spare
        return y


class Holder(nnx.Module):
    def __init__(self, inner):
        self.inner = inner
        self.seen = nnx.Intermediate(jnp.ones(2))


def test_structure_that_changes():
    ours, theirs = Growing(nnx.Rngs(0)), Growing(nnx.Rngs(0))
    first, kernel = ours.layers[0], ours.layers[0].kernel
    f = lambda model, x: (loss(model, x), {"wrapped": model.wrapped, "first": model.layers[0], "n": 3})
    found, aux = fg.grad(f, has_aux=True)(ours, x())
    expected, _ = nnx.grad(f, has_aux=True)(theirs, x())
    assert_same(found, expected)
    assert_same(nnx.state(ours), nnx.state(theirs))
    assert nnx.graphdef(ours) == nnx.graphdef(theirs)
    assert ours.layers[0] is ours.layers[1] is ours.wrapped.inner is aux["first"] is first
    assert ours.layers[0].kernel is kernel
    assert aux["wrapped"] is ours.wrapped
    assert aux["n"] == 3


def test_a_variable_that_holds_a_pytree_and_metadata():
    class Holding(nnx.Module):
        def __init__(self):
            self.w = nnx.Param({"a": jnp.ones(3), "b": jnp.ones(2)})
            self.seen = nnx.BatchStat({"n": jnp.zeros(())})

        def __call__(self, x):
            self.seen.get_value()["n"] = self.seen.get_value()["n"] + 1
            self.w.set_metadata(touched=True)
            return (x * self.w["a"]).sum() + self.w["b"].prod()

    def run(grad):
        model = Holding()
        gradient = grad(lambda model, x: model(x))(model, x())
        return (
            gradient["w"]["a"],
            gradient["w"]["b"],
            nnx.state(model, nnx.BatchStat),
            model.w.get_metadata()["touched"],
        )

    *ours, touched = run(fg.grad)
    *theirs, expected = run(nnx.grad)
    assert_same(ours, theirs)
    assert touched is expected is True


def test_second_order():
    f = lambda grad: lambda model, x: sum(jnp.sum(g**2) for g in jax.tree.leaves(grad(loss)(model, x)))
    ours, theirs = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    assert_same(fg.grad(f(fg.grad))(ours, x()), nnx.grad(f(nnx.grad))(theirs, x()))
    assert_same(nnx.state(ours), nnx.state(theirs))


@pytest.mark.parametrize("look", [fg.trace, fg.plan, lambda f, *args: fg.grad(f, of="out")(*args)])
def test_looking_changes_nothing(look):
    model = Net(nnx.Rngs(0))
    before = contents(model)
    f = lambda model, x: fg.name(loss(model, x), "out")
    look(f, model, x())
    jax.jit(lambda x: (look(f, model, x), x)[1])(x())
    assert contents(model) == before
