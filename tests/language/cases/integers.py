"""Functions of integers: they run in the forward pass, and their arguments get `float0`."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import integers, normal

FAMILY = Family("integers")
case, each = FAMILY.case, FAMILY.each
N, SMALL, BYTES = integers(99, 4), integers(5, 4) + np.int32(1), integers(255, 8).astype(np.uint8)

each("lax", "bitwise_not clz population_count", N, dtypes="f")
each(
    "lax",
    "bitwise_and bitwise_or bitwise_xor shift_left shift_right_arithmetic shift_right_logical",
    N,
    SMALL,
    dtypes="f",
)
each("lax", "mulhi", N, SMALL, dtypes="f")
each("numpy", "bitwise_not bitwise_invert invert bitwise_count", N, dtypes="f")
each("numpy", "bitwise_and bitwise_or bitwise_xor left_shift right_shift gcd lcm", N, SMALL, dtypes="f")
each("numpy", "bitwise_left_shift bitwise_right_shift", N, SMALL, dtypes="f")
each("numpy", "packbits unpackbits", BYTES, dtypes="f")
case(
    "numpy.unravel_index numpy.ravel_multi_index",
    N % 12,
    call=lambda n: jnp.ravel_multi_index(jnp.unravel_index(n, (3, 4)), (3, 4), mode="clip"),
    dtypes="f",
)
case(
    "numpy.diag_indices_from numpy.tril_indices_from numpy.triu_indices_from",
    normal(3, 3),
    call=lambda x: x[jnp.diag_indices_from(x)] + x[jnp.tril_indices_from(x, -1)] * x[jnp.triu_indices_from(x, 1)],
)
case(
    "lax.add lax.mul lax.sub lax.rem",
    N,
    SMALL,
    call=lambda n, m: (n + m, n * m, n - m, jax.lax.rem(n, m)),
    label="integers",
    dtypes="f",
)
case("lax.dot_general", normal(3, 4), integers(3, 4), call=lambda x, n: x * (n @ n), label="integers beside", slow=True)
