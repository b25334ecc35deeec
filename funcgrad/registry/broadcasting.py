"""Along which axes an argument was broadcast, and whether an op broadcasts as it declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import jax.numpy as jnp

from funcgrad.aliases import Aval
from funcgrad.errors import RuleError, describe

Shape = tuple[int, ...]


def broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether an array of a shape can be broadcast to another, as numpy does it."""
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


@dataclass(frozen=True)
class Room:
    """The shapes to which an op may have broadcast its arguments: those of its outputs and of its other arguments.

    A rule may return the cotangent of an argument before it is summed over the axes along which the argument was
    broadcast. An axis that neither an output nor another argument has is none of those.
    """

    outputs: tuple[Shape, ...]
    arguments: tuple[Shape, ...]
    core_axes: int | None = None
    """How many last axes are not broadcast, in an op that broadcasts those in front as `matmul` does."""

    def explains(self, shape: Shape, found: Shape) -> bool:
        """Whether an argument of a `shape` may have been broadcast to the shape that was `found`."""
        if not broadcasts(shape, found):
            return False
        if found in self.outputs or prod(found) == prod(shape):  # or axes of one entry: nothing is summed
            return True
        joint = [s for other in (*self.outputs, *self.arguments) if (s := _joint(shape, other)) is not None]
        if (of_all := _joint(*self.arguments)) is not None:
            joint.append(of_all)
        if any(broadcasts(found, s) for s in joint):
            return True
        # x[B, i, k] @ w[k, j] gives y[B, i, j]: w was broadcast to [B, k, j], whose last two axes are w's own.
        n = self.core_axes or 0
        keeps_core = 0 < n <= len(shape) and found[-n:] == shape[-n:]
        return keeps_core and any(broadcasts(found[:-n], s[:-n]) for s in self.outputs)


def _joint(*shapes: Shape) -> Shape | None:
    try:
        return jnp.broadcast_shapes(*shapes)
    except ValueError:
        return None


def check_core(where: str, core_axes: int, arguments: Sequence[Aval], outputs: Sequence[Aval]) -> None:
    """RuleError unless the outputs have the axes that come of broadcasting all but the last `core_axes`."""
    cores = [a.shape[: len(a.shape) - core_axes] for a in arguments if len(a.shape) >= core_axes]
    if not cores or len(cores) < len(arguments):  # then a batch axis is not absorbed either
        return
    batch = _joint(*cores)
    for output in outputs:
        found = output.shape if core_axes == 0 else output.shape[: len(batch or ())]
        if found != batch:
            raise RuleError(
                f"{where}: {declared(core_axes)} promises that {_listed(arguments)} are broadcast as numpy does it, "
                f"got an output of {describe(output)}; broadcast it, or leave out {declared(core_axes)}."
            )


def check_absorbed(where: str, promise: str, size: int, before: Sequence[Aval], after: Sequence[Aval]) -> None:
    """RuleError unless an axis that was put in front of the arguments stands in front of the outputs."""
    for old, new in zip(before, after, strict=True):
        if new.shape != (size, *old.shape):
            raise RuleError(
                f"{where}: {promise} promises that with one axis more, of {size}, the op returns "
                f"{describe(old.update(shape=(size, *old.shape)))}, got {describe(new)}; "
                f"mend the shape, or leave out {promise}."
            )


def declared(core_axes: int) -> str:
    """How an op declares it."""
    return f"core_axes={core_axes}" if core_axes else "elementwise=True"


def _listed(avals: Sequence[Aval]) -> str:
    return ", ".join(map(describe, avals))
