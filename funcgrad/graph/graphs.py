"""The DAG as a value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from funcgrad.aliases import Array, PyTree, PyTreeDef
from funcgrad.errors import GraphError
from funcgrad.graph.arguments import Arguments
from funcgrad.graph.scenes import make_scene
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.view import BOXES, Scene, page_width, to_dot, to_html, to_mermaid, to_text


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["constants"],
    meta_fields=["structure", "arguments", "output_tree"],
)
@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function as a DAG. Call it like the function it was traced from.

    Made by `fg.trace`; `print` it. A pytree whose leaves are the arrays the function closed over.

    Example:
        >>> graph = fg.trace(lambda x: fg.ops.tanh(fg.name(fg.ops.exp(x), "h")), jnp.zeros(2))
        >>> for node in graph.nodes:
        ...     print(node.name, [value.name for value in node.inputs], [value.name for value in node.outputs])
        exp ['x'] ['h']
        tanh ['h'] ['tanh']
        >>> print(jnp.array_str(graph(jnp.zeros(2)), precision=3))
        [0.762 0.762]
    """

    structure: Structure
    constants: tuple[Array, ...]
    arguments: Arguments
    output_tree: PyTreeDef

    def __reduce__(self) -> str:
        """Its equations are functions of this process."""
        raise GraphError("A graph cannot be pickled or copied; pickle the function, and trace it again with fg.trace.")

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in topological order."""
        return self.structure.nodes

    @property
    def input_of(self) -> dict[int, Value]:
        """The values that stand for the leaves of the arguments, as far as these are inputs."""
        inputs = (i for i, flag in enumerate(self.arguments.is_input) if flag)
        return dict(zip(inputs, self.structure.inputs, strict=True))

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree:
        """Run the nodes in order."""
        outputs = evaluate(self.structure, self.constants, self.arguments.inputs(args, kwargs))
        return jax.tree.unflatten(self.output_tree, outputs)

    @property
    def scene(self) -> Scene:
        """What can be shown of it, as data: what texts and pictures are made of."""
        return make_scene(self.structure)

    def __str__(self) -> str:
        return to_text(self.scene, width=page_width())

    def to_mermaid(self, most: int = BOXES) -> str:
        """The graph in the language of mermaid.js, scopes folded so that it has about `most` boxes."""
        return to_mermaid(self.scene, most)

    def to_dot(self, most: int = BOXES) -> str:
        """The graph in Graphviz' language, scopes folded so that it has about `most` boxes."""
        return to_dot(self.scene, most)

    def _repr_html_(self) -> str:
        return to_html(self.scene)


def evaluate(structure: Structure, constants: Sequence[Array], inputs: Sequence[Array]) -> list[Any]:
    """Run the nodes of a DAG in order: its outputs."""
    values: dict[Value, Array] = dict(zip(structure.constants, constants, strict=True))
    values.update(zip(structure.inputs, inputs, strict=True))
    for node in structure.nodes:
        values.update(zip(node.outputs, node.run(*read(node.inputs, values)), strict=True))
    return read(structure.outputs, values)


def read(values: Iterable[Value | Constant], arrays: Mapping[Value, Any]) -> list[Any]:
    """The arrays that stand for values."""
    return [v.content if isinstance(v, Constant) else arrays[v] for v in values]
