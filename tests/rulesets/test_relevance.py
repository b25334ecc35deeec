"""Relevances against zennit's on the same weights, of unmodified Flax NNX and Equinox models; and what is conserved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import attribution, relevance
from tests.rulesets.peers import imported, torch

eqx = pytest.importorskip("equinox", reason="Equinox is not installed: pip install 'funcgrad[models]'")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed: pip install 'funcgrad[models]'")

attributors, canonizers, composites, layer, Z = (
    imported(name) for name in ("attribution", "canonizers", "composites", "layer", "rules")
)

SIZE, CHANNELS, CLASSES = 8, 4, 3


class TorchNet(torch.nn.Module):
    """Two convolutions, of which the second has a batch norm and a branch around it; pooling; two dense layers."""

    def __init__(self, residual):
        super().__init__()
        t = torch.nn
        self.c1, self.c2 = t.Conv2d(3, CHANNELS, 3, padding=1), t.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn, self.relu, self.pool = t.BatchNorm2d(CHANNELS), t.ReLU(), t.AvgPool2d(2)
        self.relu2, self.relu3, self.sum = t.ReLU(), t.ReLU(), layer.Sum()
        self.f1, self.f2 = t.Linear(CHANNELS * (SIZE // 2) ** 2, 6), t.Linear(6, CLASSES)
        self.residual = residual

    def forward(self, x):
        h = self.relu(self.c1(x))
        z = self.bn(self.c2(h))
        z = self.sum(torch.stack([z, h], dim=-1)) if self.residual else z
        z = self.pool(self.relu2(z)).permute(0, 2, 3, 1).flatten(1)
        return self.f2(self.relu3(self.f1(z)))


class FlaxNet(nnx.Module):
    def __init__(self, residual, rngs):
        conv = lambda i, **options: nnx.Conv(i, CHANNELS, (3, 3), rngs=rngs, **options)
        self.c1, self.c2 = conv(3), conv(CHANNELS, use_bias=False)
        self.bn = nnx.BatchNorm(CHANNELS, use_running_average=True, rngs=rngs)
        self.f1 = nnx.Linear(CHANNELS * (SIZE // 2) ** 2, 6, rngs=rngs)
        self.f2 = nnx.Linear(6, CLASSES, rngs=rngs)
        self.residual = residual

    def __call__(self, x):
        h = nnx.relu(self.c1(x))
        z = self.bn(self.c2(h))
        z = z + h if self.residual else z
        z = nnx.avg_pool(nnx.relu(z), (2, 2), strides=(2, 2))
        return self.f2(nnx.relu(self.f1(z.reshape(z.shape[0], -1))))


class EquinoxNet(eqx.Module):
    """Of one example; batch norm as Equinox has it needs a state, so it is written out."""

    c1: eqx.nn.Conv2d
    c2: eqx.nn.Conv2d
    norm: dict
    f1: eqx.nn.Linear
    f2: eqx.nn.Linear
    pool: eqx.nn.AvgPool2d
    residual: bool = eqx.field(static=True)

    def __call__(self, x):
        h = jax.nn.relu(self.c1(x))
        z = (self.c2(h) - self.norm["mean"]) * (self.norm["scale"] * jax.lax.rsqrt(self.norm["var"] + 1e-5))
        z = z + self.norm["bias"]
        z = z + h if self.residual else z
        z = self.pool(jax.nn.relu(z)).transpose(1, 2, 0).reshape(-1)
        return self.f2(jax.nn.relu(self.f1(z)))


def arrays(net):
    return {name: jnp.asarray(x.detach().numpy(), jnp.float32) for name, x in net.state_dict().items()}


def as_flax(net):
    p, model = arrays(net), FlaxNet(net.residual, nnx.Rngs(0))
    for name in ("c1", "c2"):
        getattr(model, name).kernel[...] = p[f"{name}.weight"].transpose(2, 3, 1, 0)
    model.c1.bias[...] = p["c1.bias"]
    model.bn.scale[...], model.bn.bias[...] = p["bn.weight"], p["bn.bias"]
    model.bn.mean[...], model.bn.var[...] = p["bn.running_mean"], p["bn.running_var"]
    for name in ("f1", "f2"):
        getattr(model, name).kernel[...], getattr(model, name).bias[...] = p[f"{name}.weight"].T, p[f"{name}.bias"]
    return model


def as_equinox(net):
    p, key = arrays(net), jax.random.key(0)
    column = lambda name: p[name].reshape(-1, 1, 1)
    norm = {"mean": column("bn.running_mean"), "var": column("bn.running_var")}
    norm |= {"scale": column("bn.weight"), "bias": column("bn.bias")}

    def filled(layer, weight, bias):
        layer = eqx.tree_at(lambda m: m.weight, layer, weight)
        return layer if bias is None else eqx.tree_at(lambda m: m.bias, layer, bias)

    conv = lambda i, **options: eqx.nn.Conv2d(i, CHANNELS, 3, padding=1, key=key, dtype=jnp.float32, **options)
    return EquinoxNet(
        filled(conv(3), p["c1.weight"], p["c1.bias"].reshape(-1, 1, 1)),
        filled(conv(CHANNELS, use_bias=False), p["c2.weight"], None),
        norm,
        filled(eqx.nn.Linear(CHANNELS * (SIZE // 2) ** 2, 6, key=key), p["f1.weight"], p["f1.bias"]),
        filled(eqx.nn.Linear(6, CLASSES, key=key), p["f2.weight"], p["f2.bias"]),
        eqx.nn.AvgPool2d(2, 2),
        net.residual,
    )


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "residual"])
def networks(request):
    torch.manual_seed(3)
    net = TorchNet(request.param).eval()
    with torch.no_grad():
        for name, shape in (("running_mean", (-0.2, 0.2)), ("running_var", (0.5, 2)), ("weight", (-1, 1.5))):
            getattr(net.bn, name).uniform_(*shape)
        net.bn.bias.uniform_(-0.3, 0.3)
    flax, equinox = as_flax(net), as_equinox(net)
    x = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    return net, flax, equinox, x


def by_zennit(net, composite, x):
    given = torch.tensor(x, requires_grad=True)
    with attributors.Gradient(model=net, composite=composite) as attributor:
        _, found = attributor(given, torch.eye(CLASSES)[[1, 2]])
    return found.numpy()


def by_us(flax, equinox, rules, x):
    """Relevances by both libraries, channels first."""
    onehot, last = jnp.eye(CLASSES, dtype=jnp.float32)[jnp.array([1, 2])], jnp.asarray(x).transpose(0, 2, 3, 1)
    found = []
    for function, given in ((flax, last), (jax.vmap(equinox), jnp.asarray(x))):

        @jax.jit
        def relevances(x, function=function):
            return fg.vjp(lambda x: function(x), x, rules=rules)[1](onehot)[0]

        with jax.numpy_dtype_promotion("standard"):  # Flax divides by an integer where it pools
            found.append(relevances(given))
    return found[0].transpose(0, 3, 1, 2), found[1]


def merged():
    return [canonizers.NamedMergeBatchNorm([(["c2"], "bn")])]


def of_layers(rule, first=None):
    layers = [*composites.layer_map_base(), ((torch.nn.Conv2d, torch.nn.Linear), rule)]
    if first is None:
        return composites.LayerMapComposite(layers, canonizers=merged())
    return composites.SpecialFirstLayerMapComposite(layers, [(torch.nn.Conv2d, first)], canonizers=merged())


def ours(layers):
    return relevance.passing() | relevance.norm() | layers


C = composites
CASES = {
    "epsilon": (lambda: ours(relevance.epsilon(0.1)), lambda: of_layers(Z.Epsilon(0.1))),
    "gamma": (lambda: ours(relevance.gamma(0.3)), lambda: of_layers(Z.Gamma(0.3))),
    "z_plus": (lambda: ours(relevance.z_plus()), lambda: of_layers(Z.ZPlus())),
    "alpha_beta": (lambda: ours(relevance.alpha_beta(2, 1)), lambda: of_layers(Z.AlphaBeta(2, 1))),
    "z_box": (
        lambda: ours(relevance.epsilon(0.1) | relevance.z_box(-3.0, 3.0)),
        lambda: of_layers(Z.Epsilon(0.1), Z.ZBox(-3.0, 3.0)),
    ),
    "w_square": (
        lambda: ours(relevance.epsilon(0.1) | relevance.w_square()),
        lambda: of_layers(Z.Epsilon(0.1), Z.WSquare()),
    ),
    "flat": (lambda: ours(relevance.epsilon(0.1) | relevance.flat()), lambda: of_layers(Z.Epsilon(0.1), Z.Flat())),
    "epsilon_plus": (relevance.epsilon_plus, lambda: C.EpsilonPlus(canonizers=merged())),
    "epsilon_plus_flat": (relevance.epsilon_plus_flat, lambda: C.EpsilonPlusFlat(canonizers=merged())),
    "epsilon_alpha2_beta1": (relevance.epsilon_alpha2_beta1, lambda: C.EpsilonAlpha2Beta1(canonizers=merged())),
    "epsilon_alpha2_beta1_flat": (
        relevance.epsilon_alpha2_beta1_flat,
        lambda: C.EpsilonAlpha2Beta1Flat(canonizers=merged()),
    ),
    "epsilon_gamma_box": (
        lambda: relevance.epsilon_gamma_box(-3.0, 3.0),
        lambda: C.EpsilonGammaBox(-3.0, 3.0, canonizers=merged()),
    ),
    "excitation_backprop": (attribution.excitation_backprop, lambda: C.ExcitationBackprop(canonizers=merged())),
    "beta_smooth": (lambda: relevance.beta_smooth(2.0), lambda: C.BetaSmooth(2.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_relevances_are_zennits(networks, name):
    net, flax, equinox, x = networks
    make, composite = CASES[name]
    expected = by_zennit(net, composite(), x)
    for found in by_us(flax, equinox, make(), x):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_relevance_is_conserved_through_residual_branches_and_batch_norm():
    torch.manual_seed(1)
    net = TorchNet(residual=True).eval()
    with torch.no_grad():
        net.bn.weight.uniform_(-1, 1.5)
        for x in (net.c1.bias, net.f1.bias, net.f2.bias, net.bn.bias, net.bn.running_mean):
            x.zero_()  # what a bias contributes goes to it
    x = np.random.default_rng(1).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    for rules in (ours(relevance.epsilon(1e-9)), relevance.epsilon_plus(1e-9), relevance.epsilon_alpha2_beta1_flat()):
        for found in by_us(as_flax(net), as_equinox(net), rules, x):
            np.testing.assert_allclose(found.sum((1, 2, 3)), 1, atol=1e-4)
