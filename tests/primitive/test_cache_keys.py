"""Static values that are equal for Python and not the same to a trace."""

import dataclasses
import itertools
from enum import IntEnum
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from funcgrad.primitive import exact, exact_structure


class Kind(IntEnum):
    TWO = 2


class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: object
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Holder:
    inner: object

    def __hash__(self):
        return 0


TWOS = [2, 2.0, 2 + 0j, np.int32(2), np.int64(2), np.float32(2), np.float64(2), ml_dtypes.bfloat16(2), Kind.TWO]
TWOS.append(Fraction(2))
ZEROS = [0, False, 0.0, -0.0, np.float64(0.0), np.float64(-0.0), np.bool_(False), complex(0, 0.0), complex(0, -0.0)]
WRAPPED = [
    lambda x: x,
    lambda x: (x,),
    lambda x: ((1, x), "a"),
    lambda x: Pair(1, x),
    lambda x: frozenset([x]),
    Frozen,
    lambda x: (Frozen(Frozen(x)),),
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("values", [TWOS, ZEROS, [1, True, 1.0, np.True_]], ids=["2", "0", "1"])
def test_equal_values_of_other_types_or_signs_have_keys_of_their_own(values, wrap):
    for a, b in itertools.combinations(values, 2):
        assert exact(wrap(a)) != exact(wrap(b)), (a, b)


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize(
    "make",
    [
        *(lambda v=v: type(v)(v) for v in (2, 2.0, True, "a", np.float32(2), -0.0)),
        lambda: float("nan"),
        lambda: np.float32("nan"),
        lambda: np.dtype("float32"),
        lambda: jnp.float32,
        lambda: None,
    ],
)
def test_the_same_value_made_twice_has_one_key(make, wrap):
    one, two = exact(wrap(make())), exact(wrap(make()))
    assert one == two
    assert hash(one) == hash(two)


def test_functions_are_themselves():
    f, g = (lambda x: x), (lambda x: x)
    assert exact(f) == exact(f) != exact(g)


def test_a_dtype_is_not_its_name():
    assert exact(np.dtype("float32")) != exact("float32")


def test_what_a_dataclass_does_not_compare_is_no_part_of_its_key():
    assert exact(Frozen(1, "a")) == exact(Frozen(1, "b"))


def test_a_dataclass_that_holds_what_cannot_be_hashed_goes_by_its_own_comparison():
    assert exact(Holder([1])) == exact(Holder([1])) != exact(Holder([2]))
    hash(exact(Holder([1])))


def test_static_values_inside_a_structure_count():
    partial = lambda n: jax.tree.structure((jax.tree_util.Partial(jnp.sin, n),))
    static = lambda n: jax.tree.structure((Static(jnp.ones(2), n),))
    assert exact_structure(partial(1.0)) == exact_structure(partial(2.0))
    assert static(2) == static(2.0)
    assert exact_structure(static(2)) != exact_structure(static(2.0))
    assert exact_structure(jax.tree.structure({2: 1})) != exact_structure(jax.tree.structure({2.0: 1}))
    assert exact_structure(jax.tree.structure((1, (2, [3])))) is None


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Static:
    x: jax.Array
    n: object = dataclasses.field(metadata={"static": True})
