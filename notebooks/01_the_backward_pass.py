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
# # The backward pass
#
# A lecture on back-propagation says: on a graph whose nodes are $a = \varphi(b; c)$, the gradient of a loss $\ell$
# flows backwards by
#
# $$\left[\frac{\partial \ell}{\partial b}\right] = \sum_{\varphi \text{ reads } b} J^\top_{\varphi|b}
# \left[\frac{\partial \ell}{\partial a}\right]
# \qquad\text{and the same for parameters } c .$$
#
# funcgrad takes this sentence literally. The graph is a value, each $J^\top$ is a function with a name, what will be
# done is a table you can print, and a short loop does it. This notebook goes through the lecture (F. Fleuret,
# *Deep Learning*, 3.6, 4.1, 4.2) with each of these in hand.

# %%
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pictures

import funcgrad as fg

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1. One layer, by hand
#
# Forward: $s = W x + b$, then $x' = \sigma(s)$. The loss here is $\ell = \sum (x' - t)^2$. Backward, four lines:
#
# $$\left[\tfrac{\partial \ell}{\partial s}\right] = \left[\tfrac{\partial \ell}{\partial x'}\right] \odot \sigma'(s),
# \quad \left[\tfrac{\partial \ell}{\partial x}\right] = W^\top \left[\tfrac{\partial \ell}{\partial s}\right],
# \quad \left[\!\left[\tfrac{\partial \ell}{\partial W}\right]\!\right]
# = \left[\tfrac{\partial \ell}{\partial s}\right] x^\top,
# \quad \left[\tfrac{\partial \ell}{\partial b}\right] = \left[\tfrac{\partial \ell}{\partial s}\right].$$

# %%
W, b = rng.normal(size=(2, 3)), rng.normal(size=2)
x, t = rng.normal(size=3), np.array([1.0, 0.0])

s = W @ x + b
x_out = 1 / (1 + np.exp(-s))
x_out_bar = 2 * (x_out - t)
s_bar = x_out_bar * x_out * (1 - x_out)
by_hand = {"s": s_bar, "x": W.T @ s_bar, "W": np.outer(s_bar, x), "b": s_bar}

# %% [markdown]
# The same with funcgrad. A value that has a name can be differentiated by: `wrt=` takes arguments and intermediates
# alike.


# %%
def layer_loss(W, b, x, t):
    s = fg.name(fg.ops.matmul(W, x) + b, "s")
    return fg.ops.sum(fg.ops.squared_error(fg.ops.sigmoid(s), t))


by_funcgrad = fg.grad(layer_loss, wrt=["s", "x", "W", "b"])(W, b, x, t)

for name, bar in by_hand.items():
    difference = np.abs(bar - by_funcgrad[name]).max()
    print(f"[∂ℓ/∂{name}]   largest entry {np.abs(bar).max():.4f}   difference {difference:.1e}")

# %% [markdown]
# ## 2. A rule is a function you can read
#
# `fg.ops.linear` is an ordinary function of JAX arrays (examples are rows, so $y = x\,w + b$ with $w = W^\top$).
# Beside it stand its three $J^\top$, one per argument. A rule's parameters say what it needs: `g` is the incoming
# $[\partial\ell/\partial y]$, `y` the output, anything else an argument. So what the forward pass has to keep is known
# without running it.

# %%
for op in (fg.ops.linear, fg.ops.sigmoid):
    for rule in op.rules.values():
        print(inspect.getsource(rule.function))

# %% [markdown]
# ## 3. The plan: everything is decided before anything runs
#
# Shapes are enough to plan a backward pass.


# %%
def mlp(params, x, activation):
    for k, (w, b) in enumerate(params, start=1):
        with fg.scope(f"layer{k}"):
            x = activation(fg.ops.linear(x, w, b))
    return x


def mlp_loss(params, x, t, activation):
    return fg.ops.mean(fg.ops.squared_error(mlp(params, x, activation), t))


def specs(depth, width, batch):
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    x = array(batch, width)
    return [(array(width, width), array(width)) for _ in range(depth)], x, x


print(fg.plan(mlp_loss, *specs(depth=3, width=256, batch=128), fg.ops.sigmoid))

# %% [markdown]
# Read it from the bottom up and it is the lecture's backward pass. Three things to notice:
#
# * The first layer has no `x: linear_x`. Nobody asked for the gradient of the data, so that product is pruned.
# * A sigmoid keeps its *output*, and the next layer's `linear_w` reads the same array: one activation per layer. What
#   is marked `*` is there anyway.
# * Backward costs a little less than twice the forward, by the product that was pruned.
#
# ## 4. A graph, with a parameter that is used twice
#
# The lecture's example is $x_1 = \varphi_1(x_0; w_1)$, $x_2 = \varphi_2(x_0, x_1; w_2)$,
# $x_3 = \varphi_3(x_1, x_2; w_1)$. In funcgrad it is these three lines:


# %%
def phi1(w1, x0):
    return fg.ops.tanh(fg.ops.linear(x0, w1))


def phi2(w2, x0, x1):
    return fg.ops.multiply(fg.ops.sigmoid(fg.ops.linear(x0, w2)), x1)


def phi3(w1, x1, x2):
    return fg.ops.linear(fg.ops.add(x1, x2), w1)


dag, node = fg.layers.dag, fg.layers.node
net = dag(
    "x0",
    x1=node(phi1, "x0", params="w1"),
    x2=node(phi2, "x0", "x1", params="w2"),
    x3=node(phi3, "x1", "x2", params="w1"),
)
pictures.draw_dag(net)

# %% [markdown]
# $x_1$ is read twice and $w_1$ is used twice, so both have two terms:
#
# $$\begin{aligned}
# \left[\tfrac{\partial \ell}{\partial x_2}\right]
#   &= J^\top_{\varphi_3|x_2}\left[\tfrac{\partial \ell}{\partial x_3}\right], &
# \left[\tfrac{\partial \ell}{\partial x_1}\right]
#   &= J^\top_{\varphi_2|x_1}\left[\tfrac{\partial \ell}{\partial x_2}\right]
#   + J^\top_{\varphi_3|x_1}\left[\tfrac{\partial \ell}{\partial x_3}\right], \\
# \left[\tfrac{\partial \ell}{\partial w_2}\right]
#   &= J^\top_{\varphi_2|w_2}\left[\tfrac{\partial \ell}{\partial x_2}\right], &
# \left[\tfrac{\partial \ell}{\partial w_1}\right]
#   &= J^\top_{\varphi_1|w_1}\left[\tfrac{\partial \ell}{\partial x_1}\right]
#   + J^\top_{\varphi_3|w_1}\left[\tfrac{\partial \ell}{\partial x_3}\right].
# \end{aligned}$$
#
# Every use of a shared parameter has a name, `w1@x1` and `w1@x3`, so the two terms of
# $[\partial\ell/\partial w_1]$ can be asked for one by one.

# %%
params = {"w1": rng.normal(size=(6, 6)) / 2, "w2": rng.normal(size=(6, 6)) / 2}
x0, target = rng.normal(size=(10, 6)), rng.normal(size=(10, 6))


def dag_loss(params, x0, target):
    return fg.ops.mean(fg.ops.squared_error(net(params, x0), target))


terms = fg.grad(dag_loss, wrt=["w1@x1", "w1@x3"])(params, x0, target)
gradient = fg.grad(dag_loss)(params, x0, target)
pictures.draw_terms(terms, gradient["w1"], "w1")

# %% [markdown]
# The plan of one term alone prunes whatever that term does not pass through: for `w1@x3`, all of $\varphi_1$ and
# $\varphi_2$.

# %%
print(fg.plan(dag_loss, params, x0, target, wrt="w1@x3"))

# %% [markdown]
# ## 5. The loop
#
# This is the reverse pass itself, and the place where cotangents are added. `pullback` is $J^\top$; `targets` are the
# $b$ and $c$ of the first equation; `cotangents.add` is its sum.

# %%
print(inspect.getsource(fg.reverse.reverse))
print(inspect.getsource(fg.reverse.Cotangents.add))

# %% [markdown]
# | in the lecture | in the loop |
# |---|---|
# | go through the nodes in reverse order | `for step in reversed(plan.steps)` |
# | $[\partial\ell/\partial a]$, complete once all readers of $a$ are done | `g = cotangents.pop(step.outputs)` |
# | $J^\top_{\varphi\mid b}\,[\partial\ell/\partial a]$ | `pullback(g, values)` |
# | $\sum$ over the nodes that read $b$ | `cotangents.add(pullback.targets, ...)` |
#
# ## 6. Replace a rule
#
# A sign has derivative zero wherever it has one, so nothing behind it can learn. The usual remedy is to go *straight
# through*: keep the sign in the forward pass, and pull back as if it were $\mathrm{clip}(s, -1, 1)$. The op states
# the truth about itself; the replacement is an argument of one gradient and says what it is.


# %%
@fg.op(elementwise=True, replace=True)  # replace, so that this cell can be run twice
def hard_sign(x):
    return jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)


hard_sign.mark(x=fg.Marker.ZERO)


def hard_tanh(x):
    return jnp.clip(x, -1, 1)


def straight_through(g, x):
    return g * (jnp.abs(x) <= 1)


rules = fg.RuleSet().override(hard_sign, straight_through, at="layer*/**", kind=fg.surrogate(of=hard_tanh))
print(rules, "\n")

depth, width, batch = 3, 8, 16
binary_params = [(rng.normal(size=(width, width)) / width**0.5, np.zeros(width)) for _ in range(depth)]
binary_x, binary_t = rng.normal(size=(batch, width)), rng.normal(size=(batch, width))
binary_args = (binary_params, binary_x, binary_t, hard_sign)

own = fg.grad(mlp_loss)(*binary_args)
swapped = fg.grad(mlp_loss, rules=rules)(*binary_args)
for k in range(depth):
    print(f"layer{k + 1}  ‖[[∂ℓ/∂w]]‖  own rule {jnp.linalg.norm(own[k][0]):.3f}", end="   ")
    print(f"straight through {jnp.linalg.norm(swapped[k][0]):.3f}")

# %% [markdown]
# The plan reports what it was given, so a gradient that is no derivative cannot be mistaken for one:

# %%
print(fg.plan(mlp_loss, *binary_args, rules=rules))

# %% [markdown]
# ## 7. Vanishing gradients
#
# On its way down, a cotangent is multiplied by $\sigma'(s)$ at each layer. For a sigmoid this is at most 1/4. A glob
# over names gives the cotangent at every layer of a deep network at once.

# %%
depth, width, batch = 20, 64, 32
deep_x, deep_t = rng.normal(size=(batch, width)), rng.normal(size=(batch, width))
standard = [(rng.normal(size=(width, width)), np.zeros(width)) for _ in range(depth)]

norms = {}
for label, activation, gain in (
    ("sigmoid", fg.ops.sigmoid, 1.0),
    ("tanh", fg.ops.tanh, 1.0),
    ("relu, weights of variance 2/n", fg.ops.relu, 2.0),
):
    deep_params = [(w * (gain / width) ** 0.5, b) for w, b in standard]
    bars = fg.grad(mlp_loss, wrt="layer*/linear")(deep_params, deep_x, deep_t, activation)
    norms[label] = [float(jnp.linalg.norm(bars[f"layer{k + 1}/linear"])) for k in range(depth)]
pictures.draw_norms(norms)

# %% [markdown]
# ## 8. What it costs
#
# The lecture makes two claims. Memory: the backward pass needs the activations of all layers, so what is kept grows
# linearly with depth, while the forward alone may forget as it goes. Time: where the forward makes one matrix product
# per layer, the backward makes two, so it costs about twice as much. The plan counts both without running anything;
# XLA counts again on the program that it compiled.

# %%
depths, width, batch = [2, 4, 8, 16, 32], 128, 1024  # many rows, so that activations outweigh parameters
mebibyte = 2**20
memory = {"gradient, plan": [], "gradient, XLA": [], "forward, XLA": []}
cost = {"plan": [], "XLA": [], "2 − 1/depth": []}
for depth in depths:
    *args, activation = *specs(depth, width, batch), fg.ops.sigmoid
    totals = fg.plan(mlp_loss, *args, activation).totals
    forward = jax.jit(mlp_loss, static_argnums=3).lower(*args, activation).compile()
    both = jax.jit(fg.value_and_grad(mlp_loss), static_argnums=3).lower(*args, activation).compile()
    memory["gradient, plan"].append(totals.kept_bytes / mebibyte)
    memory["gradient, XLA"].append(both.memory_analysis().temp_size_in_bytes / mebibyte)
    memory["forward, XLA"].append(forward.memory_analysis().temp_size_in_bytes / mebibyte)
    cost["plan"].append(totals.ratio)
    cost["XLA"].append(both.cost_analysis()["flops"] / forward.cost_analysis()["flops"] - 1)
    cost["2 − 1/depth"].append(2 - 1 / depth)
pictures.draw_costs(depths, memory, cost)

# %% [markdown]
# The one extra activation that XLA holds on top of the plan is what it is working on. The missing $1/L$ in the cost is
# the first layer's input gradient, which nobody asked for.
#
# ## 9. Descend
#
# $W \leftarrow W - \eta\,[\![\partial\ell/\partial W]\!]$, on the graph of section 4 between two layers that lead into
# it and out of it. The shared $w_1$ is one parameter: it moves by the sum of its two terms.

# %%
curve_x = np.linspace(-2, 2, 100)[:, None]
curve_t = np.sin(3 * curve_x) + 0.1 * rng.normal(size=curve_x.shape)

linear = fg.layers.linear
model = fg.layers.chain(enter=linear(6), graph=net, squash=fg.ops.tanh, leave=linear(1))
model_params = {
    "enter": {"w": rng.normal(size=(1, 6)), "b": rng.normal(size=6)},
    "graph": params,
    "leave": {"w": rng.normal(size=(6, 1)), "b": np.zeros(1)},
}


def curve_loss(params):
    return fg.ops.mean(fg.ops.squared_error(model(params, curve_x), curve_t))


@jax.jit
def descend(params, rate=0.03):
    loss, gradient = fg.value_and_grad(curve_loss)(params)
    return loss, jax.tree.map(lambda W, W_bar: W - rate * W_bar, params, gradient)


before, losses = model(model_params, curve_x), []
for _ in range(2000):
    loss, model_params = descend(model_params)
    losses.append(float(loss))
pictures.draw_descent(losses, curve_x, curve_t, before, model(model_params, curve_x))

# %% [markdown]
# ## What was claimed, checked

# %%
# 1. The lecture's four equations are what comes out.
for name, bar in by_hand.items():
    np.testing.assert_allclose(by_funcgrad[name], bar, rtol=1e-12)

# 4. The gradient of a shared parameter is the sum of its uses, and JAX agrees.
np.testing.assert_allclose(terms["w1@x1"] + terms["w1@x3"], gradient["w1"], rtol=1e-12)
np.testing.assert_allclose(jax.grad(dag_loss)(params, x0, target)["w1"], gradient["w1"], rtol=1e-10)

# 6. A sign passes nothing on; straight through, every layer gets a gradient.
assert all(not own[k][0].any() and swapped[k][0].any() for k in range(3))

# 7. From the last layer to the first, the sigmoids lose nearly everything and the relus do not.
assert norms["sigmoid"][0] < 1e-8 * norms["sigmoid"][-1]
assert norms["relu, weights of variance 2/n"][0] > 0.1 * norms["relu, weights of variance 2/n"][-1]

# 8. One activation per layer is kept, and XLA's memory grows by that much; the forward's does not.
activation_size = width * batch * 4 / mebibyte
np.testing.assert_allclose(memory["gradient, plan"], np.array(depths) * activation_size)
assert 0.9 < np.polyfit(depths, memory["gradient, XLA"], 1)[0] / activation_size < 1.2
assert np.polyfit(depths, memory["forward, XLA"], 1)[0] / activation_size < 0.25
np.testing.assert_allclose(cost["plan"], cost["2 − 1/depth"], rtol=0.01)
np.testing.assert_allclose(cost["XLA"], cost["2 − 1/depth"], rtol=0.03)

# 9. Descent descends, at every step.
assert losses[-1] < 0.1 * losses[0]
assert np.all(np.diff(losses) < 0)
