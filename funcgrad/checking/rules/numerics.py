"""How exact a rule is in each floating type, in roundings, beside JAX's own derivative of the plain forward.

Both are held against the oracle in float64, at the arguments after rounding, so that only arithmetic differs.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.differences import largest, wide
from funcgrad.checking.numbers import as_dtype
from funcgrad.checking.rules.cases import Case, cast
from funcgrad.checking.rules.flat_ops import Arrays
from funcgrad.checking.rules.oracles import Oracle, oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.trials import Trial
from funcgrad.errors import short_dtype

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
FACTOR = 4.0
"""How many times JAX's own error a rule may have."""
FREE = 3.0
"""Errors up to so many roundings of the largest entry are always allowed."""


class Rounded(NamedTuple):
    """One example in one dtype: rounded to it, and what is exact there."""

    case: Case
    leaves: Arrays
    g: Arrays
    expected_outputs: Arrays
    expected: list[Array | None]


def make_rows(trial: Trial) -> Iterator[Row]:
    """One row per dtype."""
    for dtype in DTYPES:
        yield judge("numerics", short_dtype(dtype), partial(check_precision, trial, dtype))


def check_precision(trial: Trial, dtype: Any) -> str:
    """The error of every cotangent, and of the saving forward, in roundings of the largest entry."""
    worst, theirs, tried = 0.0, 0.0, 0
    for case in trial.main:
        # Found in float64, which the flat op's avals are in; the caller may have none.
        by_jax = oracle(case.flat)
        if not by_jax.is_jax:
            raise Open("JAX cannot differentiate the forward in reverse mode")
        for rounded in _rounded(case, dtype, trial.x64):
            with jax.enable_x64(trial.x64):
                errors = _errors(rounded, by_jax, dtype)
            tried += errors is not None
            for error, jax_error in errors or ():
                worst, theirs = max(worst, error), max(theirs, jax_error)
    if not tried:
        raise Open("the forward refuses it, or JAX's derivative of it overflows")
    return f"at most {worst:.2g} roundings off (JAX {theirs:.2g}), of {FREE:g} or {FACTOR:g} times JAX's allowed"


def _rounded(case: Case, dtype: Any, x64: bool) -> Iterator[Rounded]:
    """The example rounded to the dtype, for two random seeds; the oracle in float64 there.

    A cotangent has the dtype of its output, which may be a longer one (statistics in float32, say).
    """
    leaves = cast(case.leaves, dtype)
    try:
        with jax.enable_x64(x64):
            outputs = jax.eval_shape(case.flat.plain, *_as_callers(leaves))
    except Exception:  # the forward's own refusal, of any kind
        return
    for seed in range(2):
        g = [as_dtype(x, y.dtype) for x, y in zip(case.random_g(seed), outputs, strict=True)]
        exact = oracle(case.flat).pull(cast(leaves, np.float64), cast(g, np.float64))
        yield Rounded(case, leaves, g, *exact)


def _as_callers(leaves: Arrays) -> Arrays:
    """Whole numbers as the caller's setting has them."""
    return [x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else jnp.asarray(np.asarray(x)) for x in leaves]


def _errors(rounded: Rounded, by_jax: Oracle, dtype: Any) -> list[tuple[float, float]] | None:
    """(ours, JAX's) per output and cotangent; None where JAX has none, or its own is no number."""
    flat, leaves = rounded.case.flat, _as_callers(rounded.leaves)
    try:
        their_outputs, theirs = by_jax.pull(leaves, rounded.g)
    except Exception:  # JAX's own derivative refuses the dtype, for any reason
        return None
    claimed = [(c, x) for c, x in enumerate(theirs) if x is not None]
    if not all(np.isfinite(wide(x)).all() for x in (*their_outputs, *(x for _, x in claimed))):
        return None
    outputs, found = flat.pull(leaves, rounded.g)
    errors = [
        _judge(rounded, f"output {n}" if len(outputs) > 1 else "the output", *four, dtype)
        for n, four in enumerate(zip(outputs, their_outputs, rounded.expected_outputs, strict=True))
    ]
    for c, x in claimed:
        i = flat.wanted[c]
        what = f"the cotangent of {flat.names[i]} by {flat.maker(i)}"
        if found[c].dtype != rounded.leaves[i].dtype:
            raise Wrong(f"{what} is {short_dtype(found[c].dtype)} instead of {short_dtype(rounded.leaves[i].dtype)}")
        errors.append(_judge(rounded, what, found[c], x, rounded.expected[c], dtype))
    return errors


def _judge(rounded: Rounded, what: str, ours: Array, theirs: Array, expected: Any, dtype: Any) -> tuple[float, float]:
    error, jax_error = (roundings(x, expected, ours.dtype) for x in (ours, theirs))
    if not error <= max(FREE, FACTOR * jax_error):
        raise Wrong(
            f"{what} in {short_dtype(dtype)} is {error:.3g} roundings of its largest entry off, JAX's own "
            f"{jax_error:.3g} (at {rounded.case}); {FREE:g} or {FACTOR:g} times JAX's are allowed"
        )
    return error, jax_error


def roundings(found: Any, expected: Any, dtype: Any) -> float:
    """The largest error, in units of the dtype's rounding at the largest expected entry; infinite for NaN."""
    found, expected = wide(found), wide(expected)
    if not found.size:
        return 0.0
    if not np.isfinite(found).all():
        return np.inf
    unit = float(jnp.finfo(dtype).eps) * largest(expected) + float(jnp.finfo(dtype).tiny)
    return float(np.abs(found - expected).max() / unit)
