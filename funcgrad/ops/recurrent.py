"""Recurrent networks: one time step (`*_cell`), and whole sequences whose weight gradients are one contraction each.

Shapes: batch axes `[...]`, time `t`, input features `n`, hidden features `m`. A step is

    a_t = x_t w_x + b,   s_t = h_{t-1} w_h,   h_t = φ(a_t, s_t, h_{t-1})

and the reverse pass of a sequence has three parts, of which only the first goes step by step:

    a_bar_t, s_bar_t, h_bar_{t-1} = J^T_φ (g_t + h_bar_t) + s_bar_t w_hᵀ      from what the forward pass kept of step t
    w_x_bar = Σ_t x_tᵀ a_bar_t,   w_h_bar = Σ_t h_{t-1}ᵀ s_bar_t,   b_bar = Σ_t a_bar_t
    x_bar_t = a_bar_t w_xᵀ

Each sum is one matrix product over all steps and examples, where differentiating a loop makes a small one per step,
adds them up, and keeps derivatives beside the gates. The forward projects inside the loop: the pre-activations of
all steps at once would be as large as all that is kept. States, gates and carried cotangents are float32 at least;
what is kept has the inputs' dtype.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import accumulator, contract_leading, sum_leading, widen
from funcgrad.registry import op

_Arrays = tuple[Array, ...]


class _Weights(NamedTuple):
    x: Array
    h: Array
    b: Array
    s: Array | None = None
    """Added to the last `m` entries of `s`, inside GRU's reset gate."""


class _Kind(NamedTuple):
    """The maths of one kind of network, on gates stacked along the last axis."""

    gates: int
    step: Callable[[Array, Array, _Arrays], tuple[_Arrays, _Arrays]]
    """`φ(a, s, carry) -> carry, kept`; the first of a carry is `h`."""
    back: Callable[[_Arrays, Array, Array, _Arrays], tuple[Array, _Arrays]]
    """`J^T(carry_bar, h, before, kept) -> a_bar, carry_bar`, the latter without what flows through `s`."""
    side: Callable[[Array, _Arrays], Array]
    """`(a_bar, kept) -> s_bar`."""


# -- one step, for all kinds ---------------------------------------------------------------------------------------


def _product(x: Array, w: Array) -> Array:
    return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=accumulator(w.dtype))


def _forward(kind: _Kind, x: Array, carry: _Arrays, w: _Weights) -> tuple[_Arrays, _Arrays]:
    """The next carry, float32 at least, and what is kept, in the dtype of `x`."""
    row = (1,) * (x.ndim - 1)
    a = _product(x, w.x) + widen(w.b).reshape(*row, -1)
    s = _product(carry[0], w.h)
    if w.s is not None:
        inner = jnp.concatenate([jnp.zeros(w.b.size - w.s.size, w.s.dtype), w.s])
        s = s + widen(inner).reshape(*row, -1)
    carry, kept = kind.step(a, s, carry)
    return carry, tuple(v.astype(x.dtype) for v in kept)


def _backward(
    kind: _Kind, carry_bar: _Arrays, h: Array, before: Array, kept: _Arrays, w_h: Array
) -> tuple[Array, _Arrays]:
    """`a_bar` in the dtype of the products, and the cotangent of the carry before the step."""
    kept = tuple(map(widen, kept))
    a_bar, carry_bar = kind.back(carry_bar, widen(h), widen(before), kept)
    h_bar = carry_bar[0] + _product(kind.side(a_bar, kept), w_h.T)
    return a_bar.astype(w_h.dtype), (h_bar, *carry_bar[1:])


def _contract(kind: _Kind, a_bar: Array, x: Array, before: Array, kept: _Arrays, w_x: Array) -> dict[str, Array]:
    """The cotangents that are sums over all leading axes, and that of `x`."""
    s_bar = kind.side(a_bar, kept)
    return {
        "x": jnp.matmul(a_bar, w_x.T),
        "w_x": contract_leading(x, a_bar),
        "w_h": contract_leading(before.astype(s_bar.dtype), s_bar),
        "b": sum_leading(a_bar, keep=1),
        "b_h": sum_leading(s_bar[..., -before.shape[-1] :], keep=1),
    }


def _check(kind: _Kind, h: Array, w_h: Array) -> None:
    m = h.shape[-1]
    if w_h.shape[1] != kind.gates * m:
        raise ValueError(f"w_h must be [{m}, {kind.gates * m}] ({kind.gates} gates of {m}), got {list(w_h.shape)}")


# -- sequences, for all kinds --------------------------------------------------------------------------------------


def _time_first(x: Array) -> Array:
    return jnp.moveaxis(x, -2, 0)


def _time_last(x: Array) -> Array:
    return jnp.moveaxis(x, 0, -2)


def _scan(
    kind: _Kind, x: Array, carry: _Arrays, w: _Weights, reverse: bool, saving: bool = False
) -> tuple[Array, _Arrays, _Arrays]:
    """All `h`, the last carry, and what is kept of all steps."""
    _check(kind, carry[0], w.h)

    def one(carry: _Arrays, x_t: Array) -> tuple[_Arrays, tuple[Array, _Arrays]]:
        carry, kept = _forward(kind, x_t, carry, w)
        return carry, (carry[0].astype(x.dtype), kept if saving else ())

    last, (hs, kept) = lax.scan(one, tuple(map(widen, carry)), _time_first(x), reverse=reverse)
    return _time_last(hs), last, tuple(map(_time_last, kept))


def _scan_back(
    kind: _Kind, g: Array, g_last: _Arrays, x: Array, h: Array, hs: Array, kept: _Arrays, w: _Weights, reverse: bool
) -> tuple[_Arrays, dict[str, Array]]:
    """Cotangents of the first carry, and of everything else by name."""
    hs, kept = _time_first(hs), tuple(map(_time_first, kept))
    start = h[None].astype(hs.dtype)
    before = jnp.concatenate([hs, start])[1:] if reverse else jnp.concatenate([start, hs])[:-1]

    def one(carry_bar: _Arrays, step: tuple[Array, Array, Array, _Arrays]) -> tuple[_Arrays, Array]:
        g_t, h_t, h_before, kept_t = step
        a_bar, carry_bar = _backward(kind, (carry_bar[0] + widen(g_t), *carry_bar[1:]), h_t, h_before, kept_t, w.h)
        return carry_bar, a_bar

    carry_bar = (jnp.zeros(h.shape, accumulator(h.dtype)), *map(widen, g_last))
    carry_bar, a_bar = lax.scan(one, carry_bar, (_time_first(g), hs, before, kept), reverse=not reverse)
    found = _contract(kind, a_bar, _time_first(x), before, kept, w.x)
    return carry_bar, found | {"x": _time_last(found["x"])}


# -- Elman network -------------------------------------------------------------------------------------------------


def _rnn_step(a: Array, s: Array, carry: _Arrays) -> tuple[_Arrays, _Arrays]:
    del carry
    return (jnp.tanh(a + s),), ()


def _rnn_back(carry_bar: _Arrays, h: Array, before: Array, kept: _Arrays) -> tuple[Array, _Arrays]:
    del before, kept
    (h_bar,) = carry_bar
    return h_bar * (1 + h) * (1 - h), (jnp.zeros_like(h_bar),)


def _same(a_bar: Array, kept: _Arrays) -> Array:
    del kept
    return a_bar


_RNN = _Kind(1, _rnn_step, _rnn_back, _same)


@op(leading=("x", "h"), shapes="x[..., n] h[..., m] w_x[n, k] w_h[m, k] b[k]")
def rnn_cell(x: Array, h: Array, w_x: Array, w_h: Array, b: Array) -> Array:
    """`y = tanh(x w_x + h w_h + b)`: `x[..., n]`, `h[..., m]`, `w_x[n, m]`, `w_h[m, m]`, `b[m] -> y[..., m]`.

        a_bar = g (1 + y)(1 - y),   x_bar = a_bar w_xᵀ,   h_bar = a_bar w_hᵀ,   w_x_bar = Σ xᵀ a_bar,
        w_h_bar = Σ hᵀ a_bar,   b_bar = Σ a_bar.

    Keeps the output. Source: Elman 1990.

    Raises:
        ShapeError: `w_h` is not square.
    """
    _check(_RNN, h, w_h)
    return _forward(_RNN, x, (h,), _Weights(w_x, w_h, b))[0][0].astype(x.dtype)


@rnn_cell.pullback("x", "h", "w_x", "w_h", "b")
def rnn_cell_all(g: Array, x: Array, h: Array, w_x: Array, w_h: Array, y: Array) -> dict[str, Array]:
    """`a_bar = g (1 + y)(1 - y)`, then contractions."""
    a_bar, (h_bar,) = _backward(_RNN, (widen(g),), y, h, (), w_h)
    return _served(_contract(_RNN, a_bar, x, h, (), w_x), h=h_bar)


@op(leading=("x", "h"), shapes="x[..., t, n] h[..., m] w_x[n, k] w_h[m, k] b[k]")
def rnn(x: Array, h: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool = False) -> Array:
    """`rnn_cell` at each of the `t` steps of `x[..., t, n]`, from `h[..., m]`: all states `y[..., t, m]`.

    With `reverse`, from the last step to the first. Keeps the output; see the module for the pullback.

    Raises:
        ShapeError: `w_h` is not square.
    """
    return _scan(_RNN, x, (h,), _Weights(w_x, w_h, b), reverse)[0]


@rnn.pullback("x", "h", "w_x", "w_h", "b")
def rnn_all(
    g: Array, x: Array, h: Array, w_x: Array, w_h: Array, b: Array, y: Array, reverse: bool
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar,), found = _scan_back(_RNN, g, (), x, h, y, (), _Weights(w_x, w_h, b), reverse)
    return _served(found, h=h_bar)


def _served(found: dict[str, Array], b_h: bool = False, **others: Array) -> dict[str, Array]:
    """Cotangents by name, `b_h` among them where the op has it."""
    return {n: v for n, v in (found | others).items() if b_h or n != "b_h"}


# -- gated recurrent unit ------------------------------------------------------------------------------------------


def _gru_step(a: Array, s: Array, carry: _Arrays) -> tuple[_Arrays, _Arrays]:
    (h,) = carry
    m = h.shape[-1]
    r, z = jnp.split(lax.logistic(a[..., : 2 * m] + s[..., : 2 * m]), 2, axis=-1)
    inner = s[..., 2 * m :]
    u = jnp.tanh(a[..., 2 * m :] + r * inner)
    return ((1 - z) * u + z * h,), (r, z, u, inner)


def _gru_back(carry_bar: _Arrays, h: Array, before: Array, kept: _Arrays) -> tuple[Array, _Arrays]:
    del h
    (h_bar,), (r, z, u, inner) = carry_bar, kept
    u_bar = h_bar * (1 - z) * (1 + u) * (1 - u)
    z_bar = h_bar * (before - u) * z * (1 - z)
    r_bar = u_bar * inner * r * (1 - r)
    return jnp.concatenate([r_bar, z_bar, u_bar], axis=-1), (h_bar * z,)


def _gru_side(a_bar: Array, kept: _Arrays) -> Array:
    """The last gate sees `r s`."""
    r, *_ = kept
    m = r.shape[-1]
    return jnp.concatenate([a_bar[..., : 2 * m], a_bar[..., 2 * m :] * r], axis=-1)


_GRU = _Kind(3, _gru_step, _gru_back, _gru_side)


@op(leading=("x", "h"), shapes="x[..., n] h[..., m] w_x[n, k] w_h[m, k] b[k] b_h[m]")
def gru_cell(x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array) -> Array:
    """One step of a gated recurrent unit: `x[..., n]`, `h[..., m] -> y[..., m]`, gates in the order `r, z, u`.

        a = x w_x + b,   s = h w_h      `w_x[n, 3 m]`, `w_h[m, 3 m]`, `b[3 m]`, `b_h[m]`
        r = σ(a_r + s_r),   z = σ(a_z + s_z),   q = s_u + b_h,   u = tanh(a_u + r q),   y = (1 - z) u + z h

    With `u_bar = g (1 - z)(1 + u)(1 - u)`:

        a_bar = [u_bar q r (1 - r),   g (h - u) z (1 - z),   u_bar],   s_bar = a_bar, its last part times r,
        x_bar = a_bar w_xᵀ,   h_bar = g z + s_bar w_hᵀ,   w_x_bar = Σ xᵀ a_bar,   w_h_bar = Σ hᵀ s_bar,
        b_bar = Σ a_bar,   b_h_bar = Σ s_bar_u.

    Keeps `r`, `z`, `u` and `q`. Source: Cho et al. 2014, the reset gate after the product and `z` for what stays, as
    in PyTorch and cuDNN; `b` is PyTorch's `b_ih` plus the first two thirds of `b_hh`, `b_h` the last third.

    Raises:
        ShapeError: `w_h` does not have three gates.
    """
    return gru_cell_saving(x, h, w_x, w_h, b, b_h)[0]


@gru_cell.saving("gates")
def gru_cell_saving(
    x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array
) -> tuple[Array, dict[str, _Arrays]]:
    """The output, and `(r, z, u, q)`."""
    _check(_GRU, h, w_h)
    (y,), kept = _forward(_GRU, x, (widen(h),), _Weights(w_x, w_h, b, b_h))
    return y.astype(x.dtype), {"gates": kept}


@gru_cell.pullback("x", "h", "w_x", "w_h", "b", "b_h")
def gru_cell_all(g: Array, x: Array, h: Array, w_x: Array, w_h: Array, y: Array, gates: _Arrays) -> dict[str, Array]:
    """`a_bar` from the gates, then contractions."""
    a_bar, (h_bar,) = _backward(_GRU, (widen(g),), y, h, gates, w_h)
    return _served(_contract(_GRU, a_bar, x, h, gates, w_x), b_h=True, h=h_bar)


@op(leading=("x", "h"), shapes="x[..., t, n] h[..., m] w_x[n, k] w_h[m, k] b[k] b_h[m]")
def gru(x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array, *, reverse: bool = False) -> Array:
    """`gru_cell` at each of the `t` steps of `x[..., t, n]`, from `h[..., m]`: all states `y[..., t, m]`.

    With `reverse`, from the last step to the first. Keeps the output and the gates; see the module for the pullback.

    Raises:
        ShapeError: `w_h` does not have three gates.
    """
    return _scan(_GRU, x, (h,), _Weights(w_x, w_h, b, b_h), reverse)[0]


@gru.saving("gates")
def gru_saving(
    x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array, *, reverse: bool
) -> tuple[Array, dict[str, _Arrays]]:
    """The output, and `(r, z, u, q)` of every step."""
    y, _, kept = _scan(_GRU, x, (h,), _Weights(w_x, w_h, b, b_h), reverse, saving=True)
    return y, {"gates": kept}


@gru.pullback("x", "h", "w_x", "w_h", "b", "b_h")
def gru_all(
    g: Array, x: Array, h: Array, w_x: Array, w_h: Array, b: Array, y: Array, gates: _Arrays, reverse: bool
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar,), found = _scan_back(_GRU, g, (), x, h, y, gates, _Weights(w_x, w_h, b), reverse)
    return _served(found, b_h=True, h=h_bar)


# -- long short-term memory ----------------------------------------------------------------------------------------


def _lstm_step(a: Array, s: Array, carry: _Arrays) -> tuple[_Arrays, _Arrays]:
    _, c = carry
    i, f, u, o = jnp.split(a + s, 4, axis=-1)
    i, f, u, o = lax.logistic(i), lax.logistic(f), jnp.tanh(u), lax.logistic(o)
    after = f * c + i * u
    return (o * jnp.tanh(after), after), (i, f, u, o, c)


def _lstm_back(carry_bar: _Arrays, h: Array, before: Array, kept: _Arrays) -> tuple[Array, _Arrays]:
    del h, before
    (h_bar, c_bar), (i, f, u, o, c) = carry_bar, kept
    t = jnp.tanh(f * c + i * u)
    c_bar = c_bar + h_bar * o * (1 + t) * (1 - t)
    i_bar, f_bar, u_bar, o_bar = c_bar * u, c_bar * c, c_bar * i, h_bar * t
    a_bar = [i_bar * i * (1 - i), f_bar * f * (1 - f), u_bar * (1 + u) * (1 - u), o_bar * o * (1 - o)]
    return jnp.concatenate(a_bar, axis=-1), (jnp.zeros_like(h_bar), c_bar * f)


_LSTM = _Kind(4, _lstm_step, _lstm_back, _same)


@op(
    outputs=("next_h", "next_c"),
    leading=("x", "h", "c"),
    shapes="x[..., n] h[..., m] c[..., m] w_x[n, k] w_h[m, k] b[k]",
)
def lstm_cell(x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array) -> tuple[Array, Array]:
    """One step of a long short-term memory: `x[..., n]`, `h[..., m]`, `c[..., m] -> (next_h, next_c)`, both `[..., m]`.

        a = x w_x + h w_h + b,   [i, f, u, o] = a       `w_x[n, 4 m]`, `w_h[m, 4 m]`, `b[4 m]`
        next_c = σ(f) c + σ(i) tanh(u),   next_h = σ(o) t   with   t = tanh(next_c)

    With `i, f, u, o` the gates after their activation and `γ = g_next_c + g_next_h o (1 + t)(1 - t)`:

        a_bar = [γ u i (1 - i),   γ c f (1 - f),   γ i (1 + u)(1 - u),   g_next_h t o (1 - o)],   c_bar = γ f,
        x_bar = a_bar w_xᵀ,   h_bar = a_bar w_hᵀ,   w_x_bar = Σ xᵀ a_bar,   w_h_bar = Σ hᵀ a_bar,   b_bar = Σ a_bar.

    Keeps the gates and `c`; `t` is made again. Source: Hochreiter and Schmidhuber 1997, with the forget gate of
    Gers et al. 2000, in PyTorch's order; `b` is PyTorch's `b_ih + b_hh`.

    Raises:
        ShapeError: `w_h` does not have four gates.
    """
    return lstm_cell_saving(x, h, c, w_x, w_h, b)[0]


@lstm_cell.saving("gates")
def lstm_cell_saving(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array
) -> tuple[tuple[Array, Array], dict[str, _Arrays]]:
    """The outputs, and `(i, f, u, o, c)`."""
    _check(_LSTM, h, w_h)
    (next_h, next_c), kept = _forward(_LSTM, x, (h, widen(c)), _Weights(w_x, w_h, b))
    return (next_h.astype(x.dtype), next_c.astype(c.dtype)), {"gates": kept}


@lstm_cell.pullback("x", "h", "c", "w_x", "w_h", "b")
def lstm_cell_all(
    g_next_h: Array, g_next_c: Array, x: Array, h: Array, w_x: Array, w_h: Array, gates: _Arrays
) -> dict[str, Array]:
    """`a_bar` from the gates, then contractions."""
    a_bar, (h_bar, c_bar) = _backward(_LSTM, (widen(g_next_h), widen(g_next_c)), h, h, gates, w_h)
    return _served(_contract(_LSTM, a_bar, x, h, gates, w_x), h=h_bar, c=c_bar)


@op(
    outputs=("hs", "last_c"),
    leading=("x", "h", "c"),
    shapes="x[..., t, n] h[..., m] c[..., m] w_x[n, k] w_h[m, k] b[k]",
)
def lstm(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool = False
) -> tuple[Array, Array]:
    """`lstm_cell` at each of the `t` steps of `x[..., t, n]`: all `hs[..., t, m]`, and the last `c[..., m]`.

    With `reverse`, from the last step to the first. Keeps the output, the gates and the cell states; see the module
    for the pullback.

    Raises:
        ShapeError: `w_h` does not have four gates.
    """
    hs, (_, last), _ = _scan(_LSTM, x, (h, c), _Weights(w_x, w_h, b), reverse)
    return hs, last.astype(c.dtype)


@lstm.saving("gates")
def lstm_saving(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool
) -> tuple[tuple[Array, Array], dict[str, _Arrays]]:
    """The outputs, and `(i, f, u, o, c)` of every step."""
    hs, (_, last), kept = _scan(_LSTM, x, (h, c), _Weights(w_x, w_h, b), reverse, saving=True)
    return (hs, last.astype(c.dtype)), {"gates": kept}


@lstm.pullback("x", "h", "c", "w_x", "w_h", "b")
def lstm_all(
    g_hs: Array,
    g_last_c: Array,
    x: Array,
    h: Array,
    w_x: Array,
    w_h: Array,
    b: Array,
    hs: Array,
    gates: _Arrays,
    reverse: bool,
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar, c_bar), found = _scan_back(_LSTM, g_hs, (g_last_c,), x, h, hs, gates, _Weights(w_x, w_h, b), reverse)
    return _served(found, h=h_bar, c=c_bar)
