"""Every loss of optax has the same value and gradient under funcgrad as under JAX."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from tests.ops.asserting import assert_close

RNG = np.random.default_rng(3)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape))


def probabilities(*shape: int) -> jax.Array:
    return jax.nn.softmax(normal(*shape))


def bits(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.integers(0, 2, size=shape), np.float64)


Z, P, LABELS = normal(4, 5), probabilities(4, 5), jnp.asarray([0, 4, 2, 2])
SIGNS = 2 * bits(6) - 1
CTC = (normal(2, 6, 4), jnp.zeros((2, 6)), jnp.asarray([[1, 2, 2], [3, 1, 0]]), jnp.asarray([[0.0, 0, 0], [0, 0, 1]]))

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "convex_kl_divergence": (jnp.log(P), probabilities(4, 5)),
    "cosine_distance": (Z, normal(4, 5)),
    "cosine_similarity": (Z, normal(4, 5)),
    "ctc_loss": CTC,
    "ctc_loss_with_forward_probs": CTC,
    "binary_dice_loss": (normal(2, 3, 4), bits(2, 3, 4)),
    "dice_loss": (normal(2, 3, 4), jax.nn.one_hot(RNG.integers(0, 4, size=(2, 3)), 4)),
    "generalized_kl_divergence": (jnp.log(P), probabilities(4, 5)),
    "hinge_loss": (normal(6), SIGNS),
    "huber_loss": (Z, normal(4, 5)),
    "kl_divergence": (jnp.log(P), probabilities(4, 5)),
    "kl_divergence_with_log_targets": (jnp.log(P), jnp.log(probabilities(4, 5))),
    "l2_loss": (Z, normal(4, 5)),
    "log_cosh": (Z, normal(4, 5)),
    "make_fenchel_young_loss": (jax.nn.logsumexp,),
    "multiclass_generalized_dice_loss": (normal(2, 3, 4), jax.nn.one_hot(RNG.integers(0, 4, size=(2, 3)), 4)),
    "multiclass_hinge_loss": (Z, LABELS),
    "multiclass_perceptron_loss": (Z, LABELS),
    "multiclass_sparsemax_loss": (Z, LABELS),
    "ntxent": (normal(6, 4), jnp.asarray([0, 0, 1, 1, 2, 2])),
    "perceptron_loss": (normal(6), SIGNS),
    "poly_loss_cross_entropy": (Z, P),
    "ranking_softmax_loss": (Z, P),
    "safe_softmax_cross_entropy": (Z, P),
    "sigmoid_binary_cross_entropy": (Z, bits(4, 5)),
    "sigmoid_focal_loss": (Z, bits(4, 5)),
    "smooth_labels": (P, 0.1),
    "softmax_cross_entropy": (Z, P),
    "softmax_cross_entropy_with_integer_labels": (Z, LABELS),
    "sparsemax_loss": (normal(6), bits(6)),
    "squared_error": (Z, normal(4, 5)),
    "triplet_margin_loss": (Z, normal(4, 5), normal(4, 5)),
}

LOSSES = {n: f for n, f in vars(optax.losses).items() if inspect.isfunction(f) and not n.startswith("_")}


def test_every_loss_has_arguments():
    assert set(LOSSES) == set(ARGUMENTS)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if "ctc" in n else n for n in LOSSES])
def test_agrees_with_jax(name: str):
    loss, args = LOSSES[name], ARGUMENTS[name]
    if name == "make_fenchel_young_loss":
        loss, args = loss(*args), (normal(5), probabilities(5))
    moving = tuple(i for i, x in enumerate(args) if jnp.issubdtype(jnp.result_type(x), jnp.inexact))
    weight = normal(64)

    def scalar(*args: Any) -> jax.Array:
        y = jnp.concatenate([jnp.ravel(y) for y in jax.tree.leaves(loss(*args))])
        return jnp.vdot(jnp.resize(weight, y.shape), y)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = jax.jit(fg.value_and_grad(scalar, argnums=moving))(*args)
        expected = jax.jit(jax.value_and_grad(scalar, argnums=moving))(*args)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(a, b, name)
