"""What code that is not ours raises while a pass is planned: the rule of a custom derivative, JAX's own rules."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from funcgrad.errors import FuncgradError, GradientError
from funcgrad.graph import Node


class LostError(GradientError):
    """A rule closes over an array of a trace that has ended."""

    def __init__(self, node: Node):
        super().__init__(
            f"{where(node)}: a rule of its derivative closes over an array of another trace, which has ended when the "
            f"rule runs; pass the array to the function as an argument."
        )


@contextmanager
def answering_for(node: Node) -> Iterator[None]:
    """GradientError, of one sentence with the node and its line, for what the code inside raises.

    What is ours says itself where it was raised.
    """
    try:
        yield
    except FuncgradError:
        raise
    except jax.errors.UnexpectedTracerError as error:
        raise LostError(node) from error
    except Exception as error:
        lines = [line.strip() for line in str(error).strip().splitlines()]
        # A first line that ends in a colon says nothing without what follows.
        first = " ".join(lines) if lines and lines[0].endswith(":") else "".join(lines[:1])
        said = f"{type(error).__name__}: {first}" if first else type(error).__name__
        raise GradientError(f"{where(node)}: what its derivative is made by raised {said.rstrip('.')}.") from error


def where(node: Node) -> str:
    """The node, and its line where it is known."""
    return f"{node.name} at {node.line}" if node.line else node.name
