"""Every entry of the catalogue at its defaults, and what it is for."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import funcgrad as fg
from funcgrad.registry import Op
from funcgrad.rulesets import attribution, feedback, relevance, straight_through, surgery, surrogates

ROWS = {
    name: row for name, row in vars(surrogates).items() if hasattr(row, "smooth") and row.__module__.endswith("gates")
}
"""The table of surrogates: what has a slope, and the function that it is of."""


def public(module: Any) -> dict[str, Callable[..., fg.RuleSet]]:
    """The functions of a module that return a set of rules."""
    return {n: f for n, f in vars(module).items() if not n.startswith("_") and returns_rules(f, module)}


def returns_rules(f: Any, module: Any) -> bool:
    if not inspect.isfunction(f) or not is_made_in(module, f):
        return False
    return inspect.signature(f).return_annotation is fg.RuleSet


def is_made_in(module: Any, f: Any) -> bool:
    """Whether a function is of a module, or of one of a package's."""
    return f"{f.__module__}.".startswith(f"{module.__name__}.")


def around_grad(module: Any) -> dict[str, Callable[..., Any]]:
    """The functions of a module that take a function, and return another as `fg.grad` does."""
    made_here = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and is_made_in(module, f)}
    return {n: f for n, f in made_here.items() if next(iter(inspect.signature(f).parameters), "") == "f"}


ROUNDED = Op(lambda x: jnp.round(x), name="rounded", elementwise=True)
SIGN = Op(lambda x: jnp.sign(x), name="signed", elementwise=True)

SETS: dict[str, tuple[Op, fg.RuleSet]] = {
    **{f"surrogates.{name}": (fg.ops.heaviside, row()) for name, row in ROWS.items()},
    "straight_through.identity": (ROUNDED, straight_through.identity(ROUNDED)),
    "straight_through.identity of two": (fg.ops.ternarize, straight_through.identity(fg.ops.ternarize)),
    "straight_through.identity of noise": (fg.ops.stochastic_round, straight_through.identity(fg.ops.stochastic_round)),
    "straight_through.clipped": (fg.ops.binarize, straight_through.clipped(fg.ops.binarize)),
    "straight_through.clipped elsewhere": (ROUNDED, straight_through.clipped(ROUNDED, 0.0, float("inf"))),
    "straight_through.polynomial": (SIGN, straight_through.polynomial(SIGN)),
    "straight_through.affine": (fg.ops.fake_quantize, straight_through.affine()),
    "straight_through.lsq": (fg.ops.fake_quantize, straight_through.lsq()),
    "straight_through.lsq, unscaled": (fg.ops.fake_quantize, straight_through.lsq(scaled=False)),
    "straight_through.pact": (fg.ops.fake_quantize, straight_through.pact()),
}

KEY = jax.random.key(0)
MODIFIED: dict[str, tuple[Op, fg.RuleSet]] = {
    "feedback.alignment": (fg.ops.linear, feedback.alignment(KEY)),
    "feedback.sign_symmetric": (fg.ops.linear, feedback.sign_symmetric()),
    "feedback.sign_symmetric, drawn": (fg.ops.linear, feedback.sign_symmetric(KEY)),
    "feedback.direct": (fg.ops.linear, feedback.direct(KEY, "logits")),
}
"""What is no derivative of anything, and linear in the cotangent, or in that of another value."""

NONLINEAR: dict[str, tuple[Op, fg.RuleSet]] = {
    "attribution.guided_backprop": (fg.ops.relu, attribution.guided_backprop()),
    "attribution.deconvnet": (fg.ops.relu, attribution.deconvnet()),
    "feedback.target_projection": (fg.ops.linear, feedback.target_projection(jnp.eye(3, 2), KEY)),
}
"""Nor is it linear in the cotangent."""

HOOKS: dict[str, fg.RuleSet] = {
    "surgery.reversal": surgery.reversal(0.5, at="x"),
    "surgery.scale": surgery.scale(0.5, at="x"),
    "surgery.dropout": surgery.dropout(0.5, at="x"),
    "surgery.stop": surgery.stop(at="x"),
    "surgery.branch_weights": surgery.branch_weights({"x@sin": 0.5, "x@tanh": 2.0}),
    "feedback.perturbation": feedback.perturbation(at="x"),
}
"""What changes a cotangent on its way, and stands for no J^T."""

NONLINEAR_HOOKS: dict[str, fg.RuleSet] = {
    "surgery.clip_by_value": surgery.clip_by_value(0.5, at="x"),
    "surgery.clip_by_norm": surgery.clip_by_norm(0.5, per_example=True, at="x"),
    "surgery.normalize": surgery.normalize(at="x"),
    "surgery.noise": surgery.noise(0.5, at="x"),
}
"""Nor is it linear."""

RELEVANCE: dict[str, fg.RuleSet] = {
    **{f"relevance.{n}": make() for n, make in public(relevance).items() if n not in ("z_box", "epsilon_gamma_box")},
    "attribution.excitation_backprop": attribution.excitation_backprop(),
    "relevance.z_box": relevance.z_box(-1.0, 1.0),
    "relevance.epsilon_gamma_box": relevance.epsilon_gamma_box(-1.0, 1.0),
}
"""What runs on a network of convolutions, dense layers, sums, pools and activations."""


def small_network(x: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
    """Images `[examples, height, width, channels]` through one convolution, a sum, a mean and a dense layer."""
    h = jax.nn.relu(
        jax.lax.conv_general_dilated(x, params["c"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    return jnp.tanh((x + h).mean((1, 2))) @ params["w"] + params["b"][None]
