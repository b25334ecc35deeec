"""An op is an ordinary function to every JAX transformation, and its rule is honoured by all of them.

The rules here are wrong on purpose (twice too large, or a third), so that a result shows whose rule was used.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from funcgrad.errors import RuleError
from tests.raising import raises_sentence


@fg.op
def cube(x):
    """With a right rule and a saved value."""
    return x**3


@cube.saving("slope")
def cube_saving(x):
    return x**3, {"slope": 3 * x**2}


@cube.pullback("x")
def cube_x(g, slope):
    return g * slope


@fg.op
def step(x):
    """A surrogate: the slope of tanh stands for that of the step."""
    return jnp.where(x > 0, 1.0, 0.0).astype(x.dtype)


@step.pullback("x", kind=fg.surrogate(of=jnp.tanh))
def step_x(g, x):
    return g * (1 - jnp.tanh(x) ** 2)


@fg.op(elementwise=True)
def reverse(x):
    """Gradient reversal."""
    return x + 0


@reverse.pullback("x", kind=fg.modified)
def reverse_x(g):
    return -g


@fg.op
def pick(x, i):
    """A row by its number."""
    return x[i]


@pick.pullback("x")
def pick_x(g, x_aval, i):
    return 2 * jnp.zeros(x_aval.shape, g.dtype).at[i].add(g)


pick.mark(i=fg.Marker.NON_DIFFERENTIABLE)


class Pair(NamedTuple):
    left: jax.Array
    right: dict[str, jax.Array]


@fg.op
def combine(pair, scale):
    """A pytree argument."""
    return scale * pair.left * pair.right["r"]


@combine.pullback("pair")
def combine_pair(g, pair, scale):
    return Pair(2 * g * scale * pair.right["r"], {"r": 3 * g * scale * pair.left})


@fg.op(outputs=("mean", "var"))
def moments(x):
    """Two named outputs."""
    mean = jnp.mean(x, -1)
    return mean, jnp.mean((x - mean[..., None]) ** 2, -1)


@moments.pullback("x")
def moments_x(g_mean, g_var, x, mean):
    n = x.shape[-1]
    return (g_mean[..., None] + 2 * g_var[..., None] * (x - mean[..., None])) / n


@fg.op(outputs=("value", "place"))
def best(x):
    """An integer output beside a floating one."""
    return jnp.max(x), jnp.argmax(x)


@best.pullback("x")
def best_x(g_value, place, x_aval):
    return jnp.zeros(x_aval.shape, g_value.dtype).at[place].set(2 * g_value)


X = jnp.asarray(np.random.default_rng(0).normal(size=5))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


# -- every transformation -----------------------------------------------------------------------------------


def test_a_saving_forward_under_every_transformation():
    def loss(x):
        return jnp.sin(cube(x)).sum()

    def plain(x):
        return jnp.sin(x**3).sum()

    t = jnp.ones_like(X)
    transformations = {
        "grad": lambda f: jax.grad(f)(X),
        "jit": lambda f: jax.jit(jax.grad(f))(X),
        "value_and_grad": lambda f: jax.value_and_grad(f)(X)[1],
        "jvp": lambda f: jax.jvp(f, (X,), (t,))[1],
        "jacfwd": lambda f: jax.jacfwd(jax.grad(f))(X),
        "jacrev": lambda f: jax.jacrev(jax.grad(f))(X),
        "hessian": lambda f: jax.hessian(f)(X),
        "third": lambda f: jax.grad(lambda x: jax.hessian(f)(x).sum())(X),
        "vmap(grad)": lambda f: jax.vmap(jax.grad(f))(jnp.stack([X, 2 * X])[..., None]),
        "grad(vmap)": lambda f: jax.grad(lambda x: jax.vmap(f)(x[:, None]).sum())(X),
        "vmap(hessian)": lambda f: jax.vmap(jax.hessian(f))(jnp.stack([X, 2 * X])),
        "checkpoint": lambda f: jax.grad(jax.checkpoint(f))(X),
        "linearize": lambda f: jax.linearize(f, X)[1](t),
        "scan": lambda f: jax.grad(lambda x: jax.lax.scan(lambda c, _: (c + f(x), None), 0.0, length=3)[0])(X),
        "cond": lambda f: jax.grad(lambda x: jax.lax.cond(x[0] < 9, f, lambda x: x.sum(), x))(X),
    }
    for name, transformation in transformations.items():
        np.testing.assert_allclose(transformation(loss), transformation(plain), rtol=1e-10, atol=1e-12, err_msg=name)


def test_through_a_carry_of_scan():
    def run(f):
        def loss(x):
            return jax.lax.scan(lambda c, _: (f(c) * 0.5 + c, None), x, length=4)[0].sum()

        return jax.jit(jax.value_and_grad(loss))(X)

    jax.tree.map(close, run(cube), run(lambda x: x**3))


def test_eval_shape_and_make_jaxpr_show_one_equation():
    assert jax.eval_shape(cube, X).shape == X.shape
    equations = jax.make_jaxpr(cube)(X).eqns
    assert [e.primitive.name for e in equations] == ["cube"]


def test_one_contraction_for_the_weight_under_grad_of_vmap():
    w, x = jnp.ones((4, 3)), jnp.ones((7, 4))

    def loss(w):
        return jax.vmap(fg.ops.linear, in_axes=(0, None))(x, w).sum()

    jaxpr = str(jax.make_jaxpr(jax.grad(loss))(w))
    assert "f64[7,4,3]" not in jaxpr
    close(jax.grad(loss)(w), 7 * jnp.ones((4, 3)))


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((1, 3, 4), (2, 4, 5))])
def test_a_matrix_product_absorbs_vmap(rng, shapes):
    """`vmap` over either factor is one product with one axis more, and the other's cotangent one contraction."""
    a, b = (jnp.asarray(rng.normal(size=s)) for s in shapes)
    batch = jnp.asarray(rng.normal(size=(7, *a.shape)))
    loss = lambda multiply: lambda xs, b: jnp.sum(jnp.sin(jax.vmap(multiply, (0, None))(xs, b)))
    jaxpr = jax.make_jaxpr(jax.vmap(fg.ops.matmul, (0, None)))(batch, b)
    assert [e.params["call"].levels for e in jaxpr.eqns if e.primitive.name == "matmul"] == [()]
    found, expected = (jax.grad(loss(f), (0, 1))(batch, b) for f in (fg.ops.matmul, jnp.matmul))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


def test_saved_values_survive_checkpoint_and_vmap_together():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    scale, bias = jnp.full(4, 2.0), jnp.ones(4)

    def loss(norm):
        return lambda s, x: jax.vmap(jax.checkpoint(lambda r: jnp.sin(norm(r, s, bias)).sum()))(x).sum()

    ours = jax.grad(loss(fg.ops.layer_norm), (0, 1))(scale, x)
    plain = jax.grad(loss(fg.ops.layer_norm.function), (0, 1))(scale, x)
    jax.tree.map(close, ours, plain)


# -- arguments and outputs -----------------------------------------------------------------------------------


def test_an_integer_argument_has_no_cotangent_and_batches():
    x, i = jnp.arange(6.0).reshape(3, 2), jnp.array([2, 0, 2])
    close(jax.grad(lambda x: pick(x, 1).sum())(x), [[0, 0], [2, 2], [0, 0]])
    mapped = jax.vmap(pick, in_axes=(None, 0))
    close(mapped(x, i), x[i])
    close(jax.grad(lambda x: mapped(x, i).sum())(x), [[2, 2], [0, 0], [4, 4]])
    assert jax.grad(lambda i: pick(x, i).sum(), allow_int=True)(1).dtype == jax.dtypes.float0


def test_a_pytree_argument():
    pair = Pair(jnp.array(2.0), {"r": jnp.array(5.0)})
    found = jax.grad(combine)(pair, 1.5)
    close(found.left, 2 * 1.5 * 5)
    close(found.right["r"], 3 * 1.5 * 2)
    # Only one leaf of the argument moves.
    close(jax.grad(lambda r: combine(Pair(pair.left, {"r": r}), 1.5))(pair.right["r"]), 3 * 1.5 * 2)
    # `scale` has no rule of its own, so it is derived.
    close(jax.grad(combine, argnums=1)(pair, 1.5), 10)


def test_named_outputs_used_together_or_alone():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    for weights in ((1.0, 2.0), (1.0, 0.0), (0.0, 1.0)):

        def loss(f, weights=weights):
            return lambda x: sum(w * jnp.sum(jnp.sin(y)) for w, y in zip(weights, f(x), strict=True))

        close(jax.grad(loss(moments))(x), jax.grad(loss(moments.function))(x))
    close(jax.grad(lambda x: moments(x)[1].sum())(x), jax.grad(lambda x: moments.function(x)[1].sum())(x))
    close(jax.vmap(moments)(x)[1], moments.function(x)[1])


def test_an_integer_output():
    value, place = best(X)
    assert place == jnp.argmax(X)
    expected = np.zeros(5)
    expected[int(place)] = 2
    close(jax.grad(lambda x: best(x)[0])(X), expected)
    assert value == X.max()


def test_attributes_by_name_and_arguments_by_name():
    x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
    close(fg.ops.linear(w=w, x=x), x @ w)
    close(jax.grad(lambda w: fg.ops.linear(w=w, x=x).sum())(w), 2 * jnp.ones((3, 4)))


# -- kinds ---------------------------------------------------------------------------------------------------


def test_a_surrogate_is_honoured_by_grad_and_by_jvp():
    slope = 1 - jnp.tanh(X) ** 2
    close(jax.grad(lambda x: step(x).sum())(X), slope)
    close(jax.jvp(step, (X,), (jnp.ones_like(X),))[1], slope)
    close(jax.jacfwd(step)(X), jnp.diag(slope))
    close(jax.jit(jax.vmap(jax.grad(step)))(X), slope)


def test_a_modified_rule_is_honoured_by_grad_and_by_jvp():
    close(jax.grad(lambda x: (reverse(x) ** 2).sum())(X), -2 * X)
    close(jax.jvp(reverse, (X,), (X,))[1], -X)
    close(jax.hessian(lambda x: (reverse(x) ** 2).sum())(X), 2 * jnp.eye(5))


def test_a_modified_rule_that_is_not_linear_refuses_forward_mode():
    def signed(x):
        return x + 0

    op = fg.op(name="signed", replace=True)(signed)

    def sign_of_g(g):
        return jnp.sign(g)

    op.pullback("x", kind=fg.modified)(sign_of_g)
    close(jax.grad(lambda x: (3 * op(x)).sum())(X), jnp.ones(5))
    with raises_sentence(
        RuleError,
        r"signed: forward mode through the modified rule sign_of_g is its transpose, and it is not linear in g; "
        r"use reverse mode\.",
    ):
        jax.jvp(op, (X,), (X,))


def test_a_nonlinear_rule_that_does_not_read_g_refuses_forward_mode_and_is_no_silent_zero():
    op = fg.op(name="told", replace=True)(lambda x: x + 0)

    def told(x):
        return jnp.ones_like(x)

    op.pullback("x", kind=fg.nonlinear)(told)
    close(jax.grad(lambda x: (3 * op(x)).sum())(X), jnp.ones(5))
    with raises_sentence(
        RuleError,
        r"told: forward mode through the nonlinear rule told is its transpose, and it is not linear in g; "
        r"use reverse mode\.",
    ):
        jax.jvp(op, (X,), (X,))


def test_marked_arguments_let_nothing_through():
    def product(x, w):
        return x * w

    op = fg.op(name="product_marked", replace=True)(product)
    op.pullback("x")(lambda g, w: g * w)
    op.mark(w=fg.Marker.ZERO)
    close(jax.grad(lambda w: op(X, w).sum())(X), jnp.zeros(5))
    close(jax.grad(lambda x: op(x, x).sum())(X), X)


# -- dtypes and places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_cotangents_have_the_dtype_of_the_primal(dtype):
    x = X.astype(dtype)
    assert jax.grad(lambda x: fg.ops.layer_norm(x, x, x).sum())(x).dtype == dtype
    assert fg.ops.softmax(x).dtype == dtype


def test_weak_types_pass_through():
    def loss(x):
        return fg.ops.exp(x) * jnp.float32(1)

    assert jax.typeof(fg.ops.exp(2.0)).weak_type
    assert loss(1.0).dtype == jnp.float32
    np.testing.assert_allclose(jax.grad(loss)(1.0), np.e, rtol=1e-6)
    close(jax.grad(lambda x: fg.ops.multiply(x, 2.0))(3.0), 2.0)


def test_a_constant_reaches_the_rule_as_an_array():
    def product_of_rank(x, c):
        return x * c

    op = fg.op(name="product_of_rank", replace=True)(product_of_rank)

    @op.pullback("x")
    def product_x(g, c):
        return g * c.reshape((1,) * c.ndim)

    close(jax.jit(jax.grad(lambda x: op(x, 2.0)))(3.0), 2.0)


def test_complex_arithmetic():
    z = jnp.array([1 + 2j, -0.5j])
    pairs = [
        (fg.ops.exp, jnp.exp),
        (fg.ops.square, jnp.square),
        (fg.ops.absolute, jnp.abs),
        (lambda z: fg.ops.multiply(z, z), lambda z: z * z),
        (lambda z: fg.ops.divide(jnp.ones_like(z), z), lambda z: jnp.ones_like(z) / z),
    ]
    for op, plain in pairs:

        def loss(f):
            return lambda z: (jnp.real(f(z)) + 0.5 * jnp.imag(f(z).astype(z.dtype))).sum()

        close(jax.grad(loss(op))(z), jax.grad(loss(plain))(z))


# -- meshes --------------------------------------------------------------------------------------------------


def data_parallel_loss(linear, norm):
    def loss(w, b, x):
        h = norm(linear(x, w, b), b, b)
        return (h**2).mean()

    return loss


def example():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=s)) for s in ((3, 4), (4,), (8, 3)))


def test_shard_map_with_check_vma():
    w, b, x = example()
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))

    def gradients(linear, norm):
        loss = data_parallel_loss(linear, norm)

        def local(w, b, x):
            return jax.tree.map(lambda g: jax.lax.pmean(g, "d"), jax.grad(loss, (0, 1))(w, b, x))

        specs = {"in_specs": (P(), P(), P("d")), "out_specs": P()}
        return jax.jit(jax.shard_map(local, mesh=mesh, check_vma=True, **specs))(w, b, x)

    ours = gradients(fg.ops.linear, fg.ops.layer_norm)
    plain = gradients(fg.ops.linear.function, fg.ops.layer_norm.function)
    jax.tree.map(close, ours, plain)


def test_explicit_sharding_is_preserved():
    w, b, x = example()
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
    expected = jax.grad(data_parallel_loss(fg.ops.linear.function, fg.ops.layer_norm.function), (0, 1))(w, b, x)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, P("d")))
        w, b = (jax.device_put(v, NamedSharding(mesh, P())) for v in (w, b))
        loss = data_parallel_loss(fg.ops.linear, fg.ops.layer_norm)
        assert jax.typeof(fg.ops.relu(x)).sharding.spec == P("d", None)
        assert jax.typeof(fg.ops.linear(x, w, b)).sharding.spec == P("d", None)
        found = jax.jit(jax.grad(loss, (0, 1)))(w, b, x)
        jax.tree.map(close, found, expected)
        gradient = jax.jit(jax.grad(loss, 2))(w, b, x)
        assert jax.typeof(gradient).sharding.spec == P("d", None)
