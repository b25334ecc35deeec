"""From a function to a graph: `jax.make_jaxpr`, opened into named nodes."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcgrad.graph.arguments import Arguments
from funcgrad.graph.graphs import Graph, Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.primitive import Equation, as_function, body, holds_references, is_literal, scope_of
from funcgrad.registry import Call


def trace(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Graph:
    """Trace a JAX function into a `Graph`: its DAG at the level of funcgrad ops and JAX equations.

    Args:
        function: any function that JAX can trace.
        args: example arguments: pytrees of arrays or `jax.ShapeDtypeStruct`. Leaves that are neither (numbers,
            strings, functions) are fixed in the graph.
        kwargs: likewise, by name.

    >>> print(fg.trace(loss, params, x))
    """
    return trace_arguments(function, Arguments.of(function, args, kwargs), args, kwargs)


def trace_arguments(
    function: Callable[..., Any], arguments: Arguments, args: Sequence[Any], kwargs: dict[str, Any]
) -> Graph:
    """Trace with the arguments described beforehand."""

    def flat(*inputs: Any) -> Any:
        args, kwargs = arguments.unflatten(inputs)
        return function(*args, **kwargs)

    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*arguments.inputs(args, kwargs))
    if holds_references(closed.jaxpr):
        closed = jax.make_jaxpr(jax.jit(as_function(closed)))(*closed.in_avals)
    builder = _Builder()
    inputs = [Value(n, v.aval) for n, v in zip(arguments.input_names, closed.jaxpr.invars, strict=True)]
    constants = [Value(f"const{i}", jax.typeof(c)) for i, c in enumerate(closed.consts)]
    for value in inputs:
        builder.counts[value.name] += 1
    outputs = builder.open(closed, inputs, constants, "")
    structure = Structure(
        tuple(builder.nodes), tuple(inputs), tuple(constants), tuple(outputs), arguments, jax.tree.structure(shapes)
    )
    return Graph(structure, tuple(closed.consts))


class _Builder:
    """Collects nodes while jaxprs are opened; names are unique over all of them."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.counts: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        self.counts[name] += 1
        n = self.counts[name]
        return name if n == 1 else f"{name}#{n}"

    def open(
        self, closed: Any, inputs: Sequence[Value | Constant], constants: Sequence[Value | Constant], prefix: str
    ) -> list[Value | Constant]:
        """Append the equations of a jaxpr as nodes; returns what stands for its outputs."""
        jaxpr = closed.jaxpr
        known: dict[Any, Value | Constant] = dict(zip(jaxpr.invars, inputs, strict=True))
        known.update(zip(jaxpr.constvars, constants, strict=True))
        read = lambda atom: Constant(atom.val, atom.aval) if is_literal(atom) else known[atom]  # noqa: E731
        aliases = _labels(jaxpr)
        labels = {v: _join(_scope(prefix, e), e.params["name"]) for v, e in aliases.items()}
        passed = {id(e) for e in aliases.values()}
        for equation in jaxpr.eqns:
            scope = _scope(prefix, equation)
            operands = [read(atom) for atom in equation.invars]
            results: Sequence[Value | Constant]
            if id(equation) in passed:
                results = operands  # which carry the label already
            elif (inner := body(equation)) is not None:
                results = self.open(inner, operands, [Constant(c, jax.typeof(c)) for c in inner.consts], scope)
            else:
                results = self.append(equation, scope, operands, labels)
            known.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def append(
        self, equation: Any, scope: str, operands: list[Value | Constant], labels: dict[Any, str]
    ) -> list[Value]:
        call = equation.params.get("call")
        is_op = isinstance(call, Call) and equation.primitive is call.op.primitives.forward
        function = call if is_op else Equation(equation)
        if equation.primitive.name == "name":
            name = self.unique(_join(scope, equation.params["name"]))
            outputs = [Value(name, equation.outvars[0].aval)]
        else:
            name = self.unique(_join(scope, function.name))
            outputs = self.values(equation, name, labels)
        self.nodes.append(Node(name, scope, function, tuple(operands), tuple(outputs)))
        return outputs

    def values(self, equation: Any, node_name: str, labels: dict[Any, str]) -> list[Value]:
        """Output values, named by their label where they have one, else after the node."""
        several = len(equation.outvars) > 1
        values = []
        for i, var in enumerate(equation.outvars):
            own = f"{node_name}.{i}" if several else node_name
            values.append(Value(self.unique(labels[var]) if var in labels else own, var.aval))
        return values


def _labels(jaxpr: Any) -> dict[Any, Any]:
    """The `name` equations that only label their operand: nothing else reads it, and it is computed here.

    Any other `name` stays a node of its own, so that the cotangent through that one use can be asked for.
    """
    readers: Counter[Any] = Counter(a for e in jaxpr.eqns for a in e.invars if not is_literal(a))
    readers.update(a for a in jaxpr.outvars if not is_literal(a))
    made_here = {v for e in jaxpr.eqns if body(e) is None and e.primitive.name != "name" for v in e.outvars}
    return {
        e.invars[0]: e
        for e in jaxpr.eqns
        if e.primitive.name == "name"
        and not is_literal(e.invars[0])
        and e.invars[0] in made_here
        and readers[e.invars[0]] == 1
    }


def _scope(prefix: str, equation: Any) -> str:
    """Where an equation stands: inside the scope of the call that holds it."""
    return "/".join(part for part in (prefix, scope_of(equation)) if part)


def _join(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope else name
