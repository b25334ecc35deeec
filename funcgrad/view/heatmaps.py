"""An attribution drawn over its input, by matplotlib."""

from typing import Any

import numpy as np

from funcgrad.errors import ShapeError, describe
from funcgrad.view.figures import axes_of

SIGNED = "RdBu_r"
"""ColorBrewer's red (for) and blue (against), which those who are colour-blind tell apart; white is 0."""


def heatmap(
    attribution: Any, x: Any = None, *, channel: int | None = None, limit: float | None = None, ax: Any = None
) -> Any:
    """Draw an attribution over its input: red for what speaks for the output, blue for what speaks against it.

    Needs matplotlib (`pip install 'funcgrad[examples]'`).

    Args:
        attribution: `[height, width]`, with one more axis for channels, which are summed; or `[length]` for a signal. A
            smaller one than the input, as Grad-CAM's, is stretched over it.
        x: the input, of as many axes, drawn in grey below; nothing if None.
        channel: which axis is the channels'; by default the last, of an attribution or input that has three.
        limit: what has the full colour; by default the largest magnitude.
        ax: the axes of matplotlib to draw in; a new figure's by default.

    Returns:
        The figure.

    Raises:
        MissingError: matplotlib is not installed.
        ShapeError: a shape is none of these, or an entry is no finite number.

    Example:
        >>> x = jnp.linspace(0.0, 1.0, 64).reshape(8, 8)
        >>> figure = fg.view.heatmap(fg.grad(lambda x: jnp.sum((x - 0.5) ** 2))(x), x)
        >>> figure.axes[0].images[-1].get_clim()
        (-1.0, 1.0)
    """
    n = max(np.ndim(a) for a in (attribution, x) if a is not None)
    n -= channel is not None or n == 3
    values = _plane("attribution", attribution, n, channel)
    below = None if x is None else _plane("input", x, n, channel, mean=True)
    if below is not None and below.ndim != values.ndim:
        raise ShapeError(
            f"heatmap: expected an attribution and an input of as many axes besides channels, got "
            f"{describe(attribution)} and {describe(x)}."
        )
    ax = axes_of("heatmap", ax)
    largest = float(np.max(np.abs(values), initial=0.0)) if limit is None else limit
    draw = _draw_signal if values.ndim == 1 else _draw_image
    drawn = draw(ax, values, below, largest or 1.0)
    ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
    return ax.figure


def _plane(what: str, array: Any, n: int, channel: int | None, mean: bool = False) -> np.ndarray:
    """An array without its channels, which it has if it has more than `n` axes, in float64.

    Raises:
        ShapeError: it has other axes, or is not finite.
    """
    plane = np.asarray(array, np.float64)
    if plane.ndim > n:
        axis = -1 if channel is None else channel
        plane = plane.mean(axis) if mean else plane.sum(axis)
    if plane.ndim not in (1, 2):
        raise ShapeError(
            f"heatmap: expected one {what}, [height, width], [height, width, channels] or [length], got "
            f"{describe(array)}; draw the examples of a batch one by one."
        )
    if not np.isfinite(plane).all():
        raise ShapeError(
            f"heatmap: expected finite numbers, and of the {what} {describe(array)} some are not; see fg.blame."
        )
    return plane


def _draw_image(ax: Any, values: np.ndarray, below: np.ndarray | None, limit: float) -> Any:
    """A picture, in grey, and the signed map over it, opaque where it is strong."""
    height, width = values.shape if below is None else below.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if below is not None:
        ax.imshow(below, cmap="gray", extent=extent, interpolation="nearest")
    opacity = None if below is None else np.clip(np.abs(values) / limit, 0, 1)
    drawn = ax.imshow(
        values, cmap=SIGNED, vmin=-limit, vmax=limit, alpha=opacity, extent=extent, interpolation="nearest"
    )
    ax.set_axis_off()
    return drawn


def _draw_signal(ax: Any, values: np.ndarray, below: np.ndarray | None, limit: float) -> Any:
    """A strip of colours, and the signal as a line over it."""
    signal = np.zeros_like(values) if below is None else below
    low, high = (float(signal.min()), float(signal.max())) if signal.size else (0.0, 0.0)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    extent = (-0.5, len(signal) - 0.5, low, high)
    drawn = ax.imshow(
        values[None], cmap=SIGNED, vmin=-limit, vmax=limit, extent=extent, aspect="auto", interpolation="nearest"
    )
    if below is not None:
        ax.plot(np.arange(len(below)), below, color="black", linewidth=1)
    return drawn
