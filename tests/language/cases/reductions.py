"""Sums, products, extrema and what is made of them, over some axes or along one; sorting."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import booleans, distinct, integers, normal, ties

FAMILY = Family("reductions")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax

each("lax", "reduce_sum reduce_prod", normal(2, 3, 4), axes=(0, 2), tolerance=64)
each("lax", "reduce_max reduce_min", normal(2, 3, 4), axes=(0, 2))
each("lax", "reduce_max reduce_min", ties(4, 5), axes=(0,), label="ties")
case("lax.reduce_prod", np.array([2.0, 0.0, 3.0, 0.0]), axes=(0,), label="zeros")
each("lax", "reduce_and reduce_or reduce_xor", booleans(3, 4), axes=(1,))
each("lax", "argmax argmin", normal(3, 4), axis=1, index_dtype=np.int32)
case("lax.reduce", normal(3, 4), call=lambda x: lax.reduce(x, np.zeros((), x.dtype), lax.add, (0,)))
case("lax.reduce", normal(3, 4), call=lambda x: lax.reduce(x, np.ones((), x.dtype), lax.mul, (0,)), label="product")
case(
    "lax.reduce",
    normal(3, 4),
    normal(),
    computation=lax.add,
    dimensions=(0,),
    label="initial value",
    raises="the initial value of a `reduce`",
)
case("lax.reduce", normal(3, 4), call=lambda x: lax.reduce(x, np.array(-np.inf, x.dtype), lax.max, (1,)), label="max")
case(
    "lax.reduce",
    normal(3, 4),
    call=lambda x: lax.reduce(x, np.array(0.5, x.dtype), lambda x, y: x * y + x, (1,)),
    label="any function",
)
each("lax", "cumsum cumprod cummax cummin cumlogsumexp", normal(3, 4), axis=1, tolerance=64)
each("lax", "cumsum cumprod", normal(3, 4), axis=0, reverse=True, label="reverse", tolerance=64)
each("lax", "cummax cummin", ties(6), axis=0, label="ties")
_WINDOW = dict(window_dimensions=(2, 2), window_strides=(1, 2), padding="SAME")
case("lax.reduce_window", normal(4, 5), init_value=0.0, computation=lax.add, **_WINDOW)
case("lax.reduce_window", normal(4, 5), init_value=-np.inf, computation=lax.max, **_WINDOW, label="max", dtypes="fh")
case("lax.reduce_window", normal(4, 5), init_value=np.inf, computation=lax.min, **_WINDOW, label="min", dtypes="fh")
case(
    "lax.reduce_window",
    normal(5),
    init_value=0.0,
    computation=lax.add,
    window_dimensions=(2,),
    window_strides=(1,),
    padding=((1, 0),),
    base_dilation=(2,),
    window_dilation=(2,),
    label="dilated",
)
case("lax.associative_scan", normal(5, 2), call=lambda x: lax.associative_scan(lambda a, b: a * b + a, x), tolerance=64)
case(
    "lax.associative_scan",
    normal(5),
    normal(5),
    call=lambda a, b: lax.associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (a, b), reverse=True),
    label="pairs",
    tolerance=64,
)

each(
    "numpy",
    "sum mean prod cumsum cumprod cumulative_sum cumulative_prod average var std",
    normal(3, 4),
    axis=1,
    tolerance=64,
)
each(
    "numpy",
    "nansum nanprod nancumsum nancumprod nanmean nanvar nanstd",
    np.array([[1.0, np.nan, 3.0], [2.0, 0.5, np.nan]]),
    axis=1,
    tolerance=64,
)
each("numpy", "nanmax nanmin", np.array([[1.0, np.nan, 3.0], [2.0, 0.5, np.nan]]), axis=1)
each("numpy", "nanmedian", np.array([[1.0, np.nan, 3.0, 4.0], [2.0, 0.5, np.nan, 1.5]]), axis=1)
each("numpy", "nanpercentile nanquantile", np.array([[1.0, np.nan, 3.0, 4.0]]), q=np.array(0.3), axis=1)
each("numpy", "nanargmax nanargmin", np.array([[1.0, np.nan, 3.0]]), axis=1)
each("numpy", "max min amax amin ptp", normal(3, 4), axis=1)
each("numpy", "max min ptp", ties(4, 5), axis=0, label="ties")
each("numpy", "argmax argmin all any count_nonzero", normal(3, 4), axis=1)
each("numpy", "median", distinct(3, 5), axis=1)
each("numpy", "median", distinct(3, 4), axis=1, label="even", slow=True)
for method in ("linear", "lower", "higher", "nearest", "midpoint"):
    case(
        "numpy.quantile",
        distinct(3, 5),
        np.array([0.2, 0.55]),
        axis=1,
        method=method,
        label=method,
        slow=method != "linear",
    )
case("numpy.percentile", distinct(3, 5), np.array(30.0), axis=1)
case("numpy.sum", normal(3, 4), where=booleans(3, 4), label="where")
case("numpy.mean", normal(3, 4), where=booleans(3, 4) | True, label="where", slow=True)
case("numpy.average", normal(3, 4), weights=np.array([1.0, 2.0, 3.0, 4.0]), axis=1, label="weights")
case("numpy.prod", np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]), axis=1, label="zeros")
case("numpy.var", normal(3, 4), ddof=1, axis=(0, 1), label="ddof")
case("numpy.std", np.array([1.0, 1.0, 1.0]), label="edge")
each("numpy", "corrcoef cov", normal(3, 5), tolerance=256)
each("numpy", "diff ediff1d", normal(6))
case("numpy.gradient", normal(4, 5))
case(
    "numpy.trapezoid scipy.integrate.trapezoid",
    normal(5),
    normal(5),
    call=lambda y, x: (jnp.trapezoid(y, x), jax.scipy.integrate.trapezoid(y, x)),
)
case("numpy.minmax", normal(3, 4), axis=1)

each("numpy", "sort argsort", distinct(3, 5), axis=0)
case("numpy.sort", distinct(7), descending=True, label="descending")
case("numpy.sort numpy.sort_complex", normal(5), call=lambda x: (jnp.sort(x), jnp.sort_complex(x)), label="complex")
case("numpy.lexsort", [distinct(5), distinct(5)])
each("numpy", "partition argpartition", distinct(3, 6), kth=2)
case("numpy.top_k", distinct(3, 6), call=lambda x: jnp.top_k(x, 2))
case("lax.sort", distinct(3, 5), dimension=0)
case("lax.sort", (ties(6), normal(6), integers(5, 6)), num_keys=1, label="operands")
case("lax.sort", (ties(6), normal(6), distinct(6)), num_keys=2, is_stable=True, label="two keys")
case("lax.sort_key_val", distinct(6), normal(6))
case("lax.top_k", distinct(3, 6), k=2)
each("lax", "approx_max_k approx_min_k", distinct(64), k=3)
