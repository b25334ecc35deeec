"""Classes are the user's and shared with all threads: what somebody sets on them while we trace is theirs and stays."""

import gc
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from tests.adapters.asserting import scopes

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")


def equinox_layer():
    class Layer(eqx.Module):
        scale: jax.Array

        def __call__(self, x):
            return jnp.sin(self.scale * x)

        def other(self, x):
            return self.scale * x

    return Layer(jnp.float32(2.0))


def nnx_layer():
    class Layer(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(jnp.float32(2.0))

        def __call__(self, x):
            return jnp.sin(self.scale[...] * x)

        def other(self, x):
            return self.scale[...] * x

    return Layer()


each_library = pytest.mark.parametrize("layer", [equinox_layer, nnx_layer])


@each_library
def test_a_method_set_during_a_trace_stays(layer):
    model = layer()
    cls, before = type(model), dict(vars(type(model)))

    def mine(self, x):
        return 3.0 * x

    def f(model, x):
        y = model(x)
        cls.__call__ = mine
        return y * model(x)

    np.testing.assert_allclose(fg.grad(f, 1)(model, 1.0), 6 * np.sin(2.0) / 2 + 6 * np.cos(2.0), rtol=1e-5)
    assert vars(cls)["__call__"] is mine
    assert vars(cls)["other"] is before["other"]
    # And from then on it has a name.
    assert scopes(lambda model, x: model(x), model, jnp.ones(2)) == ["model"]
    assert vars(cls)["__call__"] is mine


@each_library
def test_a_method_decorated_during_a_trace_stays(layer):
    model = layer()
    cls = type(model)

    def f(model, x):
        method = cls.__call__
        cls.__call__ = lambda self, x: 2.0 * method(self, x)
        return model(x)

    for factor in (2.0, 4.0):
        np.testing.assert_allclose(fg.grad(f, 1)(model, 1.0), factor * 2 * np.cos(2.0), rtol=1e-5)
    gc.collect()
    np.testing.assert_allclose(model(1.0), 4 * np.sin(2.0), rtol=1e-5)
    assert scopes(lambda model, x: model(x), model, jnp.ones(2)) == ["model"]


@each_library
def test_a_method_deleted_during_a_trace_is_gone(layer):
    model = layer()

    def f(model, x):
        del type(model).other
        return model(x)

    fg.grad(f, 1)(model, 1.0)
    assert "other" not in vars(type(model))


@each_library
def test_a_method_taken_during_a_trace_works_after_it(layer):
    model, taken = layer(), []

    def f(model, x):
        taken.append(type(model).other)
        return model(x)

    fg.grad(f, 1)(model, 1.0)
    type(model).other = None
    gc.collect()
    np.testing.assert_allclose(taken[0](model, 3.0), 6.0)


@each_library
def test_a_method_set_between_traces_within_each_other(layer):
    model = layer()
    cls = type(model)

    def mine(self, x):
        return 3.0 * x

    def f(model, x):
        cls.other = mine
        inner = fg.trace(lambda inside: inside.other(jnp.ones(2)), model).structure
        return model.other(x), [node.scope for node in inner.nodes]

    names = []
    fg.trace(lambda model, x: names.append(f(model, x)[1]) or 0.0, model, jnp.ones(2))
    assert "inside" in names[0]
    assert vars(cls)["other"] is mine


@each_library
def test_a_subclass_made_during_a_trace(layer):
    model, made = layer(), []
    cls, call = type(model), vars(type(model))["__call__"]

    def f(model, x):
        class Sub(cls):
            def __call__(self, x):
                return 2.0 * super().__call__(x)

            other = cls.other

        made.append(Sub)
        return model(x)

    fg.grad(f, 1)(model, 1.0)
    assert vars(cls)["__call__"] is call
    sub = made[0](*([jnp.float32(2.0)] if cls.__base__ is eqx.Module else []))
    np.testing.assert_allclose([sub(1.0), sub.other(3.0)], [2 * np.sin(2.0), 6.0], rtol=1e-5)
    assert scopes(lambda sub, x: sub(x), sub, 1.0) == ["sub"]


@each_library
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_during_a_trace(layer, error):
    model = layer()
    before = dict(vars(type(model)))

    def f(model, x):
        model(x)
        raise error

    with pytest.raises(error):
        fg.trace(f, model, 1.0)
    assert dict(vars(type(model))) == before


class Refusing(type(eqx.Module)):
    """A metaclass whose classes are finished."""

    def __setattr__(cls, name, value):
        if name != "__abstractmethods__" and "finished" in vars(cls):
            raise AttributeError(f"{cls.__name__} is finished")
        super().__setattr__(name, value)


def test_a_class_that_takes_no_attributes():
    """It is left alone, and its modules are not named."""

    class Layer(eqx.Module, metaclass=Refusing):
        scale: jax.Array
        inner: eqx.Module

        def __call__(self, x):
            return jnp.sin(self.scale * self.inner(x))

    type.__setattr__(Layer, "finished", True)
    inner = equinox_layer()
    model, before = Layer(jnp.float32(2.0), inner), dict(vars(Layer))
    seen = []
    f = lambda model, x: (seen.append(dict(vars(Layer))), model(x))[1]
    np.testing.assert_allclose(fg.grad(f, 1)(model, 1.0), 4 * np.cos(2 * np.sin(2.0)) * np.cos(2.0), rtol=1e-4)
    assert scopes(f, model, 1.0) == ["model/inner", ""]
    assert seen[0] == before == dict(vars(Layer))


@each_library
def test_two_threads_trace_while_a_third_sets_a_method(layer):
    model, barrier, found = layer(), threading.Barrier(3), {}
    cls, before = type(model), dict(vars(type(model)))

    def mine(self, x):
        return 3.0 * x

    def run(name):
        def f(**models):
            y = models[name](1.0)
            barrier.wait(20)  # both trace
            barrier.wait(20)  # the method is set
            return y * models[name].other(1.0)

        found[name] = [node.scope for node in fg.trace(f, **{name: model}).nodes]

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    barrier.wait(20)
    assert vars(cls)["__call__"] is not before["__call__"]
    cls.other = mine
    barrier.wait(20)
    for thread in threads:
        thread.join()
    assert {name: scopes[0] for name, scopes in found.items()} == {"a": "a", "b": "b"}
    assert vars(cls)["other"] is mine
    assert vars(cls)["__call__"] is before["__call__"]


@each_library
def test_many_traces_in_many_threads(layer):
    """Classes are whole after traces that began and ended in any order."""
    model = layer()
    before, x = dict(vars(type(model))), jnp.ones(2)
    errors = []

    def run():
        try:
            for _ in range(5):
                assert scopes(lambda model, x: model(x), model, x) == ["model"]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert dict(vars(type(model))) == before
