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
# # Replacing rules
#
# Guided backprop, deconvnet, relevance propagation: each is a paper that changes a few rules of the backward pass and
# leaves the forward pass as it is. The claim of this notebook: on a residual network that nobody edits, each is a set
# of rules handed to `fg.grad`; the plan shows where they stand, and you write your own in three lines.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import photographs
import pictures
from flax import nnx
from photographs import THINGS

import funcgrad as fg
from funcgrad.errors import RuleError
from funcgrad.rulesets import attribution, relevance, straight_through

# %% [markdown]
# ## 1. A network that looks at photographs
#
# No trained weights come with a package, photographs do. Seven things are cut out of them and put on pieces of others,
# in some size, place and light; the network is to say which thing it is. So nothing but the thing itself can tell.

# %%
photos = photographs.load()
scenes, labels, _ = photographs.scenes(photos, 3000)
new_scenes, new_labels, _ = photographs.scenes(photos, 500, seed=1)
pictures.draw_images(scenes[:14], [THINGS[i] for i in labels[:14]])

# %% [markdown]
# A small ResNet in Flax NNX, as one would write it who never heard of funcgrad.


# %%
class Block(nnx.Module):
    def __init__(self, channels, width, *, rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1, self.norm1 = conv(channels, width, (3, 3)), nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.conv2, self.norm2 = conv(width, width, (3, 3)), nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.project = conv(channels, width, (1, 1)) if channels != width else None

    def __call__(self, x):
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (x if self.project is None else self.project(x)))


class ResNet(nnx.Module):
    def __init__(self, widths, classes, *, rngs):
        self.stem = nnx.Conv(3, widths[0], (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(widths[0], momentum=0.9, rngs=rngs)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.stages = nnx.List([nnx.Sequential(Block(a, b, rngs=rngs), Block(b, b, rngs=rngs)) for a, b in pairs])
        self.out = nnx.Linear(widths[-1], classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.stem(x)))
        for stage in self.stages:
            x = stage(nnx.avg_pool(x, (2, 2), strides=(2, 2)))
        return self.out(x.mean((1, 2)))


def loss(model, x, labels):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()


steps = 260
model = ResNet((16, 32, 64), len(THINGS), rngs=nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(optax.cosine_decay_schedule(3e-3, steps)), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, x, labels):
    value, gradient = fg.value_and_grad(loss)(model, x, labels)
    optimizer.update(model, gradient)
    return value


for rows in np.random.default_rng(0).integers(len(scenes), size=(steps, 32)):
    last = train_step(model, optimizer, scenes[rows], labels[rows])
model.eval()  # from here on batch norms are at their running statistics
forward = nnx.jit(lambda model, x: model(x))
accuracy = (forward(model, new_scenes).argmax(1) == new_labels).mean()
print(f"loss {last:.3f}; {100 * accuracy:.1f} % of new scenes")

# %% [markdown]
# Now photographs as they were taken, with the three largest logits. The first has two of the things in it, an astronaut
# and a model of a shuttle, so two questions can be put to it.

# %%
questions = [("astronaut", "astronaut"), ("astronaut", "shuttle"), ("cat", "cat"), ("flower", "flower")]
x = jnp.stack([photographs.square(photos[photograph], 80) for photograph, _ in questions])
asked = jnp.array([THINGS.index(thing) for _, thing in questions])
for (photograph, thing), logits in zip(questions, forward(model, x), strict=True):
    order = sorted(zip(logits, THINGS, strict=True), reverse=True)
    print(f"{photograph:10s} {thing:10s}", *(f"{name} {logit:.2f}" for logit, name in order[:3]), sep="  ")

# %% [markdown]
# ## 2. A rule from a paper
#
# Guided backprop (Springenberg et al. 2015) changes one thing: a ReLU lets through what is positive on the way forward
# *and* on the way back. A rule asks by name for what it reads: `g` is the cotangent that arrives, `x` what the ReLU
# was given. The plan says where it will stand, before anything runs; here are its lines for the last block.


# %%
def guided_relu(g, x):
    return jnp.where((x > 0) & (g > 0), g, 0)


guided = fg.RuleSet().override(jax.nn.relu, guided_relu, kind=fg.nonlinear)
print(guided)


def logits_of(model, x):
    return model(x)


def lines_of_last_block(plan):
    return [line for line in plan.table().splitlines() if "stages/2/layers/1" in line and "pruned" not in line]


guided_plan = fg.plan(logits_of, model, x, argnums=1, rules=guided)
print(*lines_of_last_block(guided_plan), guided_plan.table().splitlines()[-3], sep="\n")

# %% [markdown]
# `[nonlinear]` says that this is no derivative, and not linear in the cotangent either: `-g` does not give minus what
# `g` gives. All other nodes keep their own rules. The call is that of any gradient: `cotangent=` is what arrives at the
# output, a 1 at the logit that is asked for. `fg.rulesets` has published methods by name, this one too, and
# `fg.with_rules` takes a set to JAX's own `jax.grad` and `jax.vjp`.

# %%
chosen = jax.nn.one_hot(asked, len(THINGS))
by_hand = fg.grad(logits_of, 1, cotangent=chosen, rules=guided)(model, x)
by_name = fg.grad(logits_of, 1, cotangent=chosen, rules=attribution.guided_backprop())(model, x)
(by_jax,) = jax.vjp(fg.with_rules(lambda x: model(x), guided), x)[1](chosen)
print(f"by name: {bool(jnp.array_equal(by_hand, by_name))}, by JAX: {bool(jnp.allclose(by_hand, by_jax, atol=1e-5))}")

# %% [markdown]
# Misspelt, a rule would stand nowhere and the plain gradient come out under the paper's name. So it raises.

# %%
sentences = []
for function, at in ((jax.nn.relu, "model/stage3/**"), ("rleu", "**")):
    try:
        fg.plan(logits_of, model, x, rules=fg.RuleSet().override(function, guided_relu, at=at))
    except RuleError as error:
        sentences.append(str(error))
        print(error)

# %% [markdown]
# ## 3. Eight backward passes
#
# Each takes the model `m`, the pictures `x` and in `c` a 1 for each picture's class. The last two are layer-wise
# relevance propagation: what is sent back is the logit itself, and what arrives at a pixel *is* its relevance. How
# their two sets differ is printed.


# %%
def to(chosen):
    return {"argnums": 1, "cotangent": chosen}


plus, box = relevance.epsilon_plus(), relevance.epsilon_gamma_box(0.0, 1.0)  # pixels lie between 0 and 1
print(plus.diff(box))
PASSES = {
    # slopes, and what they make of this input (Shrikumar et al. 2016)
    "gradient": lambda m, x, c: fg.grad(logits_of, **to(c))(m, x),
    "gradient × input": lambda m, x, c: attribution.gradient_times_input(logits_of, **to(c))(m, x),
    # other ReLUs (Springenberg et al. 2015; Zeiler & Fergus 2014)
    "guided backprop": lambda m, x, c: fg.grad(logits_of, **to(c), rules=attribution.guided_backprop())(m, x),
    "deconvnet": lambda m, x, c: fg.grad(logits_of, **to(c), rules=attribution.deconvnet())(m, x),
    # the mean slope on the way from a black picture, times the input (Sundararajan et al. 2017)
    "integrated gradients": lambda m, x, c: attribution.integrated_gradients(logits_of, **to(c), steps=32)(m, x),
    # the last feature maps, weighted by their mean slopes (Selvaraju et al. 2017)
    "Grad-CAM": lambda m, x, c: attribution.grad_cam(logits_of, "model/stages/2", cotangent=c)(m, x),
    # shares of what made each output; batch norm is a part of its convolution (Kohlbrenner et al. 2020; Montavon 2019)
    "LRP ε, z⁺": lambda m, x, c: fg.grad(logits_of, **to(c * m(x)), rules=plus)(m, x),
    "LRP ε, γ, box": lambda m, x, c: fg.grad(logits_of, **to(c * m(x)), rules=box)(m, x),
}
some, some_labels, some_boxes = photographs.scenes(photos, 12, size=80, seed=2)  # for the numbers below
both, both_chosen = jnp.concatenate([x, some]), jnp.concatenate([chosen, jax.nn.one_hot(some_labels, len(THINGS))])
maps = {name: nnx.jit(attribute)(model, both, both_chosen) for name, attribute in PASSES.items()}
pictures.draw_passes(x, [f"{thing}?" for _, thing in questions], maps)

# %% [markdown]
# Red is positive and blue negative, over the photograph in grey. The first two rows are one photograph and two
# questions. Grad-CAM and relevance answer with the head to one and with the shuttle to the other; guided backprop and
# deconvnet give nearly the same map whatever they are asked, as is known of them (Nie et al. 2018). In numbers: the
# correlation between those two rows; and in scenes, where the place is known, how much of a map lies on the thing.


# %%
def flat(found):
    """Maps without channels, one row each."""
    found = found.sum(-1) if found.ndim == 4 else found
    return found.reshape(len(found), -1)


def share_inside(found, boxes, size=80):
    """How much of the magnitude of a map lies in the thing's box; the mean over maps."""
    found = jnp.abs(found.sum(-1) if found.ndim == 4 else jax.image.resize(found, (len(found), size, size), "nearest"))
    inside = jnp.stack([found[i, top:bottom, left:right].sum() for i, (top, bottom, left, right) in enumerate(boxes)])
    return float((inside / found.sum((1, 2))).mean())


area = share_inside(jnp.ones(some.shape[:3]), some_boxes)
alike, inside = {}, {}
print(f"{'':22s}  correlation  inside the box, {100 * area:.0f} % of the scene")
for name, found in maps.items():
    alike[name] = float(jnp.corrcoef(flat(found)[:2])[0, 1])
    inside[name] = share_inside(found[len(x) :], some_boxes)
    print(f"{name:22s} {alike[name]:12.2f} {100 * inside[name]:12.0f} %")

# %% [markdown]
# ## 4. Where the relevance goes
#
# Integrated gradients add up to the logit less that of a black picture. Relevance is to be conserved from layer to
# layer: at each, it adds up to the logit. `wrt=` asks for it at any place inside.

# %%
places = ["model/stages/2", "model/stages/1", "model/stages/0", "model/relu", "x"]  # on the way back


@partial(nnx.jit, static_argnums=3)
def sums(model, x, chosen, rules):
    """The relevance of the first picture, added up at each place."""
    found = fg.grad(logits_of, wrt=places, cotangent=chosen * model(x), rules=rules)(model, x)
    return [found[place][0].sum() for place in places]


logit = float(forward(model, x)[0, asked[0]])
completed = float(maps["integrated gradients"][0].sum()), logit - float(forward(model, 0 * x)[0, asked[0]])
print("integrated gradients add up to {:.3f}, the logits differ by {:.3f}".format(*completed))
conserved = {"LRP ε, z⁺": sums(model, x, chosen, plus)}
print(
    f"logit {logit:.3f}; LRP ε, z⁺:",
    *(f"{v:.3f} at {at}" for at, v in zip(places, conserved["LRP ε, z⁺"], strict=True)),
)

# %% [markdown]
# It does not: some is lost on the way. A bias takes its share too, in zennit's convention, which is ours, and batch
# norms have biases. The $z^+$ rule as its paper has it (Montavon et al. 2017) knows inputs and positive weights only:
#
# $$R_i = \sum_j \frac{x_i w_{ij}^+}{\sum_{i'} x_{i'} w_{i'j}^+} R_j$$
#
# The sum over $j$ is a transposed product, and `jax.vjp` gives it. Where it stands: `fg.Region(affine=...)` is a
# convolution or dense layer together with the bias and batch norm that follow, one node; `affine.weight` has the batch
# norm's scale in it. Sets are joined by `|`, and the right one wins.


# %%
def z_plus(g, x, affine):
    z, pull = jax.vjp(lambda x: affine.product(x, jnp.maximum(affine.weight, 0)), x)
    return x * pull(g / (z + 1e-9))[0]


linear_layers = fg.Region(affine=("conv_general_dilated", "dot_general"))
by_paper = fg.RuleSet().override(linear_layers, z_plus)
mine = relevance.passing() | relevance.norm() | by_paper  # activations; sums of branches, and pooling; the rest
print(*str(mine).splitlines()[-1:], *lines_of_last_block(fg.plan(logits_of, model, x, argnums=1, rules=mine)), sep="\n")

# %%
conserved["mine"] = sums(model, x, chosen, mine)
print(f"logit {logit:.3f}; z⁺:", *(f"{v:.3f} at {at}" for at, v in zip(places, conserved["mine"], strict=True)))

# %% [markdown]
# Now it arrives, through branches, pooling and batch norms, to a part in a hundred. (The first layer loses a little
# where all pixels that speak for an output are black.)
#
# ## 5. Training with a replaced rule
#
# The kernels of all convolutions, rounded to multiples of 0.2: most are 0 then, and the network fails. To train it so,
# something has to come through `jnp.round`, which is flat. Straight-through (Bengio et al. 2013) takes it for the
# identity on the way back: a set like the others, in a jitted training step.


# %%
def is_of_convolution(path, value):
    return path[-1] == "kernel" and value.ndim == 4


def rounded(model):
    graph, kernels, others = nnx.split(model, is_of_convolution, ...)
    return nnx.merge(graph, jax.tree.map(lambda w: jnp.round(w / 0.2) * 0.2, kernels), others)


def rounded_loss(model, x, labels):
    return loss(rounded(model), x, labels)


def fine_tuned(rules):
    """Trains with rounded kernels for some steps; how many scenes are right after, and the stem's largest gradient."""
    tuned = nnx.clone(model)
    optimizer = nnx.Optimizer(tuned, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(tuned, optimizer, x, labels):
        gradient = fg.grad(rounded_loss, rules=rules)(tuned, x, labels)
        optimizer.update(tuned, gradient)
        return jnp.abs(gradient["stem"]["kernel"][...]).max()

    for rows in np.random.default_rng(1).integers(len(scenes), size=(60, 32)):
        largest = step(tuned, optimizer, scenes[rows], labels[rows])
    return share_right(rounded(tuned)), float(largest)


def share_right(model):
    return float((forward(model, new_scenes).argmax(1) == new_labels).mean())


straight = straight_through.identity(jnp.round)
print(straight)
before = share_right(rounded(model))
(without, flat_gradient), (through, straight_gradient) = fine_tuned(None), fine_tuned(straight)
zeros = np.mean(np.concatenate([w.ravel() == 0 for w in jax.tree.leaves(nnx.state(rounded(model), is_of_convolution))]))
print(f"rounded, {100 * zeros:.0f} % of the weights are 0: {100 * before:.0f} % of the scenes are right")
print(f"after training: {100 * without:.0f} %; the gradient of the first kernel is {flat_gradient}")
print(f"after training straight through: {100 * through:.0f} %; that gradient is up to {straight_gradient:.2f}")

# %% [markdown]
# Without the rule only batch norms and the last layer learn; with it the kernels do.
#
# ## What was claimed, checked

# %%
# 1. The network knows new scenes, and photographs as they are.
assert accuracy > 0.9
first = [THINGS[i] for i in forward(model, x).argmax(1)]
assert first == ["astronaut", "astronaut", "cat", "flower"]
assert THINGS[forward(model, x)[0].argsort()[-2]] == "shuttle"

# 2. The rule stands at every ReLU, by hand, by name and by JAX; a misspelt one raises.
assert guided_plan.table().count("guided_relu [nonlinear]") == 13
assert jnp.array_equal(by_hand, by_name)
np.testing.assert_allclose(by_jax, by_hand, rtol=1e-3, atol=1e-5)
assert "did you mean 'model/stages'" in sentences[0]
assert sentences[1].endswith("did you mean 'relu'?")

# 3. The relevances differ in three overrides. Two methods do not care what is asked, and the others do; all but
# deconvnet look at the thing.
assert len(plus.diff(box).splitlines()) == 3
careless = {"guided backprop", "deconvnet"}
assert min(alike[name] for name in careless) > max(0.5, *(alike[name] for name in PASSES if name not in careless))
assert all(inside[name] > 1.5 * area for name in PASSES if name != "deconvnet")
places_of = [np.array(photographs.PLACES[thing][1]) * 80 // 512 for thing in ("astronaut", "shuttle")]
for name in ("Grad-CAM", "LRP ε, z⁺", "LRP ε, γ, box"):
    on_astronaut, on_shuttle = ([share_inside(maps[name][i : i + 1], [box]) for box in places_of] for i in range(2))
    assert on_astronaut[0] > 1.5 * on_astronaut[1]
    assert on_shuttle[1] > 1.5 * on_shuttle[0]

# 4. Integrated gradients are complete; relevance is conserved where biases take none.
np.testing.assert_allclose(*completed, rtol=0.1)
assert conserved["LRP ε, z⁺"][-1] < 0.9 * logit
np.testing.assert_allclose(conserved["mine"], logit, rtol=0.02)
no_black = jnp.maximum(x, 0.02)
np.testing.assert_allclose(sums(model, no_black, chosen, mine), forward(model, no_black)[0, asked[0]], rtol=1e-4)

# 5. Nothing comes through a rounding; straight through it, the network learns.
assert before < 0.6
assert zeros > 0.5
assert flat_gradient == 0 < straight_gradient
assert through > without + 0.05
