"""What code that is not ours raises while a pass is planned: the rule of a custom derivative, JAX's own rules."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from funcgrad.errors import FuncgradError, GradientError, said_by
from funcgrad.graph import Node


class LostError(GradientError):
    """A rule closes over an array that is not there when the rule runs: of a trace that has ended, if nothing else."""

    def __init__(
        self,
        node: Node,
        reader: str = "a rule of its derivative",
        what: str = "an array of another trace, which has ended when the rule runs",
    ):
        super().__init__(f"{where(node)}: {reader} closes over {what}; pass the array to the function as an argument.")


@contextmanager
def errors_from(node: Node) -> Iterator[None]:
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
        raise GradientError(f"{where(node)}: what its derivative is made by raised {said_by(error)}.") from error


def where(node: Node) -> str:
    """The node, and its line where it is known."""
    return f"{node.name} at {node.line}" if node.line else node.name
