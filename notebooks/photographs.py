"""Pictures for the notebooks, made of photographs that come with scikit-image and scikit-learn; none is downloaded."""

import itertools

import numpy as np
from skimage import data
from skimage.transform import resize
from sklearn.datasets import load_sample_image

PLACES = {  # the photograph, and where in it the thing is: top, bottom, left, right
    "astronaut": ("astronaut", (5, 265, 125, 325)),
    "shuttle": ("astronaut", (0, 260, 365, 460)),
    "cat": ("cat", (0, 300, 70, 400)),
    "coffee": ("coffee", (10, 370, 60, 500)),
    "flower": ("flower", (75, 360, 160, 455)),
    "temple": ("temple", (20, 425, 60, 380)),
    "motorcycle": ("motorcycle", (100, 455, 90, 660)),
}
THINGS = tuple(PLACES)


def load():
    """The photographs by name, f32[height, width, 3] in [0, 1]."""
    left, _, _ = data.stereo_motorcycle()
    found = {
        "astronaut": data.astronaut(),
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "flower": load_sample_image("flower.jpg"),
        "temple": load_sample_image("china.jpg"),
        "motorcycle": left,
        "launch": data.rocket(),
        "galaxies": data.hubble_deep_field(),
        "tissue": data.immunohistochemistry(),
    }
    return {name: photograph.astype(np.float32) / 255 for name, photograph in found.items()}


def scaled(photograph, height):
    """A photograph, smaller."""
    width = round(photograph.shape[1] * height / photograph.shape[0])
    return resize(photograph, (height, width), anti_aliasing=True).astype(np.float32)


def scenes(photographs, count, size=64, seed=0):
    """Things, each cut out and put somewhere on a piece of a photograph that has none of them in it.

    Args:
        photographs: from `load`.
        count: how many.
        size: side of a scene, in pixels.
        seed: of what is drawn: thing, background, size, place, mirroring, light.

    Returns:
        The scenes, f32[count, size, size, 3] in [0, 1]; which thing is in each, an index of `THINGS`; and its box, as
        in `PLACES`.
    """
    rng = np.random.default_rng(seed)
    cut_outs, backgrounds = _cut_outs(photographs), _backgrounds(photographs, size)
    pictures = np.empty((count, size, size, 3), np.float32)
    labels, boxes = rng.integers(len(THINGS), size=count), np.empty((count, 4), int)
    for i, label in enumerate(labels):
        squares = backgrounds[rng.integers(len(backgrounds))]
        picture = squares[rng.integers(len(squares))][:, :: rng.choice((-1, 1))].copy()
        thing, opacity = cut_outs[THINGS[label]][rng.integers(len(SIZES))]
        thing = thing[:, :: rng.choice((-1, 1))] * rng.uniform(0.8, 1.2, 3).astype(np.float32)
        height, width, _ = thing.shape
        top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
        boxes[i] = top, top + height, left, left + width
        under = picture[top : top + height, left : left + width]
        under += opacity * (thing - under)
        pictures[i] = np.clip(picture * rng.uniform(0.7, 1.2), 0, 1)
    return pictures, labels, boxes


SIZES = (24, 30, 38, 48, 60)
"""Longer sides of what is cut out, in pixels."""


def _cut_outs(photographs):
    """Each thing in each size, with its opacity: an ellipse with a soft edge."""
    found = {}
    for name, (photograph, (top, bottom, left, right)) in PLACES.items():
        piece, found[name] = photographs[photograph][top:bottom, left:right], []
        for longer in SIZES:
            small = scaled(piece, round(longer * min(1, piece.shape[0] / piece.shape[1])))
            y, x = (np.linspace(-1, 1, n) for n in small.shape[:2])
            opacity = np.clip(4 * (1.1 - np.hypot(y[:, None], x)), 0, 1)[..., None].astype(np.float32)
            found[name].append((small, opacity))
    return found


def _backgrounds(photographs, size):
    """Squares with next to nothing of a thing in them, of each photograph in two sizes that has any."""
    found = []
    for name, photograph in photographs.items():
        has_thing = np.zeros(photograph.shape[:2], bool)
        for source, (top, bottom, left, right) in PLACES.values():
            if source == name:
                has_thing[top:bottom, left:right] = True
        for height in (3 * size // 2, 3 * size):
            small = scaled(photograph, height)
            rows, columns = (np.arange(n) * m // n for n, m in zip(small.shape, has_thing.shape, strict=False))
            mask = has_thing[np.ix_(rows, columns)]
            corners = itertools.product(*(range(0, n - size + 1, 4) for n in mask.shape))
            squares = [np.s_[top : top + size, left : left + size] for top, left in corners]
            if free := [small[square] for square in squares if mask[square].mean() < 0.03]:
                found.append(free)
    return found


def square(photograph, size):
    """The middle of a photograph, f32[size, size, 3]."""
    height, width, _ = photograph.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return scaled(photograph[top : top + side, left : left + side], size)
