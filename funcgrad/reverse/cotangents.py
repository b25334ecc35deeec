"""The one place where cotangents are added."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from funcgrad.aliases import Array
from funcgrad.graph import Value
from funcgrad.primitive import fence, on_mesh_of, settle, zeros_of
from funcgrad.registry import Hook


class Cotangents:
    """[∂ℓ/∂v] for every value v reached so far: a sum over the nodes that read v.

    The first cotangent of a value is stored, later ones are added; a value that none has reached costs nothing.
    """

    def __init__(
        self,
        wanted: Collection[Value],
        loops: tuple[int, ...] = (),
        hooks: Mapping[Value, Sequence[Hook]] | None = None,
        settled: Collection[Value] = (),
        witness: Array | None = None,
    ):
        """`wanted` are kept until the end; `loops` are the lengths of the loops around the pass.

        `hooks` change the cotangents of values as soon as these are finished. Those of `settled` values a compiled
        program then stores; `witness` is an array that it has beforehand.
        """
        self._settled, self._witness = settled, witness
        self._sums: dict[Value, Array] = {}
        self._hooks: dict[Value, Sequence[Hook]] = dict(hooks) if hooks else {}
        self._wanted = frozenset(wanted)
        self._loops = loops

    def add(self, values: Sequence[Value], cotangents: Iterable[Any]) -> None:
        """Add one cotangent to each value."""
        for value, cotangent in zip(values, cotangents, strict=True):
            with on_mesh_of([cotangent]):
                self._sums[value] = self._sums[value] + cotangent if value in self._sums else cotangent

    def delay(self, values: Iterable[Value], until: Collection[Value]) -> None:
        """Have a compiled program finish those of some values, `until`, before the others among `values` go further."""
        ends = [v for v in dict.fromkeys(values) if v in until]
        late = [v for v in dict.fromkeys(values) if v not in until]
        with on_mesh_of(self._of(ends)):
            fenced = fence(self._of(late), until=self._of(ends))
        self._sums.update(zip((*late, *ends), chain(*fenced), strict=True))

    def _of(self, values: Iterable[Value]) -> list[Array]:
        return [self._sums[v] for v in values]

    def pop(self, values: Sequence[Value]) -> dict[Value, Array]:
        """The finished cotangents of values, zeros where none arrived; those that are not wanted are forgotten."""
        return {v: self._take(v) for v in values}

    def _take(self, value: Value) -> Array:
        if value not in self._sums:
            return zeros_of(value.seen_from(self._loops))
        for hook in self._hooks.pop(value, ()):
            self._sums[value] = hook.changed(self._sums[value], value.name)
        if value in self._settled and self._witness is not None:
            with on_mesh_of([self._sums[value]]):
                self._sums[value] = settle(self._sums[value], self._witness)
        return self._sums[value] if value in self._wanted else self._sums.pop(value)
