"""Training on a mesh with explicit axes, the batch over several devices: the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from funcgrad import layers, ops, train
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

KEY = jax.random.key(0)
NET = layers.chain(
    *(layers.conv2d(4, 3), layers.batch_norm(), ops.relu, layers.max_pool2d(2), layers.flatten()),
    *(layers.dropout(0.2), layers.linear(3)),
)
BATCHES = [
    (np.random.default_rng(i).normal(size=(16, 6, 6, 1)), np.random.default_rng(i).integers(0, 3, size=16))
    for i in range(2)
]
# Not Adam: it divides by what is zero but for rounding, as the gradient of a bias in front of a batch norm is.
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def loss_of(net):
    def loss(params, state, batch, key):
        x, labels = batch
        logits, state = net.apply(params, state, x, key=key, train=True)
        accuracy = jnp.mean(jnp.asarray(jnp.argmax(logits, -1) == labels, jnp.float32))
        return ops.mean(ops.cross_entropy(logits, labels)), (state, {"accuracy": accuracy})

    return loss


def spread(batch):
    return jax.device_put(batch, NamedSharding(jax.sharding.get_mesh(), P("data")))


def trained(net, batches, trainable=None, **options):
    step = train.step(loss_of(net), OPTIMIZER, **options)
    params, state = net.init(KEY, BATCHES[0][0])
    begun = train.init(params, OPTIMIZER, state, trainable=trainable, loss_scale=options.get("loss_scale"))
    return train.fit(begun, step, batches, key=KEY, epochs=1, progress=False)


OPTIONS = {
    "plain": {},
    "microbatches and clipping": {"microbatches": 2, "clip_norm": 0.5},
    "loss scale": {"loss_scale": train.LossScale()},
    "nonfinite": {"on_nonfinite": "raise"},
    "frozen": {"trainable": fg.select("linear0/**")},
}


@pytest.mark.parametrize("name", [*OPTIONS, "mixed"])
def test_a_batch_over_four_devices(name):
    options = OPTIONS.get(name, {})
    low = layers.mixed(NET, layers.Policy(params="float64", compute="float32", output="float64"))
    net, rtol = (low, 1e-4) if name == "mixed" else (NET, 1e-9)
    alone, expected = trained(net, BATCHES, **options)
    with jax.set_mesh(jax.make_mesh((4,), ("data",))):
        state, records = trained(net, [spread(b) for b in BATCHES], **options)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        assert a.sharding.is_fully_replicated
    for a, b in zip(records, expected, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=max(rtol, 1e-6))
        assert a["accuracy"] == b["accuracy"]


def test_a_microbatch_that_is_too_small_for_the_devices():
    sentence = (
        r"train\.step: a microbatch must be spread over the 4 devices that the batch is over, got 2 of 16 examples; "
        r"use fewer microbatches\."
    )
    with jax.set_mesh(jax.make_mesh((4,), ("data",))), raises_sentence(ShapeError, sentence):
        trained(NET, [spread(BATCHES[0])], microbatches=8)
