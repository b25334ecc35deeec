"""A call of the user's function, as the rest of funcgrad sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ArrayCall:
    """A function and its arguments, with pytrees of arrays where the user passed modules.

    An argument that is differentiated holds only what its library differentiates; the rest of it is a keyword
    argument of the same name. `fun` puts the modules together again.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    has_aux: bool
    """Whether `fun` returns a pair: where the user's does, and where modules may change while they run."""
    is_pure: bool
    """Whether changes of the modules are left out of what `fun` returns."""
    close: Callable[[Any], Any]
    """From what came out as the auxiliary output to the user's own; hands the modules their new state.

    To be called last, when nothing can fail any more.
    """

    def is_complete(self, out: Any) -> bool:
        """Whether the user's function returned a pair where it should; if not, the caller will complain about it."""
        return not self.has_aux or (isinstance(out, tuple) and len(out) == 2)


def rest_key(name: str, kwargs: dict[str, Any]) -> str:
    """The keyword for the rest of the positional argument `name`: its name, so that its leaves' paths start alike."""
    while name in kwargs:
        name += "_"
    return name


def unchanged(auxiliary: Any) -> Any:
    """Close a call that has nothing to hand back."""
    return auxiliary


def replace_item(items: Sequence[Any], position: int, item: Any) -> tuple[Any, ...]:
    """A tuple with another item at `position`."""
    return (*items[:position], item, *items[position + 1 :])
