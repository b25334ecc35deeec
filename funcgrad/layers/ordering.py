"""The names in a DAG: checked, and put in topological order."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers.layer import wrong_count
from funcgrad.layers.printing import did_you_mean

if TYPE_CHECKING:
    from funcgrad.layers.nodes import node


def check_names(inputs: Sequence[str], nodes: Mapping[str, "node"], output: Any) -> None:
    """GraphError unless every name stands once and is known; ShapeError unless every node reads as many as it can."""
    for i, name in enumerate(inputs):
        if not isinstance(name, str):
            raise GraphError(
                f"dag: inputs must be names, got {type(name).__name__}; write nodes as keywords, x1=node(...)."
            )
        if name in inputs[:i]:
            raise GraphError(f"dag: the input '{name}' stands twice; name each input once.")
        if name in nodes:
            raise GraphError(f"dag: '{name}' is both an input and a node; rename one of them.")
    if not nodes:
        raise GraphError("dag: expects at least one node, got none; write dag('x0', x1=node(layer, 'x0')).")
    known = (*inputs, *nodes)
    for name, node in nodes.items():
        _check_node(name, node, known)
    for name in (output,) if isinstance(output, str) else output:
        if name not in known:
            raise GraphError(
                f"dag: the output '{name}' is neither a node nor an input; {did_you_mean(str(name), known)}"
            )


def _check_node(name: str, node: Any, known: Sequence[str]) -> None:
    if not hasattr(node, "reads"):
        raise GraphError(f"dag: '{name}' must be made by node(...), got {type(node).__name__}.")
    for read in node.reads:
        if read not in known:
            raise GraphError(
                f"dag: node '{name}' reads '{read}', which is neither a node nor an input; {did_you_mean(read, known)}"
            )
    if (problem := wrong_count(node.layer, len(node.reads))) is not None:
        raise ShapeError(f"dag: node '{name}': {node.layer.short} {problem} ({', '.join(node.reads)}).")


def sort_nodes(reads: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes, each after those it reads, otherwise in the order given; GraphError on a cycle.

    Names that are no nodes are inputs.
    """
    ordered: list[str] = []
    waiting = list(reads)
    while waiting:
        ready = [n for n in waiting if not any(r in waiting for r in reads[n])]
        if not ready:
            cycle = find_cycle(reads, waiting)
            raise GraphError(f"dag: the nodes {' -> '.join(cycle)} form a cycle; a node can only read earlier values.")
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def find_cycle(reads: Mapping[str, Sequence[str]], among: Sequence[str]) -> list[str]:
    """A cycle in the direction in which values flow, its first node repeated at the end.

    Args:
        reads: what each node reads.
        among: nodes that each read another one of them.
    """
    path = [among[0]]
    while path[-1] not in path[:-1]:
        path.append(next(r for r in reads[path[-1]] if r in among))
    return path[path.index(path[-1]) :][::-1]
