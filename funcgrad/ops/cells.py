"""Recurrent networks: one time step (`*_cell`), and whole sequences. `recurrence.py` runs their steps.

Batch axes `[...]`, time `t`, input features `n`, hidden features `m`. A kind of network is its step on the gates, and
that step's pullback.
"""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import narrow, widen
from funcgrad.ops.recurrence import (
    Arrays,
    Kind,
    Weights,
    check_gates,
    contract_steps,
    scan,
    scan_back,
    serve,
    step_back,
    step_forward,
)
from funcgrad.registry import op

# -- Elman network -------------------------------------------------------------------------------------------------


def _rnn_step(a: Array, s: Array, carry: Arrays) -> tuple[Arrays, Arrays]:
    del carry
    return (jnp.tanh(a + s),), ()


def _rnn_back(carry_bar: Arrays, h: Array, before: Array, kept: Arrays) -> tuple[Array, Arrays]:
    del before, kept
    (h_bar,) = carry_bar
    return h_bar * (1 + h) * (1 - h), (jnp.zeros_like(h_bar),)


def _same(a_bar: Array, kept: Arrays) -> Array:
    del kept
    return a_bar


_RNN = Kind(1, _rnn_step, _rnn_back, _same)


@op(leading=("x", "h"), shapes="x[..., n] h[..., m] w_x[n, k] w_h[m, k] b[k]")
def rnn_cell(x: Array, h: Array, w_x: Array, w_h: Array, b: Array) -> Array:
    """`y = tanh(x w_x + h w_h + b)`: `x[..., n]`, `h[..., m]`, `w_x[n, m]`, `w_h[m, m]`, `b[m] -> y[..., m]`.

        a_bar = g (1 + y)(1 - y),   x_bar = a_bar w_xᵀ,   h_bar = a_bar w_hᵀ,   w_x_bar = Σ xᵀ a_bar,
        w_h_bar = Σ hᵀ a_bar,   b_bar = Σ a_bar.

    Keeps the output. Source: Elman 1990.

    Args:
        x: the step's input.
        h: the state before it.
        w_x: from the input to the state.
        w_h: from state to state.
        b: the term of each feature.

    Returns:
        `y`, the state after the step, in the dtype of `x`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` is not square; or `x` is of integers.

    Example:
        >>> y = fg.ops.rnn_cell(jnp.ones((5, 2)), jnp.zeros((5, 3)), jnp.ones((2, 3)), jnp.ones((3, 3)), jnp.zeros(3))
        >>> y.shape, f"{y[0, 0]:.3f}"
        ((5, 3), '0.964')
    """
    check_gates(_RNN, h, w_h)
    return narrow(step_forward(_RNN, x, (h,), Weights(w_x, w_h, b))[0][0], x)


@rnn_cell.pullback("x", "h", "w_x", "w_h", "b")
def rnn_cell_all(g: Array, x: Array, h: Array, w_x: Array, w_h: Array, y: Array) -> dict[str, Array]:
    """`a_bar = g (1 + y)(1 - y)`, then contractions."""
    a_bar, (h_bar,) = step_back(_RNN, (widen(g),), y, h, (), w_h)
    return serve(contract_steps(_RNN, a_bar, x, h, (), w_x), h=h_bar)


@op(leading=("x", "h"), shapes="x[..., t, n] h[..., m] w_x[n, k] w_h[m, k] b[k]")
def rnn(x: Array, h: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool = False) -> Array:
    """`rnn_cell` at each of the `t` steps of `x[..., t, n]`, from `h[..., m]`: all states `y[..., t, m]`.

    Back, the steps go from the last to the first, `h_bar` collecting what each hands to the one before; the cotangents
    of the weights are then one contraction each, over all steps (`recurrence.py` derives it). Keeps the output.

    Args:
        x: the inputs of all steps.
        h: the state before the first.
        w_x: from the input to the state, `[n, m]`.
        w_h: from state to state, `[m, m]`.
        b: the term of each feature, `[m]`.
        reverse: go from the last step to the first; `y` stays in the order of `x`.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` is not square.

    Example:
        >>> x, h = jnp.ones((5, 7, 2)), jnp.zeros((5, 3))
        >>> fg.ops.rnn(x, h, jnp.ones((2, 3)), jnp.ones((3, 3)), jnp.zeros(3)).shape
        (5, 7, 3)
    """
    return scan(_RNN, x, (h,), Weights(w_x, w_h, b), reverse)[0]


@rnn.pullback("x", "h", "w_x", "w_h", "b")
def rnn_all(
    g: Array, x: Array, h: Array, w_x: Array, w_h: Array, b: Array, y: Array, reverse: bool
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar,), found = scan_back(_RNN, g, (), x, h, y, (), Weights(w_x, w_h, b), reverse)
    return serve(found, h=h_bar)


# -- gated recurrent unit ------------------------------------------------------------------------------------------


def _gru_step(a: Array, s: Array, carry: Arrays) -> tuple[Arrays, Arrays]:
    (h,) = carry
    m = h.shape[-1]
    r, z = jnp.split(lax.logistic(a[..., : 2 * m] + s[..., : 2 * m]), 2, axis=-1)
    inner = s[..., 2 * m :]
    u = jnp.tanh(a[..., 2 * m :] + r * inner)
    return ((1 - z) * u + z * h,), (r, z, u, inner)


def _gru_back(carry_bar: Arrays, h: Array, before: Array, kept: Arrays) -> tuple[Array, Arrays]:
    del h
    (h_bar,), (r, z, u, inner) = carry_bar, kept
    u_bar = h_bar * (1 - z) * (1 + u) * (1 - u)
    z_bar = h_bar * (before - u) * z * (1 - z)
    r_bar = u_bar * inner * r * (1 - r)
    return jnp.concatenate([r_bar, z_bar, u_bar], axis=-1), (h_bar * z,)


def _gru_side(a_bar: Array, kept: Arrays) -> Array:
    """The last gate sees `r s`."""
    r, *_ = kept
    m = r.shape[-1]
    return jnp.concatenate([a_bar[..., : 2 * m], a_bar[..., 2 * m :] * r], axis=-1)


_GRU = Kind(3, _gru_step, _gru_back, _gru_side)


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

    Args:
        x: the step's input.
        h: the state before it.
        w_x: from the input to the three gates.
        w_h: from the state to the three gates.
        b: the term of each gate.
        b_h: a term of the last gate that is inside of the reset.

    Returns:
        `y`, the state after the step, in the dtype of `x`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` does not have three gates; or `x` is of integers.

    Example:
        >>> w_x, w_h, b, b_h = jnp.ones((2, 9)), jnp.ones((3, 9)), jnp.zeros(9), jnp.zeros(3)
        >>> fg.ops.gru_cell(jnp.ones((5, 2)), jnp.zeros((5, 3)), w_x, w_h, b, b_h).shape
        (5, 3)
    """
    return gru_cell_saving(x, h, w_x, w_h, b, b_h)[0]


@gru_cell.saving("gates")
def gru_cell_saving(
    x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array
) -> tuple[Array, dict[str, Arrays]]:
    """The output, and `(r, z, u, q)`."""
    check_gates(_GRU, h, w_h)
    (y,), kept = step_forward(_GRU, x, (widen(h),), Weights(w_x, w_h, b, b_h))
    return narrow(y, x), {"gates": kept}


@gru_cell.pullback("x", "h", "w_x", "w_h", "b", "b_h")
def gru_cell_all(g: Array, x: Array, h: Array, w_x: Array, w_h: Array, gates: Arrays) -> dict[str, Array]:
    """`a_bar` from the gates, then contractions."""
    # The state after the step is not read, so the one before it stands there and the output need not be kept.
    a_bar, (h_bar,) = step_back(_GRU, (widen(g),), h, h, gates, w_h)
    return serve(contract_steps(_GRU, a_bar, x, h, gates, w_x), b_h=True, h=h_bar)


@op(leading=("x", "h"), shapes="x[..., t, n] h[..., m] w_x[n, k] w_h[m, k] b[k] b_h[m]")
def gru(x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array, *, reverse: bool = False) -> Array:
    """`gru_cell` at each of the `t` steps of `x[..., t, n]`, from `h[..., m]`: all states `y[..., t, m]`.

    The pullback is that of `rnn`, with the gates of each step. Keeps the output and the gates.

    Args:
        x: the inputs of all steps.
        h: the state before the first.
        w_x: from the input to the three gates, `[n, 3 m]`.
        w_h: from the state to the three gates, `[m, 3 m]`.
        b: the term of each gate, `[3 m]`.
        b_h: a term of the last gate that is inside of the reset, `[m]`.
        reverse: go from the last step to the first; `y` stays in the order of `x`.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` does not have three gates.

    Example:
        >>> w_x, w_h, b, b_h = jnp.ones((2, 9)), jnp.ones((3, 9)), jnp.zeros(9), jnp.zeros(3)
        >>> fg.ops.gru(jnp.ones((5, 7, 2)), jnp.zeros((5, 3)), w_x, w_h, b, b_h).shape
        (5, 7, 3)
    """
    return scan(_GRU, x, (h,), Weights(w_x, w_h, b, b_h), reverse)[0]


@gru.saving("gates")
def gru_saving(
    x: Array, h: Array, w_x: Array, w_h: Array, b: Array, b_h: Array, *, reverse: bool
) -> tuple[Array, dict[str, Arrays]]:
    """The output, and `(r, z, u, q)` of every step."""
    y, _, kept = scan(_GRU, x, (h,), Weights(w_x, w_h, b, b_h), reverse, saving=True)
    return y, {"gates": kept}


@gru.pullback("x", "h", "w_x", "w_h", "b", "b_h")
def gru_all(
    g: Array, x: Array, h: Array, w_x: Array, w_h: Array, b: Array, y: Array, gates: Arrays, reverse: bool
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar,), found = scan_back(_GRU, g, (), x, h, y, gates, Weights(w_x, w_h, b), reverse)
    return serve(found, b_h=True, h=h_bar)


# -- long short-term memory ----------------------------------------------------------------------------------------


def _lstm_step(a: Array, s: Array, carry: Arrays) -> tuple[Arrays, Arrays]:
    _, c = carry
    i, f, u, o = jnp.split(a + s, 4, axis=-1)
    i, f, u, o = lax.logistic(i), lax.logistic(f), jnp.tanh(u), lax.logistic(o)
    after = f * c + i * u
    return (o * jnp.tanh(after), after), (i, f, u, o, c)


def _lstm_back(carry_bar: Arrays, h: Array, before: Array, kept: Arrays) -> tuple[Array, Arrays]:
    del h, before
    (h_bar, c_bar), (i, f, u, o, c) = carry_bar, kept
    t = jnp.tanh(f * c + i * u)
    c_bar = c_bar + h_bar * o * (1 + t) * (1 - t)
    i_bar, f_bar, u_bar, o_bar = c_bar * u, c_bar * c, c_bar * i, h_bar * t
    a_bar = [i_bar * i * (1 - i), f_bar * f * (1 - f), u_bar * (1 + u) * (1 - u), o_bar * o * (1 - o)]
    return jnp.concatenate(a_bar, axis=-1), (jnp.zeros_like(h_bar), c_bar * f)


_LSTM = Kind(4, _lstm_step, _lstm_back, _same)


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

    Args:
        x: the step's input.
        h: the state before it.
        c: the cell state before it.
        w_x: from the input to the four gates.
        w_h: from the state to the four gates.
        b: the term of each gate.

    Returns:
        `next_h` in the dtype of `x`, `next_c` in that of `c`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` does not have four gates; or `x` is of integers.

    Example:
        >>> w_x, w_h, b = jnp.ones((2, 12)), jnp.ones((3, 12)), jnp.zeros(12)
        >>> next_h, next_c = fg.ops.lstm_cell(jnp.ones((5, 2)), jnp.zeros((5, 3)), jnp.zeros((5, 3)), w_x, w_h, b)
        >>> next_h.shape, next_c.shape
        ((5, 3), (5, 3))
    """
    return lstm_cell_saving(x, h, c, w_x, w_h, b)[0]


@lstm_cell.saving("gates")
def lstm_cell_saving(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array
) -> tuple[tuple[Array, Array], dict[str, Arrays]]:
    """The outputs, and `(i, f, u, o, c)`."""
    check_gates(_LSTM, h, w_h)
    (next_h, next_c), kept = step_forward(_LSTM, x, (h, widen(c)), Weights(w_x, w_h, b))
    return (narrow(next_h, x), narrow(next_c, c)), {"gates": kept}


@lstm_cell.pullback("x", "h", "c", "w_x", "w_h", "b")
def lstm_cell_all(
    g_next_h: Array, g_next_c: Array, x: Array, h: Array, w_x: Array, w_h: Array, gates: Arrays
) -> dict[str, Array]:
    """`a_bar` from the gates, then contractions."""
    a_bar, (h_bar, c_bar) = step_back(_LSTM, (widen(g_next_h), widen(g_next_c)), h, h, gates, w_h)
    return serve(contract_steps(_LSTM, a_bar, x, h, gates, w_x), h=h_bar, c=c_bar)


@op(
    outputs=("hs", "last_c"),
    leading=("x", "h", "c"),
    shapes="x[..., t, n] h[..., m] c[..., m] w_x[n, k] w_h[m, k] b[k]",
)
def lstm(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool = False
) -> tuple[Array, Array]:
    """`lstm_cell` at each of the `t` steps of `x[..., t, n]`: all `hs[..., t, m]`, and the last `c[..., m]`.

    The pullback is that of `rnn`, with the gates of each step and a cotangent of `c` beside that of `h`. Keeps the
    output, the gates and the cell states.

    Args:
        x: the inputs of all steps.
        h: the state before the first.
        c: the cell state before the first.
        w_x: from the input to the four gates, `[n, 4 m]`.
        w_h: from the state to the four gates, `[m, 4 m]`.
        b: the term of each gate, `[4 m]`.
        reverse: go from the last step to the first; `hs` stays in the order of `x`.

    Returns:
        `hs` in the dtype of `x`, `last_c` in that of `c`.

    Raises:
        ShapeError: the shapes do not fit each other, as where `w_h` does not have four gates.

    Example:
        >>> w_x, w_h, b = jnp.ones((2, 12)), jnp.ones((3, 12)), jnp.zeros(12)
        >>> hs, last_c = fg.ops.lstm(jnp.ones((5, 7, 2)), jnp.zeros((5, 3)), jnp.zeros((5, 3)), w_x, w_h, b)
        >>> hs.shape, last_c.shape
        ((5, 7, 3), (5, 3))
    """
    hs, (_, last), _ = scan(_LSTM, x, (h, c), Weights(w_x, w_h, b), reverse)
    return hs, narrow(last, c)


@lstm.saving("gates")
def lstm_saving(
    x: Array, h: Array, c: Array, w_x: Array, w_h: Array, b: Array, *, reverse: bool
) -> tuple[tuple[Array, Array], dict[str, Arrays]]:
    """The outputs, and `(i, f, u, o, c)` of every step."""
    hs, (_, last), kept = scan(_LSTM, x, (h, c), Weights(w_x, w_h, b), reverse, saving=True)
    return (hs, narrow(last, c)), {"gates": kept}


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
    gates: Arrays,
    reverse: bool,
) -> dict[str, Array]:
    """The steps from the last to the first, then one contraction per weight."""
    (h_bar, c_bar), found = scan_back(_LSTM, g_hs, (g_last_c,), x, h, hs, gates, Weights(w_x, w_h, b), reverse)
    return serve(found, h=h_bar, c=c_bar)
