"""What libraries say of things is asked once for each class, and keeps none alive."""

import gc
import weakref

import jax
import jax.numpy as jnp

from funcgrad.adapters.library import ByKind


def test_a_question_is_asked_once_for_each_kind_and_tracers_are_what_they_stand_for():
    asked = []
    ask = ByKind(lambda x: asked.append(x) or isinstance(x, bool))
    assert [ask(x) for x in (1, 2, True, "a", False)] == [False, False, True, False, True]
    assert asked == [1, True, "a"]
    jax.make_jaxpr(lambda x, y: ask(x) + ask(y) + ask(jnp.sin(x)))(1.0, 2.0)
    assert len(asked) == 4


def test_classes_are_not_kept_alive():
    class Model: ...

    ask = ByKind(lambda x: True)
    assert ask(Model())
    gone = weakref.ref(Model)
    del Model
    gc.collect()
    assert gone() is None


def test_a_class_without_a_hash_is_asked_each_time():
    class Meta(type):
        def __eq__(cls, other):
            return cls is other

    class Odd(metaclass=Meta): ...

    ask = ByKind(lambda x: x.value)
    for Odd.value in (1, 2):
        assert ask(Odd()) == Odd.value
