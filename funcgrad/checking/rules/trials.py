"""All of one op's examples, and its cotangents there in float64, for every kind of seed, beside the oracle's."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.differences import difference, largest
from funcgrad.checking.numbers import as_dtype, draw
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.examples import make_points, make_relatives
from funcgrad.checking.rules.flat_ops import FlatOp
from funcgrad.checking.rules.oracles import oracle
from funcgrad.errors import CheckError
from funcgrad.registry import Example, Op

Arrays = list[Array]
MOST_POINTS = 3
"""Examples of which the other points are tried; a registered example is a point itself."""
FEW = ("random", "zero", "first-entry")
"""The cotangents that points get; examples get all."""


class Comparison(NamedTuple):
    """Cotangents at one point for one seed."""

    case: Case
    point: str
    leaves: Arrays
    seed: str
    g: Arrays
    outputs: Arrays
    expected_outputs: Arrays
    found: Arrays
    expected: list[Array | None]
    floors: list[float]
    """Per cotangent, how large it is elsewhere: where terms cancel or a function saturates, what is left is a
    rounding of this."""

    @property
    def flat(self) -> FlatOp:
        """The op at these shapes."""
        return self.case.flat

    @property
    def where(self) -> str:
        """The point and the seed, as sentences write them."""
        return f"at {self.point} ({self.case}), {self.seed} seed"

    def of(self, name: str) -> tuple[int, int] | None:
        """Position of the leaf of that name, and of its cotangent; None where it has none."""
        found = [(i, c) for c, i in enumerate(self.flat.wanted) if self.flat.names[i] == name]
        return found[0] if found else None


class Trial:
    """An op with its examples.

    Attributes:
        op: the op.
        given: its examples.
        related: examples of other shapes that the op declares it takes, by what they are.
        thorough: whether all examples get the costlier tests.
        x64: whether the caller has float64 on.
        others: whether other shapes and points are tried.

    Raises:
        CheckError: the plain forward refuses an example.
    """

    def __init__(
        self, op: Op, examples: Sequence[Example], thorough: bool = False, x64: bool = True, others: bool = True
    ):
        self.op, self.x64, self.others = op, x64, others
        self.given = [Case(op, e) for e in examples]
        for case in self.given if others else ():
            _assert_accepted(case)
        self.thorough = thorough
        self.related = dict(_able(op, self.given[0])) if others else {}

    @property
    def cases(self) -> list[Case]:
        """The examples, and those of other shapes."""
        return [*self.given, *self.related.values()]

    @cached_property
    def main(self) -> list[Case]:
        """The examples for the costlier tests, moved off kinks where the rule's own slope is not JAX's."""
        return [move_off_kinks(case) for case in (self.given if self.thorough else self.given[:1])]

    @property
    def names(self) -> list[str]:
        """The leaves that have a cotangent in some example."""
        return list(dict.fromkeys(case.flat.names[i] for case in self.given for i in case.flat.wanted))

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The cotangents at all points for all seeds."""
        by_example = [_measure_example(case, f"example {i}") for i, case in enumerate(self.given)]
        made = [m for ms in by_example for m in ms]
        made += [m for label, case in self.related.items() for m in _measure_example(case, label)]
        for case, ms in list(zip(self.given, by_example, strict=True))[:MOST_POINTS] if self.others else ():
            if not oracle(case.flat).is_jax:
                continue  # a loop may never end outside its domain
            for label, leaves in make_points(case.leaves):
                made += [m._replace(floors=ms[0].floors) for m in _measure_if_defined(case, label, leaves)]
        return made


def _assert_accepted(case: Case) -> None:
    try:
        _ = case.flat.outputs
    except Exception as error:  # the forward's own refusal, of any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise CheckError(f"{case.flat.op.name}: the forward refuses an example, ({case}): {reason}.") from error


def make_seeds(case: Case) -> dict[str, Arrays]:
    """Cotangents: random, zero, of extreme size, at a single entry, of a single output."""
    rng = np.random.default_rng(1)
    avals = case.flat.outputs
    random = [draw(rng, y.shape, y.dtype) for y in avals]
    made = {
        "random": random,
        "zero": [np.zeros(y.shape) for y in avals],
        "tiny": [d * 1e-20 for d in random],
        "huge": [d * 1e20 for d in random],
        "all-one": [np.ones(y.shape) for y in avals],
        "first-entry": [_one_hot(y.shape, 0) for y in avals],
        "last-entry": [_one_hot(y.shape, -1) for y in avals],
    }
    if len(avals) > 1:
        for i in range(len(avals)):
            made[f"output-{i}-only"] = [d if i == j else np.zeros_like(d) for j, d in enumerate(random)]
    return {n: [as_dtype(d, y.dtype) for d, y in zip(ds, avals, strict=True)] for n, ds in made.items()}


def _one_hot(shape: tuple[int, ...], where: int) -> np.ndarray:
    out = np.zeros(shape)
    if out.size:
        out.flat[where] = 1.0
    return out


def _measure_example(case: Case, label: str) -> list[Comparison]:
    """All cotangents at an example; a few where it stands on a kink, and all beside that."""
    beside = move_off_kinks(case)
    if beside is case:
        return _measure(case, label, case.leaves)
    return _measure(case, label, case.leaves, FEW) + _measure(beside, f"a point beside {label}", beside.leaves)


def move_off_kinks(case: Case) -> Case:
    """The case, or one beside it where a rule that declares a subgradient gives another one than JAX."""
    flat, g = case.flat, case.random_g()
    own = [(kind := flat.kind(i)) is not None and kind.name == "subgradient" for i in flat.wanted]
    if not any(own):
        return case
    found, expected = flat.pull(case.leaves, g)[1], oracle(flat).pull(case.leaves, g)[1]
    share = oracle(flat).share
    if not any(is_own and difference(x, x0, share) for is_own, x, x0 in zip(own, found, expected, strict=True)):
        return case
    beside = case.moved()
    return beside if is_defined(beside, beside.leaves) else case


def _measure(case: Case, point: str, leaves: Arrays, only: Sequence[str] = ()) -> list[Comparison]:
    flat, made = case.flat, []
    pull, floors = oracle(flat).pull, [0.0] * len(flat.wanted)
    for seed, g in make_seeds(case).items():
        if only and seed not in only:
            continue
        outputs, found = flat.pull(leaves, g)
        expected_outputs, expected = pull(leaves, g)
        if seed == "random":
            floors = [largest(x) if x is not None else 0.0 for x in expected]
        allowed = [0.0] * len(floors) if seed in ("zero", "tiny") else floors
        made.append(Comparison(case, point, leaves, seed, g, outputs, expected_outputs, found, expected, allowed))
    return made


def is_defined(case: Case, leaves: Arrays) -> bool:
    """Whether the forward, and its derivative by the oracle, are finite there."""
    outputs, expected = oracle(case.flat).pull(leaves, case.random_g())
    return all(np.isfinite(x).all() for x in (*outputs, *(x for x in expected if x is not None)))


def _measure_if_defined(case: Case, point: str, leaves: Arrays) -> list[Comparison]:
    """Nothing outside the domain."""
    if not is_defined(case, leaves):
        return []
    return _measure(case, point, leaves, FEW)


def _able(op: Op, given: Case) -> Iterator[tuple[str, Case]]:
    """The relatives that the plain forward accepts."""
    for label, example in make_relatives(op, given.example):
        case = Case(op, example)
        try:
            outputs = case.flat.outputs
        except Exception:  # the forward's own refusal, of any kind
            continue
        if outputs:
            yield label, case
