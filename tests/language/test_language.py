"""Every case, in every dtype it takes: `fg.vjp` is `jax.vjp`."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from tests.language.agreement import assert_agrees, pull_everything
from tests.language.case import DTYPES, Case
from tests.language.cases import CASES

AVAILABLE = [case for case in CASES if case.exists]
DEFAULT = ("control_flow", "custom_rules", "derivatives", "parallel", "values", "indexing", "products")
"""The families about how functions are put together, and those that most networks use: they run by default."""


def over(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """The first dtype of some families runs by default, the others of a case together in the long run.

    Each by itself where it must fail or raise.
    """
    parameters = []
    for case in cases:
        dtypes = tuple(case.dtypes)
        n_first = 1 if case.family in DEFAULT and not case.slow else 0
        if case.raises:
            groups = [(d,) for d in dtypes]
        else:
            groups = [group for group in (dtypes[:n_first], dtypes[n_first:]) if group]
        for group in groups:
            marks = [] if group == dtypes[:n_first] else [pytest.mark.slow]
            names = "+".join(jnp.dtype(d).name for d in group)
            parameters.append(pytest.param(case, group, id=f"{case}-{names}", marks=marks))
    return pytest.mark.parametrize(("case", "dtypes"), parameters)


def test_no_two_cases_have_the_same_name():
    names = [str(case) for case in CASES]
    assert [n for n in names if names.count(n) > 1] == []


@over(case for case in AVAILABLE if not case.raises)
def test_values_and_cotangents_are_those_of_jax(case: Case, dtypes: Sequence[Any]):
    assert_agrees(case.run, *map(case.drawn, dtypes), tolerances=[*map(case.tolerance_in, dtypes)])


@over(case for case in AVAILABLE if case.raises)
def test_where_jax_has_no_gradient_we_raise_as_it_does(case: Case, dtypes: Sequence[Any]):
    (dtype,) = dtypes
    args = case.drawn(dtype)
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        pull_everything(jax.vjp, case.run, args)
    with pytest.raises((theirs.type, fg.errors.GradientError)):
        pull_everything(fg.vjp, case.run, args)


LEFT_OUT = [
    pytest.param(case, kind, id=f"{case}-{kind}")
    for case in AVAILABLE
    for kind in DTYPES
    if kind not in case.kinds and case.is_floating and not case.raises
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "kind"), LEFT_OUT)
def test_a_dtype_is_left_out_only_where_jax_refuses_it(case: Case, kind: str):
    refused = []
    for dtype in DTYPES[kind]:
        try:
            jax.block_until_ready(pull_everything(jax.vjp, case.run, case.drawn(dtype)))
        except Exception:  # whatever JAX says: it does not take it
            refused.append(dtype)
    assert refused
