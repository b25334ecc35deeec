"""One line of a DAG, and what lines that share a parameter have to agree on."""

from dataclasses import dataclass
from typing import Any

import jax

from funcgrad.aliases import PyTree
from funcgrad.errors import ShapeError, describe_tree
from funcgrad.layers.functions import lift, parametric
from funcgrad.layers.layer import Layer
from funcgrad.layers.printing import call
from funcgrad.naming import name as label


@dataclass(frozen=True, init=False, repr=False)
class node:
    """`φ(reads; params)`, one node of a `dag`.

    Args:
        phi: a layer; a function of its inputs; or, where `params` is given, a function `phi(params, *inputs)`.
        reads: names of the inputs, in the order in which `phi` takes them.
        params: name of its parameters; nodes with the same one share them. The node's own name by default.

    Raises:
        GraphError: `phi` is neither a layer nor a function.

    Example:
        >>> print(fg.layers.node(fg.layers.linear(3), "x0", "x1", params="w1"))
        node(linear(3), 'x0', 'x1', params='w1')
    """

    layer: Layer
    reads: tuple[str, ...]
    params: str | None

    def __init__(self, phi: Any, *reads: str, params: str | None = None):
        layer = lift(phi, "node") if params is None or isinstance(phi, Layer) else parametric(phi)
        for field, value in (("layer", layer), ("reads", reads), ("params", params)):
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        by_hand = isinstance(self.layer, parametric) and self.layer.start is None and self.params
        phi = repr(self.layer).removeprefix("parametric(").removesuffix(")") if by_hand else self.layer.short
        params = [] if self.params is None else [f"params={self.params!r}"]
        return call("node", [phi, *map(repr, self.reads), *params])


def label_use(params: PyTree, use: str) -> PyTree:
    """Name every leaf after one use of a shared parameter: `w1@x1`, or `w1@x1/linear0/w` in a tree."""

    def label_leaf(path: tuple[Any, ...], leaf: Any) -> Any:
        # As it is written: the graph escapes what it names, and numbers what has one name.
        inside = jax.tree_util.keystr(path, simple=True, separator="/")
        return label(leaf, f"{use}/{inside}" if inside else use)

    return jax.tree_util.tree_map_with_path(label_leaf, params)


def check_alike(parameter: str, made: PyTree, maker: str, found: PyTree, name: str) -> None:
    """ShapeError unless node `name` would start a shared parameter as its `maker` did."""
    same_tree = jax.tree.structure(made) == jax.tree.structure(found)
    if not same_tree or any(
        (a.shape, a.dtype) != (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(found), strict=True)
    ):
        raise ShapeError(
            f"dag: nodes '{maker}' and '{name}' share '{parameter}', so '{name}' must make it as "
            f"{describe_tree(made)}, got {describe_tree(found)}; give them parameters of different names."
        )
