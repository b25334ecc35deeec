"""The loop around a step: batches, progress, evaluation, a record of it all."""

import contextlib
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError, describe_tree, require
from funcgrad.train.batches import as_arrays
from funcgrad.train.interruption import Rescue
from funcgrad.train.journal import Journal, Record
from funcgrad.train.random_keys import random_key
from funcgrad.train.schedule import Batches, EpochEnd, check_batches, keeps_its_place, length_of, schedule
from funcgrad.train.state import State, check_state
from funcgrad.train.stepping import Step


def fit(
    state: State,
    step: Step,
    batches: Batches,
    *,
    key: Array | int,
    steps: int | None = None,
    epochs: int | None = None,
    evaluate: Callable[[PyTree, PyTree], Mapping[str, Any]] | None = None,
    evaluate_every: int | None = None,
    log: str | Path | None = None,
    progress: bool | None = None,
) -> tuple[State, list[Record]]:
    """Train for so many steps or epochs, from where the state stopped.

    The state knows its place in the data: after an earlier run that was stopped within an epoch, `fit` passes over
    the batches used already, and goes on. Run after run is one long run, bit by bit, if the batches of an epoch are
    always the same.

    Metrics are fetched some steps after they were made, so the device never waits for the host.

    What ends the run early (an exception in the data or in `evaluate`, Ctrl-C) carries the last good state and the
    records until there as its attributes `state` and `records`, from which another `fit` goes on.

    Args:
        state: from `init`, or from an earlier run; the first step deletes its arrays.
        step: from `train.step`.
        batches: an iterable that can be gone through again, or a function `epoch -> iterable`; see `minibatches`. An
            iterator keeps its own place. Tensors of other libraries become NumPy arrays.
        key: the source of all randomness; an integer for `jax.random.key` of it.
        steps: how many steps to make; or else
        epochs: how often to go through the batches; the rest of an epoch that was begun counts as one.
        evaluate: `(params, model_state) -> metrics`, called at the end with copies that it may keep (the first is the
            model, where `init` was given one), and
        evaluate_every: after every so many steps too.
        log: a JSONL file, one record a line; continued if the state has made steps already, else written anew.
        progress: show a bar (needs tqdm): True, False, or None for a bar where tqdm is installed and somebody watches.

    Returns:
        The state, and the records: `{"step": 1, "kind": "train", "loss": ...}`, kind "evaluation" for `evaluate`.

    Raises:
        TrainingError: neither or both of steps and epochs, a count that is not positive, batches that run out,
            evaluate_every without evaluate, or progress=True without tqdm.

    Example:
        >>> import optax
        >>> def loss(params, model_state, batch, key):
        ...     return jnp.mean((params["w"] * batch - 1.0) ** 2), (model_state, {})
        >>> optimizer = optax.sgd(0.1)
        >>> state, step = fg.train.init({"w": jnp.zeros(())}, optimizer), fg.train.step(loss, optimizer)
        >>> batches = fg.train.minibatches(jnp.ones(8), 4)
        >>> state, records = fg.train.fit(state, step, batches, key=0, epochs=2, progress=False)
        >>> records[0]["loss"], int(state.step)
        (1.0, 4)
        >>> try:
        ...     state, records = fg.train.fit(state, step, iter([jnp.ones(4)]), key=0, steps=2, progress=False)
        ... except fg.errors.TrainingError as stopped:
        ...     state = stopped.state
        >>> int(state.step)
        5
    """
    _check_counts(steps, epochs, evaluate, evaluate_every)
    check_state("train.fit", state)
    check_batches(batches)
    require(step, Callable, "train.fit: step", "what train.step returned", TrainingError)
    require(
        evaluate, (Callable, type(None)), "train.fit: evaluate", "a function of (params, model_state)", TrainingError
    )
    require(log, (str, PathLike, type(None)), "train.fit: log", "the path of a file", TrainingError)
    key = random_key("train.fit", key)
    records: list[Record] = []
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(Rescue(state, records, counts_batches=not keeps_its_place(batches)))
        stack.enter_context(run.shield.installed())
        del state  # the first step deletes its arrays
        total = steps if steps is not None else _total(batches, epochs, run.batch)
        bar = stack.enter_context(_bar(progress, total))
        journal = stack.enter_context(contextlib.closing(Journal(log, append=run.step > 0, records=records)))
        for batch in schedule(batches, run.epoch, run.batch, steps=steps, epochs=epochs):
            if isinstance(batch, EpochEnd):
                run.end_epoch()
                continue
            arrays = as_arrays(batch)
            with run.shield:  # so that no step is in the state and not in the journal
                metrics = run.advance(step, arrays, key)
                journal.add(run.step, "train", metrics)
            if evaluate is not None and evaluate_every is not None and run.step % evaluate_every == 0:
                journal.add(run.step, "evaluation", _evaluated(evaluate(*run.copied())))
            if bar is not None:
                bar.update()
                bar.set_postfix(journal.latest, refresh=False)
        if evaluate is not None and (evaluate_every is None or run.step % evaluate_every):
            journal.add(run.step, "evaluation", _evaluated(evaluate(*run.copied())))
    return run.state, records


def _check_counts(steps: int | None, epochs: int | None, evaluate: Any, evaluate_every: int | None) -> None:
    if (steps is None) == (epochs is None):
        raise TrainingError(f"train.fit: give either steps or epochs, got steps={steps}, epochs={epochs}.")
    for name, count in (("steps", steps), ("epochs", epochs), ("evaluate_every", evaluate_every)):
        if count is not None and not (isinstance(count, int | np.integer) and count >= 1):
            raise TrainingError(f"train.fit: {name} must be an integer of at least 1, got {count}.")
    if evaluate_every is not None and evaluate is None:
        raise TrainingError(f"train.fit: evaluate_every={evaluate_every} needs evaluate=, got None.")


def _evaluated(metrics: Any) -> Mapping[str, Any]:
    if not isinstance(metrics, Mapping):
        raise TrainingError(f"train.fit: evaluate must return a mapping from names, got {describe_tree(metrics)}.")
    return metrics


def _total(batches: Batches, epochs: int | None, begun: int) -> int | None:
    size = length_of(batches)
    return None if size is None or epochs is None else size * epochs - begun % max(size, 1)


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
