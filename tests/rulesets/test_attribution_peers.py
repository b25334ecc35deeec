"""Attributions of captum, on the same weights in PyTorch and in models of Flax and Equinox that nobody edited."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.rulesets import attribution, relevance

torch = pytest.importorskip("torch", reason="pip install 'funcgrad[rulesets]'")
captum = pytest.importorskip("captum.attr", reason="pip install 'funcgrad[rulesets]'")
lrp_rules = pytest.importorskip("captum.attr._utils.lrp_rules", reason="pip install 'funcgrad[rulesets]'")
TARGET = 2
RNG = np.random.default_rng(0)
IMAGES, BASELINE = RNG.normal(size=(2, 3, 8, 8)), RNG.normal(size=(2, 3, 8, 8))


@pytest.fixture(scope="module")
def theirs():
    """Two convolutions, the second's maxima in windows, two dense layers; channels first.

    No nonlinearity stands right beside the pooling: there captum 0.9 loses one of the two rules, as the hook of the
    earlier reads the gradient before that of the later has changed it, and its contributions do not sum up.
    """
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(45, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4),
    ]  # fmt: skip
    model = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    return model


def weights_of(model) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in model if hasattr(m, "weight")]


def of_flax(model) -> SimpleNamespace:
    """Channels last, so that dense layers have their inputs in another order."""
    nnx = pytest.importorskip("flax.nnx", reason="pip install 'funcgrad[models]'")
    rngs, double = nnx.Rngs(0), {"param_dtype": jnp.float64}
    net = nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), rngs=rngs, **double), nnx.relu,
        nnx.Conv(4, 5, (3, 3), padding="VALID", rngs=rngs, **double),
        lambda x: nnx.max_pool(x, (2, 2), (2, 2)), lambda x: x.reshape(len(x), -1),
        nnx.Linear(45, 6, rngs=rngs, **double), nnx.relu, nnx.Linear(6, 4, rngs=rngs, **double),
    )  # fmt: skip
    for layer, (w, b) in zip((net.layers[i] for i in (0, 2, 5, 7)), weights_of(model), strict=True):
        if w.ndim == 2 and w.shape[1] == 45:
            w = w.reshape(6, 5, 3, 3).transpose(0, 2, 3, 1).reshape(6, 45)
        layer.kernel[...] = w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T
        layer.bias[...] = b
    to, back = (lambda x: jnp.asarray(np.moveaxis(x, 1, -1))), (lambda x: np.moveaxis(np.asarray(x), -1, 1))
    score = lambda net, x: jnp.sum(net(x)[:, TARGET])
    return SimpleNamespace(net=net, score=score, to=to, back=back, maps="net/layers/2", axes={})


def of_equinox(model) -> SimpleNamespace:
    """Of one example, so that all of it stands in a `vmap`."""
    eqx = pytest.importorskip("equinox", reason="pip install 'funcgrad[models]'")
    key, double = jax.random.key(0), {"dtype": jnp.float64}
    lambdas = [eqx.nn.Lambda(f) for f in (jax.nn.relu, jnp.ravel, jax.nn.relu)]
    net = eqx.nn.Sequential([
        eqx.nn.Conv2d(3, 4, 3, padding=1, key=key, **double), lambdas[0],
        eqx.nn.Conv2d(4, 5, 3, key=key, **double), eqx.nn.MaxPool2d(2, 2), lambdas[1],
        eqx.nn.Linear(45, 6, key=key, **double), lambdas[2], eqx.nn.Linear(6, 4, key=key, **double),
    ])  # fmt: skip
    for i, (w, b) in zip((0, 2, 5, 7), weights_of(model), strict=True):
        there = lambda net, i=i: (net.layers[i].weight, net.layers[i].bias)
        net = eqx.tree_at(there, net, (jnp.asarray(w), jnp.asarray(b.reshape(there(net)[1].shape))))
    score = lambda net, x: jnp.sum(jax.vmap(net)(x)[:, TARGET])
    axes = {"positions": (-2, -1), "channel": -3}
    return SimpleNamespace(net=net, score=score, to=jnp.asarray, back=np.asarray, maps="net/layers/2", axes=axes)


@pytest.fixture(scope="module", params=[of_flax, of_equinox], ids=["flax", "equinox"])
def ours(request, theirs):
    return request.param(theirs)


OURS = {
    "guided backprop": lambda m: fg.grad(m.score, 1, rules=attribution.guided_backprop()),
    "deconvnet": lambda m: fg.grad(m.score, 1, rules=attribution.deconvnet()),
    "input times gradient": lambda m: attribution.gradient_times_input(m.score, 1),
    "integrated gradients": lambda m: attribution.integrated_gradients(m.score, 1, baseline=m.to(BASELINE), steps=20),
    "deeplift": lambda m: attribution.deeplift_rescale(m.score, 1, baseline=m.to(BASELINE)),
    "deeplift from zero": lambda m: attribution.deeplift_rescale(m.score, 1),
}
THEIRS = {
    "guided backprop": lambda m, x, start: captum.GuidedBackprop(m).attribute(x, target=TARGET),
    "deconvnet": lambda m, x, start: captum.Deconvolution(m).attribute(x, target=TARGET),
    "input times gradient": lambda m, x, start: captum.InputXGradient(m).attribute(x, target=TARGET),
    "integrated gradients": lambda m, x, start: captum.IntegratedGradients(m).attribute(
        x, start, target=TARGET, n_steps=20
    ),
    "deeplift": lambda m, x, start: captum.DeepLift(m).attribute(x, start, target=TARGET),
    "deeplift from zero": lambda m, x, start: captum.DeepLift(m).attribute(x, target=TARGET),
}


def assert_alike(found, expected):
    """To 1e-4 of the largest, and entry by entry, as both are in float64."""
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize("method", OURS)
def test_as_captum(ours, theirs, method):
    x, start = (torch.tensor(v, requires_grad=True) for v in (IMAGES, BASELINE))
    expected = THEIRS[method](theirs, x, start.detach()).detach().numpy()
    found = OURS[method](ours)(ours.net, ours.to(IMAGES))
    assert_alike(ours.back(found), expected)


def test_grad_cam_as_captum(ours, theirs):
    x = torch.tensor(IMAGES, requires_grad=True)
    expected = captum.LayerGradCam(theirs, theirs[2]).attribute(x, target=TARGET, relu_attributions=True)
    found = attribution.grad_cam(ours.score, ours.maps, **ours.axes)(ours.net, ours.to(IMAGES))
    assert_alike(found, expected.detach().numpy()[:, 0])


@pytest.mark.filterwarnings("ignore:Setting", "ignore:Input Tensor")
def test_relevance_as_captum(ours, theirs):
    """Its ε rule, at all layers; it begins with the output as relevance, and ours with a cotangent of 1."""
    for layer in theirs:
        if not isinstance(layer, torch.nn.ReLU):
            layer.rule = lrp_rules.EpsilonRule()
    x = torch.tensor(IMAGES, requires_grad=True)
    expected = captum.LRP(theirs).attribute(x, target=TARGET) / theirs(x)[:, TARGET].reshape(-1, 1, 1, 1)
    rules = relevance.passing() | relevance.epsilon(1e-9)
    assert_alike(ours.back(fg.grad(ours.score, 1, rules=rules)(ours.net, ours.to(IMAGES))), expected.detach().numpy())


@pytest.mark.parametrize(("name", "share"), [("deeplift", 1e-12), ("integrated gradients", 0.02)])
def test_the_sum_is_the_difference_of_outputs(ours, name, share):
    """Of integrated gradients, up to the kinks between the places where the gradient is taken."""
    x, start = ours.to(IMAGES), ours.to(BASELINE)
    found = jax.jit(lambda x: OURS[name](ours)(ours.net, x))(x)
    difference = ours.score(ours.net, x) - ours.score(ours.net, start)
    assert abs(found.sum() - difference) < share * np.abs(found).sum()
