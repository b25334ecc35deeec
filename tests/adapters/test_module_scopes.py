"""Classes are wrapped only while something is traced, nobody else notices, and nothing is kept."""

import gc
import threading
import weakref

import jax
import pytest

import funcgrad as fg
from funcgrad.adapters import classes
from funcgrad.adapters import module_scopes as scopes_module
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


def test_what_is_dropped_leaves_nothing():
    """60 models of each library, closed over and handed over; a method in whose place another is set."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")
    x, refs = jax.numpy.ones(2), []

    class Local(eqx.Module):
        scale: jax.Array

        def __call__(self, x):
            return self.scale * x

    def use(model, array):
        fg.trace(jax.jit(lambda x: model(x)), x)
        fg.trace(lambda model: model(x), model)
        refs.extend((weakref.ref(model), weakref.ref(array)))

    for _ in range(60):
        model = eqx.nn.Linear(2, 2, key=jax.random.key(0))
        use(model, model.weight)
        model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        use(model, model.kernel[...])
    model = layer(Local)
    use(model, model.scale)
    refs.append(weakref.ref(vars(Local)["__call__"]))
    Local.__call__ = lambda self, x: x
    del model
    jax.clear_caches()
    gc.collect()
    assert not [r() for r in refs if r() is not None]
    assert len(scopes_module._namings) == len(classes._wrapped) == 0


def test_traces_share_what_jax_caches():
    """Of two traces with the same names the second takes the inner jit from JAX's cache; with others it does not."""
    model, other, n = layer(), layer(), 0

    @jax.jit
    def inner(x):
        nonlocal n
        n += 1
        return held["model"](x)

    held = {"model": model}
    one, two = (lambda x: inner(x) + model.scale), (lambda x: inner(x) + other.scale)
    for f, count in ((one, 1), (one, 1), (two, 2), (one, 2)):
        fg.trace(f, 1.0)
        assert n == count


def test_an_identity_is_of_one_object():
    model = layer()
    one = scopes_module._identity(model)
    assert one == scopes_module._identity(model)
    assert one != scopes_module._identity(layer())
    another = scopes_module._identity(other := layer())
    another._hash = one._hash  # as if it had its place in memory
    del model, other
    gc.collect()
    assert one != another
    assert one == one


def test_a_list_that_holds_itself():
    held = [layer()]
    held.append(held)
    table = {"held": held}
    table["table"] = table
    assert scopes(lambda x: held[0](x) + table["held"][0](x), 1.0)[0] == "held/0"
