"""Random numbers: their keys have no gradient, their parameters do where the samples move with them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import normal, positive

FAMILY = Family("randomness")
case, each = FAMILY.case, FAMILY.each
random = jax.random
KEY, RAW = jax.random.key(3), np.array([0, 3], np.uint32)


def scaled(sample, **statics):
    """A sample times a parameter, so that something is differentiated."""
    return lambda key, x: x * sample(key, shape=x.shape, dtype=x.dtype, **statics)


for name in "cauchy exponential gumbel laplace logistic maxwell normal uniform".split():
    case(
        f"random.{name}",
        KEY,
        normal(3),
        call=scaled(getattr(random, name)),
        slow=name in ("laplace", "maxwell", "gumbel"),
    )
case("random.normal random.key", RAW, normal(3), call=scaled(random.normal), label="raw key")
case("lax.rng_uniform", normal(), normal(), shape=(3,), raises="numbers from the machine's own generator")
case(
    "random.normal random.PRNGKey",
    normal(3),
    call=lambda x: x * random.normal(random.PRNGKey(0), x.shape, x.dtype),
    label="key made inside",
)
case(
    "random.split random.fold_in random.key_data random.wrap_key_data random.clone",
    KEY,
    normal(3),
    call=lambda key, x: (
        random.split(key),
        random.fold_in(key, 1),
        random.key_data(key),
        random.wrap_key_data(random.key_data(key)),
        random.clone(key),
        x * 2,
    ),
)
case(
    "random.bernoulli",
    KEY,
    normal(3),
    call=lambda key, x: jnp.where(random.bernoulli(key, 0.5, x.shape), x, 0.0),
    label="dropout",
)
case(
    "random.rademacher random.bits random.randint",
    KEY,
    normal(3),
    call=lambda key, x: (
        x * random.rademacher(key, x.shape, x.dtype),
        random.bits(key),
        random.randint(key, (2,), 0, 9),
    ),
)
case("random.t", KEY, positive(3), shape=(3,), tolerance=4096, slow=True)
each("random", "gamma pareto", KEY, positive(3), tolerance=4096)
each("random", "loggamma chisquare", KEY, positive(3), tolerance=4096, slow=True)
each("random", "beta f", KEY, positive(3), positive(3), tolerance=4096, slow=True)
case("random.dirichlet", KEY, positive(3), tolerance=4096, slow=True)
case("random.generalized_normal", KEY, positive(), shape=(3,), tolerance=4096, slow=True)
each("random", "rayleigh wald lognormal", KEY, positive(3), tolerance=256)
case("random.weibull_min", KEY, positive(), positive(), shape=(3,), tolerance=256)
case("random.double_sided_maxwell", KEY, normal(), positive(), shape=(3,), tolerance=256)
case("random.triangular", KEY, np.array(0.0), np.array(0.4), np.array(1.0), tolerance=256)
case("random.truncated_normal", KEY, np.array(-1.0), np.array(2.0), shape=(3,), tolerance=256)
case(
    "random.uniform",
    KEY,
    np.array(-1.0),
    np.array(2.0),
    call=lambda key, a, b: random.uniform(key, (3,), a.dtype, a, b),
    label="between",
)
case("random.multivariate_normal", KEY, normal(2), np.eye(2) * 2 + 0.5, tolerance=256)
case(
    "random.ball random.orthogonal",
    KEY,
    normal(2),
    call=lambda key, x: random.ball(key, 2, dtype=x.dtype) * x @ random.orthogonal(key, 2, dtype=x.dtype),
    slow=True,
)
case(
    "random.permutation random.choice",
    KEY,
    normal(5),
    call=lambda key, x: (random.permutation(key, x), random.choice(key, x, (3,), replace=False)),
)
case("random.categorical", KEY, normal(3, 4))
each("random", "poisson", KEY, positive(3), slow=True)
case(
    "random.binomial random.geometric",
    KEY,
    positive(3),
    call=lambda key, p: (random.binomial(key, np.float32(5), p / 3), random.geometric(key, p / 3)),
    slow=True,
)
case("random.multinomial", KEY, np.array(5.0), np.array([0.2, 0.8]), slow=True)
case(
    "lax.rng_bit_generator",
    np.array([1, 2, 3, 4], np.uint32),
    normal(3),
    call=lambda key, x: (x * 2, jax.lax.rng_bit_generator(key, (3,))),
)
INITIALIZERS = (
    "glorot_normal glorot_uniform he_normal he_uniform kaiming_normal kaiming_uniform lecun_normal lecun_uniform "
    "orthogonal xavier_normal xavier_uniform constant normal ones truncated_normal uniform zeros"
)


def initialized(name, key, x):
    """Weights as an initializer draws them, times a number; some initializers must be given a scale."""
    initializer = getattr(jax.nn.initializers, name)
    if name in ("constant", "normal", "truncated_normal", "uniform"):
        initializer = initializer(0.5)
    elif name not in ("ones", "zeros"):
        initializer = initializer()
    return x * initializer(key, (3, 4), x.dtype)


for name in INITIALIZERS.split():
    case(f"nn.initializers.{name}", KEY, normal(), call=partial(initialized, name), slow=True)
