"""Functions that one rule is for, whichever library wrote them: every ReLU, every elementwise nonlinearity.

A set whose override matches nothing raises, and no model has all ReLUs there are; so they are one target.
"""

from collections.abc import Mapping
from typing import Any

from funcgrad.primitive import is_literal
from funcgrad.registry import Call, Equation, Function, Target


def argument_of_relu(function: Function) -> str | None:
    """The argument of a ReLU; None of another function."""
    if function.name == "relu":
        return next(iter(function.argument_slots))
    numbers = numbers_of(function)
    if function.name == "max":
        return next((other for n, other in (("x", "y"), ("y", "x")) if numbers.get(n) == 0), None)
    is_relu = function.name == "clip" and tuple(function.argument_slots) == ("arr", "min") and numbers.get("min") == 0
    return "arr" if is_relu else None


def argument_of_nonlinearity(function: Function) -> str | None:
    """The argument of a function to which the rescale rule applies; None of another."""
    if isinstance(function, Call):
        return "x" if function.op.core_axes == 0 and function.op.arguments == ("x",) else None
    if function.name in _OF_JAX_NN:
        return "x" if next(iter(function.argument_slots)) == "x" else None
    numbers = numbers_of(function) if function.name in _ELEMENTWISE else {}
    moving = [n for n in function.argument_slots if n not in numbers]
    is_meant = function.name in _ELEMENTWISE and len(moving) == 1 and moving[0] in ("x", "y", "a", "arr")
    return moving[0] if is_meant else None


def argument_of_activation(function: Function) -> str | None:
    """The argument of what layers have as an activation, of one number each; None of another function."""
    name = function.op.name if isinstance(function, Call) else function.name
    is_one = name in _OF_JAX_NN or name in _OTHER_ACTIVATIONS
    return "x" if is_one and next(iter(function.argument_slots)) == "x" else None


def argument_of_max_pooling(function: Function) -> str | None:
    """The argument of a pooling; None of another function."""
    if isinstance(function, Call):
        return "x" if function.op.name in _POOLING else None
    return "operand" if function.name == "reduce_window_max" else None


_POOLING = ("max_pool1d", "max_pool2d", "max_pool3d")
_ELEMENTWISE = frozenset([
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "ceil", "clamp", "clip", "cos", "cosh", "digamma",
    "div", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "integer_pow", "lgamma", "log", "log1p",
    "logistic", "max", "min", "pow", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh",
])  # fmt: skip
"""Primitives of JAX, and `jnp.clip`; one argument moves, and the others are numbers in the program."""
_OF_JAX_NN = frozenset([
    "celu", "elu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid", "mish",
    "relu", "relu6", "selu", "silu", "soft_sign", "softplus", "sparse_plus", "sparse_sigmoid", "squareplus", "swish",
])  # fmt: skip

_OTHER_ACTIVATIONS = frozenset(["gelu", "logistic", "sigmoid", "tanh"])


def numbers_of(function: Function) -> Mapping[str, Any]:
    """The arguments of a primitive that are numbers in the program."""
    if not isinstance(function, Equation):
        return {}
    alone = {name: slot.positions[0] for name, slot in function.argument_slots.items() if len(slot.positions) == 1}
    atoms = {name: function.source.invars[position] for name, position in alone.items()}
    return {name: atom.val for name, atom in atoms.items() if is_literal(atom)}


RELU = Target("relu", family=argument_of_relu)
"""`fg.ops.relu`, `jax.nn.relu`, what else is called `relu`; `jnp.maximum(x, 0)` and `jnp.clip(x, 0)`, with the number
written out."""
NONLINEARITY = Target("nonlinearity", family=argument_of_nonlinearity)
"""Elementwise functions of one array that moves, but for those that JAX writes out."""
ACTIVATION = Target("activation", family=argument_of_activation)
"""Those of `jax.nn` and of ours by their names, but for those that JAX writes out: `gelu`, `softplus`."""
MAX_POOLING = Target("max pooling", family=argument_of_max_pooling)
"""`fg.ops.max_pool2d` and the like, and those of Flax, Equinox and Haiku."""
