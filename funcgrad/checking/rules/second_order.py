"""What the first derivative in reverse mode does not show: second order, and forward mode."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.differences import EXACT, difference, index_text, largest
from funcgrad.checking.numbers import as_dtype, draw
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.flat_ops import Arrays, FlatOp, compiled, partially, put
from funcgrad.checking.rules.kinks import find_kinks
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.reports import Open, Row, Wrong, judge
from funcgrad.checking.rules.trials import Trial
from funcgrad.errors import RuleError

BY_X, BY_G, FORWARD = "reverse over reverse", "reverse over reverse, by g", "forward over reverse"
"""The ways to differentiate a pullback, as a report calls them."""


def make_rows(trial: Trial) -> Iterator[Row]:
    """Second order, forward mode."""
    yield judge("values", "second order", partial(check_second_order, trial))
    yield judge("values", "forward mode", partial(check_forward_mode, trial))


def check_second_order(trial: Trial) -> str:
    """The derivative of the pullback by arguments and cotangents, in reverse and in forward mode."""
    tried = 0
    for case in trial.main:
        _assert_smooth(case.flat)
        directions = _directions(case)
        run, reference = compiled(_second, case.flat, False), compiled(_second, case.flat, True)
        found, expected = run(case.leaves, *directions), reference(case.leaves, *directions)
        for mode in found:
            again = partial(_in_mode, reference, directions, mode)
            _compare(case, mode, found[mode], expected[mode], again)
        tried += 1
    return f"as JAX's, by arguments and by g, at {tried} examples" if tried else "nothing moves"


def _assert_smooth(flat: FlatOp) -> None:
    if not oracle(flat).is_jax:
        raise Open("JAX cannot differentiate the forward in reverse mode")
    if not flat.claims_derivative:
        raise Open("claimed by derivatives only")
    if not flat.wanted:
        raise Open("nothing can move")


def _directions(case: Case) -> tuple[Arrays, Arrays, Arrays]:
    """A cotangent, and directions to move the arguments and it."""
    rng = np.random.default_rng(3)
    moved = [case.leaves[i] for i in case.flat.wanted]
    return case.random_g(1), [as_dtype(draw(rng, x.shape, x.dtype), x.dtype) for x in moved], case.random_g(2)


def _second(flat: FlatOp, by_oracle: bool) -> Callable[..., Any]:
    pull = oracle(flat).pull if by_oracle else flat.pulling(flat.wanted)

    def evaluate(leaves: Arrays, g: Arrays, t: Arrays, t_g: Arrays) -> dict[str, Arrays]:
        def pulled(moved: Arrays, g: Arrays) -> Sequence[Array]:
            return [x for x in pull(put(leaves, flat.wanted, moved), g)[1] if x is not None]

        def slope(moved: Arrays, g: Arrays) -> Array:
            return sum((jnp.real(jnp.vdot(b, a)) for a, b in zip(pulled(moved, g), t, strict=True)), jnp.zeros(()))

        moved = [leaves[i] for i in flat.wanted]
        by_x, by_g = jax.grad(slope, argnums=(0, 1))(moved, g)
        forward = jax.jvp(pulled, (moved, g), (t, t_g))[1]
        return {BY_X: by_x, BY_G: by_g, FORWARD: list(forward)}

    return evaluate


def _in_mode(evaluate: Callable[..., Any], directions: Sequence[Arrays], mode: str, leaves: Arrays) -> Arrays:
    """One mode's second derivative at other leaves."""
    return evaluate(leaves, *directions)[mode]


def _compare(case: Case, mode: str, found: Arrays, expected: Arrays, reference: Callable[[Arrays], Arrays]) -> None:
    size = max([largest(x) for x in expected], default=0.0)
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        if difference(a, b, EXACT, EXACT * size + 1e-13) is None:
            continue
        open = find_kinks(case.flat, case.leaves, reference)[n]
        if apart := difference(a, b, EXACT, EXACT * size + 1e-13, open):
            i = case.flat.wanted[n] if mode != BY_G else None
            what = f"with respect to {case.flat.names[i]}" if i is not None else f"with respect to g (output {n})"
            raise Wrong(
                f"the second derivative ({mode}) {what}{index_text(apart.index)} is not JAX's (at {case}): {apart}"
            )


def check_forward_mode(trial: Trial) -> str:
    """<g, J t> = <J^T g, t>: forward mode is the transpose of the rule."""
    for case in trial.main:
        if not oracle(case.flat).is_jax:
            raise Open("JAX cannot differentiate the forward in reverse mode")
        if not case.flat.wanted:
            raise Open("nothing can move")
        g, t, _ = _directions(case)
        try:
            pushed, pulled, size = compiled(_dual, case.flat)(case.leaves, g, t)
        except RuleError as error:
            raise Open(str(error)) from None
        if apart := difference(pushed, pulled, EXACT, EXACT * float(size)):
            raise Wrong(f"<g, J t> by forward mode is not <J^T g, t> by the rules (at {case}): {apart}")
    return "<g, J t> = <J^T g, t>"


def _dual(flat: FlatOp) -> Callable[..., Any]:
    def evaluate(leaves: Arrays, g: Arrays, t: Arrays) -> tuple[Array, Array, Array]:
        moved = [leaves[i] for i in flat.wanted]
        pushed = jax.jvp(partially(flat.ours, leaves, flat.wanted), moved, t)[1]
        pulled = flat.pulling(flat.wanted)(leaves, g)[1]
        terms = [(jnp.real(a * b).sum(), jnp.abs(a * b).sum()) for a, b in zip(g, pushed, strict=True)]
        others = [jnp.real(a * b).sum() for a, b in zip(pulled, t, strict=True)]
        zero = jnp.zeros(())
        return sum((a for a, _ in terms), zero), sum(others, zero), sum((b for _, b in terms), zero)

    return evaluate
