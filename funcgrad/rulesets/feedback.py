"""Credit assignment without the transposed weights, or without any backward pass: feedback alignment and the like.

Each entry but `perturbation` stands for the cotangent of what a linear layer takes, and leaves that of its weight as it
is: at `fg.ops.linear` by default; with `of="dot_general"` at the layers of Flax NNX and `x @ w`, and with
`weight="lhs"` beside that at Equinox's, which write `w @ x`. A product of two activations, as attention has, is to be
left out by `at=`; `of=fg.Region(affine="dot_general")` does so by itself, where it is taken.

A weight has one fixed matrix. It is drawn from a key and the weight's name, so that it is the same in every step, at
all nodes that read the weight, transposed where they read it transposed, and in all turns of a loop; of a stack of
weights, each slice has its own, whether a `scan` takes the slices or the model writes `w[i]`.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad import ops
from funcgrad.aliases import Array, Aval
from funcgrad.errors import RuleError, describe, printed
from funcgrad.graph import Node
from funcgrad.naming import Where
from funcgrad.registry import Op, Origin, Region, Rule, RuleSet, modified, nonlinear
from funcgrad.rulesets.changes import Change, like
from funcgrad.rulesets.slopes import Function


def alignment(
    key: Array,
    scale: float | Array = 0.5,
    *,
    of: Function | Region = ops.linear,
    weight: str | None = None,
    at: str | Where = "**",
) -> RuleSet:
    """`x_bar = g Bᵀ` in the place of `g wᵀ`, `B` fixed and uniform in [-c, c]. The weight itself is not read.

    Source: Lillicrap et al. 2016.

    Args:
        key: what the matrices are drawn from, as `jax.random.key(0)`.
        scale: `c`.
        of: the product, as `RuleSet.override` takes it; `fg.Region(affine="dot_general")` for all of activations with
            parameters, whichever is first.
        weight: which of its two operands is the weight, by its name in the product; by default the second.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is modified.

    Example:
        >>> rules = fg.rulesets.feedback.alignment(jax.random.key(0))
        >>> x_bar = fg.grad(lambda x: fg.ops.linear(x, jnp.zeros((3, 4))).sum(), rules=rules)(jnp.ones(3))
        >>> bool((x_bar != 0).all())
        True
    """
    return _exchanged("feedback_alignment", partial(uniform_like, key=key, scale=scale), of, weight, at)


def uniform_like(w: Array, origin: Origin, key: Array, scale: Any) -> Array:
    """`B`, uniform in [-c, c], of the weight's shape."""
    return like(scale, w) * drawn_like(w, origin, key, low=-1)


def sign_symmetric(
    key: Array | None = None,
    *,
    of: Function | Region = ops.linear,
    weight: str | None = None,
    at: str | Where = "**",
) -> RuleSet:
    """`x_bar = g sign(w)ᵀ`; with a key `g (m sign(w))ᵀ`, `m` fixed and uniform in [0, 1].

    Source: Liao et al. 2016 (uSF, frSF); Xiao et al. 2019, which trains ImageNet with the first.

    Args:
        key: what the magnitudes `m` are drawn from; without one they are 1.
        of: the product, as `RuleSet.override` takes it; `fg.Region(affine="dot_general")` for all of activations with
            parameters, whichever is first.
        weight: which of its two operands is the weight, by its name in the product; by default the second.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is modified.

    Example:
        >>> rules = fg.rulesets.feedback.sign_symmetric()
        >>> w = jnp.array([[0.1, 0.2], [-3.0, 0.1]])
        >>> print(fg.grad(lambda x: fg.ops.linear(x, w).sum(), rules=rules)(jnp.ones(2)))
        [2. 0.]
    """
    return _exchanged("sign_symmetric", partial(signs_of, key=key), of, weight, at)


def signs_of(w: Array, origin: Origin, key: Array | None) -> Array:
    """`m sign(w)`."""
    return jnp.sign(w) if key is None else jnp.sign(w) * drawn_like(w, origin, key, low=0)


def drawn_like(w: Array, origin: Origin, key: Array, low: float) -> Array:
    """Numbers in [low, 1] for where a weight comes from, moved and cast as the weight is.

    Under a `vmap` over weights, an op's rule is given one of them: then all have the same numbers.
    """
    aval, own = origin.aval, origin.key(key)
    x = origin.moved(jax.random.uniform(own, aval.shape, aval.dtype, low, 1))
    return x if x.shape == w.shape else jax.random.uniform(own, w.shape, w.dtype, low, 1)


def direct(
    key: Array,
    signal: str | Where,
    scale: float | Array | None = None,
    *,
    of: Function = ops.linear,
    weight: str | None = None,
    at: str | Where = "**",
) -> RuleSet:
    """`x_bar = e B`: each layer is told the cotangent `e` of the network's output, by a fixed matrix of its own.

    `B` is uniform in [-c, c], c = 1 / √n for a layer's input of `n` numbers. The axes of `e` but the last are also the
    first of `x` over which it does not sum: the examples. Source: Nøkland 2016.

    Args:
        key: what the matrices are drawn from, as `jax.random.key(0)`.
        signal: the value whose cotangent is `e`, as `"logits"`, before the loss.
        scale: `c`; as above, if None.
        of: the product, as `RuleSet.override` takes it.
        weight: which of its two operands is the weight, by its name in the product; by default the second.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is modified.

    Example:
        >>> def loss(params, x):
        ...     h = jnp.tanh(fg.ops.linear(x, params["w1"]))
        ...     return (fg.name(fg.ops.linear(h, params["w2"]), "logits") ** 2).mean()
        >>> params, x = {"w1": jnp.ones((2, 3)), "w2": jnp.zeros((3, 2))}, jnp.ones((4, 2))
        >>> rules = fg.rulesets.feedback.direct(jax.random.key(0), "logits")
        >>> fg.grad(loss, rules=rules)(params, x)["w1"].shape
        (2, 3)
    """
    x, w = _factors(of, weight)
    width = scale if scale is not None else lambda n: 1 / math.sqrt(n)
    rule = Projected("direct_feedback", x, w, key, width).rule
    return RuleSet().override(of, rule, at=at).with_signal(signal)


def target_projection(
    targets: Array,
    key: Array,
    scale: float | Array | None = None,
    *,
    of: Function = ops.linear,
    weight: str | None = None,
    at: str | Where = "**",
) -> RuleSet:
    """`x_bar = -t B`: each layer is told the targets alone, so that it can learn before the output is there.

    For one-hot targets, what the error `softmax(y) - t` has the sign of. `B` is uniform in [-c, c], c = √(6 / n) for a
    layer's input of `n` numbers. Source: Frenkel et al. 2021 (direct random target projection).

    Args:
        targets: `t[..., classes]`, over the number of examples where the loss is a mean; they may be traced.
        key: what the matrices are drawn from, as `jax.random.key(0)`.
        scale: `c`; as above, if None.
        of: the product, as `RuleSet.override` takes it.
        weight: which of its two operands is the weight, by its name in the product; by default the second.
        at: at which nodes, as in `RuleSet.override`.

    Returns:
        The set of rules; their kind is nonlinear, as they do not read the cotangent at all.

    Example:
        >>> rules = fg.rulesets.feedback.target_projection(jnp.eye(2), jax.random.key(0))
        >>> loss = lambda x: fg.ops.linear(x, jnp.zeros((3, 2))).sum()
        >>> fg.grad(loss, rules=rules)(jnp.ones((2, 3))).shape
        (2, 3)
    """
    x, w = _factors(of, weight)
    width = scale if scale is not None else lambda n: math.sqrt(6 / n)
    rule = Projected("target_projection", x, w, key, width, targets).rule
    return RuleSet().override(of, rule, at=at)


def perturbation(per_example: bool = False, *, at: str | Where) -> RuleSet:
    """`h_bar = ξ (ξ · g)`, ξ standard normal: what one number, how the loss moves along ξ, tells of a gradient.

    Its mean is `g`. At an intermediate it is node perturbation, at a leaf of the parameters weight perturbation, both
    in the limit of small noise. Draws: give the set a key in each step, `rules.with_key(key)`. Source: Werfel et al.
    2003; Baydin et al. 2022 (forward gradients of weights), Ren et al. 2023 (of activations).

    Args:
        per_example: each entry along axis 0 has a loss, and so a number, of its own.
        at: whose cotangent is told by it.

    Returns:
        The set of rules.

    Example:
        >>> rules = fg.rulesets.feedback.perturbation(at="x")
        >>> gradient = lambda key: fg.grad(lambda x: (x**2).sum(), rules=rules.with_key(key))(jnp.array([1.0, 2.0]))
        >>> print(jax.vmap(gradient)(jax.random.split(jax.random.key(0), 10_000)).mean(0).round())
        [2. 4.]
    """
    return RuleSet().hook(at, Change("perturbation", perturbed, (("per_example", per_example),)))


def perturbed(g: Array, per_example: bool, key: Array) -> Array:
    """`ξ (ξ · g)`."""
    direction = jax.random.normal(key, g.shape, g.dtype)
    axes = tuple(range(1, g.ndim)) if per_example else None
    return direction * jnp.sum(direction.conj() * g, axes, keepdims=True)


@dataclass(frozen=True, eq=False)
class Exchanged:
    """The rule of `x` with another matrix in the place of the weight, whatever the product is: its own forward's."""

    x: str
    weight: str
    """Of an affine region "affine", which has the weight and the product."""
    make: Callable[..., Array]
    """Of the weight and where it comes from: the matrix."""

    @property
    def __signature__(self) -> Signature:
        origin = f"{self.weight}_origin"
        return _asking("g", self.x, self.weight, origin, *(() if self.weight == "affine" else ("f",)))

    def __call__(self, g: Array, **told: Any) -> Array:
        """J^T of the product with the matrix; a product is linear in `x`, so that what `x` is does not matter."""
        if self.weight == "affine":
            product, weight = told["affine"].product, told["affine"].weight
        else:
            product, weight = (lambda x, w: told["f"](**{self.x: x, self.weight: w})), told[self.weight]
        matrix = self.make(weight, told[f"{self.weight}_origin"])
        return jax.vjp(lambda x: product(x, matrix), told[self.x])[1](g)[0]


@dataclass(frozen=True, eq=False)
class Projected:
    """The rule that gives `x` a fixed projection of a signal for all layers: `e`, or `-t` of the targets."""

    title: str
    x: str
    weight: str
    key: Array
    scale: Any
    """A number, or a function of the numbers that a layer takes."""
    targets: Array | None = None

    @property
    def __signature__(self) -> Signature:
        names = ("node", f"{self.x}_aval", f"{self.weight}_origin")
        asked = _asking(*names, *(("loss_g",) if self.targets is None else ()))
        dimensions = Parameter("dimension_numbers", Parameter.KEYWORD_ONLY, default=None)
        return asked.replace(parameters=[*asked.parameters.values(), dimensions])

    @property
    def rule(self) -> Rule:
        """It, as it is put in."""
        kind = modified if self.targets is None else nonlinear
        return Rule(self, (self.x,), kind, self.title)

    def __call__(self, node: Node, dimension_numbers: Any = None, **told: Any) -> Array:
        """`e B`, or `-t B`."""
        aval: Aval = told[f"{self.x}_aval"]
        e: Array = told["loss_g"] if self.targets is None else -self.targets.astype(aval.dtype)
        rows = e.shape[:-1]
        axes = self._free_axes(aval, dimension_numbers)[: len(rows)]
        if not e.ndim or tuple(aval.shape[a] for a in axes) != rows:
            what = "the signal" if self.targets is None else "the targets"
            raise RuleError(
                f"{node.name}: {self.title} takes {what} with the leading axes of {self.x}, {describe(aval)}, "
                f"got {describe(e)}."
            )
        axes = (*axes, *(a for a in range(len(aval.shape)) if a not in axes))
        shape = [aval.shape[a] for a in axes]
        n = math.prod(shape[len(rows) :])
        key = told[f"{self.weight}_origin"].key(self.key)
        matrix = jax.random.uniform(key, (e.shape[-1], n), aval.dtype, -1, 1)
        matrix = matrix * like(self.scale(n) if callable(self.scale) else self.scale, matrix)
        x_bar = (e.astype(aval.dtype) @ matrix).reshape(shape)
        return jnp.transpose(x_bar, [axes.index(a) for a in range(len(axes))])

    def _free_axes(self, aval: Aval, dimension_numbers: Any) -> tuple[int, ...]:
        """The axes of `x` over which the product does not sum, in order; a `vmap` may have put them last."""
        axes = tuple(range(len(aval.shape)))
        if isinstance(dimension_numbers, lax.ConvDimensionNumbers):
            return (dimension_numbers.lhs_spec[0],)
        if dimension_numbers is None:
            return axes
        summed = dimension_numbers[0][self.x == "rhs"]
        return tuple(a for a in axes if a not in summed)


def _exchanged(
    name: str, make: Callable[..., Array], of: Function | Region, weight: str | None, at: str | Where
) -> RuleSet:
    x, weight = _operands(of, weight)
    return RuleSet().override(of, Rule(Exchanged(x, weight, make), (x,), modified, name), at=at)


def _operands(of: Function | Region, weight: str | None) -> tuple[str, str]:
    """What a product calls its activations and its weight, which is the second of two if nobody says."""
    if isinstance(of, Region):
        if weight is not None or not of.affine:
            raise RuleError("of= takes a region that is affine, fg.Region(affine=...), which knows its weight itself.")
        return "x", "affine"
    if isinstance(of, Op):
        names = of.arguments[:2]
    elif isinstance(of, str):
        names = ("lhs", "rhs")
    else:
        names = tuple(inspect.signature(of).parameters)[:2]
    weight = weight or names[-1]
    if weight not in names or len(names) < 2:
        raise RuleError(f"weight= names one of the two factors, {' or '.join(names)}, got {printed(weight)}.")
    return next(n for n in names if n != weight), weight


def _factors(of: Function, weight: str | None) -> tuple[str, str]:
    """The same of a product whose own axes tell which are the examples; a region does not say them."""
    if isinstance(of, Region):
        raise RuleError('of= takes a product here, as "dot_general", whose axes say which are examples; got a region.')
    return _operands(of, weight)


def _asking(*names: str) -> Signature:
    return Signature([Parameter(n, Parameter.KEYWORD_ONLY) for n in names])
