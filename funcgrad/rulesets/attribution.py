"""Attributions: how much each entry of the input counts for an output, by the backward pass or by several.

`guided_backprop`, `deconvnet` and `excitation_backprop` are sets of rules. The others take a function whose result is a
number, as a class's score summed over a batch, and return one of the same arguments that gives the attribution, as
`fg.grad` gives the gradient; they work under `jax.jit` and `jax.vmap`, and on a backward pass with other rules
(`rules=`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff import grad
from funcgrad.autodiff.gradients import named_after
from funcgrad.autodiff.named_values import Names
from funcgrad.errors import GradientError, describe_tree
from funcgrad.naming import Where
from funcgrad.registry import RuleSet, nonlinear
from funcgrad.rulesets import relevance
from funcgrad.rulesets.families import RELU
from funcgrad.rulesets.inputs import Argnums, Places, alone, baseline_of, chosen, values_and_gradients, weighted_sum
from funcgrad.rulesets.relevance.rest import through_activations
from funcgrad.rulesets.rescaling import PAIR, rescale_rules


def guided_backprop(*, at: str | Where = "**") -> RuleSet:
    """`x_bar = g [y > 0] [g > 0]` at every ReLU: what is positive both ways.

    A ReLU is `fg.ops.relu`, `jax.nn.relu` (as in Flax, Equinox and Haiku), whatever else is called `relu`, or
    `jnp.maximum(x, 0)` or `jnp.clip(x, 0)` with the number written out. Source: Springenberg et al. 2015.

    Args:
        at: at which of them, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is nonlinear.

    Example:
        >>> rules = fg.rulesets.attribution.guided_backprop()
        >>> score = lambda x: jnp.sum(jnp.array([3.0, -3.0, 3.0]) * jnp.maximum(x, 0))
        >>> print(fg.grad(score, rules=rules)(jnp.array([1.0, 1.0, -1.0])))
        [3. 0. 0.]
    """
    return RuleSet().override(RELU, guided, at=at, kind=nonlinear)


def guided(g: Array, y: Array, out: Array | None = None) -> Array:
    """`x_bar = g [y > 0] [g > 0]`."""
    y = y if out is None else out  # of maximum(x, y) the output is called `out`
    return jnp.where((y > 0) & (g > 0), g, 0)


def deconvnet(*, at: str | Where = "**") -> RuleSet:
    """`x_bar = g [g > 0]` at every ReLU: a ReLU of the cotangent, whatever the input was.

    Source: Zeiler and Fergus 2014; as a ReLU's rule in Springenberg et al. 2015.

    Args:
        at: at which ReLUs (see `guided_backprop`), as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is nonlinear.

    Example:
        >>> rules = fg.rulesets.attribution.deconvnet()
        >>> score = lambda x: jnp.sum(jnp.array([3.0, -3.0, 3.0]) * jax.nn.relu(x))
        >>> print(fg.grad(score, rules=rules)(jnp.array([1.0, 1.0, -1.0])))
        [3. 0. 3.]
    """
    return RuleSet().override(RELU, rectified, at=at, kind=nonlinear)


def rectified(g: Array) -> Array:
    """`x_bar = g [g > 0]`."""
    return jnp.where(g > 0, g, 0)


def excitation_backprop(stabilizer: float = 1e-6, *, at: str | Where = "**") -> RuleSet:
    """`P_i = Σ_j x_i w⁺_ij / (Σ_i x_i w⁺_ij) P_j`: which inputs excite an output, as probabilities of winning it.

    z⁺ in dense layers and convolutions, shares in sums of two branches and in average pooling, maxima and activations
    of one number pass. Inputs of a layer are taken to be positive, as after a ReLU; of others, what is negative twice
    excites too (`relevance.z_plus`). As in zennit's ExcitationBackprop, a bias takes the share of what is positive of
    it; the paper's layers have none. Source: Zhang et al. 2016.

    Args:
        stabilizer: what is added to denominators, away from zero.
        at: at which of the layers, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is modified.

    Raises:
        RuleError: a model without linear layers, when the set is used.

    Example:
        >>> w = {"w": jnp.array([[1.0], [3.0], [-2.0]])}
        >>> rules = fg.rulesets.attribution.excitation_backprop()
        >>> _, pull = fg.vjp(lambda x: x @ w["w"], jnp.array([[3.0, 1.0, 5.0]]), rules=rules)
        >>> print(np.asarray(pull(jnp.ones((1, 1)))[0]).round(3))
        [[0.5 0.5 0. ]]
    """
    return through_activations() | relevance.norm(stabilizer) | relevance.z_plus(stabilizer, at=at)


def gradient_times_input(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    of: Names | None = None,
    wrt: Places | None = None,
    cotangent: PyTree = None,
    rules: RuleSet | None = None,
) -> Callable[..., Any]:
    """`x ⊙ ∂f/∂x`, of arguments or of any values inside.

    Source: Shrikumar et al. 2016 ("Not just a black box").

    Args:
        f: a function whose result is a real scalar.
        argnums: for which positional arguments: an int, or several.
        of: a value inside `f` in the place of its result, as in `fg.grad`.
        wrt: instead of `argnums`, values inside `f`, by name, as in `fg.grad`.
        cotangent: that of the result, where that is no scalar: `1` at a class.
        rules: which J^T stands for which op.

    Returns:
        A function of the arguments of `f`: the attribution, like the gradient.

    Raises:
        GradientError: what `fg.grad` raises.

    Example:
        >>> attribute = fg.rulesets.attribution.gradient_times_input(lambda x: x[0] * x[1] + 2 * x[2])
        >>> print(attribute(jnp.array([3.0, 5.0, 7.0])))
        [15. 15. 14.]
    """
    gradient = grad(f, argnums, of=of, cotangent=cotangent, rules=rules)

    def attribution_of(*args: Any, **kwargs: Any) -> PyTree:
        if wrt is not None:
            inside = values_and_gradients(f, wrt, of, cotangent, rules)(*args, **kwargs)
            return alone({name: x * g for name, (x, g) in inside.items()})
        x, _ = chosen("gradient_times_input", args, argnums)
        return jax.tree.map(jnp.multiply, x, gradient(*args, **kwargs))

    return named_after(f, "gradient_times_input", attribution_of)


def integrated_gradients(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    baseline: PyTree = None,
    steps: int = 50,
    of: Names | None = None,
    cotangent: PyTree = None,
    rules: RuleSet | None = None,
) -> Callable[..., Any]:
    """`(x - x') ⊙ ∫₀¹ ∂f/∂x (x' + a (x - x')) da`; its sum is `f(x) - f(x')`.

    The integral is a Gauss-Legendre sum, as in captum; one gradient at a time is in memory. Source: Sundararajan et al.
    2017, where that sum is called completeness.

    Args:
        f: a function whose result is a real scalar.
        argnums: for which positional arguments: an int, or several, which then move together.
        baseline: `x'`, like the arguments that move, or to be broadcast to them; zeros by default.
        steps: how many gradients are summed.
        of: a value inside `f` in the place of its result, as in `fg.grad`.
        cotangent: that of the result, where that is no scalar: `1` at a class.
        rules: which J^T stands for which op.

    Returns:
        A function of the arguments of `f`: the attribution, like the gradient.

    Raises:
        GradientError: the baseline is not like the arguments, there are no steps, or what `fg.grad` raises.

    Example:
        >>> attribute = fg.rulesets.attribution.integrated_gradients(lambda x: x[0] * x[1])
        >>> print(f"{attribute(jnp.array([2.0, 3.0])).sum():.3f}")
        6.000
    """
    if steps < 1:
        raise GradientError(f"integrated_gradients: steps must be 1 or more, got {steps}.")
    gradient = grad(f, argnums, of=of, cotangent=cotangent, rules=rules)
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def attribution_of(*args: Any, **kwargs: Any) -> PyTree:
        x, put = chosen("integrated_gradients", args, argnums)
        start = baseline_of("integrated_gradients", baseline, x)
        way = jax.tree.map(jnp.subtract, x, start)

        def gradient_at(a: Array) -> PyTree:
            moved = jax.tree.map(lambda b, d: b + a.astype(d.dtype) * d, start, way)
            return gradient(*put(moved), **kwargs)

        mean = weighted_sum(gradient_at, jnp.asarray((nodes + 1) / 2), jnp.asarray(weights / 2), x)
        return jax.tree.map(jnp.multiply, way, mean)

    return named_after(f, "integrated_gradients", attribution_of)


def smooth_grad(
    f: Callable[..., Any],
    key: Array,
    argnums: Argnums = 0,
    *,
    sigma: float = 0.15,
    samples: int = 50,
    of: Names | None = None,
    cotangent: PyTree = None,
    rules: RuleSet | None = None,
) -> Callable[..., Any]:
    """`1/n Σ ∂f/∂x (x + σ ε)`: the mean of gradients at noisy inputs, `ε` normal.

    Source: Smilkov et al. 2017. One gradient at a time is in memory.

    Args:
        f: a function whose result is a real scalar.
        key: a random key.
        argnums: for which positional arguments: an int, or several, which are all noisy.
        sigma: `σ`; 0.1 to 0.2 of the inputs' range, in the paper.
        samples: `n`.
        of: a value inside `f` in the place of its result, as in `fg.grad`.
        cotangent: that of the result, where that is no scalar: `1` at a class.
        rules: which J^T stands for which op.

    Returns:
        A function of the arguments of `f`: the attribution, like the gradient.

    Raises:
        GradientError: there are no samples, or what `fg.grad` raises.

    Example:
        >>> attribute = fg.rulesets.attribution.smooth_grad(lambda x: 3 * jnp.sum(x), jax.random.key(0), samples=8)
        >>> print(attribute(jnp.ones(2)))
        [3. 3.]
    """
    if samples < 1:
        raise GradientError(f"smooth_grad: samples must be 1 or more, got {samples}.")
    gradient = grad(f, argnums, of=of, cotangent=cotangent, rules=rules)

    def attribution_of(*args: Any, **kwargs: Any) -> PyTree:
        x, put = chosen("smooth_grad", args, argnums)

        def gradient_at(key: Array) -> PyTree:
            leaves, tree = jax.tree.flatten(x)
            keys = jax.random.split(key, len(leaves))
            noisy = [x + sigma * jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
            return gradient(*put(jax.tree.unflatten(tree, noisy)), **kwargs)

        return weighted_sum(gradient_at, jax.random.split(key, samples), jnp.full(samples, 1 / samples), x)

    return named_after(f, "smooth_grad", attribution_of)


def grad_cam(
    f: Callable[..., Any],
    at: Places,
    *,
    positions: Sequence[int] = (-3, -2),
    channel: int = -1,
    of: Names | None = None,
    cotangent: PyTree = None,
    rules: RuleSet | None = None,
) -> Callable[..., Array]:
    """`L = ReLU(Σ_k α_k A_k)`, `α_k` the mean of `∂f/∂A_k` over positions, for any named value `A`.

    Source: Selvaraju et al. 2017. `fg.view.heatmap` stretches it over the input.

    Args:
        f: a function whose result is a real scalar.
        at: the name of the feature maps, as in `wrt=` of `fg.grad`: `"model/conv2"`, `fg.name(x, "features")`.
        positions: the axes of positions; the others but `channel` are a batch. Where channels come first: `(-2, -1)`.
        channel: the axis of `k`. Where channels come first: `-3`.
        of: a value inside `f` in the place of its result, as in `fg.grad`.
        cotangent: that of the result, where that is no scalar: `1` at a class.
        rules: which J^T stands for which op.

    Returns:
        A function of the arguments of `f` that gives `L`, of the shape of the feature maps less the channels; a mapping
        by name where `at` stands for several values.

    Raises:
        GradientError: an axis is none of the feature maps or named twice, or what `fg.grad` raises.

    Example:
        >>> def score(x):                                                              # [height, width]
        ...     features = fg.name(jax.nn.relu(jnp.stack([x, 0.5 - x], -1)), "features")  # [height, width, channels]
        ...     return features.mean((0, 1)) @ jnp.array([4.0, -4.0])
        >>> attribute = fg.rulesets.attribution.grad_cam(score, "features")
        >>> print(attribute(jnp.array([[0.0, 2.0], [-1.0, 4.0]])))
        [[0. 2.]
         [0. 4.]]
    """

    def attribution_of(*args: Any, **kwargs: Any) -> Any:
        found: dict[str, Array] = {}
        for name, (maps, g) in values_and_gradients(f, at, of, cotangent, rules)(*args, **kwargs).items():
            if bad := [a for a in (*positions, channel) if not -maps.ndim <= a < maps.ndim]:
                raise GradientError(
                    f"grad_cam: '{name}' is {describe_tree(maps)}, which has no axis {bad[0]}; say by positions= and "
                    f"channel= which axes are what."
                )
            axes = [a % maps.ndim for a in (*positions, channel)]
            if twice := [a for a in axes if axes.count(a) > 1]:
                raise GradientError(
                    f"grad_cam: '{name}' is {describe_tree(maps)}, of which positions={tuple(positions)} and "
                    f"channel={channel} name axis {twice[0]} twice; where channels come first, pass "
                    f"positions=(-2, -1), channel=-3."
                )
            alpha = jnp.mean(g, tuple(positions), keepdims=True)
            found[name] = jax.nn.relu(jnp.sum(alpha * maps, channel))
        return alone(found)

    return named_after(f, "grad_cam", attribution_of)


def deeplift_rescale(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    baseline: PyTree = None,
    of: Names | None = None,
    cotangent: PyTree = None,
    rules: RuleSet | None = None,
) -> Callable[..., Any]:
    """`(x - x') ⊙ m`, with `x_bar = g (y - y') / (x - x')` at every nonlinearity.

    Where `x` is all but `x'`, the slope. Nonlinearities are elementwise functions of one array: ops, those of
    `jax.nn`, primitives, `jnp.maximum`, `minimum` and `clip` with numbers; and max pooling, which hands on what its
    windows gained. Only where a model has no others is the sum `f(x) - f(x')`: products of two values that both move
    (attention, gates), normalizations, `jax.nn.softmax`, `jnp.where` and maxima over entries (`jnp.max`) keep their
    gradient at `x`, and the sum is then another. Input and reference are two examples of a `vmap` around `fg.grad`, in
    which rules see both; so `f` may do what it will with its batch. Source: Shrikumar et al. 2017; pooling as
    in captum.

    Args:
        f: a function whose result is a real scalar.
        argnums: for which positional arguments: an int, or several, which then move together.
        baseline: `x'`, like the arguments that move, or to be broadcast to them; zeros by default.
        of: a value inside `f` in the place of its result, as in `fg.grad`.
        cotangent: that of the result, where that is no scalar: `1` at a class.
        rules: which J^T stands for which op; these come before the rescale rule.

    Returns:
        A function of the arguments of `f`: the attribution, like the gradient.

    Raises:
        GradientError: the baseline is not like the arguments, or what `fg.grad` raises.

    Example:
        >>> score = lambda x: jax.nn.relu(x[0] + x[1] - 1)
        >>> print(fg.rulesets.attribution.deeplift_rescale(score)(jnp.array([1.0, 3.0])))
        [0.75 2.25]
    """
    gradient = grad(f, argnums, of=of, cotangent=cotangent, rules=rescale_rules() | RuleSet.of(rules))

    def attribution_of(*args: Any, **kwargs: Any) -> PyTree:
        x, put = chosen("deeplift_rescale", args, argnums)
        reference = baseline_of("deeplift_rescale", baseline, x)
        pair = jax.tree.map(lambda *both: jnp.stack(both), x, reference)
        multipliers = jax.vmap(lambda x: gradient(*put(x), **kwargs), axis_name=PAIR)(pair)
        return jax.tree.map(lambda x, b, m: (x - b) * m[0], x, reference, multipliers)

    return named_after(f, "deeplift_rescale", attribution_of)
