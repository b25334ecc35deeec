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
# # A memory budget
#
# "In an untreated situation, backprop needs all the intermediate results to be in memory", says the lecture. This is
# the treatment: say how many bytes there are, and the plan finds what is cheapest to make again instead of keeping it.
# The claim of this notebook: a batch that does not fit into 20 MiB trains within 20 MiB, step for step as it would
# without a limit, and XLA's own figures say so.

# %%
import textwrap

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import funcgrad as fg
from funcgrad.errors import BudgetError

MIB = 2**20
plt.rcParams["figure.figsize"] = (8.6, 3.3)

# %% [markdown]
# ## 1. What is held when
#
# A Flax network that nobody edits: the 64 pixels of a digit, eight residual blocks, ten scores. And a batch of all
# 1,797 digits at once.

# %%
digits = load_digits()
images, labels = jnp.asarray(digits.images.reshape(-1, 64) / 16, jnp.float32), jnp.asarray(digits.target)


class Block(nnx.Module):
    def __init__(self, width, *, rngs):
        self.norm, self.up = nnx.LayerNorm(width, rngs=rngs), nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x):
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


class Net(nnx.Module):
    def __init__(self, width, depth, *, rngs):
        self.enter = nnx.Linear(64, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, rngs=rngs) for _ in range(depth)])
        self.scores = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.scores(x)


def loss(net, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(net(images), labels).mean()


net = Net(128, 8, rngs=nnx.Rngs(0))
memory = fg.plan(loss, net, images, labels).memory
_, ax = plt.subplots()
memory.draw(ax)
plt.show()

# %% [markdown]
# The forward pass adds up what the reverse pass will read, and the reverse pass lets go of it. The black mark is the
# peak. Now the same within 20 MiB: less is kept, and what is missing is made again (orange) when the reverse pass comes
# to it.

# %%
plan = fg.plan(loss, net, images, labels, memory="20 MiB")
_, ax = plt.subplots()
plan.memory.draw(ax)
plt.show()

# %%
print(plan.memory)

# %% [markdown]
# ## 2. What less costs
#
# Every choice that is worth making lies on one curve: how large the peak is, and how much of one forward pass is run
# again for it. The last bytes are the dearest.

# %%
_, ax = plt.subplots()
memory.draw_curve(ax)
plt.show()

# %%
for size in ("40 MiB", "30 MiB", "20 MiB", "15 MiB"):
    found = memory.within(size)
    print(size, "cannot be had" if found is None else f"takes {found.overhead:.0%} of a forward pass")

# %% [markdown]
# ## 3. Training in less than it takes
#
# A training step within 20 MiB beside parameters and batch, and the same without a limit. `fg.certify` reads what XLA
# says of the compiled step. (For losses of modules see `docs/models-of-other-libraries.md`.)


# %%
def objective(net, model_state, batch, _key):
    return loss(net, *batch), (model_state, {})


optimizer = optax.adam(1e-3)
losses = {}
for size in (None, "20 MiB"):
    state = fg.train.init(Net(128, 8, rngs=nnx.Rngs(0)), optimizer)
    step = fg.train.step(objective, optimizer, memory=size)
    found = fg.certify(step, state, (images, labels), 0)
    print(f"{size or 'no limit'}: {found.bytes / MIB:.1f} MiB")
    losses[size] = []
    for _ in range(20):
        state, metrics = step(state, (images, labels), 0)
        losses[size].append(float(metrics["loss"]))
    assert size is None or found.bytes <= 20 * MIB

# %% [markdown]
# And the losses, step by step:

# %%
print(np.round(losses[None][::4], 4))
print(np.round(losses["20 MiB"][::4], 4))
np.testing.assert_allclose(losses[None], losses["20 MiB"], rtol=1e-2)

# %% [markdown]
# ## 4. What cannot be
#
# Not everything can be made again: gradients, and what one node needs at once. An error says what is needed, where.

# %%
said = ""
try:
    fg.grad(loss, memory="1 MiB")(net, images, labels)
except BudgetError as error:
    said = str(error)
print(textwrap.fill(said, 110))
assert "the passes need" in said
