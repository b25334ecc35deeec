"""Gradients inside and outside of JAX's transformations, and of each other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.language.agreement import assert_agrees, assert_alike, assert_near, pull_everything
from tests.language.case import Case
from tests.language.cases import CASES

X, W = jnp.linspace(-1.0, 1.3, 3), jnp.linspace(0.5, -0.7, 9).reshape(3, 3)

# A case of each kind of node: what is opened, what is pulled back by itself, what holds a body.
FEW = """
    lax.pow numpy.sort lax.dot_general lax.scatter_add nn.gelu lax.scan-pytrees|and|integers lax.cond custom_jvp
    checkpoint-plain jit-integers|and|booleans
"""
MORE = """
    lax.sin numpy.where numpy.prod lax.cumsum numpy.convolve lax.gather lax.dynamic_update_slice ops.segment_sum
    numpy.linalg.solve lax.linalg.cholesky numpy.fft.irfft nn.softmax scipy.special.gammaln lax.scan lax.switch lax.map
    lax.fori_loop custom_vjp checkpoint-names lax.custom_linear_solve jit-static|arguments vjp-fg.vjp|inside
    new_ref lax.associative_scan
"""
BY_NAME = {str(case): case for case in CASES}


def representative(*leave_out: str) -> pytest.MarkDecorator:
    """One test for each of these cases; those of `MORE` in the long run."""
    parameters = [
        pytest.param(BY_NAME[name], id=name, marks=marks)
        for names, marks in ((FEW, []), (MORE, [pytest.mark.slow]))
        for name in (n.replace("|", " ") for n in names.split())
        if name not in leave_out
    ]
    return pytest.mark.parametrize("case", parameters)


def assert_same(found: Any, expected: Any) -> None:
    assert_alike(found, expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(jnp.result_type(a), jnp.inexact):
            assert_near(a, b, tolerance=1024)


def loss(x: jax.Array) -> jax.Array:
    """A scalar with an op's rule, a derived one and a loop in it."""
    h = fg.ops.sigmoid(fg.ops.linear(x, W, X))
    return jax.lax.scan(lambda c, w: (jnp.sin(c) @ w, None), h, jnp.stack([W, W.T]))[0].sum()


def cotangents(vjp: Callable[..., Any], case: Case) -> Callable[..., list[jax.Array]]:
    """The floating cotangents of a case as a function of its arguments."""
    return lambda *args: pull_everything(vjp, case.run, args)


@representative()
def test_second_order_by_forward_over_reverse(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    directions = jax.tree.map(jnp.cos, moving)
    push = lambda vjp: jax.jvp(lambda *moved: cotangents(vjp, case)(*rest(moved)), moving, directions)
    assert_same(push(fg.vjp), push(jax.vjp))


@representative("custom_vjp", "new_ref")  # JAX 0.10 itself fails there
def test_second_order_by_reverse_over_reverse(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    outer = lambda inner, vjp: pull_everything(vjp, lambda *moved: cotangents(inner, case)(*rest(moved)), moving)
    assert_same(outer(fg.vjp, fg.vjp), outer(jax.vjp, jax.vjp))


@representative("lax.switch", "jit-static arguments")
def test_under_vmap(case: Case):
    args = case.drawn(jnp.float64)
    moving, rest = _floating(args)
    batch = jax.tree.map(lambda x: jnp.stack([x, x * 1.1, x * 0.9]), moving)
    over_batch = lambda vjp: jax.vmap(lambda *moved: cotangents(vjp, case)(*rest(moved)))(*batch)
    assert_same(over_batch(fg.vjp), over_batch(jax.vjp))


@pytest.mark.slow
@representative()
def test_without_jit(case: Case):
    assert_agrees(case.run, case.drawn(jnp.float64), tolerance=case.tolerance, jit=False)


@representative()
def test_a_graph_computes_what_its_function_does(case: Case):
    args = case.drawn(jnp.float64)
    assert_same(jax.jit(fg.trace(case.run, *args))(*args), jax.jit(case.run)(*args))


def _floating(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Callable[..., tuple[Any, ...]]]:
    """The floating leaves of arguments, and how to put others in their place."""
    leaves, tree = jax.tree.flatten(args)
    places = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]

    def put(moved: tuple[Any, ...]) -> tuple[Any, ...]:
        replaced = dict(zip(places, moved, strict=True))
        return jax.tree.unflatten(tree, [replaced.get(i, x) for i, x in enumerate(leaves)])

    return tuple(leaves[i] for i in places), put


# -- gradients of gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev], ids=lambda f: f.__name__)
def test_hessians_through_our_gradient(outer: Callable[..., Any]):
    assert_same(jax.jit(outer(fg.grad(loss)))(X), jax.jit(jax.hessian(loss))(X))


def test_third_order():
    total = lambda g: lambda x: jnp.sum(g(x) ** 2)
    third = lambda grad: jax.jit(grad(total(grad(total(grad(loss))))))(X)
    assert_same(third(fg.grad), third(jax.grad))


def test_a_hessian_vector_product_by_each_road():
    v = jnp.cos(X)
    expected = jax.jit(jax.hessian(loss))(X) @ v
    roads = [
        lambda x: jax.jvp(fg.grad(loss), (x,), (v,))[1],
        fg.grad(lambda x: fg.grad(loss)(x) @ v),
        fg.grad(lambda x: jax.jvp(loss, (x,), (v,))[1]),
        lambda x: jax.linearize(fg.grad(loss), x)[1](v),
    ]
    for product in jax.jit(lambda x: [road(x) for road in roads])(X):
        assert_same(product, expected)


# -- closures over tracers ------------------------------------------------------------------------------------


def nested(outer: Callable[..., Any], inner: Callable[..., Any]) -> Any:
    """The outer gradient of an inner one that closes over the outer's argument."""
    return jax.jit(outer(lambda y: inner(lambda x: jnp.sum(jnp.sin(x * y) * y))(y * 2).sum()))(X)


@pytest.mark.parametrize(("outer", "inner"), [(fg.grad, fg.grad), (jax.grad, fg.grad), (fg.grad, jax.grad)])
def test_a_gradient_that_closes_over_the_outer_argument(outer: Callable[..., Any], inner: Callable[..., Any]):
    assert_same(nested(outer, inner), nested(jax.grad, jax.grad))


def test_a_gradient_that_closes_over_a_batch_element():
    per_row = lambda grad: jax.vmap(lambda row: grad(lambda x: jnp.sum(jnp.sin(x * row)))(X))(W)
    assert_same(per_row(fg.grad), per_row(jax.grad))


def test_a_gradient_that_closes_over_a_carry():
    def descend(grad: Callable[..., Any]) -> Any:
        step = lambda c, row: (c - 0.1 * grad(lambda x: jnp.sum(jnp.sin(x * c) * row))(X), loss(c))
        return jax.lax.scan(step, X, W)

    assert_same(descend(fg.grad), descend(jax.grad))


@pytest.mark.parametrize("wrap", [jax.checkpoint, jax.jit, jax.named_scope("gradient")], ids=["checkpoint", "jit", "scope"])
def test_a_gradient_inside_a_call_that_is_differentiated(wrap: Callable[..., Any]):
    outer = lambda grad: jax.jit(jax.grad(lambda x: jnp.sum(wrap(lambda v: grad(loss)(v) ** 2)(x))))(X)
    assert_same(outer(fg.grad), outer(jax.grad))


@pytest.mark.parametrize("loop", ["while_loop", "cond"])
def test_a_gradient_inside_a_loop_or_branch(loop: str):
    def run(grad: Callable[..., Any]) -> Any:
        if loop == "cond":
            return jax.jit(lambda x: jax.lax.cond(x[0] < 0, grad(loss), lambda x: x, x))(X)
        step = lambda c: (c[0] + 1, c[1] - 0.1 * grad(loss)(c[1]))
        return jax.jit(lambda x: jax.lax.while_loop(lambda c: c[0] < 4, step, (0, x)))(X)[1]

    assert_same(run(fg.grad), run(jax.grad))


def test_our_gradient_as_a_custom_rule():
    def with_rule(vjp: Callable[..., Any]) -> Any:
        @jax.custom_vjp
        def f(x: jax.Array) -> jax.Array:
            return jnp.sin(x) * x

        f.defvjp(lambda x: (f(x), x), lambda x, g: (2.0 * vjp(lambda v: jnp.sin(v) * v, x)[1](g)[0],))
        return jax.grad(lambda x: f(x).sum())(X)

    assert_same(with_rule(fg.vjp), with_rule(jax.vjp))


# -- jit, tapes, buffers --------------------------------------------------------------------------------------


def test_a_tape_leaves_one_jitted_function_and_enters_another():
    forward = jax.jit(lambda x: fg.record(loss, x))
    backward = jax.jit(lambda tape, g: tape.pull(g))
    value, tape = forward(X)
    expected, gradient = jax.jit(jax.value_and_grad(loss))(X)
    assert_same((value, backward(tape, 1.0 * value)[0]), (expected, gradient * expected))


def test_a_pull_inside_vmap_gives_a_jacobian():
    y, pull = fg.vjp(lambda x: jnp.sin(W @ x), X)
    assert_same(jax.vmap(pull)(jnp.eye(len(y)))[0], jax.jacobian(lambda x: jnp.sin(W @ x))(X))


def test_a_donated_argument():
    step = lambda grad: jax.jit(lambda x: x - grad(loss)(x), donate_argnums=0)(X + 0.0)
    assert_same(step(fg.grad), step(jax.grad))


def test_without_compilation():
    with jax.disable_jit():
        assert_same(fg.grad(lambda x: jnp.sum(jnp.sin(x @ W)))(X), jax.grad(lambda x: jnp.sum(jnp.sin(x @ W)))(X))


def test_shapes_alone():
    assert jax.eval_shape(fg.value_and_grad(loss), X) == jax.eval_shape(jax.value_and_grad(loss), X)


def test_an_exported_gradient():
    assert_same(jax.export.export(jax.jit(fg.grad(loss)))(X).call(X), jax.jit(jax.grad(loss))(X))


# -- effects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_prints_come_once_and_in_order(jit: bool, capfd: pytest.CaptureFixture[str]):
    def f(x: jax.Array) -> jax.Array:
        jax.debug.print("before {}", x, ordered=True)
        y = jax.jit(lambda v: (jax.debug.print("inside {}", v, ordered=True), v**2)[1])(x)
        jax.debug.print("after {}", y, ordered=True)
        return y

    gradient = fg.grad(f)
    assert float((jax.jit(gradient) if jit else gradient)(2.0)) == 4.0
    jax.effects_barrier()
    assert capfd.readouterr().out.splitlines() == ["before 2.0", "inside 2.0", "after 4.0"]


def test_a_print_of_an_unused_value_is_kept(capfd: pytest.CaptureFixture[str]):
    def f(x: jax.Array) -> jax.Array:
        jax.debug.print("unused {}", jnp.sin(x) * 0.0)
        return x**2

    fg.grad(f)(2.0)
    jax.effects_barrier()
    assert capfd.readouterr().out == "unused 0.0\n"


# -- references -----------------------------------------------------------------------------------------------


def test_a_reference_outside_is_written_once():
    count = jax.new_ref(jnp.zeros(()))

    def f(x: jax.Array) -> jax.Array:
        count[...] += 1.0
        return x**2

    assert float(fg.grad(f)(3.0)) == 6.0
    assert float(count[...]) == 1.0


def test_a_differentiated_value_in_a_reference_outside_raises_as_in_jax():
    outside = jax.new_ref(jnp.zeros(()))

    def f(x: jax.Array) -> jax.Array:
        outside[...] = jnp.sin(x)
        return outside[...] ** 2

    with pytest.raises(Exception, match="Move the array reference to be an argument"):
        fg.grad(f)(1.0)


# -- meshes with explicit axes ----------------------------------------------------------------------------------

EXPLICIT = {
    "reshard": lambda x: jnp.sum(jax.reshard(jnp.sin(jax.reshard(x, P("d"))), P()) ** 2),
    "smap": lambda x: jnp.sum(jax.smap(jnp.sin, in_axes=0, out_axes=0, axis_name="d")(jax.reshard(x, P("d"))) ** 2),
    "in types": lambda x: jnp.sum(jnp.sin(jax.reshard(x, P("d"))) ** 2),
}


@pytest.mark.parametrize("name", EXPLICIT)
def test_on_a_mesh_with_explicit_axes(name: str):
    x = jnp.linspace(-1.0, 1.0, 8)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        ours, theirs = (jax.jit(both(EXPLICIT[name]))(x) for both in (fg.value_and_grad, jax.value_and_grad))
    assert_same(ours, theirs)
    assert ours[1].sharding == theirs[1].sharding
