"""Memory over the passes, drawn: what is in the figure, without a display."""

import sys

import pytest

import funcgrad as fg
from funcgrad.errors import MissingError
from tests.raising import raises_sentence

pytest.importorskip("matplotlib", reason="pip install 'funcgrad[examples]'")
MOMENTS = [("a", "forward", 1000), ("b", "forward", 3000), ("a", "again", 2000), ("b", "reverse", 3500)]


def test_each_moment_is_a_bar_of_its_phase_and_the_peak_is_named():
    ax = fg.view.draw_levels(MOMENTS, ["2 kB h (kept for b)"]).axes[0]
    heights = {c.get_label(): [(bar.get_x() + 0.5, bar.get_height()) for bar in c] for c in ax.containers}
    assert heights == {"forward": [(0, 1000), (1, 3000)], "again": [(2, 2000)], "reverse": [(3, 3500)]}
    assert ax.get_title(loc="left") == "3.5 kB at b\n2 kB h (kept for b)"
    assert [list(line.get_xydata()[0]) for line in ax.lines] == [[3, 3500]]


def test_nothing_is_drawn_as_nothing():
    assert fg.view.draw_levels([], []).axes[0].containers == []


def test_the_curve_is_in_percent_and_one_choice_is_marked():
    ax = fg.view.draw_curve([(4000, 0.0), (2000, 0.25)], (2000, 0.25)).axes[0]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[4000, 0], [2000, 25]], [[2000, 25]]]
    assert ax.xaxis.get_major_formatter()(2000, 0) == "2 kB"


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw, what in ((fg.view.draw_levels, "a picture of memory"), (fg.view.draw_curve, "a curve of memory")):
        with raises_sentence(MissingError, rf"{what} needs matplotlib; pip install 'funcgrad\[examples\]'\."):
            draw([("a", "forward", 1)] if draw is fg.view.draw_levels else [(1, 0.0)], (1, 0.0))
