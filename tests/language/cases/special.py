"""Special functions, and the densities and distributions made of them."""

import jax
import numpy as np

from tests.language.case import KEEPS_TRACED, Family
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
case(
    "scipy.special.expn",
    np.array([1, 2]),
    positive(2),
    label="order",
    tolerance=1024,
    fails=KEEPS_TRACED,
)
case("scipy.special.bessel_jn", positive(3), v=2, n_iter=8, tolerance=1024)
case("scipy.special.sph_harm_y", np.array([2, 1]), np.array([1, 0]), positive(2), positive(2), n_max=2, tolerance=1024)
each("scipy.special", "softmax log_softmax logsumexp", normal(3, 4), axis=1, tolerance=64)

# Densities and distributions: at x, with every parameter that is a number.
_STATS = {
    "norm": ("cdf logcdf logpdf logsf pdf sf", (normal(3), normal(3), positive(3))),
    "truncnorm": (
        "cdf logcdf logpdf logsf pdf sf",
        (unit(3), np.array(-1.5), np.array(2.0), np.array(0.1), np.array(1.2)),
    ),
    "beta": ("logpdf pdf", (between(0.2, 0.8, 3), positive(3), positive(3))),
    "cauchy": ("cdf logcdf logpdf logsf pdf sf", (normal(3), normal(3), positive(3))),
    "chi2": ("cdf logcdf logpdf logsf pdf sf", (positive(3), positive(3))),
    "expon": ("cdf logcdf logpdf logsf pdf sf", (between(1.0, 2.0, 3), between(0.0, 0.5, 3), positive(3))),
    "gamma": ("cdf logcdf logpdf logsf pdf sf", (positive(3), positive(3))),
    "gennorm": ("cdf logpdf pdf", (normal(3), positive(3))),
    "gumbel_l": ("cdf logcdf logsf sf", (normal(3), normal(3), positive(3))),
    "gumbel_r": ("cdf logcdf logsf sf", (normal(3), normal(3), positive(3))),
    "laplace": ("cdf logpdf pdf", (normal(3), normal(3), positive(3))),
    "logistic": ("cdf logpdf pdf sf", (normal(3), normal(3), positive(3))),
    "pareto": ("cdf logcdf logpdf logsf pdf sf", (between(2.0, 3.0, 3), positive(3))),
    "t": ("logpdf pdf", (normal(3), positive(3), normal(3), positive(3))),
    "uniform": ("cdf logpdf pdf", (between(0.1, 0.9, 3), np.array(0.0), np.array(1.5))),
    "vonmises": ("logpdf pdf", (normal(3), positive(3))),
    "wrapcauchy": ("logpdf pdf", (between(0.5, 3.0, 3), between(0.2, 0.8, 3))),
    "dirichlet": ("logpdf pdf", (np.array([0.2, 0.3, 0.5]), positive(3))),
    "bernoulli": ("cdf logpmf pmf", (np.array([0, 1, 1]), between(0.2, 0.8, 3))),
    "betabinom": ("logpmf pmf", (np.array([0, 1, 2]), np.array([3, 3, 4]), positive(3), positive(3))),
    "binom": ("logpmf pmf", (np.array([0, 1, 2]), np.array([3, 3, 4]), between(0.2, 0.8, 3))),
    "geom": ("logpmf pmf", (np.array([1, 2, 3]), between(0.2, 0.8, 3))),
    "nbinom": ("logpmf pmf", (np.array([0, 1, 2]), np.array([3, 3, 4]), between(0.2, 0.8, 3))),
    "poisson": ("cdf logpmf pmf", (np.array([0, 1, 2]), positive(3))),
    "multinomial": ("logpmf pmf", (np.array([1, 2, 0]), np.array(3), np.array([0.2, 0.5, 0.3]))),
    "multivariate_normal": ("logpdf pdf", (normal(3), normal(3), np.diag([1.0, 2.0, 3.0]))),
}
_QUANTILES = "cauchy.isf cauchy.ppf expon.ppf logistic.isf logistic.ppf norm.isf norm.ppf uniform.ppf"
for distribution, (functions, arguments) in _STATS.items():
    for i, function in enumerate(functions.split()):
        case(f"scipy.stats.{distribution}.{function}", *arguments, tolerance=1024, slow=i > 1)
each("scipy.stats", _QUANTILES, between(0.1, 0.9, 3), normal(3), positive(3), tolerance=256, slow=True)
each(
    "scipy.stats",
    "gumbel_l.logpdf gumbel_l.pdf gumbel_r.logpdf gumbel_r.pdf gumbel_l.ppf gumbel_r.ppf",
    between(0.1, 0.9, 3),
    normal(3),
    positive(3),
    dtypes="f",
    raises="`xlog1py` of an integer, whose `float0` JAX multiplies (a fault of JAX)",
)
case("scipy.stats.pareto.ppf", between(0.1, 0.9, 3), positive(3), tolerance=256)
each(
    "scipy.stats",
    "beta.cdf beta.logcdf beta.logsf beta.sf",
    between(0.2, 0.8, 3),
    positive(3),
    positive(3),
    raises="the parameters of the incomplete beta function",
)
case("scipy.stats.bernoulli.ppf", between(0.1, 0.9, 3), between(0.2, 0.8, 3))
case("scipy.stats.poisson.entropy", positive(3), tolerance=1024)
each("scipy.stats", "sem mode rankdata", normal(3, 4), axis=1, tolerance=64)
