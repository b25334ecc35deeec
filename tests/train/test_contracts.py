"""Wrong calls of `init`, `step` and `fit`: one sentence each, before anything is lost; and what is simply taken."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.errors import GradientError, TrainingError
from funcgrad.layers import chain, linear
from tests.raising import raises_sentence

NET = chain(linear(2), ops.tanh)
X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.ones((4, 2))
PARAMS, _ = NET.init(jax.random.key(0), X)
ADAM = optax.adam(0.1)
LOSS = train.supervised(NET, lambda y, t: ops.mean(ops.squared_error(y, t)))
STEP = train.step(LOSS, ADAM)


def start(optimizer=ADAM):
    return train.init(PARAMS, optimizer)


def used():
    state = start()
    STEP(state, (X, Y), 0)
    return state


def fit(state=None, step=STEP, batches=((X, Y),), key=0, **options):
    return train.fit(start() if state is None else state, step, batches, key=key, **{"steps": 1, **options})


USED = (
    r": this state was used by an earlier step, which reuses its memory; go on with the state that step or fit "
    r"returned \(after an error in fit, with the \.state of the error\), and keep one by "
    r"jax\.tree\.map\(jnp\.copy, state\)\."
)
PAIR = r"train\.supervised: a batch must be \(inputs, targets\), got "
OTHER = r"train\.step: the state was made for another optimizer, expected "
WRONG = {
    "a state twice": (lambda: STEP(used(), (X, Y), 0), r"train\.step" + USED),
    "a state twice in fit": (lambda: fit(used()), r"train\.fit" + USED),
    "parameters for a state": (
        lambda: STEP(PARAMS, (X, Y), 0),
        r"train\.step: the state must be what train\.init returned, or an earlier step, got dict\.",
    ),
    "momentum for adam": (
        lambda: STEP(start(optax.sgd(0.1, momentum=0.9)), (X, Y), 0),
        OTHER + r"\(ScaleByAdamState, EmptyState\), got \(TraceState, EmptyState\); give train\.init and train\.step "
        r"the same one\.",
    ),
    "adam for rmsprop, which would take its moments": (
        lambda: train.step(LOSS, optax.rmsprop(0.1))(start(), (X, Y), 0),
        OTHER + r"\(ScaleByRmsState, EmptyState, EmptyState\), got \(ScaleByAdamState, EmptyState\); give train\.init "
        r"and train\.step the same one\.",
    ),
    "one for all, for one by label": (
        lambda: train.step(LOSS, optax.multi_transform({True: ADAM, False: ADAM}, fg.select("**/w")))(
            start(), (X, Y), 0
        ),
        OTHER + r"PartitionState\(\(MaskedState\(\(ScaleByAdamState, EmptyState\)\), MaskedState\(\(ScaleByAdamState, "
        r"EmptyState\)\)\)\), got \(ScaleByAdamState, EmptyState\); give .*",
    ),
    "the same for other parameters": (
        lambda: STEP(
            fg.train.State(**{**vars(start()), "optimizer_state": ADAM.init(jax.tree.map(lambda p: p[:1], PARAMS))}),
            (X, Y),
            0,
        ),
        r"train\.step: the state was made for another optimizer or other parameters, expected '0/mu/linear0/b' of "
        r"f64\[2\], got f64\[1\]; give train\.init and train\.step the same\.",
    ),
    "a loss of two arguments": (
        lambda: train.step(lambda params, batch: 0.0, ADAM),
        r"train\.step: loss_fn must take \(params, model_state, batch, key\), got <lambda>\(params, batch\); "
        r"train\.supervised makes such a function of a network and an objective\.",
    ),
    "a network for a loss": (
        lambda: train.step(NET, ADAM),
        r"train\.step: expects a loss function, got the network chain; write train\.supervised\(net, objective\)\.",
    ),
    "an optimizer that was not made": (
        lambda: train.init(PARAMS, optax.adam),
        r"train\.init: the optimizer must be an optax\.GradientTransformation such as optax\.adam\(1e-3\), got adam\.",
    ),
    "a number for an optimizer": (
        lambda: train.step(LOSS, 0.1),
        r"train\.step: the optimizer must be an optax\.GradientTransformation such as optax\.adam\(1e-3\), got float\.",
    ),
    "a network for parameters": (
        lambda: train.init(NET, ADAM),
        r"train\.init: expects parameters, got the network chain; pass those of params, model_state = net\.init\(key, "
        r"x\)\.",
    ),
    "a string among parameters": (
        lambda: train.init({"name": "mlp", "w": X}, ADAM),
        r"train\.init: params must be a pytree of arrays, got str at 'name'; leave it out\.",
    ),
    "a string in a batch": (
        lambda: STEP(start(), {"x": X, "text": ["a"]}, 0),
        r"train\.step: a batch must be a pytree of arrays, got str at 'text/0'; leave it out\.",
    ),
    "a dict of two": (
        lambda: fit(batches=[{"x": X, "y": Y}]),
        PAIR + r"\{'x': f64\[4,3\], 'y': f64\[4,2\]\}; make it a pair, or write a loss function of your own\.",
    ),
    "a triple": (lambda: STEP(start(), (X, X, Y), 0), PAIR + r"\(f64\[4,3\], f64\[4,3\], f64\[4,2\]\); make it .*"),
    "a function for a network": (
        lambda: train.supervised(jnp.tanh, lambda y, t: y),
        r"train\.supervised: net must be made of fg\.layers, got tanh; write \(model, model_state, batch, key\) -> "
        r"\(loss, \(model_state, metrics\)\) yourself\.",
    ),
    "no key": (lambda: fit(key=None), r"train\.fit: key must be one random key or an integer, got NoneType\."),
    "many keys": (
        lambda: STEP(start(), (X, Y), jax.random.split(jax.random.key(0), 3)),
        r"train\.step: key must be one random key or an integer, got key<fry>\[3\]\.",
    ),
    "a number for a loss function": (lambda: train.step(3, ADAM), r"train\.step: loss_fn must be a function, got 3\."),
    "half a microbatch": (
        lambda: train.step(LOSS, ADAM, microbatches=1.5),
        r"train\.step: microbatches must be an integer, got 1\.5\.",
    ),
    "a norm that is no number": (
        lambda: train.step(LOSS, ADAM, clip_norm="1"),
        r"train\.step: clip_norm must be a number, got '1'\.",
    ),
    "norms, one per parameter": (
        lambda: train.step(LOSS, ADAM, clip_norm=jnp.ones(3)),
        r"train\.step: clip_norm must be a number, got f64\[3\]\.",
    ),
    "a scale that is no number": (
        lambda: train.init(PARAMS, ADAM, loss_scale="dynamic"),
        r"loss_scale must be a number, got 'dynamic'\.",
    ),
    "a pattern for a selector": (
        lambda: train.init(PARAMS, ADAM, trainable="head/**"),
        r"train\.init: trainable= must be which parameters are trained, as fg\.select\('head/\*\*'\) or "
        r"fg\.freeze\('encoder/\*\*'\), got 'head/\*\*'\.",
    ),
    "an integer among parameters": (
        lambda: STEP(train.init({"w": X, "table": {"n*": jnp.arange(3)}}, ADAM), (X, Y), 0),
        r"train\.step: the parameter 'table/n\\\*' is i64\[3\], which has no gradient; keep it out of what is "
        r"trained, by trainable=fg\.freeze\('table/n\\\\\*'\) for train\.init, or make it part of model_state\.",
    ),
    "a word for a key": (
        lambda: STEP(start(), (X, Y), "zero"),
        r"train\.step: key must be one random key or an integer, got str\.",
    ),
    "no step": (lambda: fit(step=3), r"train\.fit: step must be what train\.step returned, got 3\."),
    "an evaluation that is no function": (
        lambda: fit(evaluate={"x": X}),
        r"train\.fit: evaluate must be a function of \(params, model_state\), got \{'x': f64\[4,3\]\}\.",
    ),
    "a log that is no path": (lambda: fit(log=True), r"train\.fit: log must be the path of a file, got True\."),
    "a function that gives no batches": (
        lambda: fit(batches=lambda epoch: None),
        r"train\.fit: the batches of epoch 0 must be an iterable, got None\.",
    ),
    "no batches": (
        lambda: fit(batches=None),
        r"train\.fit: batches must be an iterable or a function epoch -> iterable, got NoneType\.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_get_one_sentence(case):
    call, sentence = WRONG[case]
    with raises_sentence(TrainingError, sentence):
        call()


def test_a_dict_is_a_batch_for_a_loss_of_ones_own():
    loss = lambda params, model_state, batch, key: LOSS(params, model_state, (batch["x"], batch["y"]), key)
    expected = fit()[0].params
    found = fit(step=train.step(loss, ADAM), batches=[{"x": X, "y": Y}])[0].params
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("key", [0, np.int64(0), jax.random.PRNGKey(0)], ids=["int", "numpy", "raw"])
def test_keys_as_they_are_written(key):
    loss = lambda params, model_state, batch, key: (
        params["w"] * jax.random.normal(key, dtype=jnp.float64),
        (model_state, {}),
    )
    step = train.step(loss, optax.sgd(0.1))
    start = lambda: train.init({"w": jnp.ones(())}, optax.sgd(0.1))
    expected = step(start(), X, jax.random.key(0))[0].params
    assert step(start(), X, key)[0].params == expected
    assert fit(start(), step, [X], key)[0].params == expected


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an optional peer: pip install 'funcgrad[peers]'")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    batches = torch.utils.data.DataLoader(data, batch_size=2)
    found, _ = fit(batches=batches, steps=None, epochs=2)
    expected, _ = fit(batches=[(X[:2], Y[:2]), (X[2:], Y[2:])], steps=None, epochs=2)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, STEP(start(), list(data[:]), 0)[0].params, fit()[0].params)
    sentence = (
        r"train\.fit: a Tensor of the batch cannot be made a NumPy array \({}\); convert it first, in a DataLoader by "
    )
    sentence += r"collate_fn=\."
    with raises_sentence(TrainingError, sentence.replace("{}", "Got unsupported ScalarType BFloat16")):
        fit(batches=[(torch.tensor(X).bfloat16(), Y)])
    with raises_sentence(TrainingError, sentence.replace("{}", r"Can't call numpy\(\) on .*")):
        fit(batches=[(torch.tensor(X, requires_grad=True), Y)])


METRICS = {
    "a word": ("sgd", r"'sgd'"),
    "None among others": ([1.0, object()], "object"),
    "an op": (ops.mean, "Op"),
}


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_an_array_or_a_number(metric, microbatches):
    wrong, found = METRICS[metric]

    def loss(params, model_state, batch, key):
        value, (model_state, _) = LOSS(params, model_state, batch, key)
        return value, (model_state, {"kind": wrong})

    with raises_sentence(
        GradientError,
        rf"train\.step: the metric 'kind' must be an array or a number, got {found}; leave it out\.",
    ):
        train.step(loss, ADAM, microbatches=microbatches)(start(), (X, Y), 0)


@pytest.mark.parametrize(("value", "found"), [("low", "'low'"), (None, "None"), ({"a": 1.0}, r"\{'a': f64\[\]\}")])
def test_a_loss_is_a_number(value, found):
    with raises_sentence(GradientError, rf"train\.step: the loss must be a scalar, got {found}\."):
        train.step(lambda params, model_state, batch, key: (value, (model_state, {})), ADAM)(start(), (X, Y), 0)


def test_integers_that_are_not_trained_stay_as_they_are():
    params = {"w": jnp.ones(3), "n": jnp.arange(3)}
    sgd = optax.sgd(0.5)
    loss = lambda params, model_state, batch, key: (jnp.sum(params["w"] * batch["x"][0]), (model_state, {}))
    state = train.init(params, sgd, trainable=fg.freeze("n"))
    state, _ = train.step(loss, sgd)(state, {"x": jnp.ones((1, 3))}, 0)
    assert state.params["w"].tolist() == [0.5] * 3
    assert state.params["n"].tolist() == [0, 1, 2]
