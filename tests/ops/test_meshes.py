"""Every op on a mesh with explicit axes, its batch over several devices: the numbers of one device, the types of JAX.

`jax.make_mesh` makes such axes by default. Cotangents are cut like what they are cotangents of.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from tests.ops.asserting import Arrays, Flat, assert_close
from tests.ops.cases import CASES, Case, library_ops

# What has the batch in front, for ops that do not declare it (`leading=`, `elementwise=`, `core_axes=`).
BATCH = {
    "softmax": "x",
    "log_softmax": "x",
    "logsumexp": "x",
    "glu": "x",
    "take": "indices",
    "take_along_axis": "x indices",
    "scatter_add": "indices updates",
    "dropout": "x",
    "drop_path": "x",
    "stochastic_round": "x",
    "group_norm": "x",
    "batch_norm": "x",
    "global_max_pool": "x",
    "global_avg_pool": "x",
    "rotary": "x",
    "einsum": "a",
    "sum": "x",
    "mean": "x",
    "max": "x",
    "reshape": "x",
    "transpose": "x",
    "broadcast_to": "x",
    "concatenate": "xs",
}


def batch_leaves(case: Case) -> tuple[int, ...]:
    """The leaves of a case's arguments that have the batch in front."""
    op = case.op
    named = BATCH.get(op.name, "").split() or op.leading
    paths = [path[0].idx for path, _ in jax.tree_util.tree_leaves_with_path(case.args)]
    leaves = jax.tree.leaves(case.args)
    rank = max(np.ndim(x) for x in leaves)
    if op.core_axes is None:
        return tuple(i for i, at in enumerate(paths) if op.arguments[at] in named and np.ndim(leaves[i]))
    return tuple(i for i, x in enumerate(leaves) if np.ndim(x) == rank > op.core_axes and np.shape(x)[0] != 1)


def with_a_batch(case: Case) -> Case:
    """The case, a batch of one example repeated."""
    leaves, tree = jax.tree.flatten(case.args)
    batched = batch_leaves(case)
    if case.op.leading and all(np.shape(leaves[i])[0] == 1 for i in batched):
        leaves = [np.concatenate([x, 0.5 * x]) if i in batched else x for i, x in enumerate(leaves)]
    return replace(case, args=tree.unflatten(leaves))


def n_devices(case: Case, leaves: tuple[int, ...]) -> int:
    """Over how many devices the first axes of all these leaves can be cut; 1 if over no two."""
    sizes = [np.shape(jax.tree.leaves(case.args)[i])[0] for i in leaves]
    return next((n for n in (4, 3, 2) if sizes and all(s and s % n == 0 for s in sizes)), 1)


def weighted(function: Callable[..., Arrays]) -> Callable[..., jax.Array]:
    """A scalar that depends on every entry of every output in its own way."""

    def loss(*moving: jax.Array) -> jax.Array:
        rng = np.random.default_rng(5)
        return sum((jnp.sum(rng.normal(size=y.shape) * jnp.sin(y)) for y in function(*moving)), jnp.zeros(()))

    return loss


def assert_same_on_a_mesh(case: Case, cut: tuple[int, ...], n: int) -> None:
    """The plain function's numbers with some leaves cut along their first axis, and gradients cut as they are."""
    flat = Flat(case.op, case.args, case.attributes)
    argnums = tuple(range(len(flat.moving)))

    def run(plain: bool, *libraries: Any) -> Callable[[Arrays], list[Arrays]]:
        function = flat.function(plain)

        def evaluate(moving: Arrays) -> list[Arrays]:
            gradients = [lib.grad(weighted(function), argnums)(*moving) if moving else () for lib in libraries]
            return [function(*moving), *map(list, gradients)]

        return evaluate

    outputs, gradients = jax.jit(run(True, jax))(flat.exact)
    mesh = jax.make_mesh((n,), ("data",))
    with jax.set_mesh(mesh):
        place = lambda i, x: jax.device_put(x, NamedSharding(mesh, P("data") if i in cut else P()))
        flat.leaves = [place(i, x) for i, x in enumerate(flat.leaves)]
        moving = [place(i, x) for i, x in zip(flat.moving, flat.exact, strict=True)]
        found, *both = jax.jit(run(False, fg, jax))(moving)
    for a, b in zip(found, outputs, strict=True):
        assert_close(a, b, f"{case}: output, leaves {list(cut)} cut")
    for road, cotangents in zip(("fg.grad", "jax.grad"), both, strict=True):
        for name, x, a, b in zip(flat.names, moving, cotangents, gradients, strict=True):
            assert_close(a, b, f"{case}: {road} of {name}, leaves {list(cut)} cut")
            assert a.sharding.is_equivalent_to(x.sharding, x.ndim), f"{case}: {road} of {name} is cut as {a.sharding}"


def mesh_cases() -> list[Case]:
    """Of every op the first case with a batch that can be cut."""
    chosen = []
    for name in sorted(library_ops()):
        cases = [with_a_batch(c) for c in CASES if c.op.name == name]
        cases.sort(key=lambda c: c.label != "batch")
        chosen.append(next((c for c in cases if n_devices(c, batch_leaves(c)) > 1), cases[0]))
    return chosen


# By default ops of each way to say where the batch is; the slow ones say it in the same ways.
FIRST = set(
    "add tanh where linear matmul einsum softmax sum mean layer_norm batch_norm group_norm conv2d max_pool2d take "
    "take_along_axis scatter_add dropout attention cross_entropy lstm reshape concatenate rotary".split()
)


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c.op.name in FIRST else [pytest.mark.slow]) for c in mesh_cases()],
    ids=lambda case: case.op.name,
)
def test_a_batch_over_several_devices(case: Case):
    cut = batch_leaves(case)
    assert n_devices(case, cut) > 1, f"{case.op.name} has no case with a batch; say in BATCH where it is, or add one"
    assert_same_on_a_mesh(case, cut, n_devices(case, cut))
