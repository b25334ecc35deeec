"""A function that changes cotangents on their way."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import Parameter, Signature, signature
from typing import Any

import jax

from funcgrad.aliases import Array
from funcgrad.errors import FuncgradError, RuleError, describe, said_by
from funcgrad.naming import Where
from funcgrad.registry.kind import Kind, modified
from funcgrad.registry.random_keys import key_at, key_of_turn
from funcgrad.registry.rule import name_of


@dataclass(frozen=True)
class Hook:
    """A function that changes the cotangent of the values at a place."""

    at: Where
    function: Callable[..., Array]
    kind: Kind = modified
    """`modified`, or `nonlinear`."""
    key: Any = field(default=None, compare=False)
    """That of its value, in a plan."""

    @property
    def name(self) -> str:
        """The function's name."""
        return name_of(self.function)

    @property
    def said(self) -> str:
        """Its name, and that it is not linear, as a plan shows it."""
        return self.name if self.kind.is_linear else f"{self.name} [{self.kind}]"

    @cached_property
    def asks_key(self) -> bool:
        """Whether the function asks for a random key beside the cotangent."""
        try:
            return "key" in list(signature(self.function).parameters)[1:]
        except (TypeError, ValueError):
            return False

    def at_value(self, name: str, key: Any) -> "Hook":
        """The hook as it stands at one value, in a set that has this key.

        Raises:
            RuleError: it asks for a key, and the set has none.
        """
        if not self.asks_key:
            return self
        if key is None:
            raise RuleError(
                f"{name}: hook {self.name} asks for a random key, and the set has none; give it one in every step, as "
                f"rules.with_key(jax.random.key(0))."
            )
        return replace(self, key=key_at(key, name))

    def changed(self, g: Array, value: str) -> Array:
        """The cotangent of a value, changed.

        Raises:
            RuleError: it is no longer like the value, or the function raised.
        """
        try:
            aval, given = jax.typeof(g), {"key": key_of_turn(self.key)} if self.asks_key else {}
            found = self.function(g, **given)
        except (FuncgradError, FloatingPointError):
            raise
        except Exception as error:
            raise RuleError(f"{value}: hook {self.name} raised {said_by(error)}.") from error
        try:
            fits = (jax.typeof(found).shape, jax.typeof(found).dtype) == (aval.shape, aval.dtype)
        except TypeError:
            fits = False
        if not fits:
            raise RuleError(
                f"{value}: hook {self.name} must return the cotangent as {describe(aval)}, got {describe(found)}."
            )
        return found

    def __str__(self) -> str:
        return f"the cotangent of '{self.at}': {self.name}{'' if self.kind.is_linear else f' ({self.kind})'}"


def check_call(hook: Hook) -> None:
    """RuleError for a function that cannot be called as a hook is: with a cotangent, and by name with a key."""
    try:
        found = signature(hook.function)
    except (TypeError, ValueError):  # it does not tell
        return
    try:
        found.bind("g", **({"key": None} if hook.asks_key else {}))
    except TypeError:
        plain = [p.replace(annotation=Parameter.empty) for p in found.parameters.values()]
        raise RuleError(
            f"hook: a hook is given the cotangent by position, and by name a random key if it asks for 'key', got "
            f"{hook.name}{Signature(plain)}; give what else it reads a default, or functools.partial."
        ) from None
