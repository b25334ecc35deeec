"""Shape declarations: `"x[..., n] w[n, m] b[m]"`, checked before an op is traced.

An axis is a number, or a letter that must have one size wherever it stands; a leading `...` takes any axes,
the same ones wherever it stands. Arguments that are not declared are not checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from funcgrad.aliases import Aval
from funcgrad.errors import RuleError, ShapeError, describe

_ARGUMENT = re.compile(r"\s*(\w+)\[([^\[\]]*)\]")

Sizes = dict[str, tuple[object, str]]
"""The size of each axis, and the argument it is from."""


@dataclass(frozen=True)
class Shapes:
    """The declared axes of each argument."""

    axes: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> "Shapes":
        """Read a declaration; RuleError where it cannot be read."""
        rest, axes = text, {}
        while rest.strip():
            match = _ARGUMENT.match(rest)
            if match is None:
                raise RuleError(f"shapes={text!r} cannot be read at {rest!r}; write it as 'x[..., n] w[n, m]'.")
            axes[match[1]] = tuple(a.strip() for a in match[2].split(",") if a.strip())
            rest = rest[match.end() :]
        return cls(axes)

    def check(self, where: str, avals: Mapping[str, Aval]) -> None:
        """ShapeError unless the arguments fit the declaration and each other."""
        sizes: Sizes = {}
        for argument, axes in self.axes.items():
            if argument in avals and not _fits(argument, axes, tuple(avals[argument].shape), sizes):
                expected = _expected(argument, axes, avals, sizes)
                raise ShapeError(f"{where}: {argument} must be {expected}, got {describe(avals[argument])}.")


def _fits(argument: str, axes: tuple[str, ...], shape: tuple[int, ...], sizes: Sizes) -> bool:
    """Whether an argument has the declared axes, in sizes that agree with those known; new ones are added to them."""
    fixed = axes[1:] if axes[:1] == ("...",) else axes
    n_leading = len(shape) - len(fixed)
    if n_leading < 0 or (n_leading and fixed is axes):
        return False
    found: list[tuple[str, object]] = list(zip(fixed, shape[n_leading:], strict=True))
    if fixed is not axes:
        found.insert(0, ("...", shape[:n_leading]))
    for axis, size in found:
        expected = int(axis) if axis.isdigit() else sizes.setdefault(axis, (size, argument))[0]
        if expected != size:
            return False
    return True


def _expected(argument: str, axes: tuple[str, ...], avals: Mapping[str, Aval], sizes: Sizes) -> str:
    """The axes of an argument, in the sizes that others give them: `[128] (because of x: f32[8,128])`."""
    known = [a for a in axes if a in sizes and sizes[a][1] != argument]
    written = ", ".join(_size(sizes[a][0]) if a in known else a for a in axes)
    sources = dict.fromkeys(sizes[a][1] for a in known)
    reasons = [f"{s}: {describe(avals[s])}" for s in sources]
    because = f" (because of {', '.join(reasons)})" if reasons else ""
    return f"[{written}]{because}"


def _size(size: object) -> str:
    return ", ".join(map(str, size)) if isinstance(size, tuple) else str(size)
