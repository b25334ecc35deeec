"""Meshes with explicit axes: functions written for one device, on arrays that are spread over several.

On such a mesh (`jax.make_mesh` makes one by default) an array's type says how it is cut, and JAX refuses what leaves
the type of a result open: a product contracted over the batch, a `where` of a cut and a whole array. Of an op the
types of all results are known beforehand: a cotangent is cut like its primal, a tangent like its output, and an
output, where the op says which axes are the batch's, like the batch. So an op runs where the axes are automatic and
XLA divides the work, and its results are given their types.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcgrad.aliases import Array, Aval
from funcgrad.errors import FuncgradError


def explicit_mesh(avals: Iterable[Aval]) -> Any | None:
    """The mesh with explicit axes that values of these avals are on, or None."""
    meshes = (aval.sharding.mesh for aval in avals)
    return next((m for m in meshes if AxisType.Explicit in m.axis_types), None)


def cut(aval: Aval) -> tuple[Any, ...]:
    """The mesh axes along which each axis of an aval is cut; None where it is whole."""
    spec = aval.sharding.spec
    axes = tuple(getattr(spec, "partitions", spec))  # newer versions of JAX do not let one iterate over it
    return (*axes, *(None,) * (aval.ndim - len(axes)))


def n_parts(aval: Aval, axis: int) -> int:
    """Into how many parts an axis of an aval is cut."""
    names = cut(aval)[axis] or ()
    return prod(aval.sharding.mesh.shape[name] for name in (names if isinstance(names, tuple) else (names,)))


def labelled_cut(terms: Iterable[tuple[Sequence[Any], Sequence[Any]]], output: Sequence[Any]) -> PartitionSpec:
    """How a result is cut whose axes are, by their labels, those of the operands.

    The operands may disagree: on how axes with one label are cut, or by cutting two axes of the result along one of
    the mesh, as `z zᵀ` of a batch `z` does. Then the first operand is followed.

    Args:
        terms: of each operand the labels of its first axes, and how these are cut.
        output: the labels of the first axes of the result; an axis without one there is summed over.
    """
    names: dict[Any, Any] = {}
    used: set[str] = set()
    for labels, axes in terms:
        for label, name in zip(labels, axes, strict=False):
            parts = set(name if isinstance(name, tuple) else (name,))
            if name is not None and label in output and label not in names and not parts & used:
                names[label] = name
                used |= parts
    return PartitionSpec(*(names.get(label) for label in output))


def on_automatic_axes(
    function: Callable[..., Any], operands: Sequence[Aval], results: Sequence[Aval] | Callable[[Array], PartitionSpec]
) -> Callable[..., Any]:
    """A function of arrays, run where no axis of the mesh is explicit, with results that are cut as said.

    Args:
        function: from arrays to a pytree of arrays.
        operands: avals of some of its arrays, which say what mesh they are on.
        results: avals that are cut as the results shall be, in the order of their leaves; or how to cut one of them.

    Returns:
        The function itself where none of the operands is on a mesh with explicit axes.
    """
    if (mesh := explicit_mesh(operands)) is None:
        return function
    explicit = [n for n, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind is AxisType.Explicit]
    automatic = mesh.update_axis_types(dict.fromkeys(explicit, AxisType.Auto))

    def cut_as_said(tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        specs = map(results, leaves) if callable(results) else [aval.sharding.spec for aval in results]
        cut = [jax.reshard(x, NamedSharding(mesh, spec)) for x, spec in zip(leaves, specs, strict=True)]
        return structure.unflatten(cut)

    def run(*arrays: Array) -> Any:
        try:
            with jax.sharding.use_abstract_mesh(automatic):
                found = function(*(jax.reshard(x, PartitionSpec()) for x in arrays))
        except (ValueError, FuncgradError) as error:  # the latter where it was a rule's
            if "Auto" not in str(error):
                raise
            # It names axes of the mesh itself, by `out_sharding=`, `reshard` or `shard_map`: they must be explicit.
            found = function(*arrays)
        return cut_as_said(found)

    return run


def refuses(error: Exception) -> bool:
    """Whether JAX says with it that an operation leaves the type of a result open; the class has no public name."""
    return type(error).__name__ == "ShardingTypeError"


def on_mesh_of(arrays: Iterable[Any]) -> AbstractContextManager[Any]:
    """Where the axes of the mesh are explicit but those of the arrays' types are automatic, enter automatic axes.

    So it is for what is inside `auto_axes`, seen from the reverse pass outside.
    """
    context = jax.sharding.get_abstract_mesh()
    if AxisType.Explicit in context.axis_types:
        for mesh in (jax.typeof(x).sharding.mesh for x in arrays if isinstance(x, jax.Array)):
            if mesh.axis_names == context.axis_names and AxisType.Explicit not in mesh.axis_types:
                return jax.sharding.use_abstract_mesh(mesh)
    return nullcontext()
