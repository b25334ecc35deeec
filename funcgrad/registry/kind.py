"""What a rule claims to be, and why an argument has none."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from funcgrad.aliases import PureFunction
from funcgrad.errors import RuleError, require


@dataclass(frozen=True)
class Kind:
    """What a rule claims: see `exact`, `subgradient`, `surrogate`, `modified`, `nonlinear`."""

    name: str
    convention: str = ""
    """Of a subgradient, in words."""
    of: PureFunction | None = None
    slopes: tuple[tuple[float, float | str], ...] = ()
    """The convention as `fg.check` verifies it: at a point of the argument the slope, or the attribute that it is."""
    even_at_ties: bool = False
    """Or this: what ties shares the cotangent in equal parts."""

    def __str__(self) -> str:
        if self.of is not None:
            return f"{self.name} of {getattr(self.of, '__name__', self.of)}"
        return f"{self.name} ({self.convention})" if self.convention else self.name

    @property
    def is_derivative(self) -> bool:
        """Whether the rule is the derivative of the op's own forward."""
        return self.name in ("exact", "subgradient")

    @property
    def is_linear(self) -> bool:
        """Whether the rule claims to be a linear map of the cotangent, as every J^T is."""
        return self.name != "nonlinear"


exact = Kind("exact")
"""The derivative of the forward."""
modified = Kind("modified")
"""Deliberately not a derivative (LRP, gradient reversal, feedback alignment); linear in the cotangent."""
nonlinear = Kind("nonlinear")
"""Nor is it linear in the cotangent (guided backprop, clipping, noise): pulled back twice, a sum is not the sum."""


def subgradient(convention: str | Mapping[float, float | str], even_at_ties: bool = False) -> Kind:
    """The derivative, with a convention where the forward has a kink.

    Args:
        convention: of an elementwise function of one argument, the slope at each of its kinks, in numbers or by the
            name of the attribute that it is: `{0: 0, 6: 0}`, `{0: "alpha"}`; `fg.check` verifies it. Else in words,
            which are printed and no more: `"to the first maximum"`.
        even_at_ties: arguments that tie, or the entries of one, share the cotangent in equal parts; `fg.check`
            verifies it.

    Returns:
        What to pass as `kind=`.

    Raises:
        RuleError: the convention is neither.

    >>> import funcgrad as fg
    >>> print(fg.subgradient({0: 0, 6: 0}), fg.subgradient("half to each at a tie", even_at_ties=True), sep="; ")
    subgradient (0 at 0 and 6); subgradient (half to each at a tie)
    """
    what = "a mapping from points to slopes, {0: 0.5}, or a sentence"
    require(convention, (str, Mapping), "subgradient: convention", what, RuleError)
    if isinstance(convention, str):
        return Kind("subgradient", convention, even_at_ties=even_at_ties)
    points: dict[float | str, list[str]] = {}
    for point, slope in convention.items():
        points.setdefault(slope, []).append(f"{point:g}")
    said = ", ".join(f"{_number(slope)} at {' and '.join(at)}" for slope, at in points.items())
    return Kind("subgradient", said, slopes=tuple(convention.items()), even_at_ties=even_at_ties)


def _number(x: float | str) -> str:
    return x if isinstance(x, str) else f"{x:g}"


def surrogate(of: PureFunction) -> Kind:
    """The kind of a rule that is the derivative of another function (straight-through, surrogate spikes).

    Args:
        of: that function; `fg.check` holds the rule to its derivative.

    Returns:
        The kind, for `op.pullback(..., kind=)` or `RuleSet.override(..., kind=)`.

    Example:
        >>> straight_through = fg.Rule(lambda g: g, ("x",), fg.surrogate(lambda x: x))
        >>> step = fg.op(name="step_function")(lambda x: jnp.where(x > 0, 1.0, 0.0).astype(x.dtype))
        >>> rules = fg.RuleSet().override(step, straight_through)
        >>> print(fg.grad(lambda x: step(x).sum(), rules=rules)(jnp.array([-1.0, 2.0])))
        [1. 1.]
    """
    return Kind("surrogate", of=of)


class Marker(Enum):
    """Why an argument has no pullback, when that is not an oversight: for `op.mark` and `RuleSet.override`.

    Example:
        >>> fg.ops.cross_entropy.rules["labels"] is fg.Marker.NON_DIFFERENTIABLE
        True
    """

    ZERO = "zero"
    """The derivative is zero everywhere it exists; nothing flows."""
    NON_DIFFERENTIABLE = "non-differentiable"
    """The argument is no point of a continuum (a label, a key); nothing flows."""
    NOT_IMPLEMENTED = "not implemented"
    """There is a derivative, nobody wrote it; raises where a gradient would need it."""


STOPPING = (Marker.ZERO, Marker.NON_DIFFERENTIABLE)
"""Those by which nothing flows."""
