"""The figure that a picture is drawn in, by matplotlib."""

from typing import Any

from funcgrad.errors import MissingError


def axes_of(what: str, ax: Any = None) -> Any:
    """Those that are given, or a new figure's.

    Raises:
        MissingError: matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure  # no pyplot: no display, and nothing stays open
    except ImportError:
        raise MissingError(f"{what} needs matplotlib; pip install 'funcgrad[examples]'.") from None
    return Figure(layout="constrained").subplots()
