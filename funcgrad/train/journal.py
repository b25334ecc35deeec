"""Metrics on their way from the device to a file, without making the device wait."""

import json
import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

_LAG = 16
"""Records that may wait for the device; also how far the host may run ahead of it."""

Record = dict[str, Any]
"""`{"step": 10, "kind": "train", "loss": 0.5, ...}`; kind is "train" or "evaluation"."""


class Journal:
    """Collects metrics, fetches them some steps later, writes one JSON object a line."""

    def __init__(self, path: str | Path | None, append: bool, records: list[Record] | None = None):
        self.records: list[Record] = [] if records is None else records
        self._waiting: deque[tuple[int, str, Mapping[str, Any]]] = deque()
        self._file = None
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = Path(path).open("a" if append else "w", encoding="utf-8")

    def add(self, step: int, kind: str, metrics: Mapping[str, Any]) -> None:
        """Take metrics, which may still be computing; settle those that have waited long enough."""
        for leaf in jax.tree.leaves(metrics):
            if isinstance(leaf, jax.Array):
                leaf.copy_to_host_async()
        self._waiting.append((step, kind, metrics))
        while len(self._waiting) > _LAG:
            self._settle()

    @property
    def latest(self) -> dict[str, float]:
        """The scalars of the last settled record."""
        return {k: v for k, v in self.records[-1].items() if isinstance(v, float)} if self.records else {}

    def flush(self) -> None:
        """Wait for everything, and write it."""
        while self._waiting:
            self._settle()
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()

    def _settle(self) -> None:
        step, kind, metrics = self._waiting.popleft()
        record = {"step": step, "kind": kind, **{n: np.asarray(m).tolist() for n, m in metrics.items()}}
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.dumps({n: _written(v) for n, v in record.items()}, allow_nan=False) + "\n")


def _written(value: Any) -> Any:
    """JSON knows no NaN and no infinity; they are written as strings that `float` reads back."""
    if isinstance(value, list):
        return [_written(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
