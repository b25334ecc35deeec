"""How much memory is asked for: `"2 GiB"`, bytes, a share of what keeping everything takes, the least, all there is."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
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
class Budget:
    """A size of memory, and what may be done to stay within it: for `memory=`, where a size alone says too little.

    Args:
        memory: bytes as an int, a size as `"2 GiB"` (or GB, MiB, kB, B), a float in (0, 1] for a share of what keeping
            everything takes, `"min"` or `"auto"`.
        checkpoints: whether each `jax.checkpoint` in the function makes again what its policy says (`"kept"`), or the
            plan decides there as everywhere (`"replaced"`).

    Raises:
        BudgetError: it is none of these.

    Example:
        >>> w, x = jnp.ones((8, 8), jnp.float32), jnp.ones((4, 8), jnp.float32)
        >>> layer = jax.checkpoint(lambda w, x: jnp.tanh(jnp.tanh(x @ w) @ w))
        >>> loss = lambda w, x: jnp.sum(layer(w, x))
        >>> fg.plan(loss, w, x, memory=1.0).memory.overhead > 0
        True
        >>> fg.plan(loss, w, x, memory=fg.Budget(1.0, checkpoints="replaced")).memory.overhead
        0.0
    """

    memory: int | float | str
    checkpoints: Literal["kept", "replaced"] = "kept"
    said: str = field(init=False, default="")
    """What was written, for sentences and tables."""
    size: int | None = field(init=False, default=None)
    """In bytes, where that was said."""
    share: float | None = field(init=False, default=None)
    """Of what keeping everything takes, where that was said."""
    word: Literal["min", "auto"] | None = field(init=False, default=None)
    """What else was said: the least that can be reached, or what the device has."""

    def __post_init__(self) -> None:
        if self.checkpoints not in ("kept", "replaced"):
            raise BudgetError(f"Budget(checkpoints=) takes 'kept' or 'replaced', got {printed(self.checkpoints)}.")
        for name, found in _read(self.memory).items():
            object.__setattr__(self, name, found)
        if self.checkpoints == "replaced":
            object.__setattr__(self, "said", f"{self.said}, with checkpoints replaced")

    @classmethod
    def of(cls, memory: Any) -> "Budget":
        """What `memory=` was given, as one."""
        return memory if isinstance(memory, Budget) else cls(memory)

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


def _read(memory: Any) -> dict[str, Any]:
    """What a size says."""
    if isinstance(memory, bool) or not isinstance(memory, int | float | str):
        raise BudgetError(f"{_EXPECTED}, got {printed(memory)}.")
    if isinstance(memory, str):
        return _read_text(memory)
    if isinstance(memory, int) and memory > 0:
        return {"said": f"{memory} B", "size": memory}
    if isinstance(memory, float) and 0.0 < memory <= 1.0:
        return {"said": f"{memory:g} of what keeping everything takes", "share": memory}
    raise BudgetError(f"{_EXPECTED}, got {memory!r}.")


def _read_text(text: str) -> dict[str, Any]:
    if text in ("min", "auto"):
        return {"said": f"'{text}'", "word": text}
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise BudgetError(f"{_EXPECTED}, got {text!r}.")
    return {"said": text.strip(), "size": int(float(found[1]) * _BY_LOWER[found[2].lower()])}
