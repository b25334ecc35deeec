"""Complex arguments, where the plain forward takes them: there the rule is right as well, or refuses."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from funcgrad.checking.differences import difference, index_text
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.trials import Trial
from funcgrad.primitive import is_inexact
from funcgrad.registry import Example, Marker


def make_rows(trial: Trial) -> Iterator[Row]:
    """One row."""
    yield judge("values", "complex numbers", partial(check_complex_numbers, trial))


def check_complex_numbers(trial: Trial) -> str:
    """Where the plain forward takes complex arguments, the rule is right there too, or refuses."""
    tried, refusal = 0, ""
    for case in trial.main:
        if not case.flat.claims_derivative or not oracle(case.flat).is_jax:
            raise Open("not claimed")
        try:
            of_complex = _complex(case)
            flat, g = of_complex.flat, of_complex.random_g()
            expected = [x for x in oracle(flat).pull(of_complex.leaves, g)[1] if x is not None]
        except Exception:  # the forward's own refusal, of any kind
            continue
        if not flat.wanted or not all(np.isfinite(x).all() for x in expected):
            continue
        try:
            found = flat.pull(of_complex.leaves, g)[1]
        except Exception as error:
            refusal = str(error).splitlines()[0]
            continue
        for i, a, b in zip(flat.wanted, found, expected, strict=True):
            if apart := difference(a, b):
                raise Wrong(
                    f"the cotangent of {flat.names[i]}{index_text(apart.index)} by {flat.maker(i)} is not JAX's for "
                    f"complex arguments, which the forward takes ({of_complex}): {apart}"
                )
        tried += 1
    if not tried:
        raise Open(f"the rule refuses: {refusal}" if refusal else "the forward takes real arguments only")
    return "as jax.vjp"


def _complex(case: Case) -> Case:
    """The example with complex numbers near the real ones."""
    rng = np.random.default_rng(2)
    leaves = [
        np.asarray(x) * np.exp(1j * rng.uniform(-0.5, 0.5, size=x.shape))
        if is_inexact(a) and case.flat.rule(i) is not Marker.NON_DIFFERENTIABLE else x
        for i, (x, a) in enumerate(zip(case.leaves, case.flat.avals, strict=True))
    ]  # fmt: skip
    arguments = jax.tree.unflatten(case.flat.call.tree, leaves)
    return Case(case.flat.op, Example(tuple(arguments), case.example.attributes))
