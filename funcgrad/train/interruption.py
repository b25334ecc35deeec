"""A run that ends early leaves its state behind.

A step deletes the state that it is given, so while `fit` runs, the caller's own is gone and the only one is ours.
Whatever ends the run (Ctrl-C, an exception in the data or in `evaluate`) therefore carries it out.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError
from funcgrad.train.nonfinite import NonfiniteError
from funcgrad.train.state import State
from funcgrad.train.stepping import Step

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Shield:
    """Holds SIGINT and SIGTERM back while a step runs.

    Python runs signal handlers between bytecodes, and one such place is after a call and before its result is stored:
    there KeyboardInterrupt would lose the new state when the old one is deleted already. As a step spends its time
    inside of one call, that is where most of them arrive. Pressed twice, Ctrl-C acts at once.

    >>> shield = Shield()
    >>> with shield.installed():
    ...     with shield:
    ...         state, metrics = step(state, batch, key)
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._is_up = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals for a whole run: installing it around each step cost 8 µs, raising it costs 0.3."""
        if threading.current_thread() is threading.main_thread():  # others neither get signals nor may handle them
            handlers = {s: signal.getsignal(s) for s in _SIGNALS}
            self._handlers = {s: handler for s, handler in handlers.items() if callable(handler)}
        try:
            for s in self._handlers:
                signal.signal(s, self._handle)
            yield
        finally:
            for s, handler in self._handlers.items():
                if signal.getsignal(s) == self._handle:  # else the user has installed one meanwhile
                    signal.signal(s, handler)

    def __enter__(self) -> None:
        self._is_up = True

    def __exit__(self, *_: object) -> None:
        self._is_up = False
        waiting, self._waiting = self._waiting, []
        for number, frame in waiting:
            self._handlers[number](number, frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_up and not self._waiting:
            self._waiting.append((number, frame))
        else:
            self._handlers[number](number, frame)


class Rescue:
    """Holds the state of a run and its place in the data, and gives both to an exception that ends the run early.

    Args:
        state: the first one.
        records: the run's, filled while it runs.
        counts_batches: whether the place in an epoch is counted, as it is not where the data keep it themselves.
    """

    def __init__(self, state: State, records: list[Any], counts_batches: bool):
        self.records, self.counts_batches = records, counts_batches
        self.step, self.epoch, self.batch = int(state.step), int(state.epoch), int(state.batch)
        self._state, self.shield = state, Shield()

    @property
    def state(self) -> State:
        """The last good state, at its place in the data."""
        return self._state.at_epoch(self.epoch, self.batch)

    def copied(self) -> tuple[PyTree, PyTree]:
        """The model (or parameters) and its state, for others to keep: the next step deletes the run's own."""
        state = jax.tree.map(jnp.copy, replace(self._state, optimizer_state=None))
        return state.model, state.model_state

    def advance(self, step: Step, batch: Any, key: Array) -> dict[str, Any]:
        """Make a step, under the shield: its metrics."""
        try:
            self._state, metrics = step(self._state, batch, key)
        except NonfiniteError as error:
            self._state = error.state
            self._count()
            raise
        self._count()
        return metrics

    def _count(self) -> None:
        self.step, self.batch = self.step + 1, self.batch + self.counts_batches

    def end_epoch(self) -> None:
        """Go to the beginning of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0

    def __enter__(self) -> "Rescue":
        return self

    def __exit__(self, _: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None:
            return
        if not _is_whole(self._state):
            error.add_note(
                "train.fit: the step itself failed while it ran, and the state before it is deleted; go on from a "
                "state that was kept."
            )
        elif isinstance(error, Exception) and getattr(error, "state", self._state) is not self._state:
            carrier = TrainingError(
                f"train.fit: stopped after step {self.step} by {type(error).__name__}, which has a .state of its own; "
                f"go on from the .state of this error."
            )
            self._give_to(carrier)
            raise carrier from error
        else:
            self._give_to(error)

    def _give_to(self, error: BaseException) -> None:
        error.state, error.records = self.state, self.records  # pyright: ignore[reportAttributeAccessIssue]
        error.add_note(
            f"train.fit: this exception's .state is the state after step {self.step}, from which fit goes on; .records "
            f"are the records until there."
        )


def _is_whole(state: State) -> bool:
    """Whether all arrays can be read: none was deleted, and none is the result of a computation that failed."""
    try:
        jax.block_until_ready(state)
        return not any(isinstance(x, jax.Array) and x.is_deleted() for x in jax.tree.leaves(state))
    except Exception:
        return False
