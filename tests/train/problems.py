"""A small network with dropout off, its data, and the same training written out in plain JAX and optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcgrad import ops
from funcgrad.layers import chain, linear

NET = chain(linear(5), ops.tanh, linear(3))
KEY = jax.random.key(11)


def objective(logits, labels):
    correct = jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels
    return ops.mean(ops.cross_entropy(logits, labels)), {"accuracy": jnp.mean(correct.astype(jnp.float64))}


def make_problem(rng, n=12):
    x = rng.normal(size=(n, 4))
    batch = (x, rng.integers(0, 3, size=n).astype(np.int32))
    return _start(n), batch


@functools.cache
def _start(n):
    return jax.jit(NET.init)(KEY, jnp.zeros((n, 4)))[0]


def plain_loss(params, batch):
    """The loss without funcgrad's ops."""
    x, labels = batch
    hidden = jnp.tanh(x @ params["linear0"]["w"] + params["linear0"]["b"][None])
    logits = hidden @ params["linear1"]["w"] + params["linear1"]["b"][None]
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])


LOSS_AND_GRADIENT = jax.jit(jax.value_and_grad(plain_loss))


def plain_steps(params, batch, optimizer, n):
    """`n` steps on one batch: the parameters, and losses and gradient norms on the way."""
    state, losses, norms = optimizer.init(params), [], []
    update = jax.jit(optimizer.update)
    for _ in range(n):
        loss, gradient = LOSS_AND_GRADIENT(params, batch)
        losses.append(float(loss))
        norms.append(float(np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, losses, norms


def assert_close(found, expected, rtol=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12), found, expected)
