"""Where the rules and hooks of a set stand in a graph."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from funcgrad.errors import GradientError, RuleError
from funcgrad.graph import Addresses, Constant, Measurement, Node, Structure, Value, nearest_ops
from funcgrad.naming import escape, holds, matches, suggest
from funcgrad.primitive import bodies
from funcgrad.registry import Equation, Hook, Merged, Override, Region, RuleSet, functions_in

Hooked = dict[Value, tuple[Hook, ...]]
"""The hooks of each value that has some, in the order in which they were added."""


def find_replacements(rules: RuleSet, structure: Structure) -> tuple[RuleSet, Hooked]:
    """The set with each override told at which nodes of the graph it stands, and the hooks by value.

    A place may be a scope or depend on what a node is, so it is looked up once in the whole graph; at each node the
    set then asks for nothing but its name.

    Raises:
        RuleError: an override matches no node or one inside a body that cannot be opened, or a hook no value.
    """
    if not (rules.overrides or rules.hooks):
        return rules, {}
    addresses = Addresses(structure, _hookable(structure))
    overrides = tuple(_standing(override, addresses) for override in rules.overrides)
    _check_reach(overrides, structure)
    hooked: Hooked = {}
    for hook in rules.hooks:
        for v in _hooked(hook, addresses, structure):
            hooked[v] = (*hooked.get(v, ()), hook)
    return replace(rules, overrides=overrides), hooked


def _standing(override: Override, addresses: Addresses) -> Override:
    """The override with the names of its nodes."""
    target, title = override.target, override.target.title
    covered = [n for n in addresses.nodes if not isinstance(n.function, Measurement) and target.covers(n.function)]
    try:
        nodes = addresses.find_nodes(override.at, covered)
    except GradientError as error:
        if override.optional:
            return replace(override, nodes=frozenset())
        raise RuleError(f"The override of {title} at '{override.at}': {_lowered(error)}") from None
    if not nodes and not override.optional:
        raise RuleError(_matches_nothing(override, covered, addresses))
    return replace(override, nodes=frozenset(node.name for node in nodes))


def _matches_nothing(override: Override, covered: Sequence[Node], addresses: Addresses) -> str:
    if override.target.region is not None and not covered:
        return _matches_no_region(override, override.target.region, addresses.nodes)
    title = override.target.title
    scopes = [] if covered else _scopes_called(title, addresses.nodes)
    written = [scope for scope in scopes if _fits_scope(override, scope)]
    places = [node.name for node in covered] or ([] if written else scopes)
    regions = [] if covered else [n for n in addresses.nodes if isinstance(n.function, Merged) and _holds(n, override)]
    if regions:
        reason = (
            f"its nodes are inside of region '{regions[0].name}', for all of which another rule stands; narrow that."
        )
    elif places:
        near = addresses.near(override.at, covered)
        reason = f"its nodes are {', '.join(places[:5])}{f'; {near}' if near else '.'}"
    elif override.target.written_out is not None:
        reason = (
            f"the graph has no {title} node, for JAX writes it out where it is called, and no such equations stand "
            f"together; jit it."
        )
    elif written:
        reason = (
            f"'{written[0]}' is no node, for the function is written out there; pass the function itself in the place "
            f"of its name, or jit it."
        )
    else:
        reason = f"the graph has no {title} node, {nearest_ops(title, addresses.nodes)}"
    return f"The override of {title} at '{override.at}' matches nothing; {reason}"


def _holds(node: Node, override: Override) -> bool:
    """Whether a region has a node that an override is for."""
    assert isinstance(node.function, Merged)
    inside = (f for inner in bodies(node.function.source) for _, f in functions_in(inner))
    return any(map(override.target.covers, inside))


def _matches_no_region(override: Override, region: Region, nodes: Sequence[Node]) -> str:
    if region.of is not None:
        why = f"the function holds no module of class {region.of.__name__} that it calls"
    elif region.scope is not None:
        scopes = dict.fromkeys("/".join(node.scope.split("/")[: i + 1]) for node in nodes for i in range(9))
        near = suggest(region.scope, [scope for scope in scopes if scope])
        why = "no scope is called so" + (f", {near.removesuffix('?')}" if near else "")
    elif region.bilinear:
        why = "the graph has no such product of two activations that are differentiated"
    elif region.sums:
        why = "the graph has no such sum of two activations"
    elif region.statistics:
        why = "no normalization or softmax is written out in the graph; one of fg.ops is a node by itself"
    elif region.affine:
        why = (
            "the graph has no such product of activations with parameters, which are constants and what comes in "
            "containers; pass a weight in one, as {'w': w}"
        )
    else:
        why = "no such operations stand one after the other, each the only reader of the one before"
    question = "?" if "did you mean" in why else "."
    return f"The override of {override.target.title} at '{override.at}' matches nothing; {why}{question}"


def _scopes_called(name: str, nodes: Sequence[Node]) -> list[str]:
    """The scopes of a name: a function that is opened, since no rule is meant for it there, stands as one."""
    scopes: dict[str, None] = {}
    for node in nodes:
        parts = node.scope.split("/")
        scopes |= {"/".join(parts[: i + 1]): None for i, part in enumerate(parts) if part == escape(name)}
    return list(scopes)


def _fits_scope(override: Override, scope: str) -> bool:
    """Whether a function that stands as a scope is meant by an override."""
    return override.at.may_be(lambda path: holds(path, scope), override.target.title)


def _hooked(hook: Hook, addresses: Addresses, structure: Structure) -> Sequence[Value]:
    try:
        return tuple(addresses.find(hook.at).values.values())
    except GradientError as error:
        reason = _taken_by_a_body(hook, structure) or _lowered(error)
        raise RuleError(f"The hook {hook.name} at '{hook.at}': {reason}") from None


class _Taken(NamedTuple):
    """What the body of a node takes."""

    node: Node
    outside: Value | Constant
    """What goes in."""
    returned: Value | Constant | None
    """What the turn before returned, in a carry."""


def _taken_by_a_body(hook: Hook, structure: Structure) -> str:
    """Why there is no hook on what a body takes, and what makes it; nothing where no body takes what is meant."""
    taken: dict[Value, _Taken] = {}
    for node in structure.all_nodes:
        for body in node.bodies:
            outside = node.inputs[body.holder.offset :]
            returned = {i: body.structure.outputs[o] for o, i in body.holder.feedback}
            taken |= {v: _Taken(node, outside[i], returned.get(i)) for i, v in enumerate(body.structure.inputs)}
    try:
        v = next(iter(Addresses(structure, taken).find(hook.at).values.values()))
    except GradientError:
        return ""
    node, outside, returned = taken[v]
    what = f"a turn of '{node.name}' takes" if node.holder and node.holder.feedback else f"'{node.name}' takes"
    while outside in taken:
        outside = taken[outside].outside
    instead = [f"'{outside.name}', which goes in"] if isinstance(outside, Value) else []
    if isinstance(returned, Value) and returned not in taken:
        instead.append(f"'{returned.name}', which a turn returns")
    return (
        f"'{v.name}' is what {what}, whose cotangent is not whole there; hook "
        f"{', or '.join(instead) or 'what makes it'}."
    )


def _lowered(error: GradientError) -> str:
    """A sentence as the second half of another."""
    return str(error)[:1].lower() + str(error)[1:]


def _hookable(structure: Structure) -> Iterator[Value]:
    """The values whose cotangents are whole somewhere: what nodes make, and the graph's inputs.

    Not so what a body takes: several turns add to that, or other readers outside.
    """
    yield from structure.inputs
    for node in structure.all_nodes:
        yield from node.outputs


def _may_be(override: Override, name: str, op: str) -> bool:
    """Whether an override may be meant for a node that is not opened; a scope only where no node was named so."""
    nodes = override.nodes or ()

    def fits(path: str) -> bool:
        return matches(path, name) if any(matches(path, node) for node in nodes) else holds(path, name)

    return override.at.may_be(fits, op)


def _check_reach(overrides: Sequence[Override], structure: Structure) -> None:
    """RuleError if an override is meant for something inside a body that is not opened: JAX differentiates there.

    An optional one that claims to be the derivative leaves that alone: the gradient is the same without it.
    """
    for override in overrides:
        if override.optional and override.rule.kind.is_derivative:
            continue
        for node in structure.all_nodes:
            function = node.function
            is_replaced = any(node.name in (other.nodes or ()) for other in overrides)
            if not isinstance(function, Equation) or node.bodies or is_replaced or override.target.covers(function):
                continue
            for inner in bodies(function.source):
                for scope, inside in functions_in(inner, node.scope):
                    name = f"{scope}/{inside.name}" if scope else inside.name
                    if override.target.covers(inside) and _may_be(override, name, inside.name):
                        raise RuleError(
                            f"The override of {override.target.title} at '{override.at}' matches '{name}' inside the "
                            f"body of '{node.name}', where rules cannot be replaced; narrow the pattern, or unroll "
                            f"'{node.name}'."
                        )
