"""From a function to a graph: `jax.make_jaxpr`, opened into named nodes."""

import contextlib
from collections import ChainMap, Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax

from funcgrad.adapters import noting_classes, open_call, parameter_names
from funcgrad.errors import GraphError, called_with
from funcgrad.graph.arguments import Arguments
from funcgrad.graph.closures import name_closed_over
from funcgrad.graph.concreteness import without_values
from funcgrad.graph.gathering import gathered
from funcgrad.graph.given_names import join, label_of, labels_in
from funcgrad.graph.graphs import Graph
from funcgrad.graph.returning import Returned
from funcgrad.graph.structures import Body, Structure
from funcgrad.graph.values import Constant, Node, Surroundings, Value
from funcgrad.naming import Names, escape, resolve
from funcgrad.primitive import (
    Holder,
    JittedCall,
    as_function,
    as_one_call,
    body,
    holder_of,
    holds_references,
    is_all,
    is_jit,
    is_literal,
    is_object,
    name_as_scope,
    prompt_rules,
    scope_of,
    scope_with_functions,
    with_contents,
    without_donation,
)
from funcgrad.registry import Call, Equation


def trace(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Graph:
    """Trace a JAX function into a `Graph`: its DAG at the level of funcgrad ops and JAX equations.

    Args:
        function: any function that JAX can trace.
        args: example arguments: pytrees of arrays or `jax.ShapeDtypeStruct`. Leaves that are neither (numbers,
            strings, functions) are fixed in the graph. Modules of Flax NNX and Equinox are taken as they are; the
            graph is a pure function, so what changes in a module while it runs (running statistics) is left out.
        kwargs: likewise, by name.

    Returns:
        The graph: `print` it, call it like the function, walk its `nodes`, draw it by `to_mermaid` or `to_dot`.

    Raises:
        GraphError: the function uses an object of JAX's that no graph can hold; the first argument is no function.

    Example:
        >>> graph = fg.trace(lambda x, w: fg.ops.tanh(fg.ops.linear(x, w)), jnp.ones((4, 2)), jnp.ones((2, 3)))
        >>> [node.name for node in graph.nodes], graph(jnp.ones((4, 2)), jnp.ones((2, 3))).shape
        (['linear', 'tanh'], (4, 3))
    """
    parameters = parameter_names(function, len(args))
    given = (args, kwargs)
    with called_with("trace", function, *given), open_call(function, parameters, *given, is_pure=True) as call:
        arguments = Arguments.of(parameters, call.args, call.kwargs)
        return trace_arguments(call.fun, arguments, call.args, call.kwargs).open_graph()


Meant = Callable[[Equation, str], bool]
"""Whether somebody means a call or a loop by the name of its node, so that it stays a node."""


class Tracing(NamedTuple):
    """A function that was traced, not yet opened into nodes."""

    closed: Any
    arguments: Arguments
    inputs: list[Any]
    """The leaves that are inputs, at which it was traced."""
    returned: Returned
    constant_names: Sequence[str | None]
    """What the constants are called where the function closes over them."""
    modules: Mapping[str, type]
    """The classes of the modules that scopes are named after."""

    def open_graph(
        self,
        whole: Callable[[Any], bool] | None = None,
        is_meant: Meant | None = None,
        calls_of: Sequence[Callable[..., Any]] = (),
    ) -> Graph:
        """The graph.

        Args:
            whole: functions jitted inside of which it says so, by their jaxprs, are nodes that hold a graph, shared by
                all traces; others are opened.
            is_meant: those of which it says so, and loops, are nodes that nothing is known of the inside.
            calls_of: what these functions wrote out is put together to calls again.
        """
        heads = [name.partition("/")[0] for name in self.arguments.names]
        names = (*self.arguments.names, *heads)
        structure = open_jaxpr(
            self.closed, self.arguments.input_names, whole, names, is_meant, calls_of, self.constant_names
        )
        structure, constants = self.returned.completed(structure, self.closed.consts)
        structure = replace(structure, modules=self.modules)
        return Graph(structure, constants, self.arguments, self.returned.tree)


def trace_arguments(
    function: Callable[..., Any],
    arguments: Arguments,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    is_eager: bool = False,
    whole: Collection[int] | None = None,
    moving: Collection[int] = (),
) -> Tracing:
    """Trace with the arguments described beforehand.

    Args:
        function: the function.
        arguments: the description.
        args: the arguments, like those described.
        kwargs: likewise.
        is_eager: the function may look at what is made of constants and of arguments whose contents are known. These
            are no part of the graph then.
        whole: it is one node, which JAX differentiates with respect to these leaves of the arguments.
        moving: the leaves of the arguments that it is differentiated by: rules of what depends on them run at once.
    """
    returned = Returned()

    def flat(*traced: Any) -> list[Any]:
        args, kwargs = arguments.unflatten(traced)
        at_once = prompt_rules(traced, arguments.positions(moving), inputs)
        with jax.ensure_compile_time_eval() if is_eager else contextlib.nullcontext(), at_once:
            return returned.traced(function(*args, **kwargs))

    flat.__name__ = getattr(function, "__name__", flat.__name__)
    with without_values(), noting_classes() as modules:
        inputs = arguments.inputs_among(jax.tree.leaves((tuple(args), kwargs)))
        traced = flat if whole is None else as_one_call(flat, arguments.positions(whole), len(inputs))
        closed = with_contents(jax.make_jaxpr(traced)(*inputs))
    _check_objects(closed)
    if holds_references(closed.jaxpr):
        closed = jax.make_jaxpr(jax.jit(as_function(closed)))(*closed.in_avals)
    return Tracing(closed, arguments, inputs, returned, name_closed_over(function, closed.consts), modules)


def _check_objects(closed: Any) -> None:
    """GraphError where a function takes or closes over an object of JAX's that is no array.

    Its contents are not an operand of what reads them, so that a gradient through them would be lost.
    """
    variables = (*closed.jaxpr.constvars, *closed.jaxpr.invars)
    if kinds := [type(v.aval).__name__ for v in variables if is_object(v.aval)]:
        raise GraphError(
            f"The function uses an object made outside of it that is no array for JAX but an {kinds[0]} (hijax), "
            f"which no graph can hold; give it arrays, which for Flax NNX nnx.with_vars(model, hijax=False) has."
        )


def open_jaxpr(
    closed: Any,
    input_names: Sequence[str] | None = None,
    whole: Callable[[Any], bool] | None = None,
    arguments: Sequence[str] = (),
    is_meant: Meant | None = None,
    calls_of: Sequence[Callable[..., Any]] = (),
    constant_names: Sequence[str | None] = (),
) -> Structure:
    """A closed jaxpr as a DAG, its inputs called `in0`, `in1`, ... where they have no names; constants `const0`, ...

    No two values have one name, and no two nodes. Those of inputs and `arguments` are given first, then what the user
    names has its name; whatever else would be called so is numbered. Functions that are jitted inside stay one node
    where `whole` says so of their jaxpr, else are opened; what is in one that stays has names of its own. So do those
    that are meant by name (`is_meant`), of which the inside is left alone. What the functions `calls_of` wrote out is
    put together to calls again.
    """
    names = input_names or [f"in{i}" for i in range(len(closed.jaxpr.invars))]
    builder = _Builder(
        Names([*names, *arguments], map(resolve, labels_in(closed.jaxpr, whole))),
        whole=whole,
        is_meant=is_meant,
        calls_of=calls_of,
    )
    inputs = [Value(n, v.aval) for n, v in zip(names, closed.jaxpr.invars, strict=True)]
    builder.own = {v: v.name for v in inputs} if input_names else {}
    given = constant_names or [None] * len(closed.consts)
    called = [builder.names.give(name or f"const{i}") for i, name in enumerate(given)]
    constants = [Value(name, jax.typeof(c)) for name, c in zip(called, closed.consts, strict=True)]
    outputs = builder.open(closed, inputs, constants, _Scope(), is_all_of_it=True)
    builder.open_bodies()
    return Structure(tuple(builder.nodes), tuple(inputs), tuple(constants), tuple(outputs))


_HANDING_ON = frozenset(
    {"convert_element_type", "copy", "name", "reduce_precision", "sharding_constraint", "transpose"}
)
"""The primitives of which the result is the same parameter still, in another dtype or order of axes."""


class _Scope(NamedTuple):
    """Where an equation stands."""

    path: str = ""
    """The scopes around it, those that are names of functions included: its node stands there."""
    written: str = ""
    """Those that the user wrote: what `fg.name` names stands there, whether or not a function around it is jitted."""

    def at(self, equation: Any) -> "_Scope":
        """The scope of an equation of a jaxpr that stands in this one."""
        return _Scope(_below(self.path, scope_with_functions(equation)), _below(self.written, scope_of(equation)))

    def inside(self, equation: Any, inner: Any) -> "_Scope":
        """The scope of what is in a call that stands in this one."""
        name = name_as_scope(equation, inner)
        return self._replace(path=join(self.path, name)) if name else self


@lru_cache(maxsize=4096)
def _below(prefix: str, inner: str) -> str:
    """A path in the scope of the call that holds it; the same for many equations."""
    return resolve(join(prefix, escape(inner))).strip("/")


_bodies: WeakKeyDictionary[Any, dict[_Scope, Body]] = WeakKeyDictionary()
"""The graphs of jitted functions that stay whole, by their jaxprs (JAX has one for all traces) and scopes."""


def _within(scope: str, name: str) -> str:
    """A name without the scopes that it has in common with a node's."""
    parts, around = name.split("/"), scope.split("/")
    n = next(
        (i for i, (a, b) in enumerate(zip(parts[:-1], around, strict=False)) if a != b),
        min(len(parts) - 1, len(around)),
    )
    return "/".join(parts[n:])


def _shared_body(inner: Any, scope: _Scope) -> Body:
    """The graph of a jitted function, opened once for all its traces; its nodes stand in `scope`."""
    known = _bodies.setdefault(inner, {})
    if scope not in known:
        labels = (resolve(join(scope.written, path)) for path in labels_in(inner.jaxpr))
        builder = _Builder(Names(reserved=labels))
        inputs = [Value(builder.names.give(f"in{i}"), v.aval) for i, v in enumerate(inner.jaxpr.invars)]
        outputs = builder.open(inner, inputs, [Constant(c, jax.typeof(c)) for c in inner.consts], scope)
        builder.open_bodies()
        structure = Structure(tuple(builder.nodes), tuple(inputs), (), tuple(outputs))
        known[scope] = Body(structure, JittedCall(), found={})
    return known[scope]


class _Builder:
    """Collects nodes while jaxprs are opened; names are unique over all of them, those inside loops too.

    Bodies are opened when the graph around them is whole, so that its nodes have the names without numbers.
    """

    def __init__(
        self,
        names: Names,
        loops: tuple[int, ...] = (),
        everywhere: list[Mapping[Any, Any]] | None = None,
        whole: Callable[[Any], bool] | None = None,
        is_meant: Meant | None = None,
        calls_of: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self.nodes: list[Node] = []
        self.whole = whole
        self.calls_of = calls_of
        self.is_meant: Meant = is_meant or (lambda function, node: False)  # noqa: ARG005
        self.names = names
        self.loops = loops
        self.scopes: dict[str, _Scope] = {}
        """Where the nodes stand that may hold graphs, by their names."""
        self.own: dict[Value | Constant, str] = {}
        """The leaves of arguments, by the names that they go by in loops and branches too; and what hands them on."""
        self.calls: tuple[Any, ...] = ()
        """The equations whose bodies are being opened, the outermost first."""
        self.everywhere = [] if everywhere is None else everywhere
        self.known: ChainMap[Any, Value | Constant] = ChainMap()
        """What the variables stand for of the jaxpr that is being opened, and of those whose calls were opened."""

    def open(
        self,
        closed: Any,
        inputs: Sequence[Value | Constant],
        constants: Sequence[Value | Constant],
        around: _Scope,
        is_all_of_it: bool = False,
    ) -> list[Value | Constant]:
        """Append the equations of a jaxpr as nodes; returns what stands for its outputs.

        Where it is all of the graph, so is the function that it may be no more than a call of.
        """
        jaxpr = closed.jaxpr
        known: dict[Any, Value | Constant] = dict(zip(jaxpr.invars, inputs, strict=True))
        known.update(zip(jaxpr.constvars, constants, strict=True))
        self.everywhere.append(known)
        outside, self.known = self.known, ChainMap(known, *self.known.maps)
        read = lambda atom: Constant(atom.val, atom.aval) if is_literal(atom) else known[atom]  # noqa: E731
        written = gathered(jaxpr, self.calls_of, partial(self.is_call_meant, around)) if self.calls_of else jaxpr.eqns
        equations = [Equation.of(e) for e in written]
        aliases = _labels(jaxpr, equations)
        labels = {v: (join(around.at(e.source).written, label_of(e.source)), e) for v, e in aliases.items()}
        passed = set(aliases.values())
        for function in equations:
            equation = function.source
            scope = around.at(equation)
            operands = [read(atom) for atom in equation.invars]
            results: Sequence[Value | Constant]
            if function in passed:
                results = operands  # which carry the label already
            elif (inner := body(equation)) is None:
                results = self.append(function, scope, operands, labels)
            elif self.is_call_meant(around, equation):
                results = self.append(Equation.of(without_donation(equation)), scope, operands, labels)
            elif self.whole and is_jit(equation) and self.whole(inner):
                inside = scope if is_all_of_it and is_all(equation, jaxpr) else scope.inside(equation, inner)
                results = self.append_whole(equation, scope, inside, operands, inner)
            else:
                self.calls = (*self.calls, equation)
                is_whole = is_all_of_it and is_all(equation, jaxpr)
                inside = scope if is_whole else scope.inside(equation, inner)
                consts = [Constant(c, jax.typeof(c)) for c in inner.consts]
                results = self.open(inner, operands, consts, inside, is_whole)
                self.calls = self.calls[:-1]
            known.update(zip(equation.outvars, results, strict=True))
        self.known = outside
        return [read(atom) for atom in jaxpr.outvars]

    def is_call_meant(self, around: _Scope, equation: Any) -> bool:
        """Whether an equation calls a jitted function that is meant by name where it stands."""
        function = Equation.of(equation)
        return is_jit(equation) and self.is_meant(function, join(around.at(equation).path, escape(function.name)))

    def append(
        self,
        written: Equation,
        scope: _Scope,
        operands: list[Value | Constant],
        labels: dict[Any, Any],
    ) -> list[Value]:
        equation = written.source
        call = equation.params.get("call")
        is_op = isinstance(call, Call) and equation.primitive is call.op.primitives.forward
        function = call if is_op else written
        if equation.primitive.name == "name":
            name = self.names.give(join(scope.written, label_of(equation)), is_reserved=True)
            outputs = [Value(name, equation.outvars[0].aval, self.loops)]
        else:
            name, outputs = self.values(equation, join(scope.path, escape(function.name)), labels)
        if not is_op and equation.primitive.name in _HANDING_ON and (own := self.own.get(operands[0])):
            self.own[outputs[0]] = own
        inputs, around = tuple(operands), Surroundings(self.known, self.everywhere)
        self.scopes[name] = scope
        self.nodes.append(Node(name, scope.path, function, inputs, tuple(outputs), (), equation, self.calls, around))
        return outputs

    def append_whole(
        self, equation: Any, scope: _Scope, inside: _Scope, operands: list[Value | Constant], inner: Any
    ) -> list[Value]:
        """Append a jitted function as one node; its outputs are called what they are called inside."""
        shared = _shared_body(inner, inside)
        name, outputs = self.names.give(join(scope.path, escape(equation.params["name"]))), []
        for i, (v, var) in enumerate(zip(shared.structure.outputs, equation.outvars, strict=True)):
            is_made = isinstance(v, Value) and v not in shared.structure.inputs
            outputs.append(Value(self.names.give(v.name if is_made else f"{name}.{i}"), var.aval))
        function = Equation.of(without_donation(equation))  # a rule may read what the user gave away
        inputs, bodies = tuple(operands), (shared,)
        self.nodes.append(Node(name, scope.path, function, inputs, tuple(outputs), bodies, equation, self.calls))
        return outputs

    def values(self, equation: Any, base: str, labels: dict[Any, tuple[str, Equation]]) -> tuple[str, list[Value]]:
        """The node's name, and its output values: named by their label where they have one, else after the node.

        A node shares the name of its only output, also where the label is what the node would be called anyway.
        """
        given = {v: self.names.give(labels[v][0], is_reserved=True) for v in equation.outvars if v in labels}
        only = equation.outvars[0] if len(equation.outvars) == 1 else None
        name = given[only] if only in given and labels[only][0] == base else self.names.give(base)
        values = []
        for i, var in enumerate(equation.outvars):
            own = given.get(var) or (name if var is only else self.names.give(f"{name}.{i}"))
            values.append(Value(own, var.aval, self.loops, labels[var][1] if var in labels else None))
        return name, values

    def open_bodies(self) -> None:
        """Open the graphs that the nodes hold, and those inside."""
        for i, node in enumerate(self.nodes):
            if isinstance(node.function, Equation) and self.is_meant(node.function, node.name):
                continue
            if (holder := holder_of(node.origin)) is not None and holder.opens:
                bodies = tuple(self.hold(holder, inner, node) for inner in holder.jaxprs)
                self.nodes[i] = replace(node, bodies=bodies)

    def hold(self, holder: Holder, inner: Any, node: Node) -> Body:
        """The graph inside a loop or a branch; its nodes stand in the scope of the equation."""
        loops, carried = (*self.loops, *holder.lengths), {i for _, i in holder.feedback}
        inside = _Builder(self.names, loops, self.everywhere, is_meant=self.is_meant, calls_of=self.calls_of)
        inside.calls = (*node.calls, node.origin)
        inputs = []
        for i, (kind, var) in enumerate(zip(holder.input_names, inner.jaxpr.invars, strict=True)):
            own = None if i in carried else self.own.get(node.inputs[holder.offset + i])
            name = join(node.name, _within(node.scope, own) if own else kind)
            inputs.append(Value(self.names.give(name), var.aval, loops))
            if own:
                inside.own[inputs[-1]] = own
        constants = [Constant(c, jax.typeof(c)) for c in inner.consts]
        outputs = inside.open(inner, inputs, constants, self.scopes[node.name])
        inside.open_bodies()
        structure = Structure(tuple(inside.nodes), tuple(inputs), (), tuple(outputs), loops)
        return Body(structure, holder)


def _labels(jaxpr: Any, equations: Sequence[Equation]) -> dict[Any, Equation]:
    """The `name` equations that only label their operand: nothing else reads it, and it is computed here.

    Any other `name` stays a node of its own, so that the cotangent through that one use can be asked for.
    """
    readers: Counter[Any] = Counter(a for e in jaxpr.eqns for a in e.invars if not is_literal(a))
    readers.update(a for a in jaxpr.outvars if not is_literal(a))
    names = [e for e in equations if e.source.primitive.name == "name"]
    made = (e.source for e in equations if body(e.source) is None and e.source.primitive.name != "name")
    made_here = {v for e in made for v in e.outvars}
    operands = ((e.source.invars[0], e) for e in names)
    return {v: e for v, e in operands if not is_literal(v) and v in made_here and readers[v] == 1}
