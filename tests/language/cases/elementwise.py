"""Functions of one number or two, entry by entry; where they have a kink, at the kink too."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import KINKS, between, booleans, integers, normal, positive, ties, unit

FAMILY = Family("elementwise")
case, each = FAMILY.case, FAMILY.each

# Smooth everywhere, or where they are drawn.
each("lax", "cos cosh exp exp2 expm1 log logistic neg conj sin sinh sqrt square", positive(3, 4))
each("lax", "abs acosh asin asinh atan atanh log1p reciprocal rsqrt tan tanh acos", unit(3, 4))
each("lax", "sign", normal(3, 4))
each("lax", "real imag", normal(3, 4), dtypes="c")
each("lax", "cbrt erf erfc", normal(3, 4))
each("lax", "erf_inv", unit(3, 4))
each("lax", "digamma lgamma", positive(3, 4), tolerance=64)
each("lax", "bessel_i0e bessel_i1e", normal(3, 4))
each("lax", "ceil floor round is_finite", normal(3, 4))
each("lax", "log2 one_minus_square", positive(3, 4))
case("lax.acosh", between(1.5, 3.0, 3, 4), label="domain")
case("lax.integer_pow", normal(3, 4), y=3)
case("lax.integer_pow", positive(3, 4), y=-2, label="inverse")
case("lax.integer_pow", np.array([0.0, 1.0]), y=0, label="zeroth")
case("lax.reduce_precision", normal(3, 4), exponent_bits=5, mantissa_bits=7)
case("lax.polynomial", normal(3), normal(5))
case("lax.abs", KINKS, label="kinks")
for unary in ("sin", "exp", "tanh", "logistic", "sqrt"):
    case(f"lax.{unary}", positive(), label="scalar", slow=True)
    case(f"lax.{unary}", positive(0, 3), label="empty", slow=True)

each("lax", "add sub mul div", normal(3, 4), positive(3, 4))
each("lax", "add sub mul div pow max min", positive(), positive(), label="scalar", slow=True)
each("lax", "pow", positive(3, 4), normal(3, 4), tolerance=64)
each("lax", "atan2 rem max min", normal(3, 4), positive(3, 4))
each("lax", "max min", ties(4, 5), ties(4, 5), label="ties")
each("lax", "eq ne lt le gt ge", normal(3, 4), normal(3, 4))
case("lax.complex", normal(3, 4), normal(3, 4))
case("lax.clamp", normal(3, 4), normal(3, 4), positive(3, 4))
case("lax.clamp", KINKS, call=lambda x: jax.lax.clamp(np.array(-1, x.dtype), x, np.array(1, x.dtype)), label="kinks")
case(
    "lax.clamp",
    normal(),
    normal(3, 4),
    positive(),
    label="scalar bounds",
    raises="the bounds of `clamp`, where they are scalars and the operand is not",
)
# Only the newer JAX has the derivative of `nextafter`; both take its value.
for module in (jax.lax, jnp):
    case(
        f"{'lax' if module is jax.lax else 'numpy'}.nextafter",
        normal(3),
        normal(3),
        call=lambda x, y, module=module: x * module.nextafter(*jax.lax.stop_gradient((x, y))),
    )
case("numpy.spacing", normal(3), call=lambda x: x * jnp.spacing(jax.lax.stop_gradient(x)))
case("lax.select", booleans(3, 4), normal(3, 4), normal(3, 4))
case("lax.select_n", integers(3, 4), normal(4), normal(4), normal(4))
each("lax", "igamma igammac", positive(3, 4), positive(3, 4), tolerance=512)
each(
    "lax",
    "random_gamma_grad igamma_grad_a",
    positive(3),
    positive(3),
    dtypes="fh",
    raises="a derivative that has none of its own",
)
case("lax.convert_element_type", normal(3, 4), new_dtype=np.dtype(np.float32), dtypes="fh")
case("lax.convert_element_type", normal(3, 4), new_dtype=np.dtype(np.complex64), label="complex")
case("lax.convert_element_type", normal(3, 4), new_dtype=np.dtype(np.int32), label="integer", dtypes="fh")
case("lax.stop_gradient", normal(3, 4), call=lambda x: x * jax.lax.stop_gradient(jnp.sin(x)))
case("lax.optimization_barrier", normal(3), normal(4), call=lambda x, y: jax.lax.optimization_barrier((x, y)))

_SMOOTH = (
    "cos cosh exp exp2 expm1 log log10 log1p log2 negative positive sin sinh sqrt square real imag conj conjugate angle"
)
each("numpy", _SMOOTH, positive(3, 4))
each("numpy", "arcsin arcsinh arctan arctanh asin asinh atan atanh arccos acos arccosh acosh", unit(3, 4))
each("numpy", "reciprocal sinc tan tanh abs absolute", unit(3, 4))
each("numpy", "cbrt deg2rad degrees fabs rad2deg radians i0 nan_to_num", normal(3, 4))
each("numpy", "ceil floor rint round around trunc sign signbit isfinite isinf isnan", normal(3, 4))
each("numpy", "isneginf isposinf iscomplex isreal logical_not", normal(3, 4))
case("numpy.frexp", normal(3, 4))
case("numpy.modf", normal(3, 4))
case("numpy.sinc", np.array([0.0, 1.0, -2.0, 0.5]), label="zero", tolerance=64)
case("numpy.nan_to_num", np.array([0.0, np.nan, np.inf]), label="nonfinite")
case("numpy.sqrt", np.array([0.0, 1.0]), label="edge")
case("numpy.log", np.array([0.0, 1.0]), label="edge")
case("numpy.angle", np.array([0.0, 1.0, -1.0]), label="kinks")
each("numpy", "abs sign fabs", KINKS, label="kinks")

each("numpy", "add subtract multiply divide true_divide", normal(3, 1), positive(2, 1, 4))
each("numpy", "power float_power pow", positive(3, 4), normal(4), tolerance=64)
case("numpy.power", np.array([0.0, -1.0, 2.0]), integers(3, 3), label="integer")
each("numpy", "arctan2 atan2 copysign fmod hypot logaddexp logaddexp2 remainder mod", normal(3, 4), positive(4))
each("numpy", "floor_divide divmod heaviside", normal(3, 4), positive(4))
each("numpy", "maximum minimum fmax fmin", normal(3, 1), normal(4))
each("numpy", "maximum minimum fmax fmin hypot", ties(4, 5), ties(5), label="ties")
each("numpy", "logaddexp logaddexp2", np.array([-np.inf, 0.0, 800.0]), np.array([0.0, 800.0, -800.0]), label="huge")
each("numpy", "equal not_equal greater greater_equal less less_equal isclose", normal(3, 4), normal(4))
each("numpy", "logical_and logical_or logical_xor array_equal array_equiv allclose", normal(4), normal(4))
case("numpy.where", booleans(3, 4), normal(4), normal(3, 1))
case("numpy.where", normal(3, 4), call=lambda x: jnp.where(x > 0, jnp.log(x), 0.0), label="nan in the other branch")
case("numpy.select", normal(3, 4), call=lambda x: jnp.select([x > 0.5, x < -0.5], [x**2, -x], x))
case("numpy.piecewise", normal(3, 4), call=lambda x: jnp.piecewise(x, [x < 0, x >= 1], [lambda v: -v, jnp.square, 0.5]))
case("numpy.clip", normal(3, 4), min=-0.5, max=0.5)
case("numpy.clip", KINKS, min=-1.0, max=1.0, label="kinks")
case("numpy.choose", integers(2, 4), [normal(4), normal(4)], mode="clip")
case("numpy.interp", unit(5), np.array([-1.0, 0.0, 1.0]), normal(3))
case("numpy.unwrap", between(0.0, 20.0, 6), tolerance=64)
case("numpy.astype", normal(3, 4), call=lambda x: jnp.astype(x, np.float32))
case("numpy.ldexp", normal(3, 4), integers(3, 4))
case("numpy.polyval", normal(4), normal(3), tolerance=64)
case("numpy.heaviside", KINKS, np.array(0.5), label="kinks")
