"""Products that contract axes: matrix products, einsum, convolution, correlation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import normal

FAMILY = Family("products")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax

case("lax.dot", normal(3, 4), normal(4, 2))
case("lax.dot", normal(4), normal(4), label="vectors")
case("lax.batch_matmul", normal(2, 3, 4), normal(2, 4, 5))
case("lax.dot_general", normal(2, 3, 4), normal(4, 2, 5), dimension_numbers=(((2,), (0,)), ((0,), (1,))))
case("lax.dot_general", normal(3, 4), normal(4, 3), dimension_numbers=(((0, 1), (1, 0)), ((), ())), label="two axes")
case("lax.dot_general", normal(3, 4), normal(5), dimension_numbers=(((), ()), ((), ())), label="outer", slow=True)
case(
    "lax.dot_general",
    normal(3, 4),
    normal(4, 2),
    dimension_numbers=(((1,), (0,)), ((), ())),
    preferred_element_type=np.dtype(np.float32),
    label="accumulated in float32",
    dtypes="fh",
)
case(
    "lax.dot_general",
    normal(3, 4),
    normal(4, 2),
    dimension_numbers=(((1,), (0,)), ((), ())),
    precision=lax.Precision.HIGHEST,
    label="precision",
)
case("lax.ragged_dot", normal(6, 3), normal(2, 3, 4), np.array([4, 2], np.int32))
case(
    "lax.ragged_dot_general",
    normal(6, 3),
    normal(2, 3, 4),
    np.array([4, 2], np.int32),
    ragged_dot_dimension_numbers=lax.RaggedDotDimensionNumbers((((1,), (1,)), ((), ())), [0], [0]),
)
each("numpy", "dot matmul", normal(2, 3, 4), normal(4, 5))
each("numpy", "inner outer kron tensordot vdot", normal(3, 4), normal(3, 4))
each("numpy", "cross vecdot", normal(4, 3), normal(3))
case("numpy.matvec", normal(2, 3, 4), normal(4))
case("numpy.vecmat", normal(3), normal(2, 3, 4))
case("numpy.tensordot", normal(2, 3, 4), normal(4, 3, 5), axes=((1, 2), (1, 0)), label="axes")
for spec, shapes in {
    "ij,jk->ik": ((3, 4), (4, 2)),
    "bij,bkj,k->bi": ((2, 3, 4), (2, 5, 4), (5,)),
    "ii->i": ((3, 3),),
    "ij->": ((3, 4),),
    "...i,i...->...": ((2, 3), (3, 2)),
}.items():
    case(
        "numpy.einsum",
        *(normal(*s) for s in shapes),
        call=partial(jnp.einsum, spec),
        label=spec,
        slow=spec != "bij,bkj,k->bi",
        dtypes="fhc",
    )
each("numpy", "convolve correlate", normal(6), normal(3), mode="same")
each("numpy", "polyadd polymul polysub", normal(4), normal(3))
each("numpy", "polyder polyint", normal(5))
case("numpy.polydiv", normal(4), normal(2), tolerance=256)
case("numpy.poly", normal(3), tolerance=64)
case("numpy.roots", normal(4), call=lambda x: jnp.roots(x, strip_zeros=False), tolerance=4096)
case("lax.scaled_dot", normal(3, 4), normal(4, 2), dtypes="fh", raises="a product of scaled blocks")
case("numpy.polyfit", np.linspace(-1, 1, 6), normal(6), deg=2, tolerance=1024)
case(
    "numpy.histogram numpy.histogram_bin_edges",
    normal(8),
    call=lambda w: jnp.histogram(jnp.arange(8.0), bins=3, weights=w),
)
case(
    "numpy.histogram2d numpy.histogramdd",
    normal(8),
    call=lambda w: (
        jnp.histogram2d(jnp.arange(8.0), jnp.arange(8.0), bins=3, weights=w)[0],
        jnp.histogramdd(jnp.ones((8, 2)), bins=2, weights=w)[0],
    ),
)
case("numpy.bincount", normal(5), call=lambda w: jnp.bincount(np.array([0, 1, 1, 3, 0]), weights=w, length=4))

_IMAGE, _FILTER = normal(2, 3, 6, 5), normal(4, 3, 3, 2)
case("lax.conv", _IMAGE, _FILTER, window_strides=(1, 2), padding="SAME", tolerance=64)
case(
    "lax.conv_with_general_padding",
    _IMAGE,
    _FILTER,
    window_strides=(1, 1),
    padding=((1, 0), (0, 2)),
    lhs_dilation=(2, 1),
    rhs_dilation=(1, 2),
    tolerance=64,
)
case("lax.conv_transpose", normal(2, 5, 3), normal(3, 3, 4), strides=(2,), padding="SAME", tolerance=64)
case(
    "lax.conv_general_dilated",
    normal(2, 7, 4),
    normal(3, 2, 6),
    window_strides=(2,),
    padding=((1, 1),),
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=2,
    label="groups",
    tolerance=64,
)
case(
    "lax.conv_general_dilated",
    _IMAGE,
    normal(4, 3, 3, 2),
    window_strides=(1, 1),
    padding="VALID",
    batch_group_count=2,
    label="batch groups",
    tolerance=64,
)
case(
    "lax.conv_general_dilated",
    normal(1, 2, 4, 3, 3),
    normal(2, 2, 2, 2, 2),
    window_strides=(1, 1, 1),
    padding="SAME",
    label="three axes",
    tolerance=64,
    slow=True,
)
case(
    "lax.conv_general_dilated_local",
    normal(1, 2, 5),
    normal(3, 4, 4),
    window_strides=(1,),
    padding="VALID",
    filter_shape=(2,),
    tolerance=64,
)
case("lax.conv_general_dilated_patches", _IMAGE, filter_shape=(2, 2), window_strides=(1, 2), padding="SAME")
each("scipy.signal", "convolve correlate", normal(6), normal(3), mode="full")
each("scipy.signal", "convolve2d correlate2d", normal(5, 4), normal(2, 3), mode="same", tolerance=64)
