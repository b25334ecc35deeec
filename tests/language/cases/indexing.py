"""Reading and writing at places: slices and arrays of indices, gather and scatter, segments."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import distinct, integers, normal, positive, ties

FAMILY = Family("indexing")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax

_ROWS = np.array([[0], [2], [2]], np.int32)
_OUTSIDE = np.array([[0], [7], [-1]], np.int32)
case(
    "lax.dynamic_slice",
    normal(5, 4),
    np.int32(1),
    np.int32(2),
    call=lambda x, i, j: lax.dynamic_slice(x, (i, j), (2, 2)),
)
case(
    "lax.dynamic_slice",
    normal(5, 4),
    np.int32(9),
    np.int32(-1),
    call=lambda x, i, j: lax.dynamic_slice(x, (i, j), (2, 2)),
    label="clamped",
)
case("lax.dynamic_slice_in_dim", normal(5, 4), np.int32(1), slice_size=2, axis=1)
case("lax.dynamic_index_in_dim", normal(5, 4), np.int32(1), axis=1)
case("lax.index_in_dim", normal(5, 4), index=2, axis=1)
case("lax.index_take", normal(5, 4), idxs=(np.array([0, 3, 3]),), axes=(0,))
case(
    "lax.dynamic_update_slice",
    normal(5, 4),
    normal(2, 2),
    np.int32(1),
    np.int32(2),
    call=lambda x, u, i, j: lax.dynamic_update_slice(x, u, (i, j)),
)
case("lax.dynamic_update_slice_in_dim", normal(5, 4), normal(5, 1), np.int32(3), axis=1)
case("lax.dynamic_update_index_in_dim", normal(5, 4), normal(5), np.int32(3), axis=1)

_GATHER = dict(dimension_numbers=lax.GatherDimensionNumbers((1,), (0,), (0,)), slice_sizes=(1, 4))
case("lax.gather", normal(5, 4), _ROWS, **_GATHER)
for gather_mode in ("clip", "fill", "promise_in_bounds"):
    indices = _ROWS if gather_mode.startswith("promise") else _OUTSIDE
    case("lax.gather", normal(5, 4), indices, **_GATHER, mode=gather_mode, label=gather_mode, slow=True)
case(
    "lax.gather",
    normal(3, 5),
    np.array([[1], [0], [4]], np.int32),
    dimension_numbers=lax.GatherDimensionNumbers((), (1,), (1,), (0,), (0,)),
    slice_sizes=(1, 1),
    label="batched",
)
_SCATTER = dict(dimension_numbers=lax.ScatterDimensionNumbers((1,), (0,), (0,)))
each("lax", "scatter scatter_add scatter_sub", normal(5, 4), _ROWS, normal(3, 4), **_SCATTER)
each(
    "lax",
    "scatter_mul",
    normal(5, 4),
    np.array([[0], [2], [4]], np.int32),
    positive(3, 4),
    **_SCATTER,
    unique_indices=True,
)
each("lax", "scatter_min scatter_max", normal(5, 4), _ROWS, normal(3, 4), **_SCATTER)
each("lax", "scatter_min scatter_max", ties(5, 4), _ROWS, ties(3, 4), **_SCATTER, label="ties")
for scatter_mode in ("clip", "drop"):
    each(
        "lax",
        "scatter scatter_add",
        normal(5, 4),
        _OUTSIDE,
        normal(3, 4),
        **_SCATTER,
        mode=scatter_mode,
        label=scatter_mode,
        slow=True,
    )
case(
    "lax.scatter_apply",
    normal(5, 4),
    np.array([[0], [2]], np.int32),
    call=lambda x, i: lax.scatter_apply(
        x, i, jnp.sin, _SCATTER["dimension_numbers"], update_shape=(2, 4), unique_indices=True
    ),
    raises="a function applied in place",
)

_READS = {
    "integer": lambda x: x[2],
    "slice": lambda x: x[1::2, ::-1],
    "array": lambda x: x[np.array([0, -1, 0])],
    "two arrays": lambda x: x[np.array([0, 1]), np.array([[2], [0]])],
    "mixed": lambda x: x[:, None, np.array([0, 2]), ...],
    "boolean": lambda x: x[np.array([True, False, True, True, False])],
    "outside": lambda x: x.at[np.array([9])].get(mode="fill", fill_value=0.0),
}
for label, read in _READS.items():
    case("lax.gather", normal(5, 4), call=read, label=f"x[{label}]", slow=label in ("integer", "array"))
for method in ("set", "add", "subtract", "multiply", "divide", "power", "min", "max"):
    case(
        "lax.scatter",
        positive(5, 4),
        positive(2, 4),
        call=lambda x, u, method=method: getattr(x.at[np.array([0, 3])], method)(u, unique_indices=True),
        label=f"x.at.{method}",
        slow=method in ("set", "subtract"),
        tolerance=64,
    )
case("lax.scatter", normal(5), normal(3), call=lambda x, u: x.at[np.array([1, 1, 4])].set(u), label="x.at.set repeated")
case(
    "lax.scatter_apply",
    normal(5),
    call=lambda x: x.at[np.array([0, 3])].apply(jnp.tanh),
    label="x.at.apply",
    raises="a function applied in place",
)
case("numpy.take", normal(5, 4), np.array([0, 3, 3]), axis=0)
case("numpy.take", normal(5, 4), np.array([0, -2, 9]), axis=1, mode="wrap", label="wrap", slow=True)
case("numpy.take_along_axis", normal(3, 4), integers(4, 3, 2), axis=1)
case(
    "numpy.put_along_axis",
    normal(3, 4),
    np.array([[0], [2], [1]]),
    normal(3, 1),
    call=lambda x, i, v: jnp.put_along_axis(x, i, v, axis=1, inplace=False),
)
case("numpy.put", normal(5), np.array([0, 2]), normal(2), call=lambda x, i, v: jnp.put(x, i, v, inplace=False))
case(
    "numpy.place",
    normal(5),
    normal(2),
    call=lambda x, v: jnp.place(x, np.array([True, False, True, False, False]), v, inplace=False),
)
case("numpy.compress", normal(3, 4), call=lambda x: jnp.compress(np.array([True, False, True]), x, axis=0, size=2))
case("numpy.extract", normal(4), call=lambda x: jnp.extract(np.array([True, False, True, False]), x, size=2))
case(
    "numpy.searchsorted numpy.digitize",
    distinct(4),
    normal(3),
    call=lambda a, v: (jnp.searchsorted(jnp.sort(a), v), jnp.digitize(v, jnp.sort(a))),
)
case(
    "numpy.nonzero numpy.argwhere numpy.flatnonzero",
    ties(6),
    call=lambda x: (jnp.nonzero(x, size=4), jnp.argwhere(x, size=3), jnp.flatnonzero(x, size=3)),
)
case("numpy.unique", ties(6), size=3)
case(
    "numpy.unique_values numpy.unique_all numpy.unique_counts numpy.unique_inverse",
    ties(6),
    call=lambda x: (
        jnp.unique_values(x, size=3),
        jnp.unique_all(x, size=3),
        jnp.unique_counts(x, size=3),
        jnp.unique_inverse(x, size=3),
    ),
)
case("numpy.union1d", ties(4), ties(4), size=4)
each("numpy", "intersect1d setdiff1d setxor1d", distinct(4), distinct(4), size=3)
case("numpy.isin", normal(4), normal(3))
each("ops", "segment_sum segment_max segment_min", normal(5, 2), np.array([0, 2, 2, 0, 3]), num_segments=4)
case("ops.segment_sum", normal(5), np.array([0, 0, 1, 3, 3]), num_segments=4, indices_are_sorted=True, label="sorted")
case("ops.segment_max", ties(6), np.array([0, 0, 1, 1, 1, 1]), num_segments=3, label="ties")
case("ops.segment_prod", normal(3, 2), np.array([0, 2, 3]), num_segments=4, unique_indices=True)
case(
    "ops.segment_prod",
    normal(3, 2),
    np.array([0, 2, 2]),
    num_segments=4,
    label="repeated",
    raises="a product over indices that may repeat",
)
each("image", "resize", normal(5, 4), shape=(8, 3), method="bilinear", tolerance=64)
for resize_method in ("nearest", "cubic", "lanczos3"):
    case("image.resize", normal(5, 4), shape=(8, 3), method=resize_method, label=resize_method, tolerance=64, slow=True)
case(
    "image.scale_and_translate",
    normal(5, 4),
    positive(2),
    normal(2),
    call=lambda x, scale, by: jax.image.scale_and_translate(x, (6, 6), (0, 1), scale, by, "linear"),
    tolerance=256,
)
case("scipy.ndimage.map_coordinates", normal(4, 5), [positive(3), positive(3)], order=1, tolerance=64)
