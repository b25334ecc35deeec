"""How much memory is asked for: `"2 GiB"`, bytes, a share of what keeping everything takes, the least, all there is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from funcgrad.errors import BudgetError, printed

_UNITS = {"B": 1} | {
    f"{prefix}{end}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for end, base in (("B", 1000), ("iB", 1024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", re.IGNORECASE)
_BY_LOWER = {unit.lower(): size for unit, size in _UNITS.items()}


@dataclass(frozen=True)
class Asked:
    """A size of memory as it was asked for."""

    said: str
    """What was written, for sentences and tables."""
    size: int | None = None
    """In bytes, where that was said."""
    share: float | None = None
    """Of what keeping everything takes, where that was said."""
    word: Literal["min", "auto"] | None = None
    """What else was said: the least that can be reached, or what the device has."""

    @classmethod
    def of(cls, memory: Any) -> "Asked":
        """Read it.

        Args:
            memory: bytes as an int, a size as `"2 GiB"` (or GB, MiB, kB, B), a float in (0, 1] for a share of what
                keeping everything takes, `"min"` or `"auto"`.

        Raises:
            BudgetError: it is none of these.
        """
        if isinstance(memory, Asked):
            return memory
        if isinstance(memory, bool) or not isinstance(memory, int | float | str):
            raise BudgetError(f"{_EXPECTED}, got {printed(memory)}.")
        if isinstance(memory, str):
            return cls._of_text(memory)
        if isinstance(memory, int) and memory > 0:
            return cls(f"{memory} B", size=memory)
        if isinstance(memory, float) and 0.0 < memory <= 1.0:
            return cls(f"{memory:g} of what keeping everything takes", share=memory)
        raise BudgetError(f"{_EXPECTED}, got {memory!r}.")

    @classmethod
    def _of_text(cls, text: str) -> "Asked":
        if text in ("min", "auto"):
            return cls(f"'{text}'", word=text)
        found = _SIZE.fullmatch(text.strip())
        if found is None or float(found[1]) <= 0:
            raise BudgetError(f"{_EXPECTED}, got {text!r}.")
        return cls(text.strip(), size=int(float(found[1]) * _BY_LOWER[found[2].lower()]))

    def bytes(self, everything: int, device: Callable[[], int]) -> int:
        """It in bytes; 0 for the least, which nothing stays within.

        Args:
            everything: what keeping everything takes.
            device: gives what the device has; called for `"auto"` alone.
        """
        if self.size is not None:
            return self.size
        if self.share is not None:
            return int(self.share * everything)
        return device() if self.word == "auto" else 0


_EXPECTED = (
    "memory= takes bytes as an int, a size such as '2 GiB', a share of what keeping everything takes as a float up to "
    "1.0, 'min' or 'auto'"
)
