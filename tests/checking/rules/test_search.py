"""Made-up arguments: they fit the declaration, and the simplest wrong one is found."""

import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import funcgrad as fg
from funcgrad.errors import CheckError
from tests.mutants import bases
from tests.raising import raises_sentence

AFFINE = bases.AFFINE.make("made_up_affine")
TIMES = bases.TIMES.make("made_up_times")


@settings(max_examples=50, deadline=None)
@given(fg.checking.arguments(AFFINE))
def test_they_fit_the_declared_shapes(args):
    x, w, b = args
    assert x.shape[-1:] == w.shape[:1]
    assert w.shape[1:] == b.shape
    assert {a.dtype for a in args} == {np.dtype(np.float64)}


@settings(max_examples=50, deadline=None)
@given(fg.checking.arguments(TIMES))
def test_elementwise_ones_broadcast(args):
    np.broadcast_shapes(*(a.shape for a in args))


def test_the_simplest_wrong_example_is_found():
    def wrong_at_whole_numbers(g, x):
        return jnp.where((x == jnp.round(x)) & (x > 2), jnp.zeros_like(g), g * jnp.cos(x))

    op = bases.SINE.make("made_up_sine", x=wrong_at_whole_numbers)
    report = fg.check(op, bases.SINE.cases, made_up=40, groups=["values"])
    assert [r.name for r in report.wrong] == ["made-up arguments"]
    assert re.search(r"there x = [0-9.]+$", report.wrong[0].detail), report.wrong[0].detail


def test_right_rules_are_right_at_made_up_arguments():
    row = fg.check(AFFINE, made_up=4, groups=[]).row("values", "made-up arguments")
    assert row.detail == "right at 4 examples made up from the declared shapes"


def test_what_is_needed_is_said(monkeypatch):
    with raises_sentence(
        CheckError,
        r"made_up_product: no arguments can be made up, because it does not declare the shape of x, w; declare "
        r"shapes=, or pass cases=\.",
    ):
        fg.checking.arguments(bases.PRODUCT.make("made_up_product"))
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with raises_sentence(
        CheckError,
        r"Arguments are made up by Hypothesis, which is not installed; install funcgrad\[test\] or hypothesis\.",
    ):
        fg.checking.arguments(AFFINE)


@pytest.mark.parametrize("like", [np.array([0, 2, 1])])
def test_labels_are_drawn_from_those_of_an_example(like):
    @fg.op(name="made_up_labelled", replace=True, shapes="x[..., k] labels[...]")
    def labelled(x, labels):
        return x

    @settings(max_examples=20, deadline=None)
    @given(fg.checking.arguments(labelled, like=(np.ones((3, 4)), like)))
    def fits(args):
        x, labels = args
        assert labels.dtype == like.dtype
        assert labels.shape == x.shape[:-1]
        assert set(labels.reshape(-1).tolist()) <= {0, 1, 2}

    fits()
