"""Surrogates of a spike: what is pulled back in the place of a step, which is flat.

A table. Each row is a slope `s` of the membrane (less its threshold), `x_bar = g s(x)`, and the function `S` whose
derivative it claims to be; it becomes a function that returns the set of rules, attached to `fg.ops.heaviside` or to
what `of=` says. Parameters are called, and have the defaults, as in the library that the row names; docs/rulesets.md
has the other libraries' names. What passes as it is, is `straight_through.identity(fg.ops.heaviside)`.
"""

import inspect
import math
from collections.abc import Callable
from functools import wraps
from inspect import Parameter
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.registry import RuleSet
from funcgrad.rulesets.changes import titled
from funcgrad.rulesets.slopes import Curve, Function, with_slope

_MORE = """    of: what spikes, of one array, as `RuleSet.override` takes it; `fg.ops.heaviside` by default.
    at: at which nodes, as in `RuleSet.override`.

Returns:
    The set of rules; its kind is the surrogate of the second formula.
"""


def _row(smooth: Callable[..., Array]) -> Callable[[Callable[..., Array]], Callable[..., RuleSet]]:
    """Make of a slope, and of the function that it is the derivative of, a function of its parameters."""

    def made(slope: Callable[..., Array]) -> Callable[..., RuleSet]:
        own = list(inspect.signature(slope).parameters.values())[1:]
        of = Parameter("of", Parameter.KEYWORD_ONLY, default=ops.heaviside, annotation=Function)
        at = Parameter("at", Parameter.KEYWORD_ONLY, default="**", annotation=str | Where)
        signature = inspect.Signature([*own, of, at], return_annotation=RuleSet)

        @wraps(slope)
        def rules(*args: Any, **kwargs: Any) -> RuleSet:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            chosen = dict(bound.arguments)
            of, at = chosen.pop("of"), chosen.pop("at")
            title, parameters = titled(slope.__name__, chosen), tuple(chosen.items())
            derivative, curve = (Curve(title, rules, parameters, attribute) for attribute in ("slope", "smooth"))
            return with_slope(of, derivative, curve, at)

        before, _, example = inspect.cleandoc(slope.__doc__ or "").partition("\nExample:")
        rules.__doc__ = f"{before}{_MORE}\nExample:{example}"
        rules.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        rules.slope, rules.smooth = slope, smooth  # pyright: ignore[reportAttributeAccessIssue]
        return rules

    return made


def _normal(x: Array, sigma: float) -> Array:
    """The density of a normal distribution around 0."""
    return jnp.exp(-((x / sigma) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma)


def _normal_area(x: Array, sigma: float) -> Array:
    """Its area left of `x`, less one half."""
    return jax.lax.erf(x / (math.sqrt(2) * sigma)) / 2


def _flanks(of: Callable[[Array, float], Array], x: Array, s: float, sigma: float) -> Array:
    """Two wider ones, around `σ` and `-σ`."""
    return of(x - sigma, s * sigma) + of(x + sigma, s * sigma)


def _linear_then_log(x: Array) -> Array:
    """`x` in (-1, 1), `sign(x) (1 + log|x|)` outside."""
    within = jnp.abs(x) < 1
    return jnp.where(within, x, jnp.sign(x) * (1 + jnp.log(jnp.where(within, 1, jnp.abs(x)))))


def _parabolas(x: Array) -> Array:
    """The area from 0 to `x` under a triangle over [-1, 1] of height 1."""
    within = jnp.clip(x, -1, 1)
    return within - within * jnp.abs(within) / 2


def _double_exponential(x: Array, alpha: float) -> Array:
    """`sign(x) (1 - e^(-α|x|))`: where it meets at 0, the derivative is the right one's, as that of `|x|` is in JAX."""
    return jnp.where(x >= 0, 1, -1) * (1 - jnp.exp(-alpha * jnp.abs(x)))


@_row(lambda x, slope: x / (1 + slope * jnp.abs(x)))
def fast_sigmoid(x: Array, slope: float = 25.0) -> Array:
    """`s = 1 / (1 + k|x|)²`, of `x / (1 + k|x|)`.

    Source: Zenke and Ganguli 2018, section 3.3.2, with another factor; name and default of snntorch.

    Args:
        slope: `k`, how soon it falls.

    Example:
        >>> rules = fg.rulesets.surrogates.fast_sigmoid(slope=1.0)
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.25 1.   0.64]
    """
    return 1 / (1 + slope * jnp.abs(x)) ** 2


@_row(lambda x, alpha: alpha * x / (1 + jnp.abs(x)))
def superspike(x: Array, alpha: float = 1.0) -> Array:
    """`s = α / (1 + |x|)²`, of `α x / (1 + |x|)`.

    Source: Zenke and Ganguli 2018, section 3.3.2; spikingjelly's. norse 1.1's is this at α = 1, whatever it is given.

    Args:
        alpha: `α`, its height.

    Example:
        >>> rules = fg.rulesets.surrogates.superspike()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.25 1.   0.64]
    """
    return alpha / (1 + jnp.abs(x)) ** 2


@_row(lambda x, alpha: (1 + alpha * x / (1 + alpha * jnp.abs(x))) / 2)
def soft_sign(x: Array, alpha: float = 2.0) -> Array:
    """`s = α/2 / (1 + α|x|)²`, of `(1 + α x / (1 + α|x|)) / 2`.

    Source: name and default of spikingjelly; its area is 1.

    Args:
        alpha: `α`, how steep.

    Example:
        >>> rules = fg.rulesets.surrogates.soft_sign()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.111 1.    0.444]
    """
    return alpha / 2 / (1 + alpha * jnp.abs(x)) ** 2


@_row(lambda x, slope: jax.nn.sigmoid(slope * x))
def sigmoid(x: Array, slope: float = 25.0) -> Array:
    """`s = k σ(kx) σ(-kx)`, of `σ(kx)`.

    Source: Zenke and Ganguli 2018, as snntorch says, whose default it has; spikingjelly's is 4.

    Args:
        slope: `k`, how steep.

    Example:
        >>> rules = fg.rulesets.surrogates.sigmoid(slope=4.0)
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.071 1.    0.786]
    """
    return slope * jax.nn.sigmoid(slope * x) * jax.nn.sigmoid(-slope * x)


@_row(lambda x, slope: jnp.tanh(slope * x) / slope)
def tanh(x: Array, slope: float = 1.0) -> Array:
    """`s = 1 - tanh²(kx)`, of `tanh(kx) / k`.

    Source: name of norse and spyx, default of spyx; its height is 1.

    Args:
        slope: `k`, how soon it falls.

    Example:
        >>> rules = fg.rulesets.surrogates.tanh()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.42 1.   0.94]
    """
    return 1 / jnp.cosh(jnp.clip(slope * x, -300, 300)) ** 2


@_row(lambda x, alpha: jnp.arctan(jnp.pi / 2 * alpha * x) / jnp.pi)
def atan(x: Array, alpha: float = 2.0) -> Array:
    """`s = α/2 / (1 + (π α x / 2)²)`, of `arctan(π α x / 2) / π`.

    Source: Fang et al. 2021; default of snntorch and spikingjelly. spyx's arctan is 1/πk times this at α = 2k.

    Args:
        alpha: `α`, twice its height; its area is 1.

    Example:
        >>> rules = fg.rulesets.surrogates.atan()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.092 1.    0.618]
    """
    return alpha / 2 / (1 + (jnp.pi / 2 * alpha * x) ** 2)


@_row(lambda x, alpha: jax.lax.erf(alpha * x) / 2)
def erf(x: Array, alpha: float = 2.0) -> Array:
    """`s = α/√π e^(-α²x²)`, of `erf(αx) / 2`.

    Source: Esser et al. 2015; Yin et al. 2020; default of spikingjelly. norse's heavi_erfc is 2/k times this at α =
    k.

    Args:
        alpha: `α`, how steep; its area is 1.

    Example:
        >>> rules = fg.rulesets.surrogates.erf()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.021 1.128 0.879]
    """
    return alpha / math.sqrt(math.pi) * jnp.exp(-((alpha * x) ** 2))


@_row(lambda x, alpha: x / jnp.sqrt(1 + (x / alpha) ** 2))
def inverse_square_root(x: Array, alpha: float = 1.0) -> Array:
    """`s = (1 + (x/α)²)^(-3/2)`, of `x / √(1 + (x/α)²)`.

    Source: norse's circ, whose α has no default.

    Args:
        alpha: `α`, its width.

    Example:
        >>> rules = fg.rulesets.surrogates.inverse_square_root()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.354 1.    0.913]
    """
    return (1 + (x / alpha) ** 2) ** -1.5


@_row(lambda x, sigma, scale: scale * _normal_area(x, sigma))
def gaussian(x: Array, sigma: float = 0.5, scale: float = 0.5) -> Array:
    """`s = γ N(x; 0, σ²)`, of `γ Φ(x/σ)`.

    Source: Yin et al. 2021; braintools' gaussian_grad and its defaults.

    Args:
        sigma: `σ`, its width.
        scale: `γ`, its area.

    Example:
        >>> rules = fg.rulesets.surrogates.gaussian()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.054 0.399 0.352]
    """
    return scale * _normal(x, sigma)


@_row(lambda x, h, s, sigma, scale: scale * ((1 + h) * _normal_area(x, sigma) - h * _flanks(_normal_area, x, s, sigma)))
def multi_gaussian(x: Array, h: float = 0.15, s: float = 6.0, sigma: float = 0.5, scale: float = 0.5) -> Array:
    """`s = γ ((1 + h) N(x; 0, σ²) - h N(x; σ, (sσ)²) - h N(x; -σ, (sσ)²))`, of `the same of their areas Φ`.

    Source: Yin et al. 2021, with negative flanks; braintools' multi_gaussian_grad and its defaults.

    Args:
        h: how much of the flanks.
        s: how much wider they are.
        sigma: `σ`, the width in the middle.
        scale: `γ`.

    Example:
        >>> rules = fg.rulesets.surrogates.multi_gaussian()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.043 0.439 0.385]
    """
    return scale * ((1 + h) * _normal(x, sigma) - h * _flanks(_normal, x, s, sigma))


@_row(lambda x, height, width: height * width * _parabolas(x / width))
def triangle(x: Array, height: float = 0.3, width: float = 1.0) -> Array:
    """`s = γ max(0, 1 - |x|/w)`, of `γ w (u - u|u|/2), u = clip(x/w, -1, 1)`.

    Source: Esser et al. 2016; Bellec et al. 2018, default there and in norse. braintools' relu_grad.

    Args:
        height: `γ`.
        width: `w`, half of its base; spyx' triangular has 1/k.

    Example:
        >>> rules = fg.rulesets.surrogates.triangle()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.    0.3   0.225]
    """
    return height * jnp.maximum(0, 1 - jnp.abs(x) / width)


@_row(lambda x, alpha: _parabolas(alpha * x))
def piecewise_quadratic(x: Array, alpha: float = 1.0) -> Array:
    """`s = max(0, α - α²|x|)`, of `u - u|u|/2, u = clip(αx, -1, 1)`.

    Source: Esser et al. 2016; name and default of spikingjelly. A triangle of area 1.

    Args:
        alpha: `α`, its height.

    Example:
        >>> rules = fg.rulesets.surrogates.piecewise_quadratic()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.   1.   0.75]
    """
    return jnp.maximum(0, alpha - alpha**2 * jnp.abs(x))


@_row(lambda x, width, height: height * jnp.where(jnp.abs(x) < width / 2, x, jnp.sign(x) * width / 2))
def boxcar(x: Array, width: float = 2.0, height: float = 0.5) -> Array:
    """`s = h where |x| < w/2, else 0`, of `h clip(x, -w/2, w/2)`.

    Source: Wu et al. 2018; defaults of spyx. spikingjelly's Rect has w = 1/α and h = α.

    Args:
        width: `w`.
        height: `h`.

    Example:
        >>> rules = fg.rulesets.surrogates.boxcar()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.  0.5 0.5]
    """
    return jnp.where(jnp.abs(x) < width / 2, height, 0)


@_row(
    lambda x, width, leak: jnp.where(jnp.abs(x) < width, x / (2 * width), leak * x + jnp.sign(x) * (0.5 - leak * width))
)
def piecewise_leaky_relu(x: Array, width: float = 1.0, leak: float = 0.01) -> Array:
    """`s = 1/2w where |x| < w, else c`, of `x/2w where |x| < w, else c x + (1/2 - c w) sign(x)`.

    Source: name and defaults of spikingjelly.

    Args:
        width: `w`.
        leak: `c`, what passes further out.

    Example:
        >>> rules = fg.rulesets.surrogates.piecewise_leaky_relu()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.01 0.5  0.5 ]
    """
    return jnp.where(jnp.abs(x) < width, 1 / (2 * width), leak)


@_row(lambda x, alpha: _double_exponential(x, alpha) / 2)
def piecewise_exp(x: Array, alpha: float = 1.0) -> Array:
    """`s = α/2 e^(-α|x|)`, of `sign(x) (1 - e^(-α|x|)) / 2`.

    Source: Neftci et al. 2019; name and default of spikingjelly.

    Args:
        alpha: `α`, twice its height; its area is 1.

    Example:
        >>> rules = fg.rulesets.surrogates.piecewise_exp()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.184 0.5   0.389]
    """
    return alpha / 2 * jnp.exp(-alpha * jnp.abs(x))


@_row(lambda x, alpha: _double_exponential(x, alpha) / alpha)
def slayer(x: Array, alpha: float = 1.0) -> Array:
    """`s = e^(-α|x|)`, of `sign(x) (1 - e^(-α|x|)) / α`.

    Source: Shrestha and Orchard 2018; default of braintools.

    Args:
        alpha: `α`, how soon it falls.

    Example:
        >>> rules = fg.rulesets.surrogates.slayer()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.368 1.    0.779]
    """
    return jnp.exp(-alpha * jnp.abs(x))


@_row(lambda x, beta, slope: slope / beta * _double_exponential(x - 1, beta))
def spike_rate_escape(x: Array, beta: float = 1.0, slope: float = 25.0) -> Array:
    """`s = k e^(-β|x - 1|)`, of `k/β sign(x - 1) (1 - e^(-β|x - 1|))`.

    Source: Gerstner and Kistler 2002; as snntorch has it, around 1 and not around the threshold.

    Args:
        beta: `β`, how soon it falls.
        slope: `k`, its height.

    Example:
        >>> rules = fg.rulesets.surrogates.spike_rate_escape(slope=1.0)
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.135 0.368 0.472]
    """
    return slope * jnp.exp(-beta * jnp.abs(x - 1))


@_row(
    lambda x, slope, bound: jnp.where(
        jnp.abs(x) < bound, x / (1 + slope * jnp.abs(x)), jnp.sign(x) * bound / (1 + slope * bound)
    )
)
def sparse_fast_sigmoid(x: Array, slope: float = 25.0, bound: float = 1.0) -> Array:
    """`s = 1 / (1 + k|x|)² where |x| < B, else 0`, of `x / (1 + k|x|) of clip(x, -B, B)`.

    Source: Perez-Nieves and Goodman 2021; defaults of snntorch, whose SFS passes where x > B instead.

    Args:
        slope: `k`, how soon it falls.
        bound: `B`, beyond which nothing passes.

    Example:
        >>> rules = fg.rulesets.surrogates.sparse_fast_sigmoid(slope=1.0)
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.   1.   0.64]
    """
    return jnp.where(jnp.abs(x) >= bound, 0, 1 / (1 + slope * jnp.abs(x)) ** 2)


@_row(
    lambda x, alpha, beta: jnp.where(x < 0, jax.nn.sigmoid(alpha * x), beta * jnp.log1p(jnp.where(x < 0, 0, x)) + 0.5)
)
def s2nn(x: Array, alpha: float = 4.0, beta: float = 1.0) -> Array:
    """`s = α σ(αx) σ(-αx) where x < 0, else β / (x + 1)`, of `σ(αx) where x < 0, else β log(x + 1) + 1/2`.

    Source: Suetake et al. 2022; defaults of spikingjelly.

    Args:
        alpha: `α`, how steep left of the threshold.
        beta: `β`, the slope just right of it.

    Example:
        >>> rules = fg.rulesets.surrogates.s2nn()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.071 1.    0.8  ]
    """
    left = alpha * jax.nn.sigmoid(alpha * x) * jax.nn.sigmoid(-alpha * x)
    return jnp.where(x < 0, left, beta / (1 + jnp.maximum(x, 0)))


@_row(lambda x, q: jnp.where(x >= 0, 1, -1) * (1 - (1 + 2 / (q - 1) * jnp.abs(x)) ** (1 - q)) / 2)
def q_pseudo_spike(x: Array, q: float = 2.0) -> Array:
    """`s = (1 + 2|x| / (q - 1))^(-q)`, of `sign(x) (1 - (1 + 2|x| / (q - 1))^(1 - q)) / 2`.

    Source: Herranz-Celotti and Rouat 2022; default of spikingjelly. braintools divides by q + 1, which has not area
    1.

    Args:
        q: how heavy the tails are: the lighter, the larger; above 1.

    Example:
        >>> rules = fg.rulesets.surrogates.q_pseudo_spike()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.111 1.    0.444]
    """
    return (1 + 2 / (q - 1) * jnp.abs(x)) ** -q


@_row(lambda x, alpha: jnp.where(x >= 0, 1, -1) * jnp.log1p(alpha * jnp.abs(x)))
def nonzero_sign_log(x: Array, alpha: float = 1.0) -> Array:
    """`s = 1 / (1/α + |x|)`, of `sign(x) log(1 + α|x|)`.

    Source: name and default of spikingjelly (NonzeroSignLogAbs).

    Args:
        alpha: `α`, its height.

    Example:
        >>> rules = fg.rulesets.surrogates.nonzero_sign_log()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.5 1.  0.8]
    """
    return 1 / (1 / alpha + jnp.abs(x))


@_row(
    lambda x, terms, period: (
        2
        / math.pi
        * sum((jnp.sin(m * 2 * math.pi / period * x) / m for m in range(1, 2 * terms, 2)), jnp.zeros_like(x))
    )
)
def squarewave_fourier(x: Array, terms: int = 2, period: float = 8.0) -> Array:
    """`s = 4/T Σ cos(m ω x), m = 1, 3, … (n of them), ω = 2π/T`, of `2/π Σ sin(m ω x) / m`.

    Source: name and defaults of spikingjelly, whose sum ends a term earlier than it says; braintools' is this one.

    Args:
        terms: `n`, how many waves.
        period: `T`.

    Example:
        >>> rules = fg.rulesets.surrogates.squarewave_fourier()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.    1.    0.906]
    """
    odd, frequency = range(1, 2 * terms, 2), 2 * math.pi / period
    return 4 / period * sum((jnp.cos(m * frequency * x) for m in odd), jnp.zeros_like(x))


@_row(lambda x, leak, slope: jnp.where(x > 0, slope * x, leak * x))
def leaky_relu(x: Array, leak: float = 0.1, slope: float = 1.0) -> Array:
    """`s = k where x > 0, else c`, of `k x where x > 0, else c x`.

    Source: defaults of braintools. snntorch's LSO is meant to be this one, its heaviside this with c = 0;
    spikingjelly's LeakyKReLU.

    Args:
        leak: `c`, what passes below the threshold.
        slope: `k`, what passes above.

    Example:
        >>> rules = fg.rulesets.surrogates.leaky_relu()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.1 0.1 1. ]
    """
    return jnp.where(x > 0, slope, leak)


@_row(lambda x, alpha: jnp.where(x > 1, 1 + jnp.log(jnp.maximum(x, 1)), jnp.where(x > 0, x, alpha * x)))
def log_tailed_relu(x: Array, alpha: float = 0.0) -> Array:
    """`s = α where x <= 0, 1 up to 1, 1/x beyond`, of `αx, x, 1 + log x`.

    Source: Cai et al. 2017; default of spikingjelly.

    Args:
        alpha: `α`, what passes below the threshold.

    Example:
        >>> rules = fg.rulesets.surrogates.log_tailed_relu()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0. 0. 1.]
    """
    return jnp.where(x <= 0, alpha, 1 / jnp.maximum(x, 1))


@_row(lambda x, alpha: _linear_then_log(alpha * x))
def fake_numerical_gradient(x: Array, alpha: float = 0.3) -> Array:
    """`s = min(α, 1/|x|)`, of `αx where α|x| < 1, else sign(x) (1 + log(α|x|))`.

    Source: name and default of spikingjelly, which divides the spike by the membrane.

    Args:
        alpha: `α`, the most that passes.

    Example:
        >>> rules = fg.rulesets.surrogates.fake_numerical_gradient()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [0.3 0.3 0.3]
    """
    return 1 / jnp.maximum(jnp.abs(x), 1 / alpha)


@_row(lambda x, height: -height * jnp.abs(x))
def tent(x: Array, height: float = 1.0) -> Array:
    """`s = h where x < 0, else -h`, of `-h|x|`.

    Source: snntorch's triangular, as it is computed there: it turns the sign above the threshold.

    Args:
        height: `h`.

    Example:
        >>> rules = fg.rulesets.surrogates.tent()
        >>> slope = fg.grad(lambda x: fg.ops.heaviside(x).sum(), rules=rules)
        >>> print(np.asarray(slope(jnp.array([-1.0, 0.0, 0.25]))).round(3))
        [ 1. -1. -1.]
    """
    return jnp.where(x < 0, height, -height)
