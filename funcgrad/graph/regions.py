"""Nodes that a rule stands for together, made one node: the call of a function of named arguments."""

import keyword
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.errors import RuleError
from funcgrad.graph.affinity import affine_of, arrays_of, grown, weight_of
from funcgrad.graph.channels import view_of
from funcgrad.graph.normalizations import normalizations
from funcgrad.graph.structures import Body, Structure
from funcgrad.graph.values import Constant, Measurement, Node, Value
from funcgrad.naming import Names, Where, holds, matches, unnumbered
from funcgrad.registry import Merged, Region, RuleSet

Still = Mapping[tuple[str, ...], set[Value]]
"""What is constant to a product of two activations, by the `constants` of its region."""
_TAKEN = ("g", "y", "pull", "f", "node", "loss_g", "key", "parameters", "affine")
"""What rules call other things."""


def with_regions(structure: Structure, rules: RuleSet, differentiated: Collection[Value] | None = None) -> Structure:
    """The graph in which the nodes of each region that has a rule are one node, inside of loops and branches too.

    Args:
        structure: the graph.
        rules: the rules.
        differentiated: of its inputs; None where values inside are differentiated, which may depend on any.

    Raises:
        RuleError: a region has several outputs.
    """
    meant = [(o.target.region, o.at) for o in reversed(rules.overrides) if o.target.region is not None]
    if not meant:
        return structure
    parameters = _parameters(structure)
    given = () if differentiated is None else (v for v in structure.inputs if v not in differentiated)
    still = dict.fromkeys((region.constants for region, _ in meant), parameters.union(given))
    return _Regions(tuple(meant), structure).within(structure, parameters, still)


def _parameters(structure: Structure) -> set[Value]:
    """The inputs and constants that are parameters.

    Whoever passes parameters passes a container of them: an array by itself is what they are applied to. Where no
    argument is one, it is an array that the function closes over.
    """
    everything = (*structure.inputs, *structure.constants)
    data = [v for v in structure.inputs if "/" not in v.name] or [v for v in everything if "/" not in v.name]
    return {v for v in everything if v not in data}


@dataclass(frozen=True)
class _Group:
    """The nodes of one region."""

    region: Region
    nodes: tuple[Node, ...]
    name: str
    """Of the node that they become."""
    function: str
    """Of the function that it applies."""
    scope: str


@dataclass
class _Regions:
    """The regions that rules are meant for, and the graph that they are in."""

    meant: Sequence[tuple[Region, Where]]
    whole: Structure
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.names = self.whole.names

    def within(self, structure: Structure, parameters: set[Value], still: Still) -> Structure:
        """A graph with its regions as nodes.

        Args:
            structure: the graph.
            parameters: those of its inputs that are.
            still: those and others that no cotangent is for, by what makes constants beside.
        """
        fixed = _fixed(structure, parameters)
        still = {constants: _fixed(structure, known, constants) for constants, known in still.items()}
        nodes = [self.opened(node, fixed, still) for node in structure.nodes]
        structure = replace(structure, nodes=tuple(nodes))
        replaced: dict[Node, Node | None] = {}
        for region, at in self.meant:
            constant = still[region.constants] if region.bilinear else fixed
            for group in _groups(region, structure, constant, self.whole.modules):
                is_meant = at.may_be(partial(_stands_for, name=group.name), group.function)
                if is_meant and replaced.keys().isdisjoint(group.nodes):
                    replaced |= dict.fromkeys(group.nodes)
                    replaced[group.nodes[-1]] = self.merged(group, structure, fixed)
        left = (replaced.get(node, node) for node in structure.nodes)
        return replace(structure, nodes=tuple(node for node in left if node is not None))

    def opened(self, node: Node, fixed: Collection[Value], still: Still) -> Node:
        """A node with the regions in the graphs that it holds."""
        bodies = []
        for body in node.bodies:
            inside = _inside(body, node, fixed)
            stays = {constants: _inside(body, node, known) for constants, known in still.items()}
            bodies.append(replace(body, structure=self.within(body.structure, inside, stays)))
        return replace(node, bodies=tuple(bodies)) if bodies else node

    def merged(self, group: _Group, structure: Structure, fixed: Collection[Value]) -> Node:
        """The nodes of a region as one."""
        nodes, last = group.nodes, group.nodes[-1]
        output = _only_output(group, structure)
        inside = {v for node in nodes for v in node.outputs}
        taken = dict.fromkeys(x for node in nodes for x in node.inputs if x not in inside and not _is_number(x))
        inputs = tuple(taken)
        names = _argument_names(inputs, fixed)
        parameters = tuple(n for n, x in zip(names, inputs, strict=True) if x in fixed or isinstance(x, Constant))
        run = partial(_run, nodes, inputs, output)
        equation = _as_call(run, group.function, names, inputs, nodes[0])
        affine = affine_of(nodes, inputs, structure, fixed, run) if group.region.affine else None
        weight = weight_of(nodes[0], inputs, fixed) if group.region.affine else None
        function = Merged(equation, region=group.region, parameters=parameters, affine=affine, weight=weight)
        name = group.name if group.name in {node.name for node in nodes} else self.names.give(group.name)
        return Node(
            name, group.scope, function, inputs, (output,), (), equation, last.calls, surroundings=last.surroundings
        )


def _run(nodes: Sequence[Node], inputs: Sequence[Value | Constant], output: Value, *leaves: Any) -> list[Any]:
    """Run nodes on the arrays of what they read from outside."""
    values: dict[Any, Any] = dict(zip(inputs, leaves, strict=True))
    for node in nodes:
        values.update(zip(node.outputs, node.run(*arrays_of(node.inputs, values)), strict=True))
    return [values[output]]


def _as_call(run: Any, name: str, arguments: Sequence[str], inputs: Sequence[Value | Constant], first: Node) -> Any:
    """The equation of a jaxpr that calls a function with these names."""

    def function(*leaves: Any) -> list[Any]:
        return run(*leaves)

    function.__name__ = function.__qualname__ = name
    by_name = [Parameter(argument, Parameter.POSITIONAL_OR_KEYWORD) for argument in arguments]
    function.__signature__ = Signature(by_name)  # type: ignore[attr-defined]
    (equation,) = jax.make_jaxpr(jax.jit(function))(*[x.aval for x in inputs]).eqns
    return equation.replace(source_info=first.origin.source_info)


def _inside(body: Body, node: Node, fixed: Collection[Value]) -> set[Value]:
    """The inputs of a body that take nothing but parameters and numbers."""
    carried, outside = {i for _, i in body.holder.feedback}, node.inputs[body.holder.offset :]
    pairs = enumerate(zip(body.structure.inputs, outside, strict=False))
    return {v for i, (v, x) in pairs if i not in carried and (x in fixed or isinstance(x, Constant))}


def _fixed(structure: Structure, parameters: set[Value], constants: Collection[str] = ()) -> set[Value]:
    """The values that depend on parameters and numbers alone, or that something named in `constants` makes."""
    found = {*parameters}
    for node in structure.nodes:
        is_constant = any(matches(c, node.op_name) or holds(c, unnumbered(node.scope)) for c in constants)
        if is_constant or all(x in found or isinstance(x, Constant) for x in node.inputs):
            found.update(node.outputs)
    return found


def _groups(region: Region, structure: Structure, fixed: Collection[Value], modules: Any) -> Iterator[_Group]:
    if names := (*region.bilinear, *region.sums):
        for node in structure.nodes:
            if any(matches(name, node.op_name) for name in names) and _joins(node, fixed):
                yield _Group(region, (node,), node.name, node.op_name, node.scope)
        return
    if region.statistics:
        for nodes in normalizations(structure, fixed):
            yield _Group(region, nodes, nodes[-1].name, "statistics", nodes[-1].scope)
        return
    if region.affine or region.ops:
        after: set[Value] = set()
        for start in structure.nodes:
            nodes = grown(start, region.affine, structure, fixed) if region.affine else _chain(start, region, structure)
            comes_after = not after.isdisjoint(start.inputs)
            if nodes or comes_after:
                after.update(start.outputs)
            if nodes and not (region.first and comes_after):
                name = "affine" if region.affine else "-".join(region.ops)
                yield _Group(region, nodes, start.name, name, start.scope)
        return
    yield from _scoped(region, structure, modules)


def _scoped(region: Region, structure: Structure, modules: Any) -> Iterator[_Group]:
    """The runs of nodes in the scopes that are meant."""
    runs: list[tuple[str, list[Node]]] = []
    previous = None
    for node in structure.nodes:
        scope = None if isinstance(node.function, Measurement) else _scope_meant(region, node.scope, modules)
        if scope is not None:
            if scope != previous:
                runs.append((scope, []))
            runs[-1][1].append(node)
        previous = scope
    for scope, nodes in runs:
        around, _, last = scope.rpartition("/")
        yield _Group(region, tuple(nodes), scope, region.of.__name__ if region.of else last, around)


def _joins(node: Node, fixed: Collection[Value]) -> bool:
    """Whether a product or a sum is of two different activations."""
    moving = [x for x in node.inputs if isinstance(x, Value) and x not in fixed]
    return len(set(moving)) == 2 == len(node.inputs)


def _scope_meant(region: Region, scope: str, modules: Any) -> str | None:
    """The outermost of the scopes around a node that is meant; None where none is."""
    parts = scope.split("/") if scope else []
    paths = ("/".join(parts[: i + 1]) for i in range(len(parts)))
    if region.of is not None:
        return next((p for p in paths if p in modules and issubclass(modules[p], region.of)), None)
    assert region.scope is not None
    return next((p for p in paths if matches(region.scope, p)), None)


def _chain(start: Node, region: Region, structure: Structure) -> tuple[Node, ...]:
    """The nodes of a chain of operations that begins here, with views between them; none where it does not."""
    if not matches(region.ops[0], start.op_name):
        return ()
    nodes = [start]
    for op in region.ops[1:]:
        reader = structure.only_reader(nodes[-1])
        while reader is not None and view_of(reader) is not None and not matches(op, reader.op_name):
            nodes.append(reader)
            reader = structure.only_reader(reader)
        if reader is None or not matches(op, reader.op_name):
            return ()
        nodes.append(reader)
    return tuple(nodes)


def _only_output(group: _Group, structure: Structure) -> Value:
    members = set(group.nodes)
    outside = {x for node in structure.nodes if node not in members for x in node.inputs} | set(structure.outputs)
    found = [v for node in group.nodes for v in node.outputs if v in outside]
    if len(found) != 1:
        listed = ", ".join(map(str, found[:4])) or "none"
        raise RuleError(
            f"The region '{group.name}' must have one output for a rule to stand for it, and has {len(found)} "
            f"({listed}); narrow it to a scope inside."
        )
    return found[0]


def _argument_names(inputs: Sequence[Value | Constant], fixed: Collection[Value]) -> list[str]:
    """What rules call the inputs of a region."""
    stems = ["x" if isinstance(v, Value) and v not in fixed else _stem(v) for v in inputs]
    often, seen = Counter(stems), Counter[str]()
    names = []
    for stem in stems:
        names.append(f"{stem}{seen[stem]}" if often[stem] > 1 else stem)
        seen[stem] += 1
    return names


def _stem(value: Value | Constant) -> str:
    last = unnumbered(value.name).rpartition("/")[2] if isinstance(value, Value) else "constant"
    is_free = last.isidentifier() and not keyword.iskeyword(last) and last not in _TAKEN and last != "x"
    return last if is_free else "parameter"


def _is_number(x: Value | Constant) -> bool:
    """Whether it stays written into the function."""
    return isinstance(x, Constant) and not isinstance(x.content, Tracer) and np.ndim(x.content) == 0


def _stands_for(path: str, name: str) -> bool:
    return holds(unnumbered(path), unnumbered(name))
