"""Every reference network and layer, trained by `train.step`, is lowered for CUDA and TPU, where CI has no device."""

import jax
import jax.numpy as jnp
import optax
import pytest

from funcgrad import layers, ops, train
from tests.layers.networks import NETWORKS
from tests.lowering import defers, lowered
from tests.networks.test_networks import SMALL, heavy

KEY = jax.random.key(0)
TOKENS = ("transformer", "untied", "lstm")
RANDOM = ("layers: random", "layers: normalized")
LONG = ("resnet", "resnet50", "unet", "untied")
LAYERS = {f"layers: {name}": case for name, case in NETWORKS.items()}
OPTIONS = {
    "plain": {},
    "microbatches and clipping": {"microbatches": 2, "clip_norm": 1.0},
    "loss scale": {"loss_scale": train.LossScale()},
    "skipping": {"on_nonfinite": "skip"},
}


def step_for_both(net, shape, dtype, **options):
    """One step of training as a program for both platforms, the gradient among it."""
    x = jax.ShapeDtypeStruct(shape, dtype)

    def loss(params, state, batch, key):
        outputs, state = net.apply(params, state, batch, key=key, train=True)
        return sum(jnp.mean(jnp.sin(y.astype(jnp.float32))) for y in jax.tree.leaves(outputs)), (state, {})

    optimizer = optax.adam(1e-3)

    def begin():
        params, state = net.init(KEY, x)
        return train.init(params, optimizer, state, loss_scale=options.get("loss_scale"))

    return lowered(train.step(loss, optimizer, **options), jax.eval_shape(begin), x, KEY)


@pytest.mark.parametrize("name", [heavy(n) if n in LONG else n for n in (*SMALL, *LAYERS)])
def test_networks_for_cuda_and_tpu(name):
    net, shape = (SMALL | LAYERS)[name]
    program = step_for_both(net, shape, jnp.int32 if name in TOKENS else jnp.float32)
    assert name in RANDOM or not defers(program)


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_for_cuda_and_tpu(name):
    net = layers.mixed(layers.chain(layers.conv2d(2, 3), ops.relu, layers.flatten(), layers.linear(3)))
    assert not defers(step_for_both(net, (4, 6, 6, 1), jnp.float32, **OPTIONS[name]))
