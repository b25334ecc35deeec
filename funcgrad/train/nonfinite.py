"""What to do about a loss or a gradient that is not finite: say so, leave the state alone, stop."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcgrad.adapters import named_leaves
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import TrainingError
from funcgrad.naming import paths_of

OnNonfinite = Literal["report", "skip", "raise"]
"""What a step does where its loss or its gradient is not finite."""


class NonfiniteError(TrainingError):
    """A loss or a gradient was not finite: what a step made with `on_nonfinite="raise"` raises.

    Attributes:
        state: the state after the step that failed, in which nothing but the count has changed.
        metrics: of that step.

    Example:
        >>> import optax
        >>> def loss(params, model_state, batch, key):
        ...     return jnp.sum(jnp.log(params["w"])), (model_state, {})
        >>> step = fg.train.step(loss, optax.sgd(0.1), on_nonfinite="raise")
        >>> try:
        ...     step(fg.train.init({"w": jnp.zeros(2)}, optax.sgd(0.1)), jnp.ones(1), 0)
        ... except fg.train.NonfiniteError as error:
        ...     print(error.metrics["nonfinite"].names, error.state.params["w"], int(error.state.step))
        ('loss', 'w') [0. 0.] 1
    """

    def __init__(self, message: str, state: Any, metrics: dict[str, Any]):
        super().__init__(message)
        self.state, self.metrics = state, metrics


@partial(jax.tree_util.register_dataclass, data_fields=["flags"], meta_fields=["parts"])
@dataclass(frozen=True)
class Nonfinite:
    """Which of a loss and the gradients of parameters are not finite: a step's metric, made with `on_nonfinite=`.

    A pytree of one array, which stays on the device until somebody asks for `names`; NumPy sees the names.

    Example:
        >>> found = fg.train.Nonfinite.of(jnp.array(1.0), {"w": jnp.ones(2), "b": jnp.array([0.0, jnp.nan])})
        >>> print(found.names, found.any, found.in_gradient)
        ('b',) True True
    """

    parts: tuple[str, ...]
    """`loss`, then the paths of the parameters: `linear0/w`."""
    flags: Array
    """Whether each has an entry that is not finite, `bool[parts]`."""

    @classmethod
    def of(cls, loss: Array, gradient: PyTree) -> "Nonfinite":
        """Find out, on the device: one reduction per array."""
        leaves = named_leaves(gradient)
        paths = (name or "params" for name in paths_of(path for path, _ in leaves))
        flags = [~jnp.all(jnp.isfinite(x)) for x in (loss, *(leaf for _, leaf in leaves))]
        return cls(("loss", *paths), jnp.stack(flags))

    @property
    def any(self) -> Array:
        """Whether there is one, `bool[]`."""
        return jnp.any(self.flags)

    @property
    def in_gradient(self) -> Array:
        """Whether there is one in the gradient, whatever the loss is, `bool[]`."""
        return jnp.any(self.flags[1:])

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are not finite; waits for the device."""
        return tuple(n for n, flag in zip(self.parts, np.asarray(self.flags), strict=True) if flag)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The names, as a record of the training holds them."""
        return np.array(self.names, dtype or str)


def check_choice(on_nonfinite: str | None, is_scaled: bool) -> None:
    """TrainingError where `on_nonfinite` is unknown, or stops what a loss scale is there to try."""
    if on_nonfinite not in (None, "report", "skip", "raise"):
        raise TrainingError(
            f"train.step: on_nonfinite must be 'report', 'skip', 'raise' or None, got {on_nonfinite!r}."
        )
    if on_nonfinite == "raise" and is_scaled:
        raise TrainingError(
            "train.step: on_nonfinite='raise' would stop at gradients that a loss scale overflows on purpose; use "
            "'report' or 'skip' with loss_scale."
        )


def raising(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that reads its metric `nonfinite` after every call, on the host, and raises."""

    def checked(state: Any, batch: Any, key: Array) -> tuple[Any, dict[str, Any]]:
        after, metrics = step(state, batch, key)
        found = metrics["nonfinite"]
        if isinstance(found.flags, Tracer):
            raise TrainingError(
                "train.step: on_nonfinite='raise' looks at numbers, which a step that is itself traced does not have; "
                "use 'skip' or 'report' inside of jit."
            )
        if names := found.names:
            several = [n for n in names if n != "loss"]
            of = f"the gradient of '{several[0]}'" if several else "the loss"
            more = f" (and {len(several) - 1} more)" if len(several) > 1 else ""
            loss = f"; the loss is {float(metrics['loss']):.6g}"
            raise NonfiniteError(
                f"train.step: {of}{more} is not finite at step {int(after.step)}{loss}; the error's state is that "
                f"before the step, and fg.blame finds the node.",
                after,
                metrics,
            )
        return after, metrics

    return checked
