"""Losses over models of other libraries: a neural ODE of diffrax, which jits its solver, and models closed over."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Case(NamedTuple):
    """A loss, and the arguments that it is called with."""

    loss: Callable[..., jax.Array]
    arguments: tuple[Any, ...]


def neural_ode() -> Case:
    """A vector field of Equinox, taken as its arrays; adaptive steps, checkpointed as diffrax does it by itself."""
    import diffrax  # pyright: ignore[reportMissingImports]
    import equinox as eqx  # pyright: ignore[reportMissingImports]

    field = eqx.nn.MLP(2, 2, 16, 2, activation=jax.nn.softplus, key=jax.random.key(0))
    params, static = eqx.partition(field, eqx.is_inexact_array)
    term = diffrax.ODETerm(lambda _, y, field: field(y))
    times, steps = diffrax.SaveAt(ts=jnp.linspace(0.0, 1.0, 5)), diffrax.PIDController(rtol=1e-3, atol=1e-6)

    def loss(params: Any, start: jax.Array) -> jax.Array:
        field = eqx.combine(params, static)
        solver = diffrax.Tsit5()
        found = diffrax.diffeqsolve(
            term, solver, 0.0, 1.0, 0.1, start, args=field, saveat=times, stepsize_controller=steps
        )
        return jnp.mean(found.ys**2)

    return Case(loss, (params, jnp.ones(2)))


def equinox_mlp() -> Case:
    """Not jitted, and not among the arguments."""
    import equinox as eqx  # pyright: ignore[reportMissingImports]

    model = eqx.nn.MLP(8, 8, 16, 8, key=jax.random.key(0))

    def loss(x: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(model)(x) ** 2)

    return Case(loss, (jnp.ones((4, 8)),))


def flax_nnx() -> Case:
    """Not jitted, and not among the arguments."""
    from flax import nnx  # pyright: ignore[reportMissingImports]

    x, rngs = jnp.ones((4, 8)), nnx.Rngs(0)
    affine = [nnx.Linear(8, 8, param_dtype=x.dtype, rngs=rngs) for _ in range(8)]
    model = nnx.Sequential(*[layer for linear in affine for layer in (linear, nnx.relu)])

    def loss(x: jax.Array) -> jax.Array:
        return jnp.mean(model(x) ** 2)

    return Case(loss, (x,))


MODELS: dict[str, tuple[Callable[[], Case], tuple[str, ...]]] = {
    "a neural ODE (diffrax)": (neural_ode, ("diffrax", "equinox")),
    "a captured MLP (Equinox)": (equinox_mlp, ("equinox",)),
    "a captured MLP (Flax NNX)": (flax_nnx, ("flax",)),
}
"""What makes each model, and what must be installed for it."""


def missing(name: str) -> list[str]:
    """The packages that a model needs and that are not installed."""
    return [package for package in MODELS[name][1] if importlib.util.find_spec(package) is None]
