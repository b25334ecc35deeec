"""Classes are wrapped only while something is traced, and nobody else notices."""

import threading

import jax
import pytest

import funcgrad as fg
from funcgrad.naming import resolve
from tests.adapters.asserting import scopes

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")


class Layer(eqx.Module):
    scale: jax.Array

    def __call__(self, x):
        return jax.numpy.sin(self.scale * x)


class Special(Layer):
    """Inherits its call, and calls it."""

    def __call__(self, x):
        return 2.0 * super().__call__(x)


def layer(cls=Layer):
    return cls(jax.numpy.float32(2.0))


CALL = Layer.__dict__["__call__"]


def test_while_tracing_and_not_after():
    seen = []

    def f(model, x):
        seen.append(Layer.__dict__["__call__"])
        return model(x)

    fg.grad(f)(layer(), 1.0)
    assert seen[0] is not CALL
    assert Layer.__dict__["__call__"] is CALL


def test_traces_inside_traces():
    def f(model, x):
        inner = fg.grad(lambda inside: inside(x))(model).scale
        assert Layer.__dict__["__call__"] is not CALL
        return model(x) * inner

    assert "model" in scopes(f, layer(), 1.0)
    assert Layer.__dict__["__call__"] is CALL


def test_after_an_error():
    with pytest.raises(ZeroDivisionError):
        fg.trace(lambda model: model(1 / 0), layer())
    assert Layer.__dict__["__call__"] is CALL


def test_an_inherited_method_enters_one_scope():
    assert scopes(lambda model, x: model(x), layer(Special), 1.0) == ["model"]
    assert "__call__" in Special.__dict__
    assert Layer.__dict__["__call__"] is CALL


def test_other_threads_notice_nothing():
    """A second thread traces with JAX while ours is in the middle of the function."""
    entered, done, found = threading.Event(), threading.Event(), []

    def elsewhere():
        entered.wait(10)
        found.append(jax.make_jaxpr(layer())(1.0))
        done.set()

    def f(model, x):
        y = model(x)
        entered.set()
        assert done.wait(10)
        return model(y)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert scopes(f, layer(), 1.0) == ["model"]
    thread.join()
    assert {str(e.source_info.name_stack) for e in found[0].eqns} == {""}


def test_two_threads_trace_one_class():
    barrier, found = threading.Barrier(2), {}

    def run(name):
        def f(**models):
            barrier.wait(10)
            return models[name](1.0)

        found[name] = [node.scope for node in fg.trace(f, **{name: layer()}).nodes]

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: set(scopes) for name, scopes in found.items()} == {"a": {"a"}, "b": {"b"}}
    assert Layer.__dict__["__call__"] is CALL


def test_plain_functions_are_left_alone():
    assert scopes(lambda x: jax.numpy.sin(x), 1.0) == [""]


def test_resolve():
    assert resolve("model/decoder/../embed") == "model/embed"
    assert resolve("../embed") == "../embed"
    assert resolve("a/b/../../c") == "c"


@jax.jit
def apply(model, x):
    return model(x)


def test_names_inside_a_jit_that_two_losses_share():
    one = lambda first, second, x: apply(first, x) * second.scale
    other = lambda second, first, x: apply(first, x) * second.scale
    swapped = lambda first, second, x: apply(second, x) * first.scale
    x, small, special = jax.numpy.ones(()), layer(), layer(Special)
    assert scopes(one, small, special, x) == ["first", ""]
    assert scopes(other, small, special, x) == ["first", ""]
    assert scopes(swapped, special, small, x) == ["second", ""]
    assert scopes(lambda model, x: apply(model, x), small, x) == ["model"]
