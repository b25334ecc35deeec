"""A vision transformer's relevances against those of LXT and zennit, on the same weights."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import relevance
from funcgrad.rulesets.attribution import gradient_times_input
from tests.rulesets.peers import imported, torch
from tests.rulesets.vision import CLASSES, HEADS, MATRICES, NORMS, PATCH, SIDE, WIDTH, FlaxViT, as_equinox, drawn

LABEL = 1


class TorchViT(torch.nn.Module):
    def __init__(self, w, b):
        super().__init__()
        t, as_tensor = torch.nn, lambda x: torch.tensor(np.asarray(x), dtype=torch.float32)
        self.patch, self.gelu = t.Conv2d(1, WIDTH, PATCH, stride=PATCH), t.GELU(approximate="tanh")
        with torch.no_grad():
            for name, (n, m) in MATRICES.items():
                layer = self.patch if name == "patch" else t.Linear(n, m)
                weight = as_tensor(w[name]).T
                layer.weight.copy_(weight.reshape(layer.weight.shape))
                layer.bias.copy_(as_tensor(b[name]))
                setattr(self, name, layer)
            for name in NORMS:
                setattr(self, name, t.LayerNorm(WIDTH))
                getattr(self, name).weight.copy_(as_tensor(w[name]))
                getattr(self, name).bias.copy_(as_tensor(b[name]))

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = x + self.attend(self.norm1(x))
        x = x + self.down(self.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))

    def attend(self, x):
        heads = lambda z: z.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        q, k, v = (heads(layer(x)) for layer in (self.query, self.key, self.value))
        s = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5, -1)
        return self.out((s @ v).transpose(1, 2).flatten(-2))


@pytest.fixture(scope="module")
def models():
    weights = drawn(2)
    return TorchViT(*weights), FlaxViT(*weights), as_equinox(*weights)


IMAGES = np.random.default_rng(6).standard_normal((2, 1, SIDE, SIDE)).astype(np.float32)


def by_lxt(net, x):
    """From the tokens: LXT's functions in the places of torch's."""
    f = pytest.importorskip("lxt.explicit.functional", reason="pip install --no-deps lxt")
    rules = pytest.importorskip("lxt.explicit.rules", reason="pip install --no-deps lxt")
    eps = 1e-9
    linear = lambda name, x: f.linear_epsilon(x, getattr(net, name).weight, getattr(net, name).bias, eps)
    norm = lambda name, x: f.layer_norm_grad_fn.apply(x, getattr(net, name).weight, getattr(net, name).bias, 1e-5, eps)
    heads = lambda z: z.unflatten(-1, (HEADS, -1)).transpose(0, 1)
    n = norm("norm1", x)
    q, k, v = (heads(linear(name, n)) for name in ("query", "key", "value"))
    s = f.softmax(f.mul2(f.matmul(q, k.transpose(-1, -2), False, eps), (WIDTH // HEADS) ** -0.5), -1)
    a = f.matmul(s, v, False, eps).transpose(0, 1).flatten(-2)
    x = f.add2(x, linear("out", a), False, eps)
    x = f.add2(x, linear("down", rules.identity(net.gelu, linear("up", norm("norm2", x)))), False, eps)
    return linear("head", f.mean(norm("norm3", x), 0, False, eps)[None])[0]


def test_attn_lrp_is_lxts(models):
    net, flax, equinox = models
    net = copy.deepcopy(net).double()
    tokens = np.random.default_rng(4).standard_normal((4, WIDTH))
    x = torch.tensor(tokens, requires_grad=True)
    logits = by_lxt(net, x)
    (expected,) = torch.autograd.grad(logits[LABEL], x, logits[LABEL].detach())
    rules = relevance.attn_lrp()
    for f in (lambda x: flax.encode(x[None])[0, LABEL], lambda x: equinox.encode(x)[LABEL]):
        found = gradient_times_input(f, rules=rules)(jnp.asarray(tokens, jnp.float32))
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected.numpy()).max())


CASES = {
    "epsilon": (lambda **of: relevance.epsilon(0.1, **of), lambda Z: Z.Epsilon(0.1)),
    "gamma": (lambda **of: relevance.gamma(0.3, **of), lambda Z: Z.Gamma(0.3)),
    "z_plus": (lambda **of: relevance.z_plus(**of), lambda Z: Z.ZPlus()),
    "alpha_beta": (lambda **of: relevance.alpha_beta(2, 1, **of), lambda Z: Z.AlphaBeta(2, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_rules_of_layers_in_a_vision_transformer_are_zennits(models, name):
    """Of products with parameters and activations; norms, attention and residual sums pass the gradient in both."""
    attribution, composites, Z = (imported(part) for part in ("attribution", "composites", "rules"))
    net, flax, equinox = models
    make, theirs = CASES[name]
    layers = [(torch.nn.GELU, Z.Pass()), ((torch.nn.Conv2d, torch.nn.Linear), theirs(Z))]
    with attribution.Gradient(model=net, composite=composites.LayerMapComposite(layers)) as attributor:
        _, expected = attributor(torch.tensor(IMAGES, requires_grad=True), torch.eye(CLASSES)[[1, 2]])
    expected, rules = expected.numpy(), relevance.passing() | make()
    onehot = jnp.eye(CLASSES, dtype=jnp.float32)[jnp.array([1, 2])]
    last = jnp.asarray(IMAGES).transpose(0, 2, 3, 1)
    for f, x, back in ((flax, last, (0, 3, 1, 2)), (jax.vmap(equinox), jnp.asarray(IMAGES), (0, 1, 2, 3))):
        found = jax.jit(lambda x, f=f: fg.vjp(lambda x: f(x), x, rules=rules)[1](onehot)[0])(x)
        np.testing.assert_allclose(found.transpose(back), expected, atol=1e-4 * np.abs(expected).max())
