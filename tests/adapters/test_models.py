"""Models of other libraries, unmodified: our gradient is theirs, and what they compute has their own paths."""

import functools

import jax
import pytest

import funcgrad as fg
from benchmarks.models import NAMES, maker, missing_library
from benchmarks.models.comparison import assert_same as assert_same_step
from benchmarks.models.comparison import misses
from tests.adapters.asserting import assert_same, scopes

BLOCK = ["norm1", "attention/query", "attention/key", "attention/value", "attention", "attention/out"]
RESIDUAL = [f"{part}/{layer}" for part in ("first", "second") for layer in ("conv", "norm")]
SCOPES = {
    "flax_nnx.mlp": [f"model/layers/{i}" for i in range(3)],
    "flax_nnx.cnn": ["model/stem/conv", "model/stem/norm", *(f"model/blocks/1/{x}" for x in RESIDUAL), "model/out"],
    "flax_nnx.transformer": ["model/embedding", *(f"model/blocks/1/{x}" for x in BLOCK), "model/norm"],
    "flax_nnx.lstm": ["model/embed", "model/rnn", "model/rnn/cell/dense_h", "model/out"],
    "flax_linen.mlp": [f"Mlp/Dense_{i}" for i in range(3)],
    "equinox_nn.mlp": [f"model/layers/{i}" for i in range(3)],
    "equinox_nn.cnn": ["model/convs/0", "model/pool", "model/convs/2", "model/hidden", "model/out"],
    "equinox_nn.vit": [
        "model/patch",
        "model/blocks/1/norm2",
        "model/blocks/1/attention/query_proj",
        "model/blocks/1/up",
    ],
    "equinox_nn.neural_ode": [f"model/field/layers/{i}" for i in range(3)],
    "equinox_nn.gan": ["critic/layers/0", "generator/layers/3"],
    "haiku.mlp": [f"mlp/linear_{i}" for i in range(3)],
    "plain.gpt2": ["attn", "mlp"],
}
"""Some of the places where each computes something."""


compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""In half the time."""


@pytest.fixture(params=NAMES)
def name(request):
    if library := missing_library(request.param):
        pytest.skip(f"{library} is not installed: pip install 'funcgrad[models]'")
    return request.param


def test_gradients_are_those_of_the_library(name):
    model = maker(name, small=True)()
    ours, arguments = model.step(fg.value_and_grad)
    theirs, _ = model.step(model.value_and_grad)
    assert_same(compiled(ours)(*arguments), compiled(theirs)(*arguments))


def test_nodes_have_the_modules_paths(name):
    model = maker(name, small=True)()
    modules = model.model if model.more else (model.model,)
    found = scopes(model.loss, *modules, *model.batch)
    assert set(SCOPES[name]) <= set(found)
    assert not [scope for scope in found if "eqx.nn" in scope or ".." in scope]


def test_parameters_and_nodes_have_one_vocabulary():
    if library := missing_library("flax_nnx.transformer"):
        pytest.skip(f"{library} is not installed: pip install 'funcgrad[models]'")
    model = maker("flax_nnx.transformer", small=True)()
    graph = fg.trace(model.loss, model.model, *model.batch)
    names = [v.name for v in graph.structure.values]
    for module in ("model/blocks/1/attention/query", "model/blocks/0/up", "model/blocks/1/attention/out"):
        assert {f"{module}/kernel", f"{module}/dot_general"} <= set(names)


def test_a_wrong_step_is_noticed():
    ours = (jax.numpy.float32(1), {"w": jax.numpy.ones(3)})
    assert_same_step("net", ours, ours, 1e-3)
    theirs = (jax.numpy.float32(1), {"w": jax.numpy.ones(3).at[1].add(0.01)})
    with pytest.raises(AssertionError, match=r"net\[1\]\['w'\] differs by 0\.01"):
        assert_same_step("net", ours, theirs, 1e-3)


def test_targets():
    rows = [
        {"network": "net", "against": "jax", "metric": m, "ratio": 1.01} for m in ("trace_lower", "compile", "step")
    ]
    assert misses(rows) == ["net, trace + lower: 1.010 > 1"]
