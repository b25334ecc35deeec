"""Gradients inside axes that `vmap` names, inside `shard_map`, and on meshes with explicit axes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from funcgrad import ops
from tests.language.agreement import assert_near, assert_same
from tests.language.sample import W, X

NAMED = {
    "psum": lambda x: jnp.sum(jax.lax.psum(jnp.sin(x), "i") ** 2),
    "all_gather": lambda x: jnp.sum(jax.lax.all_gather(jnp.sin(x), "i") ** 2 * x),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("size", [2, 3])
def test_inside_an_axis_that_vmap_names(name: str, size: int):
    ours, theirs = (jax.vmap(grad(NAMED[name]), axis_name="i")(W[:size]) for grad in (fg.grad, jax.grad))
    assert_same(ours, theirs)


INSIDE_SHARD_MAP = {
    "a loss per device": lambda x, w: jnp.sum(jnp.sin(x) * w),
    "a loss of all": lambda x, w: jax.lax.psum(jnp.sum(jnp.sin(x) * w), "d"),
    "an unused output": lambda x, w: jnp.sum(jax.lax.split(jnp.sin(x) * w, (1, 2), axis=1)[0]),
    "an unused output of a scan": lambda x, w: jnp.sum(jax.lax.scan(lambda c, r: (jnp.sin(c) + r, c), x[0], x)[0] * w),
    "an unused argument": lambda x, w: jnp.sum(jnp.sin(x)),
}


@pytest.mark.parametrize("name", INSIDE_SHARD_MAP)
def test_inside_shard_map(name: str):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3)

    def on_every_device(grad: Callable[..., Any]) -> Any:
        gradient = grad(INSIDE_SHARD_MAP[name], (0, 1))
        return jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=(P("d"), P()), out_specs=(P("d"), P())))(x, X)

    assert_same(on_every_device(fg.grad), on_every_device(jax.grad))


EXPLICIT = {
    "reshard": lambda x: jnp.sum(jax.reshard(jnp.sin(jax.reshard(x, P("d"))), P()) ** 2),
    "smap": lambda x: jnp.sum(jax.smap(jnp.sin, in_axes=0, out_axes=0, axis_name="d")(jax.reshard(x, P("d"))) ** 2),
    "in types": lambda x: jnp.sum(jnp.sin(jax.reshard(x, P("d"))) ** 2),
    "an unused output": lambda x: jnp.sum(jax.lax.split(jnp.sin(jax.reshard(x, P("d"))), (1, 2), axis=1)[0]),
}


@pytest.mark.parametrize("name", EXPLICIT)
def test_on_a_mesh_with_explicit_axes(name: str):
    x = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        ours, theirs = (jax.jit(both(EXPLICIT[name]))(x) for both in (fg.value_and_grad, jax.value_and_grad))
    assert_same(ours, theirs)
    assert ours[1].sharding == theirs[1].sharding


@fg.op(leading=("x",), shapes="x[..., n] w[n, m]", name="mesh_affine")
def affine(x: jax.Array, w: jax.Array) -> jax.Array:
    """The README's op."""
    return x @ w


@affine.pullback("x")
def affine_x(g: jax.Array, w: jax.Array) -> jax.Array:
    return g @ w.T


@affine.pullback("w")
def affine_w(g: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.einsum("...n,...m->nm", x, g)


@fg.op(name="mesh_undeclared")
def undeclared(x: jax.Array, w: jax.Array) -> jax.Array:
    """The same without a word on batches, and with rules that name the axes of the mesh where they are explicit."""
    return x @ w


@undeclared.pullback("x")
def undeclared_x(g: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.einsum("...m,nm->...n", g, w, out_sharding=None if jax.sharding.get_abstract_mesh().empty else P("d"))


@undeclared.pullback("w")
def undeclared_w(g: jax.Array, x: jax.Array) -> jax.Array:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x.T @ g

    def part(x: jax.Array, g: jax.Array) -> jax.Array:
        return jax.lax.psum(x.T @ g, "d")

    return jax.shard_map(part, mesh=explicit_mesh(), in_specs=(P("d"), P("d")), out_specs=P())(x, g)


@fg.op(name="mesh_hard", elementwise=True)
def hard(x: jax.Array) -> jax.Array:
    """A step, pulled back as a tanh; forward mode goes through the rule's transpose."""
    return jnp.sign(x)


@hard.pullback("x", kind=fg.surrogate(jnp.tanh))
def hard_x(g: jax.Array, x: jax.Array) -> jax.Array:
    return g * (1 - jnp.tanh(x) ** 2)


@fg.op(name="mesh_derived")
def derived(x: jax.Array, w: jax.Array) -> jax.Array:
    """An op without rules."""
    return jnp.tanh(x @ w)


EXAMPLES = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)))


def explicit_mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("d",))


def contrastive(x: jax.Array, w: jax.Array) -> jax.Array:
    """Every example against every other: both axes of a product are the batch."""
    z = ops.tanh(affine(x, w))
    return ops.mean(ops.cross_entropy(ops.matmul(z, ops.transpose(z)), jnp.arange(len(x))))


Grad = Callable[..., Any]
ON_A_BATCH: dict[str, Callable[[Grad], Callable[..., Any]]] = {
    "the readme's rule": lambda grad: grad(lambda x, w: jnp.mean(jnp.sin(affine(x, w))), (0, 1)),
    "rules that name the mesh": lambda grad: grad(lambda x, w: ops.mean(ops.tanh(undeclared(x, w))), (0, 1)),
    "no rules": lambda grad: grad(lambda x, w: ops.mean(derived(x, w)), (0, 1)),
    "a surrogate": lambda grad: grad(lambda x, w: ops.sum(hard(affine(x, w))), (0, 1)),
    "a product of the batch with itself": lambda grad: grad(contrastive, (0, 1)),
    "a product summed over the batch": lambda grad: grad(
        lambda x, w: ops.sum(ops.square(ops.einsum("bi,bj->ij", x, ops.matmul(x, w)))), (0, 1)
    ),
    "vmap of the gradient": lambda grad: jax.vmap(
        grad(lambda x, w: ops.sum(ops.tanh(affine(x, w))), (0, 1)), (0, None)
    ),
    "gradient of a vmap": lambda grad: grad(
        lambda x, w: ops.sum(ops.square(jax.vmap(lambda row: ops.softmax(derived(row, w)))(x))), (0, 1)
    ),
    "a gradient of a gradient": lambda grad: grad(
        lambda x, w: jnp.sum(grad(lambda x: ops.mean(ops.gelu(affine(ops.layer_norm(x), w))))(x) ** 2), (0, 1)
    ),
    "forward mode": lambda grad: lambda x, w: jax.jvp(lambda x: ops.sum(hard(ops.gelu(affine(x, w)))), (x,), (x,)),
    "a where of cut and whole": lambda grad: grad(
        lambda x, w: ops.sum(ops.where(x > 0, affine(x, w) @ w.T, jnp.zeros_like(w[0, 0]))), (0, 1)
    ),
    "rows in front": lambda grad: grad(
        lambda x, w: ops.sum(ops.tanh(ops.concatenate((jnp.ones((8, 2)), affine(x, w)), axis=1))), (0, 1)
    ),
}


@pytest.mark.parametrize("name", ON_A_BATCH)
def test_a_batch_over_the_devices_of_an_explicit_mesh(name: str):
    x, w = EXAMPLES, jnp.linspace(-0.7, 1.0, 6).reshape(3, 2)
    mesh = explicit_mesh()
    for grad in (fg.grad, jax.grad):
        function = ON_A_BATCH[name](grad)
        alone = jax.jit(function)(x, w)
        with jax.set_mesh(mesh):
            args = jax.device_put(x, NamedSharding(mesh, P("d"))), jax.device_put(w, NamedSharding(mesh, P()))
            jax.tree.map(assert_near, jax.jit(function)(*args), alone)
            if name == "the readme's rule":
                jax.tree.map(assert_near, function(*args), alone)
                assert [g.sharding.spec for g in jax.jit(function)(*args)] == [P("d", None), P(None, None)]


@pytest.mark.parametrize("spec", [P(("a", "b")), P("a"), P("b")], ids=str)
def test_a_batch_over_a_mesh_of_two_axes(spec: P):
    x, w = EXAMPLES, jnp.linspace(-0.7, 1.0, 6).reshape(3, 2)
    gradient = jax.jit(fg.grad(lambda x, w: ops.mean(ops.tanh(affine(x, w))), (0, 1)))
    alone = gradient(x, w)
    mesh = jax.make_mesh((2, 2), ("a", "b"))
    with jax.set_mesh(mesh):
        args = jax.device_put(x, NamedSharding(mesh, spec)), jax.device_put(w, NamedSharding(mesh, P()))
        found = gradient(*args)
    jax.tree.map(assert_near, found, alone)
    assert found[0].sharding.is_equivalent_to(args[0].sharding, 2)
