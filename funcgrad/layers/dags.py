"""Networks as a DAG: every node names what it reads, and may share its parameters."""

from collections import Counter
from functools import cached_property
from typing import Any

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.children import Child, entry, fold
from funcgrad.layers.functions import parametric
from funcgrad.layers.layer import Layer, part
from funcgrad.layers.nodes import check_alike, label_use, node
from funcgrad.layers.ordering import check_names, sort_nodes
from funcgrad.layers.printing import call
from funcgrad.naming import name as label
from funcgrad.naming import scope


class dag(Layer):
    """A network whose nodes name what they read; the order of the lines is free.

    Every node runs in the scope of its name, and its output carries that name. Each use of a shared parameter
    has a name too (`w1@x1`, `w1@x3`; `w1@x1/w` for a leaf `w`), so `fg.grad(loss, wrt=["w1@x1", "w1@x3"])` gives
    the terms of `[∂ℓ/∂w1]` one by one. Params are keyed by parameter name, state by node name. Shared parameters
    are made by the first node, in topological order, that reads them.

    Args:
        inputs: names of the network's inputs.
        output: the node, or tuple of nodes, whose value the network returns; the last line by default.
        nodes: the nodes.

    Raises:
        GraphError: an unknown name, a name that stands twice, a cycle, or no nodes.
        ShapeError: a node reads too many or too few values; from `init`, a parameter that its nodes would make
            differently.

    Example:
        >>> def phi(w, *inputs):
        ...     return jnp.tanh(sum(inputs) @ w)
        >>> net = fg.layers.dag("x0",  # the lecture's example: w1 is shared by x1 and x3
        ...     x1=fg.layers.node(phi, "x0", params="w1"),
        ...     x2=fg.layers.node(phi, "x0", "x1", params="w2"),
        ...     x3=fg.layers.node(phi, "x1", "x2", params="w1"))
        >>> params, x = {"w1": jnp.eye(3), "w2": jnp.eye(3)}, jnp.ones(3)
        >>> terms = fg.grad(lambda params: net(params, x).sum(), wrt=["w1@x1", "w1@x3"])(params)
        >>> bool(jnp.allclose(terms["w1@x1"] + terms["w1@x3"], jax.grad(lambda p: net(p, x).sum())(params)["w1"]))
        True
    """

    inputs: tuple[str, ...]
    nodes: tuple[tuple[str, node], ...]
    output: str | tuple[str, ...]

    def __init__(self, *inputs: str, output: str | tuple[str, ...] | None = None, **nodes: node):
        if output is None:
            output = next(reversed(nodes), "")
        check_names(inputs, nodes, output)
        for field, value in (("inputs", inputs), ("nodes", tuple(nodes.items())), ("output", output)):
            object.__setattr__(self, field, value)
        _ = self.ordered  # a cycle raises here

    @cached_property
    def ordered(self) -> tuple[tuple[str, node], ...]:
        """The nodes in topological order."""
        nodes = dict(self.nodes)
        return tuple((n, nodes[n]) for n in sort_nodes({n: node.reads for n, node in nodes.items()}))

    @cached_property
    def shared(self) -> frozenset[str]:
        """Names of the parameters that several nodes use."""
        counts = Counter(node.params or name for name, node in self.nodes)
        return frozenset(p for p, n in counts.items() if n > 1)

    @property
    def random(self) -> bool:
        """Whether any node is."""
        return any(node.layer.random for _, node in self.nodes)

    @property
    def arity(self) -> tuple[int, int | float]:
        """As many inputs as it names."""
        return len(self.inputs), len(self.inputs)

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Params by parameter name, state by node name."""
        self.check_inputs(len(specs))
        values, makers = dict(zip(self.inputs, specs, strict=True)), {}
        params, state = {}, {}
        for name, line in self.ordered:
            reads = [values[r] for r in line.reads]
            owned = line.params or name
            if owned in makers and isinstance(line.layer, parametric) and line.layer.start is None:
                node_state = {}
            else:
                with scope(name):
                    found, node_state = line.layer.init(fold(key, owned), *reads)
                if owned in makers:
                    check_alike(owned, params.get(owned, {}), makers[owned], found, name)
                else:
                    makers[owned] = name
                    params |= entry(owned, found)
            state |= entry(name, node_state)
            with scope(name):
                values[name] = line.layer.output_spec(params.get(owned, {}), node_state, *reads)
        return params, state

    def apply(
        self, params: PyTree, state: PyTree, *inputs: Any, key: Array | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        """The output's value, and every node's new state."""
        self.check_inputs(len(inputs))
        values, after = dict(zip(self.inputs, inputs, strict=True)), {}
        for name, line in self.ordered:
            own = self._parameters(params, name, line)
            reads = [values[r] for r in line.reads]
            value, kept = Child(name, line.layer).apply(
                own, part(self, state, name, "state"), *reads, key=key, train=train
            )
            values[name] = label(value, name)
            after |= entry(name, kept)
        output = values[self.output] if isinstance(self.output, str) else tuple(values[o] for o in self.output)
        return output, after

    def _parameters(self, params: PyTree, name: str, line: node) -> PyTree:
        """A node's parameters, each use of a shared one under its own name."""
        owned = line.params or name
        own = part(self, params, owned)
        if line.params is not None and owned not in params:
            raise GraphError(
                f"{self.where}: node '{name}' needs params['{owned}'], got params for {', '.join(params) or 'nothing'}."
            )
        return label_use(own, f"{owned}@{name}") if owned in self.shared else own

    def __repr__(self) -> str:
        output = [] if self.output == self.nodes[-1][0] else [f"output={self.output!r}"]
        nodes = [f"{name}={line!r}" for name, line in self.nodes]
        return call("dag", [*map(repr, self.inputs), *nodes, *output])
