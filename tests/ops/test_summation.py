"""`einsum` against `jnp.einsum`: any subscripts, values and gradients; errors; what is computed and kept."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.ops.asserting import assert_close
from tests.raising import raises_sentence

SPECS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("ba,cb", (3, 4), (5, 3)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 6)),
    ("...ij,jk", (2, 3, 4), (4, 5)),
    ("i...,...i->...", (3, 2, 4), (2, 4, 3)),
    ("...,...->...", (3, 1), (4,)),
    ("ij->ji", (3, 4)),
    ("ij", (3, 4)),
    ("ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (4, 4)),
    ("iii->i", (3, 3, 3)),
    ("iij->j", (3, 3, 2)),
    ("...ii->...i", (2, 3, 3)),
    ("i,j->ij", (3,), (4,)),
    ("i,i->i", (3,), (3,)),
    ("i,i", (3,), (3,)),
    ("ij,kl->jk", (2, 3), (4, 5)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("ij,jj->i", (2, 3), (3, 3)),
    (",ij->ij", (), (2, 3)),
    ("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)),
    ("ij,jk,kl,lm", (3, 4), (4, 5), (5, 2), (2, 3)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("ia,ib,ic->abc", (5, 2), (5, 3), (5, 4)),
    ("...a,ab,...b->...", (2, 3), (3, 4), (2, 4)),
    ("Ab , bA -> A", (3, 4), (4, 3)),
    ("ij,jk->ki", (0, 4), (4, 3)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s[0])
def test_agrees_with_jax(spec):
    subscripts, *shapes = spec
    rng = np.random.default_rng(0)
    args = [jnp.asarray(rng.normal(size=s)) for s in shapes]
    weights = jnp.asarray(rng.normal(size=jax.eval_shape(lambda *a: jnp.einsum(subscripts, *a), *args).shape))

    def gradient(einsum, value_and_grad):
        scalar = lambda *args: jnp.vdot(weights, einsum(subscripts, *args))
        return jax.jit(value_and_grad(scalar, argnums=tuple(range(len(args)))))(*args)

    expected = gradient(jnp.einsum, jax.value_and_grad)
    for found in (gradient(ops.einsum, jax.value_and_grad), gradient(ops.einsum, fg.value_and_grad)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert_close(a, b, subscripts)


def test_two_dtypes_and_a_real_factor_of_a_complex_one():
    a, b = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[1 + 2j], [3 - 1j]])
    with jax.numpy_dtype_promotion("standard"):
        for einsum in (ops.einsum, jnp.einsum):
            a_bar = jax.grad(lambda a, f=einsum: jnp.abs(f("ij,jk->ik", a, b)).sum())(a)
            b_bar = jax.grad(lambda b, f=einsum: jnp.abs(f("ij,jk->ik", a, b)).sum())(b)
            if einsum is ops.einsum:
                found = a_bar, b_bar
        assert_close(found[0], a_bar, "real factor")
        for part in (jnp.real, jnp.imag):
            assert_close(part(found[1]), part(b_bar), "complex factor")


def test_long_sums_of_bfloat16_are_accumulated_in_float32():
    x = jnp.full((4096,), 1.0, jnp.bfloat16)
    assert ops.einsum("i->", x) == 4096
    w_bar = jax.grad(lambda w: ops.einsum("i,->i", x, w).astype(np.float32).sum())(jnp.asarray(1.0, jnp.bfloat16))
    assert w_bar == 4096


def test_a_chain_costs_backward_twice_its_forward():
    sizes = [(8, 64), (64, 64), (64, 64), (64, 64)]
    args = [jnp.ones(s) for s in sizes]
    scalar = lambda f: lambda *args: f("ab,bc,cd,de->ae", *args).sum()
    flops = [
        jax.jit(value_and_grad(scalar(f), argnums=(0, 1, 2, 3))).lower(*args).compile().cost_analysis()["flops"]
        for value_and_grad, f in ((fg.value_and_grad, ops.einsum), (jax.value_and_grad, jnp.einsum))
    ]
    assert flops[0] <= 1.01 * flops[1]


def test_the_cotangent_of_a_shared_factor_is_one_contraction_under_vmap():
    x, w = jnp.ones((16, 5, 8)), jnp.ones((8, 4))
    jaxpr = jax.make_jaxpr(jax.grad(lambda w: jax.vmap(lambda x: ops.einsum("ij,jk->ik", x, w))(x).sum()))(w)
    assert all(v.aval.shape != (16, 8, 4) for e in jaxpr.eqns for v in e.outvars)


ERRORS = [
    (("ij,jk->ik", (3, 4), (5, 6)), "'ij,jk->ik' of f32[3,4], f32[5,6]; label 'j' stands for sizes 4 and 5"),
    (("ij,jk->ik", (3, 4)), "'ij,jk->ik' of f32[3,4]; the subscripts name 2 operands, but there are 1"),
    (("ij->i", (3,)), "'ij->i' of f32[3]; 'ij' must have one label per axis of operand 0, which has 1"),
    (("i->i", (3, 4)), "'i->i' of f32[3,4]; 'i' must have one label per axis of operand 0, which has 2"),
    (("ii->i", (3, 4)), "'ii->i' of f32[3,4]; label 'i' stands for sizes 3 and 4 in operand 0"),
    (("ij->ik", (3, 4)), "'ij->ik' of f32[3,4]; the output label 'k' must stand there once and in an operand"),
    (("ij->ii", (3, 4)), "'ij->ii' of f32[3,4]; the output label 'i' must stand there once and in an operand"),
    (("i1->i", (3, 4)), "'i1->i' of f32[3,4]; subscripts are letters, commas, one '...' per operand and one '->'"),
    (("..i", (3, 4)), "'..i' of f32[3,4]; subscripts are letters, commas, one '...' per operand and one '->'"),
    (("i->j->k", (3,)), "'i->j->k' of f32[3]; subscripts are letters, commas, one '...' per operand and one '->'"),
    (("", ()), None),
    (("i",), "'i' of nothing; the subscripts name 1 operands, but there are 0"),
]


@pytest.mark.parametrize(("spec", "sentence"), ERRORS, ids=lambda e: str(e)[:20])
def test_errors(spec, sentence):
    args = [jnp.ones(s, np.float32) for s in spec[1:]]
    if sentence is None:
        assert ops.einsum(spec[0], *args) == 1
        return
    with fg.scope("block"), raises_sentence(ShapeError, re.escape(f"block/einsum: cannot take {sentence}.")):
        ops.einsum(spec[0], *args)
