"""`jax.scipy.stats`: densities and distributions at x, with every parameter that is a number."""

import numpy as np

from tests.language.case import Family
from tests.language.drawing import between, normal, positive, unit

FAMILY = Family("distributions")
case, each = FAMILY.case, FAMILY.each

STATS = {
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
HEAVY = ("truncnorm", "betabinom")
"""They take seconds to compile."""
QUANTILES = "cauchy.isf cauchy.ppf expon.ppf logistic.isf logistic.ppf norm.isf norm.ppf uniform.ppf"
for distribution, (functions, arguments) in STATS.items():
    for i, function in enumerate(functions.split()):
        case(f"scipy.stats.{distribution}.{function}", *arguments, tolerance=1024, slow=i > 1 or distribution in HEAVY)
each("scipy.stats", QUANTILES, between(0.1, 0.9, 3), normal(3), positive(3), tolerance=256, slow=True)
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
    dtypes="fh",
    raises="the parameters of the incomplete beta function",
)
case("scipy.stats.bernoulli.ppf", between(0.1, 0.9, 3), between(0.2, 0.8, 3))
case("scipy.stats.poisson.entropy", positive(3), tolerance=1024)
each("scipy.stats", "sem mode rankdata", normal(3, 4), axis=1, tolerance=64)
