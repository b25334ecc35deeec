"""Rearranging entries: the derivative of each is another rearrangement."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import integers, normal

FAMILY = Family("shaping")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax

case("lax.broadcast", normal(3, 4), sizes=(2,))
case("lax.broadcast_in_dim", normal(3, 1), shape=(2, 3, 4), broadcast_dimensions=(1, 2))
case("lax.broadcast_to_rank", normal(3, 4), rank=4)
case("lax.broadcast_like", normal(1, 4), normal(3, 4))
case("lax.collapse", normal(2, 3, 4), start_dimension=0, stop_dimension=2)
case("lax.concatenate", [normal(2, 3), normal(2, 1), normal(2, 3)], dimension=1)
case("lax.expand_dims", normal(3, 4), dimensions=(0, 2))
case("lax.pad", normal(3, 4), normal(), padding_config=((1, 2, 1), (-1, 0, 0)))
case("lax.pad", normal(5), normal(), padding_config=((-2, -1, 2),), label="cropped")
case("lax.reshape", normal(3, 4), new_sizes=(2, 6))
case("lax.reshape", normal(3, 4), new_sizes=(12,), dimensions=(1, 0), label="transposed")
case("lax.rev", normal(3, 4), dimensions=(0, 1))
case("lax.slice", normal(5, 4), start_indices=(1, 0), limit_indices=(5, 3), strides=(2, 1))
case("lax.slice_in_dim", normal(5, 4), start_index=1, limit_index=-1, stride=2)
case("lax.split", normal(3, 5), sizes=(2, 3), axis=1)
case("lax.squeeze", normal(3, 1, 4), dimensions=(1,))
case("lax.stack", [normal(3), normal(3)], axis=1)
case("lax.unstack", normal(3, 4), axis=1)
case("lax.tile", normal(2, 3), reps=(2, 2))
case("lax.transpose", normal(2, 3, 4), permutation=(2, 0, 1))
case("lax.bitcast_convert_type", normal(3), new_dtype=np.dtype(np.int32))
case("lax.full_like", normal(3), 2.0)
case("lax.full", normal(), shape=(3, 2), call=lambda x, shape: lax.full(shape, x))
case("lax.dce_sink", normal(3), call=lambda x: (lax.dce_sink(x), x * 2)[1])

each("numpy", "array asarray copy atleast_1d atleast_2d atleast_3d squeeze ravel transpose", normal(3, 1))
each("numpy", "matrix_transpose fliplr flipud rot90 flip diagonal tril triu", normal(3, 4))
each("numpy", "diag diagflat zeros_like ones_like empty_like", normal(3))
case("numpy.diag numpy.trace", normal(3, 4), call=lambda x: (jnp.diag(x, 1), jnp.trace(x, -1)), label="offset")
case("numpy.append", normal(3), normal(2, 2))
case("numpy.array", [[normal(), normal()], [normal(), normal()]], label="nested list")
case("numpy.array_split", normal(7, 2), indices_or_sections=3)
case("numpy.split", normal(6, 2), indices_or_sections=(1, 4))
case("numpy.block", [[normal(2, 2), normal(2, 3)], [normal(1, 2), normal(1, 3)]])
case("numpy.broadcast_arrays", normal(3, 1), normal(4))
case("numpy.broadcast_to", normal(3, 1), shape=(2, 3, 4))
each("numpy", "column_stack hstack vstack dstack stack concatenate concat", [normal(3), normal(3)])
each("numpy", "dsplit", normal(2, 2, 4), indices_or_sections=2)
each("numpy", "hsplit vsplit", normal(4, 4), indices_or_sections=2)
case("numpy.delete", normal(5, 2), obj=np.array([1, 3]), axis=0)
case("numpy.insert", normal(4), obj=np.array([1, 3]), values=np.array([0.5, 0.25]))
case("numpy.expand_dims", normal(3, 4), axis=(0, -1))
case("numpy.fill_diagonal", normal(3, 3), normal(3), call=lambda x, v: jnp.fill_diagonal(x, v, inplace=False))
case("numpy.full_like", normal(3, 2), normal(2))
case("numpy.full", normal(2), call=lambda x: jnp.full((3, 2), x))
case("numpy.meshgrid", normal(3), normal(4))
case("numpy.ix_", integers(3, 2), integers(4, 2))
case("numpy.moveaxis", normal(2, 3, 4), source=0, destination=-1)
case("numpy.rollaxis", normal(2, 3, 4), axis=2)
case("numpy.swapaxes", normal(2, 3, 4), axis1=0, axis2=2)
for mode in ("constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp", "maximum", "mean", "median", "minimum"):
    case(
        "numpy.pad",
        normal(4, 5),
        pad_width=((1, 2), (2, 1)),
        mode=mode,
        label=mode,
        slow=mode != "reflect",
        dtypes="fh" if mode == "median" else None,
    )
case("numpy.repeat", normal(3, 2), repeats=np.array([1, 0, 2]), axis=0, total_repeat_length=3)
case("numpy.reshape", normal(3, 4), shape=(4, -1), order="F")
case("numpy.resize", normal(3, 2), new_shape=(4, 3))
case("numpy.roll", normal(3, 4), shift=(1, 2), axis=(0, 1))
case("numpy.tile", normal(2, 3), reps=(2, 1, 2))
case("numpy.permute_dims", normal(2, 3, 4), axes=(2, 0, 1))
case("numpy.unstack", normal(3, 4), axis=1)
case("numpy.vander", normal(4), N=3)
case("numpy.array", normal(2), call=lambda x: jnp.array([x[0], 1.0, x[1] * 2]), label="with numbers")
case("numpy.linspace", normal(), normal(), num=5)
case(
    "numpy.logspace numpy.geomspace",
    normal(2),
    call=lambda x: (jnp.logspace(x[0], x[1], 4), jnp.geomspace(x[0] ** 2 + 1, 9.0, 4)),
)
case("numpy.linspace", normal(3), normal(3), num=4, endpoint=False, axis=1, label="arrays")
case("numpy.apply_along_axis", normal(3, 4), call=lambda x: jnp.apply_along_axis(jnp.sin, 1, x))
case("numpy.apply_over_axes", normal(3, 4), call=lambda x: jnp.apply_over_axes(jnp.sum, x, [0, 1]))
case("numpy.vectorize", normal(3, 4), normal(4), call=jnp.vectorize(jnp.dot, signature="(n),(n)->()"))
case(
    "numpy.frompyfunc",
    normal(3, 4),
    normal(4),
    call=jnp.frompyfunc(lambda x, y: x * y + 1.0, nin=2, nout=1, identity=0),
)
case("numpy.fromfunction", normal(), call=lambda x: jnp.fromfunction(lambda i: i * x, (4,)))
case(
    "flatten_util.ravel_pytree",
    {"a": normal(3), "b": [normal(2, 2)]},
    call=lambda tree: jax.flatten_util.ravel_pytree(tree)[0],
)
