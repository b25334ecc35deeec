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
# # Trusting a rule
#
# A rule written by hand saves memory and time, and nothing stops it from being wrong. A wrong one seldom crashes: the
# loss goes down a little more slowly. The claim of this notebook: a wrong rule is *named*, with the argument and the
# numbers at which it is wrong, and so is the layer that made a NaN.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pictures
from jax.test_util import check_grads
from sklearn.datasets import load_digits

import funcgrad as fg
from funcgrad import ops, train

rng = np.random.default_rng(0)

# %% [markdown]
# ## 1. A rule, and five ways to write it wrong
#
# One layer, $y = \tanh(s)$ with $s = x W + b$. The slope of tanh is $1 - y^2$, so all three rules start from
# $h = [\partial\ell/\partial s] = g\,(1 - y^2)$.


# %%
def layer(x, w, b):
    return jnp.tanh(x @ w + b)


def layer_x(g, y, w):
    return (g * (1 - y**2)) @ w.T


def layer_w(g, y, x):
    return jnp.einsum("...n,...m->nm", x, g * (1 - y**2))


def layer_b(g, y):
    return g * (1 - y**2)  # the library sums over what was broadcast


def layer_with(**wrong):
    """The op with some of its rules replaced."""
    op = fg.op(name="layer", leading=("x",), shapes="x[..., n] w[n, m] b[m]", replace=True)(layer)
    for argument, rule in {"x": layer_x, "w": layer_w, "b": layer_b, **wrong}.items():
        op.pullback(argument)(rule)
    return op


EXAMPLE = (rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=3))
right = fg.check(layer_with(), cases=[EXAMPLE])
print(right)

# %% [markdown]
# Every row is a promise that was tried: every entry of every cotangent against `jax.vjp` of the plain forward in
# float64, at these numbers and at others; `vmap`, `scan`, two batch axes, none; float32, bfloat16, float16. Now the
# mistakes. Beside each stands what `jax.test_util.check_grads`, finite differences at the same arguments, says of it.

# %%
reports = {}


def convict(mistake, op, example):
    """Both checkers on a wrong rule; prints what each finds."""
    report = reports[mistake] = fg.check(op, cases=[example], fail_fast=True)
    row = report.wrong[0]
    try:
        check_grads(op, tuple(jnp.asarray(a, jnp.float32) for a in example), order=1, modes=["rev"])
        other = "passes"
    except AssertionError:
        other = "fails"
    print(f"{mistake}\n  fg.check: {row.group}, {row.name}: {row.detail}\n  check_grads: {other}")
    return other


# %% [markdown]
# **One: transposed.** The weights are square, so every shape fits.


# %%
def transposed_x(g, y, w):
    return (g * (1 - y**2)) @ w


others = {}
others["transposed"] = convict("transposed", layer_with(x=transposed_x), EXAMPLE)

# %% [markdown]
# **Two: a sum over the batch that forgets the other batch axes.** `x.T @ h` is in every textbook. It is right for
# `x[b, n]`, and for nothing else that the op says it takes.


# %%
def textbook_w(g, y, x):
    return x.T @ (g * (1 - y**2))


others["batch axes"] = convict("batch axes", layer_with(w=textbook_w), EXAMPLE)

# %% [markdown]
# **Three: a stale residual.** A forward that saves what the rules need; here it saves `s` before the activation, and
# the rule takes it for `y`.


# %%
def stale():
    op = fg.op(name="layer", leading=("x",), shapes="x[..., n] w[n, m] b[m]", replace=True)(layer)

    @op.saving("kept")
    def saving(x, w, b):
        s = x @ w + b
        return jnp.tanh(s), {"kept": s}

    @op.pullback("x")
    def stale_x(g, kept, w):
        return (g * (1 - kept**2)) @ w.T

    op.pullback("w")(layer_w)
    op.pullback("b")(layer_b)
    return op


others["stale residual"] = convict("stale residual", stale(), EXAMPLE)

# %% [markdown]
# **Four: right eagerly, wrong under `jit`.** Left over from an experiment. Whoever tests without `jit` and trains with
# it, sees it never and has it always.


# %%
def doubled_b(g, y):
    scale = 2 if isinstance(g, jax.core.Tracer) else 1
    return scale * g * (1 - y**2)


others["under jit"] = convict("under jit", layer_with(b=doubled_b), EXAMPLE)


# %% [markdown]
# **Five: wrong at ties.** The largest entry gets the cotangent. Of two that are equally large, both get all of it.


# %%
def row_max(x):
    return jnp.max(x, axis=-1)


def greedy_x(g, y, x):
    return g[..., None] * (x == y[..., None])


largest = fg.op(name="row_max", leading=("x",), shapes="x[..., n]", replace=True)(row_max)
largest.pullback("x")(greedy_x)
others["ties"] = convict("ties", largest, EXAMPLE[:1])

# %% [markdown]
# Each is named by rule and argument, and where the shape is right by entry and example as well. Finite differences at
# one point pass three of the five. In a test suite, `fg.checking.assert_rules(op)` fails with the same sentence.
#
# ### In a network
#
# `fg.audit` does the same to every node of a function, at its own numbers. Two layers of five get the rule with the
# transposed matrix, by an override that claims it to be exact.

# %%
dense = layer_with()


def network(params, x):
    for i, (w, b) in enumerate(params):
        with fg.scope(f"block{i}"):
            x = dense(x, w, b)
    return ops.mean(x**2)


weights = [(jnp.asarray(rng.normal(size=(3, 3)), jnp.float32), jnp.zeros(3)) for _ in range(5)]
x = jnp.asarray(EXAMPLE[0], jnp.float32)
wrong_rules = fg.RuleSet()
for block in ("block1", "block3"):
    wrong_rules = wrong_rules.override(dense, transposed_x, "x", at=f"{block}/*", kind=fg.exact)
audit = fg.audit(network, weights, x, rules=wrong_rules)
print(audit)

# %% [markdown]
# ## 2. Which layer made the NaN
#
# A classifier of digits, the middle layer of which is normalized by its size, and a batch in which one image is blank.

# %%
digits = load_digits()
images, labels = jnp.asarray(digits.data / 16, jnp.float32), jnp.asarray(digits.target)
batches = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, 64 * 12, 64)]
batches[7] = (batches[7][0].at[5].set(0.0), batches[7][1])


def divided(h):
    return h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True))


def classifier(normalize):
    def loss(params, state, batch, _key):
        h, labels = batch
        for name in ("block0", "block1", "block2"):
            with fg.scope(name):
                h = ops.tanh(ops.linear(h, params[name]))
                h = normalize(h) if name == "block1" else h
        with fg.scope("head"):
            value = ops.mean(ops.cross_entropy(ops.linear(h, params["head"]), labels))
        return value, (state, {})

    return loss


sizes = {"block0": (64, 32), "block1": (32, 32), "block2": (32, 32), "head": (32, 10)}
params = {n: jnp.asarray(rng.normal(size=s) * np.sqrt(2 / s[0]), jnp.float32) for n, s in sizes.items()}


def train_on(loss, batches):
    """Some steps that leave the state alone where something is not finite; the record of each."""
    optimizer = optax.adam(1e-2)
    step = train.step(loss, optimizer, on_nonfinite="skip")
    state, records = train.init(params, optimizer), []
    for batch in batches:
        state, metrics = step(state, batch, jax.random.key(0))
        records.append((float(metrics["loss"]), metrics["nonfinite"].names))
    return records


records = train_on(classifier(divided), batches)
for i, (loss, names) in enumerate(records):
    print(f"batch {i:2d}  loss {loss:.3f}  not finite: {', '.join(names) or '-'}")

# %% [markdown]
# The step was skipped and the training went on, unharmed. The names do not say who did it, since everything is NaN
# from there on, and on the way back. `fg.blame` on that batch does.

# %%
bad = (params, {}, batches[7], jax.random.key(0))
forward = fg.blame(classifier(divided), *bad, has_aux=True)
print(forward)

# %% [markdown]
# The first line names it: a blank image gives a row of zeros, and $0/0$ is NaN. What most people do about it:


# %%
def guarded(h):
    size = jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True))
    return jnp.where(size > 0, h / jnp.where(size > 0, size, 1.0), 0.0)


records = train_on(classifier(guarded), batches[6:9])
for i, (loss, names) in enumerate(records, start=6):
    print(f"batch {i:2d}  loss {loss:.3f}  not finite: {', '.join(names) or '-'}")
backward = fg.blame(classifier(guarded), *bad, has_aux=True)
print(backward)

# %% [markdown]
# Now the loss is finite, and the gradient below that layer is not: the slope of the square root at 0 is infinite, and
# the mask multiplies it by 0. No look at activations finds that. The mend is to keep the root away from zero.


# %%
def mended(h):
    return h / jnp.sqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-6)


records = train_on(classifier(mended), batches)
print(fg.blame(classifier(mended), *bad, has_aux=True))

# %% [markdown]
# ## 3. Before it is NaN
#
# Twenty-four layers, and how much each multiplies the cotangent on its way back: `blame.growth`, by node; below,
# the product of those in each layer.


# %%
def deep(activation):
    def loss(weights, x):
        for i, w in enumerate(weights):
            with fg.scope(f"layer{i}"):
                x = activation(ops.linear(x, w))
        return ops.mean(x)

    return loss


start = jnp.asarray(rng.normal(size=(32, 64)), jnp.float32)
normal = [jnp.asarray(rng.normal(size=(64, 64)) / 8, jnp.float32) for _ in range(24)]
networks = {"sigmoid": (ops.sigmoid, 1.0), "relu, He": (ops.relu, 2**0.5), "relu, too large": (ops.relu, 3.0)}
blames = {}
for name, (activation, gain) in networks.items():
    blames[name] = fg.blame(deep(activation), [gain * w for w in normal], start)
    print(f"{name}: {blames[name]}\n")

# %%
factors = {}
for name, report in blames.items():
    layers = [f"layer{i}" for i in range(1, len(normal))]
    factors[name] = [np.prod([x for node, x in report.growth.items() if node.split("/")[0] == n]) for n in layers]
pictures.draw_growth(factors)

# %% [markdown]
# ## What was claimed, checked

# %%
assert right.ok
named = {mistake: (r.wrong[0].group, r.wrong[0].name) for mistake, r in reports.items()}
assert named == {
    "transposed": ("values", "cotangent of x"),
    "batch axes": ("contract", "rules"),
    "stale residual": ("values", "cotangent of x"),
    "under jit": ("values", "cotangent of b"),
    "ties": ("values", "cotangent of x"),
}
assert others == {
    "transposed": "fails",
    "batch axes": "passes",
    "stale residual": "fails",
    "under jit": "passes",
    "ties": "passes",
}
assert {f.node for f in audit.failures} == {"block1/layer", "block3/layer"}
assert forward.forward.node.startswith("block1/div")
assert backward.forward is None
assert backward.backward.node.startswith("block1/sqrt")
assert not any(names for _, names in records)
assert [f.kind for f in blames["sigmoid"].findings] == ["vanishing"]
assert blames["relu, He"].ok
assert [f.kind for f in blames["relu, too large"].findings] == ["exploding"]
