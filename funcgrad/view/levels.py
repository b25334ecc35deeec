"""Memory over the two passes, and the curve of what less of it costs, drawn by matplotlib."""

from collections.abc import Sequence
from typing import Any

from funcgrad.view.figures import axes_of
from funcgrad.view.words import quantity

PHASES = {"forward": "#0072b2", "again": "#e69f00", "reverse": "#009e73"}
"""Okabe and Ito's colours, which those who are colour-blind tell apart."""


def draw_levels(moments: Sequence[tuple[str, str, int]], at_peak: Sequence[str], ax: Any = None) -> Any:
    """Draw bytes over the moments of two passes, the highest one named.

    Args:
        moments: `(node, phase, bytes)` in order; the phase `forward`, `again` or `reverse`.
        at_peak: lines beside the highest moment.
        ax: the axes of matplotlib to draw in; a new figure's by default.

    Returns:
        The figure.

    Raises:
        MissingError: matplotlib is not installed.
    """
    ax = axes_of("a picture of memory", ax)
    levels = [size for *_, size in moments]
    for phase, colour in PHASES.items():
        places = [i for i, moment in enumerate(moments) if moment[1] == phase]
        if places:
            ax.bar(places, [levels[i] for i in places], width=1.0, color=colour, label=phase)
    if levels:
        summit = levels.index(max(levels))
        ax.plot(summit, levels[summit], "v", color="black")
        said = [f"{quantity(levels[summit], 'B')} at {moments[summit][0]}", *at_peak]
        ax.set_title("\n".join(said), loc="left", fontsize="small")
        ax.legend()
    ax.set_xlabel("nodes, in the order in which they run")
    ax.yaxis.set_major_formatter(lambda size, _: quantity(size, "B"))
    return ax.figure


def draw_curve(choices: Sequence[tuple[int, float]], chosen: tuple[int, float], ax: Any = None) -> Any:
    """Draw what running again costs over the peaks that can be had.

    Args:
        choices: `(peak, overhead)`, overheads as shares of one forward pass.
        chosen: the one that is marked.
        ax: the axes of matplotlib to draw in; a new figure's by default.

    Returns:
        The figure.

    Raises:
        MissingError: matplotlib is not installed.
    """
    ax = axes_of("a curve of memory", ax)
    peaks, overheads = zip(*choices, strict=True)
    ax.step(peaks, [100 * overhead for overhead in overheads], where="post", color=PHASES["forward"])
    ax.plot(chosen[0], 100 * chosen[1], "o", color=PHASES["again"])
    ax.set_xlabel("peak")
    ax.set_ylabel("% of one forward pass run again")
    ax.xaxis.set_major_formatter(lambda size, _: quantity(size, "B"))
    return ax.figure
