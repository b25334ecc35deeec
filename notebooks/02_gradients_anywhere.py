# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Gradients anywhere, in a model that nobody changed
#
# The models below are written in Flax NNX and in Equinox as their authors would write them: nothing in them knows
# funcgrad. The claim: the gradient of their loss by *any* value inside, parameter or intermediate, has a name and can
# be asked for; no hooks, no `perturb`, no dummy variables, no second forward pass.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pictures
from flax import nnx
from sklearn.datasets import load_digits

import funcgrad as fg

digits = load_digits()
images, labels = jnp.asarray(digits.images / 16, jnp.float32), jnp.asarray(digits.target)

# %% [markdown]
# ## 1. A transformer in Flax NNX
#
# Each 8×8 image is 16 patches of 2×2 pixels.


# %%
class Block(nnx.Module):
    def __init__(self, width, *, rngs):
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class DigitTransformer(nnx.Module):
    def __init__(self, width, depth, *, rngs):
        self.embed = nnx.Linear(4, width, rngs=rngs)
        self.positions = nnx.Param(0.02 * rngs.params.normal((16, width)))
        self.blocks = nnx.List([Block(width, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.out = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, images):
        patches = images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)
        x = self.embed(patches) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x.mean(1)))


def loss(model, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


model = DigitTransformer(32, 2, rngs=nnx.Rngs(0))

# %% [markdown]
# Tracing opens it into a graph. Nodes stand where the model's own attributes put them, and parameters have the same
# paths: `model/blocks/0/attention/query/kernel` is read by `model/blocks/0/attention/query/dot_general`.

# %%
print(fg.trace(loss, model, images[:8], labels[:8]))

# %% [markdown]
# ## 2. In the place of `nnx.value_and_grad`
#
# The gradient is the same `nnx.State`, and batch normalization's running statistics reach the model. So a training
# step changes by one word.

# %%
ours, theirs = nnx.clone(model), nnx.clone(model)
value, gradient = nnx.jit(fg.value_and_grad(loss))(ours, images[:32], labels[:32])
nnx_value, nnx_gradient = nnx.jit(nnx.value_and_grad(loss))(theirs, images[:32], labels[:32])
print(f"loss {value:.4f}, with NNX {nnx_value:.4f}")
print(f"same gradient structure: {jax.tree.structure(gradient) == jax.tree.structure(nnx_gradient)}")
print("largest running mean:", *(f"{jnp.abs(m.norm.mean[...]).max():.4f}" for m in (model, ours, theirs)))

# %%
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, images, labels):
    value, gradient = fg.value_and_grad(loss)(model, images, labels)
    optimizer.update(model, gradient)
    return value


shuffled = np.random.default_rng(0).permutation(len(images))
training, test = shuffled[:1500], shuffled[1500:]
order = np.random.default_rng(1).choice(training, size=(250, 64))
losses = [float(train_step(model, optimizer, images[rows], labels[rows])) for rows in order]
model.eval()
accuracy = (model(images[test]).argmax(1) == labels[test]).mean()
print(f"loss {losses[0]:.2f} → {losses[-1]:.2f}, {100 * accuracy:.1f} % of the test images")

# %% [markdown]
# ## 3. By any value
#
# `wrt=` takes names, and globs over them: `*` within a segment of a path, `**` across. A glob gives a mapping from
# name to gradient. Here are the query projections of all blocks: parameters, and cotangents of what they compute.

# %%
batch = images[test[:64]], labels[test[:64]]
queries = nnx.jit(fg.grad(loss, wrt="model/blocks/*/attention/query/**"))(model, *batch)
for name, bar in queries.items():
    print(f"{name:48s} {bar.shape!s:18s} ‖·‖ = {jnp.linalg.norm(bar):.2e}")

# %% [markdown]
# `print(fg.trace(...))` also says what a block returns: `add#2`, its last addition. The cotangents there, together with
# that of the embedded patches (`model/add`), are how much gradient reaches each block; nothing ran twice for them.

# %%
stream = nnx.jit(fg.grad(loss, wrt=["model/add", "model/blocks/*/add#2"]))(model, *batch)
print(list(stream))
pictures.draw_norms({"after training": [float(jnp.linalg.norm(bar)) for bar in stream.values()]}, "place")

# %% [markdown]
# It grows by far more through the first block than through the second. To see at which patches, take the cotangent
# there for the logit of the true class: it is large where the image is empty. An empty patch is embedded as little
# more than its small position vector, and the first layer norm divides by its size. The model trains all the same, so
# nothing but these numbers shows it.


# %%
def true_logit(model, images, labels):
    return jnp.take_along_axis(model(images), labels[:, None], 1).sum()


looks = fg.grad(true_logit, wrt="model/add")(model, *batch)
maps = jnp.linalg.norm(looks, axis=-1).reshape(-1, 4, 4)
empty = batch[0].reshape(-1, 4, 2, 4, 2).max((2, 4)) == 0
print(f"{maps[empty].mean() / maps[~empty].mean():.0f} times as large at empty patches")
pictures.draw_maps(batch[0][:6], maps[:6], [f"a {label}" for label in batch[1][:6]])

# %% [markdown]
# ## 4. Ask for less, compute less
#
# The plan says before anything runs what is computed for a gradient. For the last block's MLP only, the rest of the
# model has no backward pass: its nodes are pruned.

# %%
everything = fg.plan(loss, model, *batch)
last = fg.plan(loss, model, *batch, wrt="model/blocks/1/down/*")
print(f"all parameters:    backward {everything.totals.backward_flops / 1e6:6.1f} MFLOPs")
print(f"last down only:    backward {last.totals.backward_flops / 1e6:6.1f} MFLOPs")
print(*str(last).splitlines()[-5:], sep="\n")  # below the table, which has a line per node

# %% [markdown]
# ## 5. A convnet in Equinox
#
# An Equinox module is for one image, `vmap` takes it over the batch, and the activation function is a leaf of the
# module. As with `eqx.filter_grad`, such leaves have no gradient. Its plan is short enough to print whole.


# %%
class DigitConvnet(eqx.Module):
    convs: list
    out: eqx.nn.Linear
    activation: object

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.convs = [eqx.nn.Conv2d(1, 8, 3, padding=1, key=keys[0]), eqx.nn.Conv2d(8, 16, 3, padding=1, key=keys[1])]
        self.out, self.activation = eqx.nn.Linear(16 * 8 * 8, 10, key=keys[2]), jax.nn.relu

    def __call__(self, image):
        x = image[None]
        for conv in self.convs:
            x = self.activation(conv(x))
        return self.out(x.ravel())


def conv_loss(net, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(net)(images), labels).mean()


net = DigitConvnet(jax.random.key(0))
print(fg.plan(conv_loss, net, *batch))

# %%
net_gradient = fg.grad(conv_loss)(net, *batch)
print("gradient of the activation function:", net_gradient.activation)
at_convs = fg.grad(conv_loss, wrt=["net/convs/*/add", "net/out/add"])(net, *batch)
for name, bar in at_convs.items():
    print(f"{name:18s} {bar.shape!s:18s} ‖·‖ = {jnp.linalg.norm(bar):.2e}")

# %% [markdown]
# ## What was claimed, checked


# %%
def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


# 2. The libraries' own gradients and statistics.
assert_same(gradient, nnx_gradient)
assert_same(nnx.state(ours, nnx.BatchStat), nnx.state(theirs, nnx.BatchStat))
assert_same(net_gradient, eqx.filter_grad(conv_loss)(net, *batch))
assert accuracy > 0.8


# 3. The gradient at an intermediate is that of the rest of the model by it, which JAX gives if one writes that down.
def rest_of_model(x):
    for block in model.blocks:
        x = block(x)
    return jnp.take_along_axis(model.out(model.norm(x.mean(1))), batch[1][:, None], 1).sum()


embedded = model.embed(batch[0].reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)) + model.positions
np.testing.assert_allclose(looks, jax.grad(rest_of_model)(embedded), rtol=1e-3, atol=1e-5)

assert maps[empty].mean() > 3 * maps[~empty].mean()

# A layer adds its bias last: the cotangent of its output, summed over images and places, is the bias's gradient.
for i, conv in enumerate(net_gradient.convs):
    np.testing.assert_allclose(at_convs[f"net/convs/{i}/add"].sum((0, 2, 3)), conv.bias.ravel(), rtol=1e-3, atol=1e-6)

# 4. What is not asked for is not computed.
assert last.totals.backward_flops < 0.2 * everything.totals.backward_flops
