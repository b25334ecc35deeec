"""`fg.value_and_grad` is `jax.value_and_grad` on random programs.

By default a few; `pytest -m slow` runs 2,000, and 50,000 with `--hypothesis-profile=long`.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import funcgrad as fg
from funcgrad import ops
from tests.random_graphs.program import Program, Step, everywhere, programs
from tests.random_graphs.vocabulary import WORDS

PROGRAMS = 50_000 if settings.get_current_profile_name() == "long" else 2_000
SHARD = 250
RESOLUTIONS = {"float64": 1e-9, "float32": 2e-4}
random_programs = partial(
    settings, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def assert_agrees(program: Program, rules: fg.RuleSet | None = None) -> None:
    """The loss, its gradients by all inputs, and by one value inside.

    Numbers differ by rounding, of the largest gradient in the program (terms may cancel), in its narrowest dtype.
    """
    inputs, values = program.inputs(), program.values()
    name = f"v{program.seed % len(values)}"
    nothing = {name: jnp.zeros(values[int(name[1:])].shape, values[int(name[1:])].dtype)}

    def both(inputs: tuple[jax.Array, ...]) -> list[tuple[jax.Array, jax.Array]]:
        theirs = lambda xs, added: program.loss(xs, plain=True, added=added)
        expected, (by_inputs, by_value) = jax.value_and_grad(theirs, (0, 1))(inputs, nothing)
        ours = fg.value_and_grad(program.loss, wrt=["inputs", name], unreachable="zero", rules=rules)
        found, gradient = ours(inputs)
        return [(found, expected), (gradient[name], by_value[name]), *zip(gradient["inputs"], by_inputs, strict=True)]

    # One compilation for both is several times faster than one for each loop and branch.
    pairs = both(inputs) if program.step_by_step else jax.jit(both)(inputs)
    resolution = max(RESOLUTIONS[dtype] for dtype in program.dtypes)
    scale = max(0.1, *(float(np.max(np.abs(b), initial=0.0)) for _, b in pairs))
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0.0, atol=resolution * scale)


@hypothesis.seed(0)
@random_programs(max_examples=25)
@given(programs())
def test_agrees_with_jax(program: Program):
    assert_agrees(program)


def test_a_maximum_of_what_is_computed_twice():
    """A rule that looked for the input that is the output found none, as it was rounded another way."""
    turn = (Step("op gelu", (2,)), Step("maximum", (3, 1)))
    branches = (Step("written entries", (1, 0)), Step("root", (2,))), (Step("scan", (1, 0, 0), (turn,)),)
    assert_agrees(Program(((1, 3),), "float32", (Step("cond", (0, 0), branches),), n_summed=1, seed=2))


@pytest.fixture
def forgotten_afterwards() -> Iterator[None]:
    """What was compiled for other programs is of no use to the next ones, and takes gigabytes."""
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("forgotten_afterwards")
@pytest.mark.parametrize("shard", range(PROGRAMS // SHARD))
def test_agrees_with_jax_on_many(shard: int):
    @hypothesis.seed(1 + shard)
    @random_programs(max_examples=SHARD)
    @given(programs())
    def check(program: Program) -> None:
        assert_agrees(program)

    check()


def test_all_words_are_drawn():
    seen: Counter[str] = Counter()

    @hypothesis.seed(0)
    @random_programs(max_examples=500, phases=[Phase.generate])
    @given(programs())
    def count(program: Program) -> None:
        seen.update(step.word for step in everywhere(program.steps))

    count()
    assert set(seen) == set(WORDS)
    assert min(seen.values()) > 10


def test_a_wrong_rule_is_found():
    wrong = fg.RuleSet().override(ops.sigmoid, lambda g, y: 1.01 * g * y * (1 - y))

    @hypothesis.seed(0)
    @random_programs(max_examples=500, phases=[Phase.generate])
    @given(programs())
    def check(program: Program) -> None:
        uses = any(step.word == "op sigmoid" for step in everywhere(program.steps))
        assert_agrees(program, wrong if uses else None)

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check()
