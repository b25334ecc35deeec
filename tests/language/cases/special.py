"""Special functions."""

import jax
import numpy as np

from tests.language.case import Family
from tests.language.drawing import between, integers, normal, positive, unit

FAMILY = Family("special")
case, each = FAMILY.case, FAMILY.each
sp = jax.scipy.special

each(
    "scipy.special", "digamma entr exp1 expi gamma gammaln loggamma gammasgn log_ndtr ndtr", positive(4), tolerance=256
)
each("scipy.special", "erf erfc erfcx expit i0 i0e i1 i1e", normal(4), tolerance=256)
each("scipy.special", "erfinv", unit(4), tolerance=64)
each("scipy.special", "logit ndtri", between(0.1, 0.9, 4), tolerance=64)
each("scipy.special", "fresnel sici dawsn spence", positive(4), tolerance=1024)
each("scipy.special", "erfcinv", between(0.1, 1.9, 4), tolerance=64)
each("scipy.special", "wofz", normal(4), tolerance=1024)
each("scipy.special", "beta betaln kl_div rel_entr xlogy xlog1py poch", positive(4), positive(4), tolerance=512)
each("scipy.special", "gammainc gammaincc owens_t", positive(4), positive(4), tolerance=1024)
each("scipy.special", "boxcox boxcox1p", positive(4), normal(4), tolerance=256)
case("scipy.special.comb", np.array([5.0, 6.5]), np.array([2.0, 1.5]), tolerance=256)
case("scipy.special.xlogy", np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0, 0.5]), label="zero")
case("scipy.special.entr", np.array([0.0, 0.5, -1.0]), label="edge")
case(
    "scipy.special.betainc lax.betainc",
    between(0.1, 0.9, 3),
    call=lambda x: sp.betainc(np.array([0.5, 1.0, 2.0], x.dtype), np.array(1.5, x.dtype), x),
    tolerance=4096,
)
case(
    "lax.betainc",
    positive(3),
    positive(3),
    between(0.1, 0.9, 3),
    label="parameters",
    raises="the parameters of the incomplete beta function",
)
case("scipy.special.multigammaln", between(3.0, 5.0, 4), d=3, tolerance=256)
case("scipy.special.polygamma lax.polygamma", integers(3, 3), positive(3), tolerance=1024)
case(
    "scipy.special.zeta lax.zeta",
    between(2.0, 4.0, 3),
    positive(3),
    call=lambda x, q: sp.zeta(jax.lax.stop_gradient(x), q),
    tolerance=1024,
)
case("scipy.special.factorial", positive(4), tolerance=256)
case("scipy.special.hyp1f1", positive(2), positive(2), positive(2), tolerance=4096, slow=True)
case("scipy.special.hyp2f1", positive(2), positive(2), positive(2), between(0.1, 0.4, 2), slow=True, tolerance=4096)
case("scipy.special.expn", positive(2), call=lambda x: sp.expn(np.array([1, 2]), x), tolerance=1024)
case("scipy.special.bessel_jn", positive(3), v=2, n_iter=8, tolerance=1024)
case(
    "scipy.special.sph_harm_y",
    np.array([2, 1]),
    np.array([1, 0]),
    positive(2),
    positive(2),
    n_max=2,
    tolerance=1024,
    slow=True,
)
each("scipy.special", "softmax log_softmax logsumexp", normal(3, 4), axis=1, tolerance=64)
