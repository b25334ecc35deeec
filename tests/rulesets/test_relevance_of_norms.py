"""Norms under the relevance composites, against zennit: in a pre-activation net, and in a pre-norm transformer.

In float64, for there are sums of branches that cancel.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import attribution, relevance
from tests.rulesets.peers import imported, torch
from tests.rulesets.test_transformers_peers import TorchViT
from tests.rulesets.vision import CLASSES, SIDE, FlaxViT, as_equinox, drawn

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")
attributors, canonizers, composites, layer = (
    imported(name) for name in ("attribution", "canonizers", "composites", "layer")
)

C = composites
COMPOSITES = {
    "epsilon_plus": (relevance.epsilon_plus, C.EpsilonPlus),
    "epsilon_plus_flat": (relevance.epsilon_plus_flat, C.EpsilonPlusFlat),
    "epsilon_alpha2_beta1": (relevance.epsilon_alpha2_beta1, C.EpsilonAlpha2Beta1),
    "epsilon_alpha2_beta1_flat": (relevance.epsilon_alpha2_beta1_flat, C.EpsilonAlpha2Beta1Flat),
    "epsilon_gamma_box": (
        lambda: relevance.epsilon_gamma_box(-3.0, 3.0),
        lambda **k: C.EpsilonGammaBox(-3.0, 3.0, **k),
    ),
    "excitation_backprop": (attribution.excitation_backprop, C.ExcitationBackprop),
}
ONEHOT = np.eye(CLASSES, dtype=np.float32)[[1, 2]]

EPS = 1e-12
"""Of batch norms: one that zennit has merged divides by the root of 1 and this once more."""


class TorchPre(torch.nn.Module):
    """A pre-activation block: batch norms after a product, after a sum, after an activation and after pooling."""

    def __init__(self):
        super().__init__()
        t = torch.nn
        self.c1, self.bn1, self.r1 = t.Conv2d(3, 4, 3, padding=1), t.BatchNorm2d(4, EPS), t.ReLU()
        self.c2, self.bn2, self.r2 = t.Conv2d(4, 4, 3, padding=1, bias=False), t.BatchNorm2d(4, EPS), t.ReLU()
        self.c3, self.sum = t.Conv2d(4, 4, 3, padding=1), layer.Sum()
        self.bn3, self.r3, self.pool, self.flat = t.BatchNorm2d(4, EPS), t.ReLU(), t.AdaptiveAvgPool2d(1), t.Flatten()
        self.bn4, self.f = t.BatchNorm1d(4, EPS), t.Linear(4, CLASSES)

    def forward(self, x):
        h = self.c1(x)
        z = self.c2(self.r1(self.bn1(h)))
        z = self.c3(self.r2(self.bn2(z)))
        h = self.sum(torch.stack([z, h], dim=-1))
        return self.f(self.bn4(self.flat(self.pool(self.r3(self.bn3(h))))))


class FlaxPre(nnx.Module):
    def __init__(self, net):
        p, rngs = {n: jnp.asarray(x.detach().numpy()) for n, x in net.state_dict().items()}, nnx.Rngs(0)
        double = {"param_dtype": jnp.float64, "rngs": rngs}
        conv = lambda i, **options: nnx.Conv(i, 4, (3, 3), **options, **double)
        self.c1, self.c2, self.c3, self.f = conv(3), conv(4, use_bias=False), conv(4), nnx.Linear(4, CLASSES, **double)
        for name in ("bn1", "bn2", "bn3", "bn4"):
            part = nnx.BatchNorm(4, use_running_average=True, epsilon=EPS, **double)
            part.scale[...], part.bias[...] = p[f"{name}.weight"], p[f"{name}.bias"]
            part.mean, part.var = (nnx.BatchStat(p[f"{name}.running_{n}"]) for n in ("mean", "var"))
            setattr(self, name, part)
        for name in ("c1", "c2", "c3"):
            getattr(self, name).kernel[...] = p[f"{name}.weight"].transpose(2, 3, 1, 0)
        self.f.kernel[...], self.f.bias[...] = p["f.weight"].T, p["f.bias"]
        self.c1.bias[...], self.c3.bias[...] = p["c1.bias"], p["c3.bias"]

    def __call__(self, x):
        return self.rest(x, lambda name, z: getattr(self, name)(z))

    def rest(self, x, norm):
        h = self.c1(x)
        z = self.c2(nnx.relu(norm("bn1", h)))
        h = self.c3(nnx.relu(norm("bn2", z))) + h
        return self.f(norm("bn4", nnx.relu(norm("bn3", h)).mean((1, 2))))

    def by_ops(self, x):
        """With the batch norm of our ops."""

        def norm(name, z):
            part = getattr(self, name)
            given = (getattr(part, n)[...] for n in ("mean", "var", "scale", "bias"))
            return fg.ops.batch_norm_inference(z, *given, eps=EPS)

        return self.rest(x, norm)


@pytest.fixture(autouse=True)
def promoted():
    """Flax has numbers in float32 beside parameters in float64."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def pre():
    torch.manual_seed(5)
    net = TorchPre().double().eval()
    with torch.no_grad():
        for part in (net.bn1, net.bn2, net.bn3, net.bn4):
            part.running_mean.uniform_(-0.3, 0.3)
            part.running_var.uniform_(0.4, 2)
            part.weight.uniform_(-1, 1.5)
            part.bias.uniform_(-0.3, 0.3)
    with jax.numpy_dtype_promotion("standard"):
        return net, FlaxPre(net)


def by_zennit(net, composite, x):
    with attributors.Gradient(model=net, composite=composite) as attributor:
        _, found = attributor(torch.tensor(x, requires_grad=True), torch.tensor(ONEHOT, dtype=torch.tensor(x).dtype))
    return found.numpy()


def by_us(f, rules, x):
    return jax.jit(lambda x: fg.vjp(f, x, rules=rules)[1](jnp.asarray(ONEHOT, x.dtype))[0])(x)


def assert_alike(found, expected, tol):
    np.testing.assert_allclose(found, expected, atol=tol * np.abs(expected).max())


PIXELS = np.random.default_rng(8).standard_normal((2, 3, 6, 6))
TILES = np.random.default_rng(6).standard_normal((2, 1, SIDE, SIDE))


@pytest.mark.parametrize("name", COMPOSITES)
def test_batch_norms_that_no_product_precedes_are_zennits(pre, name):
    """Its canonizer merges `bn2` alone, which comes right after a product that nothing else reads."""
    net, flax = pre
    make, theirs = COMPOSITES[name]
    merged = canonizers.NamedMergeBatchNorm([(["c2"], "bn2")])
    expected = by_zennit(net, theirs(canonizers=[merged]), PIXELS)
    for f in (lambda x: flax(x), flax.by_ops):
        found = by_us(f, make(), jnp.asarray(PIXELS).transpose(0, 2, 3, 1))
        assert_alike(found.transpose(0, 3, 1, 2), expected, 1e-9)


class HookedViT(TorchViT):
    """Its sums of branches and its mean over tokens as the modules that zennit has a rule for."""

    def __init__(self, w, b):
        super().__init__(w, b)
        self.sum1, self.sum2, self.pool = layer.Sum(), layer.Sum(), torch.nn.AdaptiveAvgPool1d(1)

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = self.sum1(torch.stack([x, self.attend(self.norm1(x))], -1))
        x = self.sum2(torch.stack([x, self.down(self.gelu(self.up(self.norm2(x))))], -1))
        return self.head(self.pool(self.norm3(x).transpose(1, 2)).squeeze(-1))


@pytest.fixture(scope="module")
def transformers():
    weights = drawn(2)
    double = lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x
    flax, equinox = FlaxViT(*weights), as_equinox(*weights)
    nnx.update(flax, jax.tree.map(double, nnx.state(flax)))
    return HookedViT(*weights).double(), flax, jax.tree.map(double, equinox)


@pytest.mark.parametrize("name", [name for name in COMPOSITES if name != "excitation_backprop"])
def test_a_pre_norm_transformer_has_zennits_relevances(transformers, name):
    """Layer norms and softmaxes pass the gradient there, and so do attention's products and its factor."""
    net, flax, equinox = transformers
    make, theirs = COMPOSITES[name]
    expected = by_zennit(net, theirs(), TILES)
    last = jnp.asarray(TILES).transpose(0, 2, 3, 1)
    for f, x, back in ((flax, last, (0, 3, 1, 2)), (jax.vmap(equinox), jnp.asarray(TILES), (0, 1, 2, 3))):
        assert_alike(by_us(lambda x, f=f: f(x), make(), x).transpose(back), expected, 1e-5)


P = {"scale": jnp.linspace(0.5, 2.0, 6), "bias": jnp.linspace(-1.0, 1.0, 6)}
X = jnp.asarray(np.random.default_rng(9).standard_normal((2, 5, 6)))


def softmax(x):
    e = jnp.exp(x)
    return e / e.sum(-1, keepdims=True)


KEEP_THEIR_GRADIENT = {
    "softmax": softmax,
    "jax.nn.softmax": jax.nn.softmax,
    "jax.nn.log_softmax": jax.nn.log_softmax,
    "fg.ops.softmax": fg.ops.softmax,
    "layer norm": lambda x: jax.nn.standardize(x) * P["scale"] + P["bias"],
    "RMS norm": lambda x: x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * P["scale"],
    "fg.ops.layer_norm": lambda x: fg.ops.layer_norm(x, P["scale"], P["bias"]),
    "fg.ops.rms_norm": lambda x: fg.ops.rms_norm(x, P["scale"]),
    "an instance norm": lambda x: jax.nn.standardize(x, axis=1),
    "a number that is added": lambda x: 3 + fg.ops.add(x, 2.0),
    "a parameter that is added": lambda x: fg.ops.add(x + P["bias"], P["bias"]),
    "one that is folded in": lambda x: x * P["scale"] + P["bias"],
    "a factor": lambda x: x / 3 * 2,
}


@pytest.mark.parametrize("rules", [relevance.epsilon_plus(), relevance.norm()], ids=["composite", "norm"])
def test_what_keeps_its_gradient(rules):
    with jax.numpy_rank_promotion("allow"):
        for name, f in KEEP_THEIR_GRADIENT.items():
            score = lambda x, f=f: jnp.sum(f(x) * jnp.cos(jnp.arange(60.0)).reshape(2, 5, 6))
            found, expected = fg.grad(score, rules=rules)(X), jax.grad(score)(X)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_branches_and_pooling_by_hand():
    """What has shares: both branches, whether or not the other is differentiated, and what is summed or averaged."""
    rules, (a, b) = relevance.norm(0.0), (jnp.abs(X), jnp.abs(X[::-1]))
    for add in (jnp.add, fg.ops.add):
        added = lambda a, b, add=add: add(a, b).sum()
        np.testing.assert_allclose(fg.grad(added, rules=rules)(a, b), a / (a + b))
        np.testing.assert_allclose(fg.grad(lambda a, add=added: add(a, a), rules=rules)(a), jnp.ones_like(a))
        column = a[:, :, :1]
        found = fg.grad(added, (0, 1), rules=rules)(column, b)
        np.testing.assert_allclose(found[0], (column / (column + b)).sum(-1, keepdims=True))
        np.testing.assert_allclose(found[1], b / (column + b))
    for pool in (jnp.sum, jnp.mean):
        for keepdims in (False, True):
            score = lambda x, pool=pool, keepdims=keepdims: pool(x, 1, keepdims=keepdims).sum()
            np.testing.assert_allclose(fg.grad(score, rules=rules)(a), a / a.sum(1, keepdims=True), rtol=1e-6)


def test_a_batch_norm_passes_however_it_is_written():
    m, s, t = P["bias"] / 2, P["scale"], P["bias"]
    norms = {
        "written out": lambda x: (x - m) * (s / jnp.sqrt(s + 1e-5)) + t,
        "divided": lambda x: (x - m) / jnp.sqrt(s + 1e-5) * s + t,
        "without a bias": lambda x: (x - m) * jax.lax.rsqrt(s),
        "of our ops": lambda x: fg.ops.batch_norm_inference(x, m, s, s, t),
        "of our arithmetic": lambda x: fg.ops.multiply(fg.ops.subtract(x, m), s),
    }
    with jax.numpy_rank_promotion("allow"):
        for name, f in norms.items():
            score = lambda x, f=f: f(x).sum()
            for rules, expected in (
                (relevance.epsilon_plus(), jnp.ones_like(X)),
                (relevance.norm(), jax.grad(score)(X)),
            ):
                found = fg.grad(score, rules=rules)(X)
                np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=name)
