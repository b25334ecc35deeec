"""A random program: what is drawn, how it runs, and how long what it computes is known by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from tests.random_graphs.vocabulary import WORDS, Body

SHAPES = ((), (3,), (1, 3), (2, 1), (2, 3))


@dataclass(frozen=True)
class Step:
    """A word applied to values that are there already, counted from the newest."""

    word: str
    operands: tuple[int, ...]
    bodies: "tuple[Steps, ...]" = ()


Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Program:
    """A scalar function of a tuple of arrays: its steps, and how many of the newest values it sums up."""

    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    steps: Steps
    n_summed: int
    seed: int = 0
    step_by_step: bool = False
    """Whether it runs as it is written, or compiled as one."""

    def inputs(self) -> tuple[jax.Array, ...]:
        """Random arrays of its shapes."""
        rng = np.random.default_rng(self.seed)
        return tuple(jnp.asarray(rng.normal(size=s), self.dtype) for s in self.shapes)

    def loss(
        self, inputs: tuple[jax.Array, ...], *, plain: bool = False, added: Mapping[str, jax.Array] | None = None
    ) -> jax.Array:
        """Run it; the values are called `v0`, `v1`, ... in order.

        With `plain`, ops are their plain functions. What is `added` to values of these names gives their gradients
        to those who cannot ask for them.
        """
        values = run(self.steps, inputs, plain, added or {}, named=True)
        return sum((jnp.mean(jnp.sin(x)) for x in values[-self.n_summed :]), jnp.zeros((), self.dtype))

    @property
    def dtypes(self) -> set[str]:
        """What it computes in, here and there."""
        return {self.dtype} | {d for step in everywhere(self.steps) if (d := WORDS[step.word].narrows_to)}

    def values(self) -> list[jax.ShapeDtypeStruct]:
        """What it computes, in order."""
        n = len(self.shapes)
        return jax.eval_shape(lambda xs: run(self.steps, xs, True, {}, named=False)[n:], self.inputs())


def everywhere(steps: Steps) -> Iterator[Step]:
    """All steps, those inside of others too."""
    for step in steps:
        yield step
        for body in step.bodies:
            yield from everywhere(body)


def run(
    steps: Steps, inputs: Sequence[jax.Array], plain: bool, added: Mapping[str, jax.Array], named: bool
) -> list[jax.Array]:
    """The inputs and all values that the steps compute, all of them `moved`."""
    values = [moved(x, i) for i, x in enumerate(inputs)]
    for step in steps:
        operands = [values[-1 - back] for back in step.operands]
        outputs = WORDS[step.word].run([as_function(body, plain) for body in step.bodies], operands, plain)
        for x in outputs:
            name = f"v{len(values) - len(inputs)}"
            x = moved(x + added[name] if name in added else x, len(values))
            values.append(fg.name(x, name) if named and not plain else x)
    return values


def moved(x: jax.Array, place: int) -> jax.Array:
    """With a number of its own added to each entry, so that no program stands on a kink.

    At the larger of `x` and `x`, or a branch on the mean of deviations from a mean, rounding chooses, and it is not the
    same in two compilations.
    """
    return x + jnp.asarray(np.random.default_rng(place).normal(scale=0.01, size=x.shape), x.dtype)


def as_function(steps: Steps, plain: bool) -> Body:
    """Steps as the body of a loop or branch: the shape of the first operand goes in and comes out."""

    def body(x: jax.Array, *rest: jax.Array) -> jax.Array:
        last = run(steps, (x, *rest), plain, {}, named=False)[-1]
        return jnp.tanh(x) + jnp.mean(last)

    return body


def _operands(n: int, n_values: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(0, n_values - 1)] * n)


@st.composite
def _steps(draw: st.DrawFn, n_values: int, longest: int, depth: int) -> Steps:
    words = [w for w, word in WORDS.items() if depth or not word.n_bodies]
    steps = []
    for _ in range(draw(st.integers(1, longest))):
        word = draw(st.sampled_from(words))
        n = WORDS[word].n_operands
        bodies = tuple(draw(_steps(n, 3, depth - 1)) for _ in range(WORDS[word].n_bodies))
        steps.append(Step(word, draw(_operands(n, n_values)), bodies))
        n_values += WORDS[word].n_outputs
    return tuple(steps)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Up to ten steps on up to three arrays; loops and branches stand in one another at most twice."""
    dtype = draw(st.sampled_from(["float64", "float32"]))
    shapes = tuple(draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3)))
    steps = draw(_steps(len(shapes), 10, 2))
    n_summed, seed = draw(st.integers(1, 3)), draw(st.integers(0, 7))
    return Program(shapes, dtype, steps, n_summed, seed, step_by_step=draw(st.integers(0, 7)) == 7)
