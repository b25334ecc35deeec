"""The rule `x_bar = g s(x)`, which most of the catalogue is made of: the slope of another function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.naming import Where
from funcgrad.ops.contraction import widen
from funcgrad.registry import Op, Rule, RuleSet, surrogate

Function = Op | str | Callable[..., Any]
"""What a rule set is for, as `RuleSet.override` takes it."""


@dataclass(frozen=True)
class Curve:
    """A function of `x` at some parameters, as a value: sets made with the same ones are equal, and can be pickled."""

    title: str
    function: Callable[..., Any]
    """The function; or an entry of the catalogue, which has it as an attribute."""
    parameters: tuple[tuple[str, Any], ...] = ()
    attribute: str = ""
    """Of the entry: its `slope`, or `smooth`, whose derivative that is."""

    def __call__(self, x: Array, *others: Array, **attributes: Any) -> Array:
        """The function at `x`, whatever else the one takes that it stands for."""
        del others, attributes
        function = getattr(self.function, self.attribute) if self.attribute else self.function
        return function(x, **dict(self.parameters))

    @property
    def __name__(self) -> str:  # what prints a kind asks for
        return self.title


@dataclass(frozen=True)
class Slope:
    """The rule `x_bar = g s(x)`, 0 where the slope is 0, whatever `g` is there; half precision in float32."""

    curve: Curve
    argument: str
    """What `x` is called in the function that it is for."""

    @property
    def __signature__(self) -> Signature:
        names = ("g", self.argument)
        return Signature([Parameter(name, Parameter.KEYWORD_ONLY) for name in names])

    def __call__(self, **needs: Array) -> Array:
        """`g s(x)`."""
        slope = self.curve(widen(needs[self.argument]))
        return jnp.where(slope == 0, 0, widen(needs["g"]) * slope)


def with_slope(of: Function, slope: Curve, smooth: Curve, at: str | Where) -> RuleSet:
    """The set in which a function is pulled back as `smooth` is, whose derivative is `slope`."""
    argument = argument_of(of)
    rule = Rule(Slope(slope, argument), (argument,), surrogate(smooth), smooth.title)
    return RuleSet().override(of, rule, at=at)


def argument_of(function: Function) -> str:
    """What a function calls its first argument; `x` where it does not say."""
    if isinstance(function, Op):
        return function.arguments[0]
    if isinstance(function, str) or not callable(function):
        return "x"
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return "x"
    return names[0] if names else "x"
