"""Which batch comes next: epoch after epoch, from the place where an earlier run stopped."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from funcgrad.errors import TrainingError, require

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]
"""Batches to go through once per epoch, or a function from the epoch to such; its length, if it has one, is that of an
epoch."""


class EpochEnd:
    """What stands in a schedule after the last batch of an epoch."""


EPOCH_END: Final = EpochEnd()


def schedule(batches: Batches, epoch: int, done: int, *, steps: int | None, epochs: int | None) -> Iterator[Any]:
    """Batches, and `EPOCH_END` after the last one of each epoch.

    No batch is asked for before the one before it has been used, nor one more than `steps`.

    Args:
        batches: see `Batches`. An iterator goes on from where it stands: it keeps its own place.
        epoch: the first one.
        done: how many batches of that epoch were used already; they are drawn, and passed over.
        steps: how many batches there are to be; or else
        epochs: how many epochs. The rest of one that was begun counts as one.

    Raises:
        TrainingError: an epoch is empty, or shorter than what was used of it already.
    """
    while epochs is None or epochs > 0:
        source = batches(epoch) if callable(batches) else batches
        require(source, Iterable, f"train.fit: the batches of epoch {epoch}", "an iterable", TrainingError)
        size = length_of(source) or length_of(batches)
        done = 0 if keeps_its_place(batches) else done
        n, is_new = done, done == 0
        left = iter(()) if not is_new and done == size else iter(source)
        if not is_new and done != size:
            _pass_over(left, epoch, done)
        for n, batch in enumerate(left, start=done + 1):
            yield batch
            if steps is not None:
                steps -= 1
                if steps == 0:
                    if n == size:
                        yield EPOCH_END
                    return
        if is_new and n == 0:
            raise TrainingError(
                f"train.fit: epoch {epoch} has no batches; pass a list or a function epoch -> iterable, since an "
                f"iterator can be gone through only once."
            )
        yield EPOCH_END
        epochs = None if epochs is None else epochs - (n > done)
        epoch, done = epoch + 1, 0


def keeps_its_place(batches: Batches) -> bool:
    """Whether this is an iterator, which goes on from where it stands."""
    return isinstance(batches, Iterator)


def check_batches(batches: Any) -> None:
    """TrainingError for what gives no batches."""
    if not (callable(batches) or isinstance(batches, Iterable) or hasattr(batches, "__getitem__")):
        raise TrainingError(
            f"train.fit: batches must be an iterable or a function epoch -> iterable, got {type(batches).__name__}."
        )


def length_of(batches: Any) -> int | None:
    """How many batches there are; None where they do not say."""
    try:
        return len(batches)
    except TypeError:
        return None


def _pass_over(iterator: Iterator[Any], epoch: int, done: int) -> None:
    found = sum(1 for _ in itertools.islice(iterator, done))
    if found < done:
        raise TrainingError(
            f"train.fit: {done} batches of epoch {epoch} are behind this state, which now has {found}; pass the "
            f"batches that it was trained on, or state.at_epoch({epoch})."
        )
