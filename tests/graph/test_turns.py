"""One turn of a loop: what a value is at that turn, differentiated or differentiated by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

W = jnp.linspace(-0.6, 0.7, 9).reshape(3, 3)
H = jnp.linspace(0.1, 0.5, 3)
XS = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)


def cell(w, h, x):
    with fg.scope("cell"):
        h = fg.name(jnp.tanh(h @ w + x), "h")
        energy = fg.name(jnp.sum(h**2), "energy")
    return h * 0.9, energy


def rnn(w, h, xs):
    h, energies = jax.lax.scan(lambda h, x: cell(w, h, x), h, xs)
    return jnp.sum(h) + jnp.max(energies)


def upto(turn):
    """The energy at a turn, of the loop written out."""

    def f(w, h, xs):
        for x in xs[: turn + 1]:
            h, energy = cell(w, h, x)
        return energy

    return f


@pytest.mark.parametrize("turn", [0, 2, -1, np.int64(1)])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_the_gradient_of_a_value_at_a_turn(turn, wrap):
    place = fg.Where("cell/energy", turn=turn)
    value, found = wrap(fg.value_and_grad(rnn, (0, 1, 2), of=place))(W, H, XS)
    expected = jax.value_and_grad(upto(turn % 4), (0, 1, 2))(W, H, XS)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    for g, g_expected in zip(found, expected[1], strict=True):
        np.testing.assert_allclose(g, g_expected, rtol=1e-10, atol=1e-14)


def test_a_value_at_a_turn_by_a_value_at_another():
    found = fg.grad(rnn, of=fg.Where("cell/energy", turn=2), wrt=fg.Where("cell/h", turn=1))(W, H, XS)
    h = cell(W, cell(W, H, XS[0])[0], XS[1])[0] / 0.9
    np.testing.assert_allclose(found, jax.grad(lambda h: cell(W, h * 0.9, XS[2])[1])(h), rtol=1e-12)
    later = fg.grad(rnn, of=fg.Where("cell/energy", turn=1), wrt=fg.Where("cell/h", turn=2))(W, H, XS)
    np.testing.assert_array_equal(later, jnp.zeros(3))


def test_by_several_turns():
    places = [fg.Where("cell/h", turn=0), fg.Where("cell/h", turn=-1), "cell/h", fg.Where("cell/e*", turn=3)]
    found = fg.grad(rnn, wrt=places)(W, H, XS)
    assert list(found) == ["cell/h[0]", "cell/h[-1]", "cell/h", "cell/energy[3]"]
    np.testing.assert_array_equal(found["cell/h[0]"], found["cell/h"][0])
    np.testing.assert_array_equal(found["cell/h[-1]"], found["cell/h"][3])
    rows = fg.jacobian(lambda *args: jax.lax.scan(lambda h, x: cell(W, h, x), *args)[1], wrt=places[0])(H, XS)
    whole = fg.jacobian(lambda *args: jax.lax.scan(lambda h, x: cell(W, h, x), *args)[1], wrt="cell/h")(H, XS)
    np.testing.assert_allclose(rows, whole[:, 0], rtol=1e-12)


def test_of_several_turns():
    places = [fg.Where("cell/energy", turn=t) for t in (1, -1)]
    value, found = fg.value_and_grad(rnn, of=places)(W, H, XS)
    both = lambda w: upto(1)(w, H, XS) + upto(3)(w, H, XS)
    np.testing.assert_allclose(found, jax.grad(both)(W), rtol=1e-10)
    assert value.keys() == {"cell/energy[1]", "cell/energy[-1]"}


def test_what_does_not_depend_on_the_value_is_zero_where_that_is_asked_for():
    f = lambda w, b, xs: rnn(w, H, xs) + jnp.sum(b)
    value, found = fg.value_and_grad(f, 1, of=fg.Where("cell/energy", turn=1), wrt="b", unreachable="zero")(W, H, XS)
    np.testing.assert_allclose(value, upto(1)(W, H, XS), rtol=1e-12)
    np.testing.assert_array_equal(found, jnp.zeros(3))


def nested(w, xs):
    def outer(h, x):
        h, _ = jax.lax.scan(lambda h, scale: cell(w, h * scale, x), h, jnp.ones(2))
        return h, None

    return jnp.sum(jax.lax.scan(outer, H, xs)[0])


def test_nested_loops_take_a_turn_of_each():
    def written_out(w):
        h = H
        for x in XS[:3]:
            for _ in range(2):
                h, energy = cell(w, h, x)
        return energy

    found = fg.grad(nested, of=fg.Where("cell/energy", turn=(2, -1)))(W, XS)
    np.testing.assert_allclose(found, jax.grad(written_out)(W), rtol=1e-10)
    assert fg.grad(nested, wrt=fg.Where("cell/h", turn=(0, 1)))(W, XS).shape == (3,)


def test_uses_and_slices_have_turns():
    found = fg.grad(rnn, wrt=[fg.Where("scan/w@*", turn=1), "scan/w"])(W, H, XS)
    np.testing.assert_allclose(found["scan/w@cell[1]"], found["scan/w"][1], rtol=1e-12)


def in_a_branch(w, h, xs):
    def body(h, x):
        return jax.lax.cond(x.sum() > 0, lambda h: cell(w, h, x)[0], lambda h: h, h), None

    return jnp.sum(jax.lax.scan(body, h, xs)[0])


WRONG = {
    "out of range": (
        rnn,
        dict(of=fg.Where("cell/energy", turn=4)),
        r"'cell/energy' has 4 turns, counted from 0, or from -1 backwards, got turn=4\.",
    ),
    "out of range, by": (
        rnn,
        dict(wrt=fg.Where("cell/h", turn=-5)),
        r"'cell/h' has 4 turns, counted from 0, or from -1 backwards, got turn=-5\.",
    ),
    "no loop": (
        rnn,
        dict(wrt=fg.Where("w", turn=0)),
        r"'w' is in no loop, so it has no turns; leave out turn=0\.",
    ),
    "too many": (
        rnn,
        dict(of=fg.Where("cell/energy", turn=(0, 1))),
        r"'cell/energy' is in 1 loop, of 4 turns, the outermost first; turn= takes a number for each, got \(0, 1\)\.",
    ),
    "no scalar": (
        rnn,
        dict(of=fg.Where("cell/h", turn=0)),
        r"grad needs a real scalar loss, got f64\[3\] at node 'cell/h\[0\]'; take its mean or sum, pass cotangent=, or "
        r"use fg.vjp or fg.jacobian\.",
    ),
    "all turns": (
        rnn,
        dict(of="cell/energy"),
        r"of='cell/energy' is inside 'scan' \(a scan\), so it has an array for each of 4 turns; say which, "
        r"of=fg.Where\('cell/energy', turn=-1\) for that of the last\.",
    ),
    "in a branch": (
        in_a_branch,
        dict(of=fg.Where("cell/energy", turn=0)),
        r"of='cell/energy' is inside 'cond' \(a cond\), which returns nothing of what it does; return it from there, "
        r"and name what comes out with fg.name\.",
    ),
    "watched": (
        rnn,
        dict(taps=fg.Where("cell/h", turn=0)),
        r"taps: a value is watched at every turn of a loop, got 'cell/h, turn=0'; leave out turn=, and take the turn "
        r"from the reading\.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_turn_that_is_none(case):
    f, options, sentence = WRONG[case]
    with raises_sentence(GradientError, sentence):
        fg.grad(f, **options)(W, H, XS)
