"""What an audit says of a cotangent that is wrong, and how far off a right one may be."""

from dataclasses import dataclass

FREE = 32.0
"""Errors up to so many roundings of the largest entry are allowed."""


@dataclass(frozen=True)
class Failure:
    """One argument of one node whose cotangent is wrong."""

    node: str
    argument: str
    rule: str
    line: str
    detail: str

    def __str__(self) -> str:
        at = f" at {self.line}" if self.line else ""
        return f"'{self.node}'{at}: the cotangent of {self.argument} by {self.rule} {self.detail}"
