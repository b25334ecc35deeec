"""A network as a table: one line per layer, with what it costs."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import jax

from funcgrad.aliases import PyTree
from funcgrad.autodiff import plan
from funcgrad.errors import describe_tree
from funcgrad.layers import Layer
from funcgrad.view import Cell, Column, lay_out, page_width, quantity, shorter_paths

_COLUMNS = (
    Column("layer", least=24),
    Column("output", least=8, rank=3),
    Column("parameters"),
    Column("FLOPs", rank=2),
    Column("keeps", rank=1),
)


@dataclass(frozen=True)
class SummaryRow:
    """One layer, or the functions that stand in one scope."""

    layer: str
    """Its scope; for a function outside any layer, the op's name."""
    output: str
    parameters: int
    forward_flops: float
    kept_bytes: int
    """What its forward leaves for the backward pass, counted where it is first kept."""


@dataclass(frozen=True)
class Summary:
    """What `summary` returns; `print` it.

    Example:
        >>> spec = jax.ShapeDtypeStruct((2, 3), jnp.float32)
        >>> table = fg.networks.summary(fg.layers.chain(fg.layers.linear(4), fg.ops.relu), spec)
        >>> table.parameters, table.kept_bytes, [row.layer for row in table.rows]
        (16, 32, ['linear0', 'relu'])
    """

    rows: tuple[SummaryRow, ...]
    parameter_bytes: int
    state_values: int

    @cached_property
    def parameters(self) -> int:
        """Number of parameters in all layers; a shared one counts once."""
        return sum(r.parameters for r in self.rows)

    @cached_property
    def forward_flops(self) -> float:
        """FLOPs of one forward pass."""
        return sum(r.forward_flops for r in self.rows)

    @cached_property
    def kept_bytes(self) -> int:
        """Bytes that a backward pass to all parameters keeps."""
        return sum(r.kept_bytes for r in self.rows)

    def __str__(self) -> str:
        total = ("total", "", f"{self.parameters:,}", quantity(self.forward_flops), quantity(self.kept_bytes, "B"))
        head, *lines, last = lay_out(_COLUMNS, [*map(_cells, self.rows), total], page_width())
        rule = "─" * max(map(len, (head, *lines, last)))
        state = f", and {self.state_values:,} values of state" if self.state_values else ""
        parameters = f"parameters take {quantity(self.parameter_bytes, 'B')}{state}"
        return "\n".join([head, rule, *lines, rule, last, parameters])


def summary(net: Layer, *specs: Any, train: bool = False) -> Summary:
    """Tabulate a network for inputs like `specs`: per layer its output, parameters, FLOPs and kept bytes.

    Nothing is computed: parameters are described, not drawn, so a network larger than memory can be asked about.

    Args:
        net: the network.
        specs: its inputs, arrays or `jax.ShapeDtypeStruct`s, batch axis included.
        train: as it runs while training (with dropout, batch statistics) instead of afterwards.

    Returns:
        The table, a `Summary` of `rows`; `print` it.

    Raises:
        ShapeError: an input does not fit.

    Example:
        >>> net = fg.layers.chain(fg.layers.linear(8), fg.ops.relu, head=fg.layers.linear(2))
        >>> summary = fg.summary(net, jax.ShapeDtypeStruct((4, 3), jnp.float32))
        >>> summary.parameters, [row.layer for row in summary.rows]
        (50, ['linear0', 'relu', 'head'])
    """
    specs = jax.eval_shape(lambda *xs: xs, *specs)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(lambda k, xs: net.init(k, *xs), key, specs)

    def forward(params: PyTree, state: PyTree, key: Any, xs: Any) -> PyTree:
        output, _ = net.apply(params, state, *xs, key=key if train else None, train=train)
        return [x for x in jax.tree.leaves(output) if jax.numpy.issubdtype(x.dtype, jax.numpy.inexact)]

    leaves = jax.tree_util.tree_leaves_with_path(params)
    owned = {"/".join(_parts(path)): leaf for path, leaf in leaves}
    rows = _rows(plan(forward, params, state, key, specs), owned)
    n_bytes = sum(prod(x.shape) * x.dtype.itemsize for x in owned.values())
    return Summary(rows, n_bytes, sum(prod(x.shape) for x in jax.tree.leaves(state)))


def _parts(path: tuple[Any, ...]) -> list[str]:
    return [jax.tree_util.keystr((entry,), simple=True) for entry in path]


def _rows(planned: Any, owned: dict[str, Any]) -> tuple[SummaryRow, ...]:
    """Nodes gathered by scope, in the order in which a scope ends; parameters by the layer that holds them."""
    found: dict[str, SummaryRow] = {}
    nodes, layer = iter(planned.structure.nodes), ""
    for row in planned.rows:
        if row.depth:  # of a graph inside the node before, which has its FLOPs already
            found[layer] = replace(found[layer], kept_bytes=found[layer].kept_bytes + row.new_bytes)
            continue
        node = next(nodes)
        if row.op == "name":
            continue
        layer = node.scope or row.node
        before = found.pop(layer, SummaryRow(layer, "", 0, 0.0, 0))
        found[layer] = SummaryRow(
            layer,
            describe_tree(tuple(v.aval for v in node.outputs)) if len(node.outputs) > 1 else "".join(row.shapes),
            before.parameters,
            before.forward_flops + row.forward_flops,
            before.kept_bytes + row.new_bytes,
        )
    for path, leaf in owned.items():
        holder = _holder(path, found)
        row = found.setdefault(holder, SummaryRow(holder, "", 0, 0.0, 0))
        found[holder] = SummaryRow(
            holder, row.output, row.parameters + prod(leaf.shape), row.forward_flops, row.kept_bytes
        )
    return tuple(found.values())


def _holder(path: str, layers: dict[str, SummaryRow]) -> str:
    """The innermost layer whose scope the parameter's path begins with; else the path's first name."""
    parts = path.split("/")[:-1]
    while parts and "/".join(parts) not in layers:
        parts.pop()
    return "/".join(parts) or path.split("/")[0]


def _cells(row: SummaryRow) -> tuple[Cell, ...]:
    return (
        shorter_paths(row.layer),
        row.output,
        f"{row.parameters:,}" if row.parameters else "",
        quantity(row.forward_flops) if row.forward_flops else "",
        quantity(row.kept_bytes, "B") if row.kept_bytes else "",
    )
