"""How a call takes in a batch axis, when `jax.vmap` puts one on its arguments."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.naming import name_here
from funcgrad.primitive import Level, current_context, is_current, is_plain
from funcgrad.registry.broadcasting import check_absorbed, declared

if TYPE_CHECKING:
    from funcgrad.registry.call import Call, Outline


def absorb(call: "Call", leaves: list[Array], level: Level) -> tuple["Call", list[Array], list[bool]]:
    """Take in a batch axis: as one axis more where the op declares that it can, else as a level.

    Returns the call, its arguments, and which of its outputs (and saved values) have the axis in front.
    """
    absorbed = _align_leaves(call, leaves, level)
    if absorbed is not None:
        here = replace(call, context=current_context())
        return here, absorbed, _check_absorbed(call, leaves, level, here.outline([jax.typeof(x) for x in absorbed]))
    deeper = replace(call, levels=(level, *call.levels), axes=call.axes - {level.axis_name})
    return deeper, leaves, [True] * len(deeper.output_avals([jax.typeof(x) for x in leaves]))


def _align_leaves(call: "Call", leaves: list[Array], level: Level) -> list[Array] | None:
    """The arguments of the op with one axis more; None where it does not declare that this is the same.

    Nor is it the same where the op would be traced anew in another context, or has a place along the axis.
    """
    if call.levels or level.axis_name is not None or not is_current(call.context):
        return None
    ranks = [np.ndim(x) - flag for x, flag in zip(leaves, level.batched, strict=True)]
    if call.op.core_axes is not None and min(ranks) >= call.op.core_axes:
        return _align(leaves, level.batched, max(ranks))
    leading = {p for a in call.op.leading for p in call.argument_slots[a].positions}
    if not all(i in leading for i, flag in enumerate(level.batched) if flag):
        return None
    return [
        jnp.broadcast_to(x, (level.size, *x.shape)) if i in leading and not flag else x
        for i, (x, flag) in enumerate(zip(leaves, level.batched, strict=True))
    ]


def _check_absorbed(call: "Call", leaves: list[Array], level: Level, after: "Outline") -> list[bool]:
    """Which outputs and saved values have the absorbed axis; RuleError unless all outputs have."""
    avals = [jax.typeof(x) for x in leaves]
    if not all(map(is_plain, avals)):
        return [True] * len(after.avals)
    _, examples = call.peel((level,), avals)
    before, n = call.outline(examples), after.n_outputs
    where, core_axes = name_here(call.name), call.op.core_axes
    promise = declared(core_axes) if core_axes is not None else f"leading={call.op.leading}"
    check_absorbed(where, promise, level.size, before.avals[:n], after.avals[:n])
    # A saved value may be of one argument alone, which has not the axis.
    saved = zip(before.avals[n:], after.avals[n:], strict=True)
    return [True] * n + [len(new.shape) > len(old.shape) for old, new in saved]


def _align(leaves: Sequence[Array], batched: tuple[bool, ...], rank: int) -> list[Array]:
    """Insert axes after the batch axis, so that numpy broadcasting lines up as it did per example."""
    return [
        jnp.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim + 1), *x.shape[1:])) if flag else x
        for x, flag in zip(leaves, batched, strict=True)
    ]
