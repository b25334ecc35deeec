"""What a compiled program keeps between its passes, read from the order in which XLA runs it.

Those are the buffers that are live at the turn, where the loss is made and nothing that depends on its cotangent yet.
XLA's own figure, of a program's temporaries, is another one: it counts the fullest moment, less what fits into the
buffers of results that are not written yet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

_INSTRUCTION = re.compile(r"(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_BYTES = {"pred": 1, **{f"{kind}{bits}": bits // 8 for kind in "sufc" for bits in (8, 16, 32, 64, 128)}, "bf16": 2}


@dataclass(frozen=True)
class Instruction:
    """One line of a scheduled computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    is_root: bool
    parameter: int | None
    """Which parameter it is."""

    @property
    def bytes(self) -> int:
        """Those of its result, in all its parts."""
        arrays = _ARRAY.findall(self.shape)
        return sum(_BYTES[kind] * prod(int(n) for n in shape.split(",") if n) for kind, shape in arrays)


@dataclass(frozen=True)
class Schedule:
    """The entry computation of a compiled program, in the order in which it is run."""

    instructions: tuple[Instruction, ...]

    @classmethod
    def of(cls, text: str) -> "Schedule":
        """Read from `compiled.as_text()`."""
        if "is_scheduled=true" not in text.partition("\n")[0]:
            raise ValueError("The program's text says nothing of the order in which it is run.")
        lines = text[text.index("\nENTRY ") :].splitlines()[2:]
        return cls(tuple(_read(m) for line in lines if (m := _INSTRUCTION.match(line.strip()))))

    def kept(self, loss: int, cotangent: int) -> int:
        """Bytes of temporaries that the forward pass leaves for the reverse pass.

        They are live at the turn, need no cotangent to be made, and are read for more than the loss. XLA may make the
        loss after the first few instructions of the reverse pass: then the turn is where the most are live.

        Args:
            loss: which result the loss is.
            cotangent: which parameter its cotangent is.
        """
        of_loss, of_cotangent = self._made_for(loss), self._made_from(cotangent)
        last = dict[str, int]()
        for t, i in enumerate(self.instructions):
            if not _is_view(i) and i.name not in of_loss:
                last.update((self._buffer(n), t) for n in i.operands)
        results = {self._buffer(n) for n in self._results}
        first = {i.name: t for t, i in enumerate(self.instructions)}
        candidates = [
            (first[i.name], last.get(i.name, -1), i.bytes)
            for i in self.instructions
            if not (_is_view(i) or i.opcode in ("parameter", "constant") or i.name in results | of_cotangent)
        ]
        ends = (max(first[n] for n in of_loss), min(first[n] for n in of_cotangent))
        return max(sum(n for made, read, n in candidates if made <= t < read) for t in range(min(ends), max(ends) + 1))

    @cached_property
    def _by_name(self) -> dict[str, Instruction]:
        return {i.name: i for i in self.instructions}

    @cached_property
    def _results(self) -> Sequence[str]:
        return next(i for i in self.instructions if i.is_root).operands

    def _buffer(self, name: str) -> str:
        while self._by_name[name].opcode == "bitcast":
            (name,) = self._by_name[name].operands
        return name

    def _made_for(self, result: int) -> set[str]:
        found, pending = set[str](), [self._results[result]]
        while pending:
            if (name := pending.pop()) not in found:
                found.add(name)
                pending += self._by_name[name].operands
        return found

    def _made_from(self, parameter: int) -> set[str]:
        found = {i.name for i in self.instructions if i.parameter == parameter}
        seeds = set(found)
        for i in self.instructions:
            if found.intersection(i.operands):
                found.add(i.name)
        return {n for n in found - seeds if not _is_view(self._by_name[n])}


def _is_view(instruction: Instruction) -> bool:
    """Whether it has no buffer of its own."""
    return instruction.opcode in ("bitcast", "tuple") and not instruction.is_root


def _read(match: re.Match[str]) -> Instruction:
    rest = match[5]
    depth, end = 1, 0
    while depth and end < len(rest):
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    inside = rest[: end - 1]
    parameter = int(inside) if match[4] == "parameter" else None
    return Instruction(
        match[2], match[3], match[4], tuple(re.findall(r"%([\w.\-]+)", inside)), bool(match[1]), parameter
    )
