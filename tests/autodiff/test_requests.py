"""The edge of a call is JAX's: what goes in and what comes out, by type, dtype, weak type, sharding and identity."""

from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.language.agreement import assert_alike, assert_same
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 3)
SINGLE = X.astype(jnp.float32)
HALF = X.astype(jnp.bfloat16)

Pair = namedtuple("Pair", ["a", "b"])
MARK = object()


@partial(jax.tree_util.register_dataclass, data_fields=["array"], meta_fields=["note"])
@dataclass
class Box:
    array: Any
    note: str


def scaled(s, x):
    return jnp.sum(x * s)


WEAK = {
    "a square": (lambda s: s * s, (2.0,)),
    "a power": (lambda s: s**3, (2.0,)),
    "a numpy number": (lambda s: s * s, (np.float32(2.0),)),
    "an array that is weak": (lambda s: jnp.sin(s) * 3.0, (jnp.asarray(2.0),)),
    "times float32": (scaled, (2.0, SINGLE)),
    "times bfloat16": (scaled, (2.0, HALF)),
    "times float64": (scaled, (2.0, X)),
    "unused": (lambda s, x: jnp.sum(x), (2.0, X)),
    "complex": (lambda s: jnp.abs(s * (1 + 2j)), (1.5,)),
    "through a jit": (jax.jit(scaled), (2.0, SINGLE)),
    "through a loop": (lambda s, x: jax.lax.fori_loop(0, 3, lambda i, c: c * s, jnp.sum(x)), (2.0, X)),
    "through a scan's carry": (lambda s: jax.lax.scan(lambda c, _: (c * c, None), s, length=2)[0], (2.0,)),
    "through a cond": (lambda s, x: jax.lax.cond(x[0] < 0, lambda c: c * c, lambda c: c, s), (2.0, X)),
    "through a checkpoint": (jax.checkpoint(lambda s, x: jnp.sum(jnp.sin(x * s))), (2.0, SINGLE)),
    "through a custom_jvp": (lambda s: jax.nn.silu(jax.nn.relu(s)), (2.0,)),
    "a number that is an output": (lambda s: s, (2.0,)),
    "a constant loss": (lambda x: jnp.asarray(2.0), (X,)),
    "a number as loss": (lambda x: 2.0, (X,)),
    "a numpy number as loss": (lambda x: np.float32(2.0), (SINGLE,)),
}


@pytest.mark.parametrize("name", WEAK)
def test_values_and_gradients_are_as_weakly_typed_as_jaxs(name):
    function, args = WEAK[name]
    argnums = tuple(range(len(args)))
    with jax.numpy_dtype_promotion("standard"):
        for name in ("value_and_grad", "jacobian"):
            ours, theirs = (getattr(lib, name)(function, argnums)(*args) for lib in (fg, jax))
            assert_alike(ours, theirs)
            for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(np.asarray(a, complex), np.asarray(b, complex), rtol=2e-2)


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "relu"])
def test_an_op_of_a_python_number_has_a_weakly_typed_gradient(name):
    assert fg.grad(getattr(fg.ops, name))(0.5).weak_type
    assert not fg.grad(getattr(fg.ops, name))(np.float32(0.5)).weak_type


def test_an_ops_gradient_by_a_python_number_takes_the_dtype_of_what_it_meets():
    with jax.numpy_dtype_promotion("standard"):
        assert (
            fg.grad(lambda s: jnp.sum(fg.ops.linear(HALF[None] * s, HALF[:, None])))(2.0) * HALF
        ).dtype == HALF.dtype


def test_a_step_keeps_the_types_of_its_parameters():
    """A bfloat16 model with a Python number in it is traced once, not once more for float32."""
    traced = []

    @jax.jit
    def step(params):
        traced.append(params)
        gradient = fg.grad(lambda p: jnp.sum((p["w"] * p["scale"]) ** 2))(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g.astype(p.dtype) if p.ndim else p - 0.1 * g, params, gradient)

    with jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(jnp.asarray, {"w": HALF, "scale": 2.0})
        for _ in range(3):
            params = step(params)
    assert len(traced) == 1
    assert params["w"].dtype == jnp.bfloat16


COTANGENTS = {
    "a number": (lambda x: jnp.sum(jnp.sin(x)), X, 1.0),
    "a numpy number": (lambda x: jnp.sum(jnp.sin(x)), X, np.float64(1.5)),
    "a numpy array": (jnp.sin, X, np.ones(3)),
    "a weak array": (lambda x: jnp.sum(jnp.sin(x)), X, jnp.asarray(2.0)),
    "passed on": (lambda x: x + 1.0, jnp.ones(()), jnp.asarray(2.0)),
    "of a pytree": (lambda x: {"a": x * 2.0, "b": jnp.sum(x)}, X, {"a": np.ones(3), "b": 1.0}),
    "for an integer": (lambda x: (x * 2.0, jnp.int32(3)), X, (np.ones(3), 7)),
}


@pytest.mark.parametrize("name", COTANGENTS)
def test_cotangents_that_jax_takes(name):
    function, x, cotangent = COTANGENTS[name]
    (found,), (expected,) = (vjp(function, x)[1](cotangent) for vjp in (fg.vjp, jax.vjp))
    assert_same(found, jnp.asarray(expected))
    assert_same(fg.record(function, x)[1].pull(cotangent), (expected,))


def test_double_precision_is_cast_where_jax_casts_it():
    with jax.enable_x64(False):
        x = jnp.ones(3, jnp.float32)
        for cotangent in (np.ones(3), np.float32([1, 2, 3])):
            assert_same(fg.vjp(jnp.sin, x)[1](cotangent), jax.vjp(jnp.sin, x)[1](cotangent))
        (found,) = fg.vjp(lambda x: jnp.sum(x * x), x)[1](np.float64(1))
        assert_same(found, jnp.full(3, 2.0, jnp.float32))


REFUSED = {
    "an integer": (jnp.sum, X, 1, r"The cotangent of output 'reduce_sum' must be f64\[\], got i64\[\]\."),
    "a boolean": (jnp.sum, X, True, r"The cotangent of output 'reduce_sum' must be f64\[\], got bool\[\]\."),
    "a string": (jnp.sum, X, "one", r"The cotangent of output 'reduce_sum' must be f64\[\], got str\."),
    "a number for half precision": (
        jnp.sum,
        HALF,
        1.0,
        r"The cotangent of output 'reduce_sum' must be bf16\[\], got f64\[\]\.|"
        r"The cotangent of output '[\w/#]+' must be bf16\[\], got f64\[\]\.",
    ),
    "another shape": (jnp.sin, X, np.ones((3, 1)), r"The cotangent of output 'sin' must be f64\[3\], got f64\[3,1\]\."),
    "a list": (
        jnp.sin,
        X,
        [1.0, 1.0, 1.0],
        r"The cotangent must have the structure of the output, f64\[3\], got \[f64\[\], f64\[\], f64\[\]\]\.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_cotangents_that_jax_refuses(name):
    function, x, cotangent, sentence = REFUSED[name]
    with pytest.raises((TypeError, ValueError)):
        jax.vjp(function, x)[1](cotangent)
    with raises_sentence(fg.errors.GradientError, sentence):
        fg.vjp(function, x)[1](cotangent)


@pytest.mark.parametrize("cotangents", [(), (X, X)], ids=["none", "two"])
def test_pull_takes_one_cotangent(cotangents):
    pull = fg.vjp(jnp.sin, X)[1]
    sentence = (
        rf"pull takes one cotangent, like the output f64\[3\], got {len(cotangents)}; where the output is a tuple, "
        r"pass a tuple\."
    )
    with raises_sentence(fg.errors.GradientError, sentence):
        pull(*cotangents)


def everything(x: jax.Array) -> dict[str, Any]:
    """What a function may hand out beside its loss."""
    return {
        "string": "relu",
        "function": jnp.sin,
        "dtype": jnp.float32,
        "object": MARK,
        "none": None,
        "number": 2.0,
        "integer": 3,
        "long": np.int64(2**40),
        "longer": 2**70,
        "boolean": True,
        "numpy": NUMPY,
        "closed over": SINGLE,
        "true": jnp.array(True),
        "weak": jnp.asarray(1.0),
        "strong": jnp.float32(3),
        "half": jnp.bfloat16(3),
        "listed": jnp.array([1, 2]),
        "from numpy": jnp.asarray(NUMPY),
        "made": jnp.zeros(3),
        "counted": jnp.arange(3),
        "computed": x * 2.0,
        "integers computed": jnp.argmax(x),
        "itself": x,
        "named": Pair(x + 1.0, "b"),
        "boxed": Box(x, "note"),
        "listing": [x, (1, "two"), {}],
        "key": jax.random.key(0),
    }


NUMPY = np.arange(3)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jitted inside"])
def test_auxiliaries_are_handed_through(wrap):
    inside = wrap(lambda x: (x * 2.0, jnp.array(True), jnp.asarray(1.0)))
    function = lambda x: (jnp.sum(x**2), everything(x) | {"inside": inside(x)})
    ours, theirs = (lib.value_and_grad(function, has_aux=True)(X) for lib in (fg, jax))
    assert_alike(ours, theirs)
    assert ours[0][1]["object"] is MARK
    assert ours[0][1]["numpy"] is NUMPY
    assert ours[0][1]["closed over"] is SINGLE
    assert ours[0][1]["itself"] is X
    assert ours[0][1]["long"] == 2**40
    assert type(ours[0][1]["named"]) is Pair
    assert ours[0][1]["boxed"].note == "note"
    keep = lambda tree: [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array) and x.dtype != MARK]
    for a, b in zip(keep(ours), keep(theirs), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(a, b)
    (value, pull, aux), (_, _, their_aux) = (lib.vjp(function, X, has_aux=True) for lib in (fg, jax))
    assert_alike((value, aux), (ours[0][0], their_aux))
    assert_same(pull(1.0), (2.0 * X,))


def test_under_jit_the_arrays_among_them_are_those_of_jax():
    others = {"string", "function", "dtype", "object", "longer", "named", "boxed", "listing"}
    arrays = lambda x: {k: v for k, v in everything(x).items() if k not in others}
    run = lambda lib: jax.jit(lib.value_and_grad(lambda x: (jnp.sum(x), arrays(x)), has_aux=True))(X)
    assert_alike(run(fg), run(jax))


@pytest.mark.parametrize("kind", [tuple, list, lambda pair: Pair(*pair)], ids=["tuple", "list", "namedtuple"])
def test_the_pair_may_be_any_that_jax_takes(kind):
    function = lambda x: kind((jnp.sum(x), "aux"))
    assert_alike(*(lib.value_and_grad(function, has_aux=True)(X) for lib in (fg, jax)))


def test_an_argument_that_is_not_differentiated_comes_back_as_it_is():
    rows = np.arange(3.0)
    function = lambda x, rows: (jnp.sum(x), rows)
    assert fg.grad(function, has_aux=True)(X, rows)[1] is rows


def test_of_leaves_the_auxiliaries_as_they_are():
    function = lambda x: (fg.name(jnp.sum(x), "h") * 2.0, ("tag", jnp.array(True), x))
    (_, aux), _ = fg.value_and_grad(function, has_aux=True, of="h")(X)
    assert aux[0] == "tag"
    assert isinstance(aux[1], jax.Array)
    assert aux[2] is X


@pytest.mark.parametrize("spec", [P("d"), P()], ids=["sharded", "replicated"])
@pytest.mark.parametrize("axis", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=["auto", "explicit"])
def test_shardings_are_those_of_jax(spec, axis):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis,))
    x = jax.device_put(jnp.linspace(-1.0, 1.0, 8), jax.NamedSharding(mesh, spec))
    function = lambda x: (jnp.sum(jnp.sin(x)), (x * 2.0, x, jnp.arange(3), jnp.array(True)))
    with jax.set_mesh(mesh):
        assert_alike(*(lib.value_and_grad(function, has_aux=True)(x) for lib in (fg, jax)))


NOT_ARRAYS = {
    "grad": (
        lambda: fg.grad(lambda x: "loss")(X),
        r"The function must return arrays, got str; return anything else beside them, with has_aux=True\.",
    ),
    "vjp": (
        lambda: fg.vjp(lambda x: (x, MARK), X),
        r"The function must return arrays, got \(f64\[3\], object\); return anything else beside them, with "
        r"has_aux=True\.",
    ),
}


@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_what_is_differentiated_must_be_an_array(name):
    call, sentence = NOT_ARRAYS[name]
    with raises_sentence(fg.errors.GradientError, sentence):
        call()


DESCRIBED = jax.ShapeDtypeStruct((3,), jnp.float32)


def test_a_description_has_no_gradient():
    sentence = (
        r"Argument 0 has a leaf 'p/w' that is only described, f32\[3\]; pass an array, or use fg.plan, which runs "
        r"nothing\."
    )
    for call in (fg.grad(lambda p: jnp.sum(p["w"])), partial(fg.vjp, lambda p: p["w"]), fg.jacobian(lambda p: p["w"])):
        with raises_sentence(fg.errors.GradientError, sentence):
            call({"w": DESCRIBED})
    assert fg.plan(lambda p: jnp.sum(p["w"]), {"w": DESCRIBED}).steps


def test_a_description_beside_it_is_an_object_like_any_other():
    function = lambda x, like: (jnp.sum(x.astype(like.dtype)), like)
    gradient, aux = fg.grad(function, has_aux=True)(X, DESCRIBED)
    assert_same(gradient, jax.grad(function, has_aux=True)(X, DESCRIBED)[0])
    assert aux is DESCRIBED


def test_models_of_equinox_beside_the_loss():
    eqx = pytest.importorskip("equinox", reason="of the extra `peers`")
    x = jnp.ones((4, 3))
    mlp = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, axis_name="batch", mode="ema")

    def loss(w, state):
        run = jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        y, state = run(x * w[None], state)
        return jnp.sum(jax.vmap(mlp)(y) ** 2), (state, mlp, mlp.activation)

    ours, theirs = (lib.value_and_grad(loss, has_aux=True)(jnp.arange(3.0), state) for lib in (fg, jax))
    assert_alike(ours, theirs)
    assert type(ours[0][1][1]) is eqx.nn.MLP
    again = [lib.grad(loss, has_aux=True)(jnp.arange(3.0), new[0][1][0])[0] for lib, new in ((fg, ours), (jax, theirs))]
    assert_same(*again)
