"""Along which axes a product with parameters has channels, where views put them, and along which a parameter varies."""

from collections.abc import Sequence

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.registry import Call, Equation

_OF_ENTRIES = frozenset([
    "add", "add_any", "convert_element_type", "copy", "div", "max", "min", "mul", "neg", "rsqrt", "sqrt", "sub",
])  # fmt: skip


def kind_of(node: Node) -> str:
    """What a node applies: the name of a primitive of JAX's, or of an op of ours; empty where it is somebody else's."""
    if isinstance(node.function, Call):
        return node.op_name if node.function.op.__module__.startswith("funcgrad.ops") else ""
    return node.primitive


def channels_of_product(node: Node, operands: tuple[int, int]) -> list[tuple[int, int]]:
    """Pairs (axis of the weight, axis of the output) along which both run.

    Args:
        node: the product.
        operands: the positions of activations and weight among its inputs.
    """
    w, y = node.inputs[operands[1]].aval, node.outputs[0].aval
    if isinstance(node.function, Call):
        return [(w.ndim - 1, y.ndim - 1)] if w.ndim > 1 else []
    assert isinstance(node.function, Equation)
    numbers = node.function.source.params["dimension_numbers"]
    if node.primitive == "conv_general_dilated":
        return [(numbers.rhs_spec[0], numbers.out_spec[1])]
    contracted, batch = numbers
    side = operands[1]
    used = {*contracted[side], *batch[side]}
    free = [axis for axis in range(w.ndim) if axis not in used]
    start = len(batch[side]) if side == 0 else y.ndim - len(free)
    return [*zip(batch[side], range(len(batch[side])), strict=True), *zip(free, range(start, y.ndim), strict=False)]


def moved_channels(node: Node, z: Value, channels: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs after a node that is affine in `z`, or a view of it."""
    is_turned = node.primitive == "transpose"
    places = view_of(node) if is_turned else kept_axes(z.aval.shape, node.outputs[0].aval.shape)
    assert places is not None
    return [(w, places[y]) for w, y in channels if y in places]


def view_of(node: Node) -> dict[int, int] | None:
    """Where a node puts the axes longer than one, if it does nothing else: `vmap` writes such ones after products."""
    if node.primitive == "transpose" and isinstance(node.function, Equation):
        return {axis: i for i, axis in enumerate(node.function.source.params["permutation"])}
    if node.primitive not in ("reshape", "squeeze", "expand_dims", "broadcast_in_dim"):
        return None
    return kept_axes(node.inputs[0].aval.shape, node.outputs[0].aval.shape)


def kept_axes(before: Sequence[int], after: Sequence[int]) -> dict[int, int] | None:
    """Where the axes longer than one stand after others were put in or taken out; None where more is changed."""
    old, new = ([i for i, n in enumerate(shape) if n > 1] for shape in (before, after))
    return dict(zip(old, new, strict=True)) if [before[i] for i in old] == [after[i] for i in new] else None


def varying(x: Value | Constant, structure: Structure, n_axes: int) -> set[int]:
    """The axes along which a parameter may have different entries, where it is broadcast to `n_axes` axes.

    Not those that it was itself broadcast along, were it before what was made of it entry by entry.
    """
    return {n_axes - x.aval.ndim + axis for axis in _varying(x, structure)}


def _varying(x: Value | Constant, structure: Structure) -> set[int]:
    shape = x.aval.shape
    everywhere = {i for i, n in enumerate(shape) if n > 1}
    made = structure.maker(x) if everywhere else None
    if made is None or not isinstance(made.function, Equation):
        return everywhere
    if made.primitive == "broadcast_in_dim":
        (before,) = made.inputs[:1]
        axes, lengths = made.function.source.params["broadcast_dimensions"], before.aval.shape
        inner = _varying(before, structure)
        return {axes[i] for i, n in enumerate(lengths) if n > 1 and i in inner}
    if (places := view_of(made)) is not None:
        return {places[i] for i in _varying(made.inputs[0], structure) if i in places}
    if made.primitive in _OF_ENTRIES and all(v.aval.shape in ((), shape) for v in made.inputs):
        return set().union(*(_varying(v, structure) for v in made.inputs if v.aval.shape))
    return everywhere
