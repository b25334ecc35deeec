"""What is affine in activations: `y = product(x, w) + t`, what is affine after a product merged into `w` and `t`.

A batch norm at its running statistics is a scale and shift per channel. They are merged into weight and bias by
`product(x, s * w) = s * product(x, w)`: so no model has to be rewritten for a rule that is about the merged layer.
Where no product comes first, the product is that of entries, `x * w`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.graph.channels import channels_of_product, kept_axes, kind_of, moved_channels, varying, view_of
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.naming import matches
from funcgrad.registry import ENTRYWISE, PRODUCTS, Affine, Call, Slot

_SUMS = ("add", "add_any", "sub", "subtract")
_FACTORS = ("mul", "multiply", "div", "divide")
_NORM = "batch_norm_inference"
_OF_FIRST = ("div", "divide", _NORM)
_UNARY = ("neg", "negative", "convert_element_type", "copy", "name")


def grown(start: Node, products: Sequence[str], structure: Structure, fixed: Collection[Value]) -> tuple[Node, ...]:
    """A product of activations with parameters and the affine nodes after it; none where it is no such product."""
    if not any(matches(p, start.op_name) for p in products):
        return ()
    operands = _operands(start, fixed)
    if operands is None and not _is_entrywise(start, structure, fixed):
        return ()
    nodes, z = [start], start.outputs[0]
    channels = channels_of_product(start, operands) if operands else [(i, i) for i in range(z.aval.ndim)]
    while (reader := structure.only_reader(nodes[-1])) is not None:
        is_view, keeps_shape = view_of(reader) is not None, reader.outputs[0].aval.shape == z.aval.shape
        if not is_view and not _is_affine(reader, z, structure, fixed, [y for _, y in channels]):
            break
        if operands is None and (is_view or not keeps_shape):
            break
        nodes.append(reader)
        channels, z = moved_channels(reader, z, channels), reader.outputs[0]
    return tuple(nodes)


def affine_of(
    nodes: Sequence[Node],
    inputs: Sequence[Value | Constant],
    structure: Structure,
    fixed: Collection[Value],
    run: Callable[..., Any],
) -> Callable[[Sequence[Any]], Affine]:
    """Product, merged weight and merged bias of an affine region, from the leaves of its inputs.

    Args:
        nodes: of the region.
        inputs: what they read from outside.
        structure: the graph that they are in.
        fixed: the values that are parameters.
        run: the region as a function of its inputs.
    """
    operands = _operands(nodes[0], fixed)
    if operands is None:
        return _entrywise(nodes, inputs, structure, fixed, run)
    first, after = nodes[0], nodes[1:]
    x, w = (first.inputs[p] for p in operands)
    channels, z = channels_of_product(first, operands), first.outputs[0]
    for node in after:
        channels, z = moved_channels(node, z, channels), node.outputs[0]
    transposed = [node for node in after if node.primitive == "transpose"]
    shape = nodes[-1].outputs[0].aval.shape

    def affine(leaves: Sequence[Any]) -> Affine:
        known = dict(zip(inputs, leaves, strict=True))

        def product(x: Array, w: Array) -> Array:
            others = arrays_of(first.inputs, known)
            arrays = [jnp.zeros_like(v) if i not in operands else v for i, v in enumerate(others)]
            arrays[operands[0]], arrays[operands[1]] = x, w
            return reduce(_viewed, transposed, first.run(*arrays)[0]).reshape(shape)

        (bias,) = run(*_without(x, inputs, leaves))
        weight = jnp.asarray(arrays_of([w], known)[0])
        if after:
            y = first.outputs[0].aval
            scale = _scale(partial(_through, after, known, first.outputs[0]), jnp.zeros(y.shape, y.dtype))
            weight = weight * _aligned(scale, weight.ndim, channels).astype(weight.dtype)
        return Affine(product, weight, bias)

    return affine


def weight_of(start: Node, inputs: Sequence[Value | Constant], fixed: Collection[Value]) -> Slot | None:
    """Which of the inputs of an affine region is the weight of its product; None where it begins with none."""
    operands = _operands(start, fixed)
    return None if operands is None else Slot(jax.tree.structure(0), (inputs.index(start.inputs[operands[1]]),))


def _entrywise(
    nodes: Sequence[Node], inputs: Sequence[Any], structure: Structure, fixed: Collection[Value], run: Any
) -> Callable[[Sequence[Any]], Affine]:
    """Of a region that begins with no product: the weight has length one along axes where no factor varies."""
    x = _moving(nodes[0], fixed)
    n_axes, at = x.aval.ndim, inputs.index(x)
    axes: set[int] = set()
    for node in nodes:
        if kind_of(node) not in (*_SUMS, *_UNARY):
            factors = [v for v in node.inputs if v in fixed or isinstance(v, Constant)]
            axes = axes.union(*(varying(v, structure, n_axes) for v in factors))
    index = tuple(slice(None) if axis in axes else slice(1) for axis in range(n_axes))

    def affine(leaves: Sequence[Any]) -> Affine:
        def of_x(array: Array) -> Array:
            return run(*(array if i == at else v for i, v in enumerate(leaves)))[0]

        (bias,) = run(*_without(x, inputs, leaves))
        return Affine(jnp.multiply, _scale(of_x, jnp.zeros_like(leaves[at]))[index], bias)

    return affine


def arrays_of(values: Sequence[Value | Constant], known: Mapping[Any, Any]) -> list[Any]:
    """The arrays that stand for values; a constant that is not among them is itself."""
    return [x.content if isinstance(x, Constant) and x not in known else known[x] for x in values]


def _without(x: Value | Constant, inputs: Sequence[Any], leaves: Sequence[Any]) -> list[Any]:
    """The leaves of the inputs with zeros in the place of `x`."""
    return [jnp.zeros_like(leaf) if v is x else leaf for v, leaf in zip(inputs, leaves, strict=True)]


def _operands(node: Node, fixed: Collection[Value]) -> tuple[int, int] | None:
    """The positions of activations and weight among a product's inputs; None where that is not one of each."""
    kind = kind_of(node)
    is_product = kind in PRODUCTS if kind else isinstance(node.function, Call)
    if not is_product or len(node.inputs) < 2 or len(node.outputs) != 1:
        return None
    flags = [_is_fixed(x, fixed) for x in node.inputs]
    if flags[:2] == [False, True] and all(flags[2:]):
        return 0, 1
    if flags[:2] == [True, False] and all(flags[2:]) and node.primitive == "dot_general":
        return 1, 0
    return None


def _moving(node: Node, fixed: Collection[Value]) -> Value:
    (x,) = (x for x in node.inputs if isinstance(x, Value) and x not in fixed)
    return x


def _is_fixed(x: Value | Constant, fixed: Collection[Value]) -> bool:
    return isinstance(x, Constant) or x in fixed


def _is_entrywise(node: Node, structure: Structure, fixed: Collection[Value]) -> bool:
    """Whether a node is affine in the one activation that it reads, entry by entry."""
    moving = [x for x in node.inputs if isinstance(x, Value) and x not in fixed]
    if kind_of(node) not in ENTRYWISE or len(moving) != 1 or len(node.outputs) != 1:
        return False
    (x,), y = moving, node.outputs[0]
    is_first = node.inputs[0] is x or kind_of(node) not in ("sub", "subtract")
    every_axis = range(y.aval.ndim)
    return is_first and y.aval.shape == x.aval.shape and _is_affine(node, x, structure, fixed, every_axis)


def _is_affine(node: Node, z: Value, structure: Structure, fixed: Collection[Value], channels: Collection[int]) -> bool:
    """Whether a node takes `z` to `s * z + t`, with `s` and `t` that are parameters, `s` of one number per channel."""
    if len(node.outputs) != 1 or not node.outputs[0].is_inexact:
        return False
    kind, others, y = kind_of(node), [x for x in node.inputs if x is not z], node.outputs[0].aval
    places = kept_axes(z.aval.shape, y.shape)
    if places is None or len(others) != len(node.inputs) - 1 or not all(_is_fixed(x, fixed) for x in others):
        return False
    if kind in (*_UNARY, *_SUMS):
        return True
    if kind not in (*_FACTORS, _NORM) or (kind in _OF_FIRST and node.inputs[0] is not z):
        return False
    of_channels = {places[c] for c in channels if c in places}
    return all(varying(x, structure, y.ndim).issubset(of_channels) for x in others)


def _viewed(z: Array, view: Node) -> Array:
    """A product as a later transposition puts it, whatever axes of length one were put in before that."""
    return view.run(z.reshape(view.inputs[0].aval.shape))[0]


def _scale(f: Callable[[Array], Array], zeros: Array) -> Array:
    """The factor of each entry in a function that is affine in each.

    The derivative, and no difference `f(1) - f(0)`: beside a large mean nothing would be left of its digits.
    """
    return jax.jvp(f, (zeros,), (jnp.ones_like(zeros),))[1]


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
