"""Attributions drawn: what is in the figure, without a display; and what is refused."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import MissingError, ShapeError
from tests.raising import raises_sentence
from tests.test_docstrings import examples_of, failures

matplotlib = pytest.importorskip("matplotlib", reason="pip install 'funcgrad[examples]'")
IMAGE = np.linspace(0.0, 1.0, 48).reshape(4, 4, 3)
SIGNED = np.arange(-6.0, 10.0).reshape(4, 4)


def pictures(figure):
    return figure.axes[0].images


def test_a_signed_map_over_a_grey_image(tmp_path):
    figure = fg.view.heatmap(jnp.asarray(SIGNED), jnp.asarray(IMAGE))
    below, over = pictures(figure)
    np.testing.assert_allclose(below.get_array(), IMAGE.mean(-1))
    assert below.get_cmap().name == "gray"
    np.testing.assert_array_equal(over.get_array(), SIGNED)
    assert over.get_clim() == (-9, 9)
    np.testing.assert_allclose(over.get_alpha(), np.abs(SIGNED) / 9)
    figure.savefig(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000
    assert "matplotlib.pyplot" not in sys.modules or not matplotlib.pyplot.get_fignums()


def test_red_is_for_and_blue_against_and_nothing_is_white():
    drawn = pictures(fg.view.heatmap(SIGNED))[0]
    against, nothing, speaks_for = (np.array(drawn.to_rgba(v))[:3] for v in (-9, 0, 9))
    assert speaks_for[0] > 2 * speaks_for[2]
    assert against[2] > 2 * against[0]
    assert nothing.min() > 0.95


def test_channels_limits_and_axes_of_the_user():
    axes = matplotlib.figure.Figure().subplots(1, 2)
    figure = fg.view.heatmap(np.moveaxis(IMAGE, -1, 0), np.moveaxis(IMAGE, -1, 0), channel=0, limit=2.0, ax=axes[1])
    assert figure is axes[1].figure
    assert not axes[0].images
    below, over = axes[1].images
    np.testing.assert_allclose(below.get_array(), IMAGE.mean(-1))
    np.testing.assert_allclose(over.get_array(), IMAGE.sum(-1))
    assert over.get_clim() == (-2, 2)


def test_a_smaller_map_is_stretched_and_zeros_are_drawn():
    below, over = pictures(fg.view.heatmap(np.zeros((2, 2)), IMAGE))
    assert list(below.get_extent()) == list(over.get_extent()) == [-0.5, 3.5, 3.5, -0.5]
    assert over.get_clim() == (-1, 1)


@pytest.mark.parametrize("axes", [((4, 4), (3, 8, 8)), ((3, 4, 4), (8, 8))])
def test_channels_of_the_input_alone_or_of_the_map_alone(axes):
    figure = fg.view.heatmap(*(np.ones(shape) for shape in axes), channel=0)
    assert [image.get_array().ndim for image in figure.axes[0].images] == [2, 2]


def test_a_signal_is_a_line_over_a_strip():
    figure = fg.view.heatmap(np.array([-1.0, 2.0]), np.array([5.0, 7.0, 6.0]))
    np.testing.assert_array_equal(pictures(figure)[0].get_array(), [[-1, 2]])
    assert list(pictures(figure)[0].get_extent()) == [-0.5, 2.5, 5, 7]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [5, 7, 6])
    assert not fg.view.heatmap(np.ones(3)).axes[0].lines


def test_what_cannot_be_drawn(monkeypatch):
    with raises_sentence(
        ShapeError,
        r"heatmap: expected one attribution, \[height, width\], \[height, width, channels\] or \[length\], got "
        r"f64\[2,4,4,3\]; draw the examples of a batch one by one\.",
    ):
        fg.view.heatmap(np.zeros((2, 4, 4, 3)))
    with raises_sentence(
        ShapeError,
        r"heatmap: expected an attribution and an input of as many axes besides channels, got f64\[3\] and "
        r"f64\[4,4,3\]\.",
    ):
        fg.view.heatmap(np.zeros(3), IMAGE)
    with raises_sentence(
        ShapeError, r"heatmap: expected finite numbers, and of the attribution f64\[2\] some are not; see fg\.blame\."
    ):
        fg.view.heatmap(np.array([0.0, np.nan]))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with raises_sentence(MissingError, r"heatmap needs matplotlib; pip install 'funcgrad\[examples\]'\."):
        fg.view.heatmap(SIGNED)


def test_its_example_prints_what_it_says():
    test = examples_of(fg.view, "heatmap")
    assert test.examples
    assert not failures(test)
