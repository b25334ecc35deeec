"""What an override costs beyond its own work: the step of a model with a rule put in, over that of the same model in
which the function is written with `jax.custom_vjp`, differentiated by `jax.value_and_grad` and by ours.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from benchmarks.report import Rows
from benchmarks.timing import compile_in_turns, time_in_turns
from funcgrad.rulesets import straight_through, surgery

TARGET = 1.02
BY_JAX, BY_OURS = "custom_vjp, jax.grad", "custom_vjp, fg.grad"


class Case(NamedTuple):
    """A model as a function of `changed`, what it applies of the function that is pulled back otherwise."""

    loss: Callable[..., jax.Array]
    """Of `changed`, the parameters and the data."""
    plain: Callable[[jax.Array], jax.Array]
    written: Callable[[jax.Array], jax.Array]
    """The same function with `jax.custom_vjp`."""
    rules: fg.RuleSet
    arguments: tuple[Any, ...]
    argnums: int = 0


def rounding(small: bool) -> Case:
    """An MLP whose activations are rounded to sixteenths, straight through."""

    @jax.custom_vjp
    def written(x: jax.Array) -> jax.Array:
        return jnp.round(x)

    written.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))

    def loss(changed: Callable[..., jax.Array], params: Any, x: jax.Array) -> jax.Array:
        for w in params[:-1]:
            x = changed(16 * jnp.tanh(x @ w)) / 16
        return jnp.mean((x @ params[-1]) ** 2)

    depth, width, batch = (3, 32, 16) if small else (8, 512, 256)
    params = [normal(k, (width, width)) / width**0.5 for k in range(depth)]
    arguments = params, normal(depth, (batch, width))
    return Case(loss, jnp.round, written, straight_through.identity(jnp.round), arguments)


def guided(small: bool) -> Case:
    """Guided backprop to the images of a convnet."""

    @jax.custom_vjp
    def written(x: jax.Array) -> jax.Array:
        return jax.nn.relu(x)

    written.defvjp(lambda x: (jax.nn.relu(x), x), lambda x, g: (guided_relu(g, x),))

    def loss(changed: Callable[..., jax.Array], params: Any, x: jax.Array) -> jax.Array:
        for w in params:
            x = changed(jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return jnp.mean(x**2)

    width, batch, pixels = (8, 2, 8) if small else (32, 16, 32)
    sizes = [3, width, width, width, width]
    params = [normal(k, (3, 3, *s)) / (9 * s[0]) ** 0.5 for k, s in enumerate(pairwise(sizes))]
    rules = fg.RuleSet().override(jax.nn.relu, guided_relu, kind=fg.nonlinear)
    return Case(loss, jax.nn.relu, written, rules, (params, normal(9, (batch, pixels, pixels, 3))), argnums=1)


def guided_relu(g: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where((x > 0) & (g > 0), g, 0)


def reversing(small: bool) -> Case:
    """An MLP with two heads, the gradient of one of which is reversed."""

    @jax.custom_vjp
    def written(x: jax.Array) -> jax.Array:
        return x

    written.defvjp(lambda x: (x, None), lambda _, g: (-0.5 * g,))

    def loss(changed: Callable[..., jax.Array], params: Any, x: jax.Array) -> jax.Array:
        *body, label, mixed, domain = params
        for w in body:
            x = jnp.tanh(x @ w)
        return jnp.mean((x @ label) ** 2) + jnp.mean((jnp.tanh(changed(x) @ mixed) @ domain) ** 2)

    def named(x: jax.Array) -> jax.Array:
        return fg.name(x * 1, "turned")

    depth, width, batch = (4, 32, 16) if small else (8, 512, 256)
    params = [normal(k, (width, width)) / width**0.5 for k in range(depth)]
    return Case(loss, named, written, surgery.reversal(0.5, at="turned"), (params, normal(depth, (batch, width))))


CASES = {
    "straight-through round, MLP": rounding,
    "guided ReLU, convnet": guided,
    "gradient reversal, MLP": reversing,
}


def compare(rounds: int, small: bool) -> Rows:
    """Rows `{network, against, metric, ratio}`, the override over each of the two; first all three must agree."""
    return [row for name, make in CASES.items() for row in _compare(name, make(small), rounds)]


def steps(case: Case) -> dict[str, Callable[..., Any]]:
    """The override, and what it is compared with."""
    plain, written = partial(case.loss, case.plain), partial(case.loss, case.written)
    return {
        "override": fg.value_and_grad(plain, case.argnums, rules=case.rules),
        BY_JAX: jax.value_and_grad(written, case.argnums),
        BY_OURS: fg.value_and_grad(written, case.argnums),
    }


def _compare(name: str, case: Case, rounds: int) -> Rows:
    compiled = compile_in_turns({n: (step, case.arguments) for n, step in steps(case).items()}, 1)
    assert_agree({n: c.run() for n, c in compiled.items()})
    seconds = time_in_turns({n: c.run for n, c in compiled.items()}, rounds)
    return [
        {"network": name, "against": n, "metric": "step", "ratio": round(seconds["override"] / seconds[n], 3)}
        for n in (BY_JAX, BY_OURS)
    ]


def assert_agree(found: dict[str, Any]) -> None:
    """That all found the same losses and gradients, up to what their precision allows."""
    for other in (BY_JAX, BY_OURS):
        for ours, theirs in zip(*(jax.tree.leaves(found[n]) for n in ("override", other)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(jnp.max(jnp.abs(theirs))))


def misses(rows: Rows) -> list[str]:
    """Where a ratio is above its target, one line each."""
    return [
        f"{r['network']}, step against {r['against']}: {r['ratio']:.3f} > {TARGET:g}"
        for r in rows
        if r["ratio"] > TARGET
    ]


def normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
    """Noise, in the precision that is JAX's default."""
    return jax.random.normal(jax.random.key(seed), shape)
