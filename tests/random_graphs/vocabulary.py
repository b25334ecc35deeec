"""The functions that random programs are made of.

Each takes arrays of any shape that broadcasts to `[2, 3]`, and gives one or several such arrays, so that anything can
follow anything; and none makes numbers grow fast. Ours are marked: they are called as ops, or as the plain functions
of those ops, which JAX then derives without our rules. None computes in bfloat16: compiled loops round to it less often
than what runs step by step, and that turns branches and largest entries over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

import funcgrad as fg
from funcgrad import ops
from funcgrad.registry import Op

Body = Callable[..., Array]
"""A program inside a program: from its operands to an array of the shape of the first."""


@dataclass(frozen=True)
class Word:
    """A function `(*operands)`, `(call, *operands)` where it calls ops, or `(*bodies, *operands)`."""

    function: Callable[..., Any]
    n_operands: int
    n_outputs: int = 1
    n_bodies: int = 0
    calls_ops: bool = False
    narrows_to: str = ""
    """The dtype that it passes through, if that may be narrower than the program's."""

    def run(self, bodies: Sequence[Body], operands: Sequence[Array], plain: bool) -> tuple[Array, ...]:
        """Its outputs; with `plain` no op is called."""
        first = (_call_plain if plain else _call,) if self.calls_ops else tuple(bodies)
        outputs = self.function(*first, *operands)
        return outputs if isinstance(outputs, tuple) else (outputs,)


def _call(op: Op, *args: Array, **attributes: Any) -> Any:
    return op(*args, **attributes)


def _call_plain(op: Op, *args: Array, **attributes: Any) -> Any:
    return op.function(*args, **attributes)


def _same_shape(*xs: Array) -> list[Array]:
    shape = jnp.broadcast_shapes(*(x.shape for x in xs))
    return [jnp.broadcast_to(x, shape) for x in xs]


def _full(*xs: Array) -> list[Array]:
    return [jnp.broadcast_to(x, (2, 3)) for x in xs]


def _with_axis(x: Array) -> Array:
    return x[None] if x.ndim == 0 else x


# Elementwise, in JAX alone.


def _quotient(x: Array, y: Array) -> Array:
    x, y = _same_shape(x, y)
    return x / (1 + y * y)


def _choice(x: Array, y: Array, z: Array) -> Array:
    x, y, z = _same_shape(x, y, z)
    return jnp.where(x > y, z, jnp.sin(x))


def _through_complex(x: Array) -> Array:
    z = lax.complex(x, jnp.cos(x))
    return jnp.real(z * z * jnp.exp(-jnp.conj(z) * z))


def _through_float32(x: Array) -> Array:
    return jnp.tanh(x.astype(jnp.float32)).astype(x.dtype)


@jax.custom_vjp
def _tripled_backward(x: Array) -> Array:
    return jnp.tanh(x)


_tripled_backward.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (3 * g * jnp.cos(x),))


@jax.custom_jvp
def _own_tangent(x: Array, y: Array) -> Array:
    return jnp.sin(x * y)


@_own_tangent.defjvp
def _own_tangent_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (x_dot, y_dot) = primals, tangents
    return jnp.sin(x * y), 2 * jnp.cos(x * y) * (x_dot * y + y_dot)


# Reductions, indices, shapes.


def _repeated_entries(x: Array) -> Array:
    flat = x.reshape(-1)
    return jnp.mean(flat[jnp.array([0, -1, 0])] ** 2)


def _written_entries(x: Array, y: Array) -> Array:
    (x,) = _full(x)
    return x.at[jnp.array([0, 1, 0]), jnp.array([2, 2, 2])].add(jnp.mean(y))


def _highest(x: Array) -> Array:
    flat = x.reshape(-1)
    return flat[jnp.argmax(flat)]


def _sorted(x: Array) -> Array:
    return jnp.sort(_with_axis(x), axis=-1)


def _running_sum(x: Array) -> Array:
    return jnp.cumsum(_with_axis(x), axis=-1) / 3


def _product(x: Array, y: Array, z: Array) -> Array:
    x, y, z = _full(x, y, z)
    return x @ y.T @ z / 6


def _rows_and_rest(x: Array) -> tuple[Array, Array]:
    (x,) = _full(x)
    first, rest = jnp.split(x, 2)
    return first, jnp.concatenate([rest, jnp.sin(first)])


def _mean_and_deviation(x: Array) -> tuple[Array, Array]:
    mean = jnp.mean(x)
    return mean, x - mean


# Ours.


@fg.op(outputs=("low", "high"), name="random_graphs.halves")
def halves(a: Array, b: Array) -> tuple[Array, Array]:
    """An op of two outputs, whose rule must do with one cotangent as with both."""
    return jnp.sin(a) * b, a * jnp.cos(b)


@halves.pullback("a")
def _halves_a(g_low: Array, g_high: Array, a: Array, b: Array) -> Array:
    return g_low * jnp.cos(a) * b + g_high * jnp.cos(b)


@halves.pullback("b")
def _halves_b(g_low: Array, g_high: Array, a: Array, b: Array) -> Array:
    return g_low * jnp.sin(a) - g_high * a * jnp.sin(b)


def _affine(call: Callable[..., Array], x: Array, y: Array, z: Array) -> Array:
    x, y, z = _full(x, y, z)
    return call(ops.linear, x, y.T, z[:, 0]) @ z / 6


def _attended(call: Callable[..., Array], x: Array, y: Array) -> Array:
    q, k = (a[None, :, None] for a in _full(x, y))
    return call(ops.attention, q, k, k, causal=True)[0, :, 0]


def _normalized(call: Callable[..., Array], x: Array, y: Array) -> Array:
    (x,) = _full(x)
    scale = jnp.broadcast_to(y, (2, 3))[0]
    return call(ops.layer_norm, x, scale, scale, eps=0.1)


# Control flow.


def _jitted(body: Body, *xs: Array) -> Array:
    return jax.jit(body)(*xs)


def _checkpointed(body: Body, *xs: Array) -> Array:
    return jax.checkpoint(body)(*xs)


def _scanned(body: Body, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """The second operand is read turn by turn, the third in every turn."""

    def turn(carry: Array, slice_: Array) -> tuple[Array, Array]:
        carry = body(carry, slice_, z)
        return carry, jnp.mean(jnp.sin(carry))

    last, means = lax.scan(turn, x, jnp.stack([y, jnp.sin(y), -y]))
    return last, jnp.sum(means * jnp.arange(3, dtype=means.dtype))


def _repeated(body: Body, x: Array, y: Array) -> Array:
    return lax.fori_loop(0, 3, lambda _, carry: body(carry, y), x)


def _branched(yes: Body, no: Body, x: Array, y: Array) -> Array:
    return lax.cond(jnp.mean(x) > 0, yes, no, x, y)


def _switched(one: Body, two: Body, x: Array, y: Array) -> Array:
    return lax.switch(jnp.int32(4 * jnp.abs(jnp.mean(y))) % 3, [one, two, lambda a, _: jnp.cos(a)], x, y)


def _batched(body: Body, x: Array, y: Array) -> Array:
    return jnp.mean(jax.vmap(body, (0, None))(jnp.stack([x, jnp.cos(x)]), y), axis=0)


def _counted(x: Array) -> Array:
    """A loop of unknown length, on values that no gradient goes through."""
    size = lax.stop_gradient(jnp.sum(x * x))
    n, _ = lax.while_loop(lambda c: c[1] > 0.5, lambda c: (c[0] + 1, c[1] / 2), (jnp.zeros_like(size), size))
    return x / (1 + n)


WORDS: dict[str, Word] = {
    "sin": Word(jnp.sin, 1),
    "tanh": Word(jnp.tanh, 1),
    "relu": Word(jax.nn.relu, 1),
    "abs": Word(jnp.abs, 1),
    "bell": Word(lambda x: jnp.exp(-x * x), 1),
    "log": Word(lambda x: jnp.log1p(x * x), 1),
    "root": Word(lambda x: jnp.sqrt(1 + x * x), 1),
    "detached factor": Word(lambda x: fg.detach(jnp.cos(x)) * x, 1),
    "floor": Word(lambda x: x - jnp.floor(x), 1),
    "add": Word(lambda x, y: jnp.add(*_same_shape(x, y)), 2),
    "subtract": Word(lambda x, y: jnp.subtract(*_same_shape(x, y)), 2),
    "multiply": Word(lambda x, y: jnp.multiply(*_same_shape(x, jnp.tanh(y))), 2),
    "quotient": Word(_quotient, 2),
    "maximum": Word(lambda x, y: jnp.maximum(*_same_shape(x, y)), 2),
    "choice": Word(_choice, 3),
    "through complex": Word(_through_complex, 1),
    "through float32": Word(_through_float32, 1, narrows_to="float32"),
    "custom_vjp": Word(_tripled_backward, 1),
    "custom_jvp": Word(lambda x, y: _own_tangent(*_same_shape(x, y)), 2),
    "mean": Word(lambda x: jnp.mean(x, axis=-1, keepdims=True) if x.ndim else x, 1),
    "repeated entries": Word(_repeated_entries, 1),
    "written entries": Word(_written_entries, 2),
    "highest": Word(_highest, 1),
    "sort": Word(_sorted, 1),
    "running sum": Word(_running_sum, 1),
    "product": Word(_product, 3),
    "rows and rest": Word(_rows_and_rest, 1, n_outputs=2),
    "mean and deviation": Word(_mean_and_deviation, 1, n_outputs=2),
    "op sigmoid": Word(lambda call, x: call(ops.sigmoid, x), 1, calls_ops=True),
    "op gelu": Word(lambda call, x: call(ops.gelu, x), 1, calls_ops=True),
    "op add": Word(lambda call, x, y: call(ops.add, *_same_shape(x, y)), 2, calls_ops=True),
    "op multiply": Word(lambda call, x, y: call(ops.multiply, x, call(ops.tanh, y)), 2, calls_ops=True),
    "op softmax": Word(lambda call, x: call(ops.softmax, _with_axis(x)), 1, calls_ops=True),
    "op halves": Word(lambda call, x, y: call(halves, *_same_shape(x, y)), 2, n_outputs=2, calls_ops=True),
    "op linear": Word(_affine, 3, calls_ops=True),
    "op attention": Word(_attended, 2, calls_ops=True),
    "op layer_norm": Word(_normalized, 2, calls_ops=True),
    "jit": Word(_jitted, 2, n_bodies=1),
    "checkpoint": Word(_checkpointed, 2, n_bodies=1),
    "scan": Word(_scanned, 3, n_outputs=2, n_bodies=1),
    "fori_loop": Word(_repeated, 2, n_bodies=1),
    "cond": Word(_branched, 2, n_bodies=2),
    "switch": Word(_switched, 2, n_bodies=2),
    "vmap": Word(_batched, 2, n_bodies=1),
    "while_loop": Word(_counted, 1),
}
