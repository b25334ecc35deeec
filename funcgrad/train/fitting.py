"""The loop around a step: batches, progress, evaluation, a record of it all."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError
from funcgrad.train.journal import Journal, Record
from funcgrad.train.state import State
from funcgrad.train.stepping import Step

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]
"""Batches to go through once per epoch, or a function from the epoch to such."""


def fit(
    state: State,
    step: Step,
    batches: Batches,
    *,
    key: Array,
    steps: int | None = None,
    epochs: int | None = None,
    evaluate: Callable[[PyTree, PyTree], Mapping[str, Any]] | None = None,
    evaluate_every: int | None = None,
    log: str | Path | None = None,
    progress: bool | None = None,
) -> tuple[State, list[Record]]:
    """Train for so many steps or epochs.

    Metrics are fetched some steps after they were made, so the device never waits for the host.

    Args:
        state: from `init`, or from an earlier run; it is deleted by the first step.
        step: from `train.step`.
        batches: an iterable that can be gone through again, or a function `epoch -> iterable`; see `minibatches`.
        key: the source of all randomness.
        steps: how many steps to make; or else
        epochs: how often to go through the batches.
        evaluate: `(params, model_state) -> metrics`, called at the end, and
        evaluate_every: after every so many steps too.
        log: a JSONL file, one record a line; continued if the state has made steps already, else written anew.
        progress: show a bar (needs tqdm): True, False, or None for a bar where tqdm is installed and somebody watches.

    Returns:
        The state, and the records: `{"step": 1, "kind": "train", "loss": ...}`, kind "evaluation" for `evaluate`.

    Raises:
        TrainingError: neither or both of steps and epochs, a count that is not positive, batches that run out,
            evaluate_every without evaluate, or progress=True without tqdm.
    """
    _check_counts(steps, epochs, evaluate, evaluate_every)
    done = int(state.step)
    total = steps if steps is not None else _total(batches, epochs)
    stream = itertools.islice(_stream(batches, epochs), steps)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(_bar(progress, total))
        journal = stack.enter_context(contextlib.closing(Journal(log, append=done > 0)))
        for done, batch in enumerate(stream, start=done + 1):  # noqa: B020 (counts on from the state)
            state, metrics = step(state, batch, key)
            journal.add(done, "train", metrics)
            if evaluate is not None and evaluate_every is not None and done % evaluate_every == 0:
                journal.add(done, "evaluation", evaluate(state.params, state.model_state))
            if bar is not None:
                bar.update()
                bar.set_postfix(journal.latest, refresh=False)
        if evaluate is not None and (evaluate_every is None or done % evaluate_every):
            journal.add(done, "evaluation", evaluate(state.params, state.model_state))
    return state, journal.records


def _check_counts(steps: int | None, epochs: int | None, evaluate: Any, evaluate_every: int | None) -> None:
    if (steps is None) == (epochs is None):
        raise TrainingError(f"train.fit: give either steps or epochs, got steps={steps}, epochs={epochs}.")
    for name, count in (("steps", steps), ("epochs", epochs), ("evaluate_every", evaluate_every)):
        if count is not None and count < 1:
            raise TrainingError(f"train.fit: {name} must be at least 1, got {count}.")
    if evaluate_every is not None and evaluate is None:
        raise TrainingError(f"train.fit: evaluate_every={evaluate_every} needs evaluate=, got None.")


def _stream(batches: Batches, epochs: int | None) -> Iterator[Any]:
    """All batches of all epochs; endless where the number of epochs is not given."""
    for epoch in itertools.count() if epochs is None else range(epochs):
        is_empty = True
        for batch in batches(epoch) if callable(batches) else batches:
            is_empty = False
            yield batch
        if is_empty:
            raise TrainingError(
                f"train.fit: epoch {epoch} has no batches; pass a list or a function epoch -> iterable, since an "
                f"iterator can be gone through only once."
            )


def _total(batches: Batches, epochs: int | None) -> int | None:
    return len(batches) * epochs if isinstance(batches, Sized) and epochs is not None else None


def _bar(progress: bool | None, total: int | None) -> contextlib.AbstractContextManager[Any]:
    """A tqdm bar, or a context that gives None."""
    if progress is False:
        return contextlib.nullcontext()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress:
            raise TrainingError(
                "train.fit: progress=True needs tqdm, which is not installed; pip install 'funcgrad[progress]'."
            ) from None
        return contextlib.nullcontext()
    return tqdm(total=total, unit="step", disable=None if progress is None else False)
