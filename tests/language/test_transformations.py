"""A case of each kind of node inside and outside of JAX's transformations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from tests.language.agreement import assert_agrees, assert_same, pull_everything
from tests.language.case import Case
from tests.language.cases import CASES

# A case of each kind of node: what is opened, what is pulled back by itself, what holds a body.
FEW = """
    lax.pow numpy.sort lax.dot_general lax.scatter_add nn.gelu lax.scan-pytrees|and|integers lax.cond custom_jvp
    checkpoint-plain jit-integers|and|booleans
"""
MORE = """
    lax.sin numpy.where numpy.prod lax.cumsum numpy.convolve lax.gather lax.dynamic_update_slice ops.segment_sum
    numpy.linalg.solve lax.linalg.cholesky numpy.fft.irfft nn.softmax scipy.special.gammaln lax.scan lax.switch lax.map
    lax.fori_loop custom_vjp checkpoint-names lax.custom_linear_solve jit-static|arguments vjp-fg.vjp|inside
    new_ref lax.associative_scan
"""
BY_NAME = {str(case): case for case in CASES}


def representative(*leave_out: str) -> pytest.MarkDecorator:
    """One test for each of these cases; those of `MORE` in the long run."""
    parameters = [
        pytest.param(BY_NAME[name], id=name, marks=marks)
        for names, marks in ((FEW, []), (MORE, [pytest.mark.slow]))
        for name in (n.replace("|", " ") for n in names.split())
        if name not in leave_out
    ]
    return pytest.mark.parametrize("case", parameters)


def cotangents(vjp: Callable[..., Any], case: Case) -> Callable[..., list[jax.Array]]:
    """The floating cotangents of a case as a function of its arguments."""
    return lambda *args: pull_everything(vjp, case.run, args)


@representative()
def test_second_order_by_forward_over_reverse(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    directions = jax.tree.map(jnp.cos, moving)
    push = lambda vjp: jax.jvp(lambda *moved: cotangents(vjp, case)(*rest(moved)), moving, directions)
    assert_same(push(fg.vjp), push(jax.vjp))


@representative("custom_vjp", "new_ref")  # JAX 0.10 itself fails there
def test_second_order_by_reverse_over_reverse(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    outer = lambda inner, vjp: pull_everything(vjp, lambda *moved: cotangents(inner, case)(*rest(moved)), moving)
    assert_same(outer(fg.vjp, fg.vjp), outer(jax.vjp, jax.vjp))


@representative("lax.switch", "jit-static arguments")
def test_under_vmap(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    batch = jax.tree.map(lambda x: jnp.stack([x, x * 1.1, x * 0.9]), moving)
    over_batch = lambda vjp: jax.vmap(lambda *moved: cotangents(vjp, case)(*rest(moved)))(*batch)
    assert_same(over_batch(fg.vjp), over_batch(jax.vjp))


@pytest.mark.slow
@representative()
def test_without_jit(case: Case):
    assert_agrees(case.run, case.drawn(jnp.float64), tolerances=[case.tolerance], jit=False)


@representative()
def test_a_graph_computes_what_its_function_does(case: Case):
    args = case.drawn(jnp.float64)
    assert_same(jax.jit(fg.trace(case.run, *args))(*args), jax.jit(case.run)(*args))


def _floating(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Callable[..., tuple[Any, ...]]]:
    """The floating leaves of arguments, and how to put others in their place."""
    leaves, tree = jax.tree.flatten(args)
    places = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]

    def put(moved: tuple[Any, ...]) -> tuple[Any, ...]:
        replaced = dict(zip(places, moved, strict=True))
        return jax.tree.unflatten(tree, [replaced.get(i, x) for i, x in enumerate(leaves)])

    return tuple(leaves[i] for i in places), put
