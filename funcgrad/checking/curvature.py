"""What the first derivative does not show: second order, forward mode, complex numbers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array
from funcgrad.checking.comparing import EXACT, difference, index_text, largest
from funcgrad.checking.forms import Arrays, Form, compiled, partially, put
from funcgrad.checking.kinks import kinky
from funcgrad.checking.oracles import oracle
from funcgrad.checking.reports import Open, Row, Wrong, judge
from funcgrad.checking.subjects import Subject, as_dtype, draw
from funcgrad.checking.trials import Trial
from funcgrad.errors import RuleError
from funcgrad.primitive import is_inexact
from funcgrad.registry import Example, Marker


def rows(trial: Trial) -> Iterator[Row]:
    """Second order, duality, complex numbers."""
    yield judge("values", "second order", partial(second_order, trial))
    yield judge("values", "forward mode", partial(duality, trial))
    yield judge("values", "complex numbers", partial(complex_numbers, trial))


def second_order(trial: Trial) -> str:
    """The derivative of the pullback by arguments and cotangents, in reverse and in forward mode."""
    tried = 0
    for s in trial.main:
        _assert_smooth(s.form)
        directions = _directions(s)
        run, reference = compiled(_second, s.form, False), compiled(_second, s.form, True)
        found, expected = run(s.leaves, *directions), reference(s.leaves, *directions)
        for mode in found:
            again = partial(_in_mode, reference, directions, mode)
            _compare(s, mode, found[mode], expected[mode], again)
        tried += 1
    return f"as JAX's, by arguments and by g, at {tried} examples" if tried else "nothing moves"


def _assert_smooth(form: Form) -> None:
    if not oracle(form).is_jax:
        raise Open("JAX cannot differentiate the forward in reverse mode")
    if not form.claims_derivative:
        raise Open("not claimed by surrogate and modified rules")
    if not form.wanted:
        raise Open("nothing can move")


def _directions(s: Subject) -> tuple[Arrays, Arrays, Arrays]:
    """A cotangent, and directions to move the arguments and it."""
    rng = np.random.default_rng(3)
    moved = [s.leaves[i] for i in s.form.wanted]
    return s.random_g(1), [as_dtype(draw(rng, x.shape, x.dtype), x.dtype) for x in moved], s.random_g(2)


def _second(form: Form, by_oracle: bool) -> Callable[..., Any]:
    pull = oracle(form).pull if by_oracle else form.pulling(form.wanted)

    def evaluate(leaves: Arrays, g: Arrays, t: Arrays, t_g: Arrays) -> dict[str, Arrays]:
        def pulled(moved: Arrays, g: Arrays) -> Sequence[Array]:
            return [x for x in pull(put(leaves, form.wanted, moved), g)[1] if x is not None]

        def slope(moved: Arrays, g: Arrays) -> Array:
            return sum((jnp.real(jnp.vdot(b, a)) for a, b in zip(pulled(moved, g), t, strict=True)), jnp.zeros(()))

        moved = [leaves[i] for i in form.wanted]
        by_x, by_g = jax.grad(slope, argnums=(0, 1))(moved, g)
        forward = jax.jvp(pulled, (moved, g), (t, t_g))[1]
        return {"reverse over reverse": by_x, "reverse over reverse, by g": by_g, "forward over reverse": list(forward)}

    return evaluate


def _in_mode(evaluate: Callable[..., Any], directions: Sequence[Arrays], mode: str, leaves: Arrays) -> Arrays:
    """One mode's second derivative at other leaves."""
    return evaluate(leaves, *directions)[mode]


def _compare(s: Subject, mode: str, found: Arrays, expected: Arrays, reference: Callable[[Arrays], Arrays]) -> None:
    size = max([largest(x) for x in expected], default=0.0)
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        if difference(a, b, EXACT, EXACT * size + 1e-13) is None:
            continue
        open = kinky(s.form, s.leaves, reference)[n]
        if apart := difference(a, b, EXACT, EXACT * size + 1e-13, open):
            i = s.form.wanted[n] if not mode.endswith("by g") else None
            what = f"with respect to {s.form.names[i]}" if i is not None else f"with respect to g (output {n})"
            raise Wrong(
                f"the second derivative ({mode}) {what}{index_text(apart.index)} is not JAX's (at {s}): {apart}"
            )


def duality(trial: Trial) -> str:
    """<g, J t> = <J^T g, t>: forward mode is the transpose of the rule."""
    for s in trial.main:
        if not oracle(s.form).is_jax:
            raise Open("JAX cannot differentiate the forward in reverse mode")
        if not s.form.wanted:
            raise Open("nothing can move")
        g, t, _ = _directions(s)
        try:
            pushed, pulled, size = compiled(_dual, s.form)(s.leaves, g, t)
        except RuleError as error:
            raise Open(str(error)) from None
        if apart := difference(pushed, pulled, EXACT, EXACT * float(size)):
            raise Wrong(f"<g, J t> by forward mode is not <J^T g, t> by the rules (at {s}): {apart}")
    return "<g, J t> = <J^T g, t>"


def _dual(form: Form) -> Callable[..., Any]:
    def evaluate(leaves: Arrays, g: Arrays, t: Arrays) -> tuple[Array, Array, Array]:
        moved = [leaves[i] for i in form.wanted]
        pushed = jax.jvp(partially(form.ours, leaves, form.wanted), moved, t)[1]
        pulled = form.pulling(form.wanted)(leaves, g)[1]
        terms = [(jnp.real(a * b).sum(), jnp.abs(a * b).sum()) for a, b in zip(g, pushed, strict=True)]
        others = [jnp.real(a * b).sum() for a, b in zip(pulled, t, strict=True)]
        zero = jnp.zeros(())
        return sum((a for a, _ in terms), zero), sum(others, zero), sum((b for _, b in terms), zero)

    return evaluate


def complex_numbers(trial: Trial) -> str:
    """Where the plain forward takes complex arguments, the rule is right there too, or refuses."""
    tried, refusal = 0, ""
    for s in trial.main:
        if not s.form.claims_derivative or not oracle(s.form).is_jax:
            raise Open("not claimed")
        try:
            of_complex = _complex(s)
            form, g = of_complex.form, of_complex.random_g()
            expected = [x for x in oracle(form).pull(of_complex.leaves, g)[1] if x is not None]
        except Exception:  # the forward's own refusal, of any kind
            continue
        if not form.wanted or not all(np.isfinite(x).all() for x in expected):
            continue
        try:
            found = form.pull(of_complex.leaves, g)[1]
        except Exception as error:
            refusal = str(error).splitlines()[0]
            continue
        for i, a, b in zip(form.wanted, found, expected, strict=True):
            if apart := difference(a, b):
                raise Wrong(
                    f"the cotangent of {form.names[i]}{index_text(apart.index)} by {form.blame(i)} is not JAX's for "
                    f"complex arguments, which the forward takes ({of_complex}): {apart}"
                )
        tried += 1
    if not tried:
        raise Open(f"the rule refuses: {refusal}" if refusal else "the forward takes real arguments only")
    return "as jax.vjp"


def _complex(s: Subject) -> Subject:
    """The example with complex numbers near the real ones."""
    rng = np.random.default_rng(2)
    leaves = [
        np.asarray(x) * np.exp(1j * rng.uniform(-0.5, 0.5, size=x.shape))
        if is_inexact(a) and s.form.rule(i) is not Marker.NON_DIFFERENTIABLE else x
        for i, (x, a) in enumerate(zip(s.leaves, s.form.avals, strict=True))
    ]  # fmt: skip
    arguments = jax.tree.unflatten(s.form.call.tree, leaves)
    return Subject(s.form.op, Example(tuple(arguments), s.example.attributes))
