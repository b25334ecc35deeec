"""A network in another library."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Peer:
    """A loss on this library's own parameters, and how ours become them."""

    loss: Callable[..., Any]
    """`loss(params, *batch)`, or `(loss, new state)` where there is state."""
    convert: Callable[[Any], Any]
    """From our parameters to the library's: moving and transposing entries only, so it converts gradients as well."""
    batch: tuple[Any, ...]


def projections(block: Any) -> dict[str, jax.Array]:
    """The three parts of our `qkv[d, 3 d]`."""
    d = block["qkv"].shape[0]
    return {name: block["qkv"][:, i * d : (i + 1) * d] for i, name in enumerate(("query", "key", "value"))}
