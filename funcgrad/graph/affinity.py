"""Products with parameters, and what is affine after them: `y = s * product(x, w) + t`, with one `s` per channel.

A batch norm at its running statistics is such a scale and shift. They are merged into weight and bias by
`product(x, s * w) = s * product(x, w)`: so no model has to be rewritten for a rule that is about the merged layer.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.naming import matches
from funcgrad.registry import Affine, Call, Equation, Slot

_COMMUTING = ("add", "add_any", "mul")
_OF_FIRST = ("sub", "div")
_UNARY = ("neg", "convert_element_type", "copy", "name")


def grown(start: Node, products: Sequence[str], structure: Structure, fixed: Collection[Value]) -> tuple[Node, ...]:
    """A product of activations with parameters and the affine nodes after it; none where it is no such product."""
    if not any(matches(p, start.op_name) for p in products) or _operands(start, fixed) is None:
        return ()
    nodes, channels = [start], channels_of([start], fixed)
    while (reader := structure.only_reader(nodes[-1])) is not None:
        if not _is_affine(reader, nodes[-1].outputs[0], structure, fixed, {y for _, y in channels}):
            break
        nodes.append(reader)
        channels = channels_of(nodes, fixed)
    return tuple(nodes)


def affine_of(
    nodes: Sequence[Node], inputs: Sequence[Value | Constant], fixed: Collection[Value], run: Callable[..., Any]
) -> Callable[[Sequence[Any]], Affine]:
    """Product, merged weight and merged bias of an affine region, from the leaves of its inputs."""
    first, after = nodes[0], nodes[1:]
    operands = _operands(first, fixed)
    assert operands is not None
    x, w = (first.inputs[p] for p in operands)
    at, channels = inputs.index(x), channels_of(nodes, fixed)
    views = [node for node in after if _moved(node) is not None]

    def affine(leaves: Sequence[Any]) -> Affine:
        known = dict(zip(inputs, leaves, strict=True))

        def product(x: Array, w: Array) -> Array:
            others = arrays_of(first.inputs, known)
            arrays = [jnp.zeros_like(v) if i not in operands else v for i, v in enumerate(others)]
            arrays[operands[0]], arrays[operands[1]] = x, w
            return reduce(lambda z, view: view.run(z)[0], views, first.run(*arrays)[0])

        without_x = [jnp.zeros_like(v) if i == at else v for i, v in enumerate(leaves)]
        (bias,) = run(*without_x)
        weight = jnp.asarray(arrays_of([w], known)[0])
        if after:
            z = first.outputs[0]
            through = partial(_through, after, known, z)
            scale = through(jnp.ones(z.aval.shape, z.aval.dtype)) - through(jnp.zeros(z.aval.shape, z.aval.dtype))
            weight = weight * _aligned(scale, weight.ndim, channels).astype(weight.dtype)
        return Affine(product, weight, bias)

    return affine


def weight_of(product: Node, inputs: Sequence[Value | Constant], fixed: Collection[Value]) -> Slot:
    """Which of the inputs of an affine region is the weight of its product."""
    operands = _operands(product, fixed)
    assert operands is not None
    return Slot(jax.tree.structure(0), (inputs.index(product.inputs[operands[1]]),))


def arrays_of(values: Sequence[Value | Constant], known: Mapping[Any, Any]) -> list[Any]:
    """The arrays that stand for values; a constant that is not among them is itself."""
    return [x.content if isinstance(x, Constant) and x not in known else known[x] for x in values]


def channels_of(nodes: Sequence[Node], fixed: Collection[Value]) -> list[tuple[int, int]]:
    """Pairs (axis of the weight, axis of the output) along which both run, of a product and what comes after it."""
    pairs = _channels_of_product(nodes[0], fixed)
    for node in nodes[1:]:
        if (moved := _moved(node)) is not None:
            pairs = [(w, moved[y]) for w, y in pairs if y in moved]
    return pairs


def _moved(node: Node) -> dict[int, int] | None:
    """Where a node puts the axes longer than one, if it does nothing else: `vmap` writes such ones after products."""
    if node.primitive == "transpose" and isinstance(node.function, Equation):
        return {axis: i for i, axis in enumerate(node.function.source.params["permutation"])}
    if node.primitive not in ("reshape", "squeeze", "expand_dims"):
        return None
    before, after = ([i for i, n in enumerate(v.aval.shape) if n > 1] for v in (node.inputs[0], node.outputs[0]))
    old, new = node.inputs[0].aval.shape, node.outputs[0].aval.shape
    return dict(zip(before, after, strict=True)) if [old[i] for i in before] == [new[i] for i in after] else None


def _channels_of_product(node: Node, fixed: Collection[Value]) -> list[tuple[int, int]]:
    operands = _operands(node, fixed)
    assert operands is not None
    w, y = node.inputs[operands[1]].aval, node.outputs[0].aval
    if isinstance(node.function, Call):
        return [(w.ndim - 1, y.ndim - 1)]
    assert isinstance(node.function, Equation)
    params = node.function.source.params
    if node.primitive == "conv_general_dilated":
        numbers = params["dimension_numbers"]
        return [(numbers.rhs_spec[0], numbers.out_spec[1])]
    contracted, batch = params["dimension_numbers"]
    side = operands[1]
    used = {*contracted[side], *batch[side]}
    free = [axis for axis in range(w.ndim) if axis not in used]
    start = len(batch[side]) if side == 0 else y.ndim - len(free)
    return [*zip(batch[side], range(len(batch[side])), strict=True), *zip(free, range(start, y.ndim), strict=False)]


def _operands(node: Node, fixed: Collection[Value]) -> tuple[int, int] | None:
    """The positions of activations and weight among a product's inputs; None where that is not one of each."""
    if len(node.inputs) < 2 or len(node.outputs) != 1:
        return None
    flags = [x in fixed or isinstance(x, Constant) for x in node.inputs]
    if flags[:2] == [False, True] and all(flags[2:]):
        return 0, 1
    if flags[:2] == [True, False] and all(flags[2:]) and node.primitive == "dot_general":
        return 1, 0
    return None


def _is_affine(node: Node, z: Value, structure: Structure, fixed: Collection[Value], channels: Collection[int]) -> bool:
    """Whether a node takes `z` to `s * z + t`, with `s` and `t` that are parameters of one number per channel."""
    if _moved(node) is not None:
        return True
    if len(node.outputs) != 1 or node.outputs[0].aval.shape != z.aval.shape or not node.outputs[0].is_inexact:
        return False
    if node.primitive in _UNARY:
        return True
    if node.primitive not in (*_COMMUTING, *_OF_FIRST):
        return False
    other = node.inputs[1] if node.inputs[0] is z else node.inputs[0]
    if node.primitive in _OF_FIRST and node.inputs[0] is not z:
        return False
    is_fixed = other in fixed or isinstance(other, Constant)
    return is_fixed and _varying(other, structure).issubset(channels)


def _varying(x: Value | Constant, structure: Structure) -> set[int]:
    """The axes along which a value may have different entries: not those that it was broadcast along."""
    shape = x.aval.shape
    made = next((node for node in structure.nodes if x in node.outputs), None)
    if made is None or made.primitive != "broadcast_in_dim" or not isinstance(made.function, Equation):
        return {i for i, n in enumerate(shape) if n > 1}
    axes, before = made.function.source.params["broadcast_dimensions"], made.inputs[0].aval.shape
    return {axis for axis, n in zip(axes, before, strict=True) if n > 1}


def _through(nodes: Sequence[Node], known: dict[Any, Any], z: Value, array: Array) -> Array:
    """What affine nodes make of an array in the place of `z`."""
    values = known | {z: array}
    for node in nodes:
        values.update(zip(node.outputs, node.run(*arrays_of(node.inputs, values)), strict=True))
    return values[nodes[-1].outputs[0]]


def _aligned(scale: Array, n_axes: int, channels: Sequence[tuple[int, int]]) -> Array:
    """One number per channel, in the axes of the weight, from what is the same along all other axes of the output."""
    mapped = {y: w for w, y in channels}
    index = tuple(slice(None) if axis in mapped else 0 for axis in range(scale.ndim))
    order = [mapped[y] for y in sorted(mapped)]
    small = scale[index].transpose([order.index(w) for w in sorted(order)])
    return jnp.expand_dims(small, [axis for axis in range(n_axes) if axis not in order])
