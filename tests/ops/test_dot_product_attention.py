"""Attention and rotary embedding: conventions, memory, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence


def heads(rng, t, s, h=2, n=2, d=4, b=2, dtype=np.float64):
    """Queries, keys and values."""
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in ((b, t, h, d), (b, s, n, d), (b, s, n, d)))


def expected_attention(q, k, v, bias, mask, causal, scale):
    """In numpy, one head at a time."""
    (b, t, h), (s, n) = q.shape[:3], k.shape[1:3]
    bias = np.broadcast_to(bias, (b, h, t, s))
    seen = np.broadcast_to(mask, (b, h, t, s)) & (np.tri(t, s, dtype=bool) if causal else True)
    y = np.zeros((b, t, h, v.shape[-1]))
    for i in range(b):
        for j in range(h):
            key, value = (np.asarray(x)[i, :, j // (h // n)] for x in (k, v))
            z = np.where(seen[i, j], scale * np.asarray(q)[i, :, j] @ key.T + bias[i, j], -np.inf)
            with np.errstate(invalid="ignore"):
                p = np.exp(z - z.max(-1, keepdims=True))
            y[i, :, j] = np.nan_to_num(p / p.sum(-1, keepdims=True)) @ value
    return y


@pytest.mark.parametrize(("t", "s"), [(5, 5), (4, 7), (7, 4)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(t, s, causal, rng):
    q, k, v = heads(rng, t, s, h=6, n=3)
    bias, mask = jnp.asarray(rng.normal(size=(6, t, s))), jnp.asarray(rng.random((2, 1, t, s)) < 0.8)
    found = ops.attention(q, k, v, bias, mask, causal=causal, scale=0.7)
    np.testing.assert_allclose(found, expected_attention(q, k, v, bias, mask, causal, 0.7), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("t", "s", "h", "n"), [(5, 5, 4, 2), (3, 6, 2, 2), (6, 3, 2, 1)])
def test_attention_is_that_of_jax(t, s, h, n, rng):
    q, k, v = heads(rng, t, s, h, n, dtype=np.float32)
    expected = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(ops.attention(q, k, v, causal=True), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", [1, 3, 32, 100])
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_change_nothing(block, causal, rng):
    t, s = (9, 7) if block < 32 else (201, 150)
    args = (*heads(rng, t, s, h=2, n=1, b=1), jnp.asarray(rng.normal(size=(2, t, s))))

    def pulled(block):
        y, pull = jax.vjp(lambda *a: ops.attention(*a, causal=causal, block=block), *args)
        return y, pull(jnp.cos(y))

    found, expected = (jax.jit(pulled, static_argnums=0)(size) for size in (block, None))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), found, expected)


def test_a_query_that_sees_nothing_gives_nothing(rng):
    q, k, v = heads(rng, 3, 4)
    bias, mask = jnp.zeros((1, 3, 4)), jnp.ones((1, 3, 4), bool).at[:, 1].set(False)
    for block in (None, 1):
        y, pull = jax.vjp(lambda *a: ops.attention(*a, mask, block=block), q, k, v, bias)  # noqa: B023
        q_bar, *others, bias_bar = pull(jnp.ones_like(y))
        np.testing.assert_array_equal(y[:, 1], 0)
        np.testing.assert_array_equal(q_bar[:, 1], 0)
        np.testing.assert_array_equal(bias_bar[:, 1], 0)
        rest = jax.vjp(lambda k, v: ops.attention(q[:, ::2], k, v), k, v)[1](jnp.ones_like(y[:, ::2]))
        for found, expected in zip(others, rest, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_key_that_is_not_seen_may_hold_anything(rng):
    q, k, v = heads(rng, 3, 4)
    padding = jnp.asarray([True, True, True, False]).reshape(1, 1, 4)

    def loss(q, k, v):
        return jnp.sum(jnp.sin(ops.attention(q, k, v, mask=padding)))

    there = jax.grad(loss, argnums=(0, 1, 2))(q, k, v)
    elsewhere = jax.grad(loss, argnums=(0, 1, 2))(q, k.at[:, 3].set(1e6), v.at[:, 3].set(-1e6))
    jax.tree.map(np.testing.assert_array_equal, there, elsewhere)
    np.testing.assert_array_equal(there[1][:, 3], 0)


@pytest.mark.parametrize("block", [None, 2])
def test_keeps_no_weights(block, rng):
    q, k, v = heads(rng, 50, 60)
    loss = lambda *a: jnp.sum(ops.attention(*a, causal=True, block=block))
    plan = fg.plan(loss, q, k, v, argnums=(0, 1, 2))
    assert max(v.aval.size for v in plan.kept) == k.size


def temp_bytes(t, block, causal):
    x = jax.ShapeDtypeStruct((1, t, 2, 16), jnp.float32)

    def loss(q, k, v):
        return jnp.sum(jnp.square(ops.attention(q, k, v, causal=causal, block=block)))

    lowered = jax.jit(fg.value_and_grad(loss, argnums=(0, 1, 2))).lower(x, x, x)
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("causal", [False, True])
def test_memory_of_blocks_grows_linearly(causal):
    short, long = (temp_bytes(t, 64, causal) for t in (1024, 2048))
    assert long < 2.2 * short
    assert long < 4 * 2048 * 2048  # one head's weights


def test_a_vmap_is_one_axis_more(rng):
    q, k, v = heads(rng, 4, 5)
    mask = jnp.asarray(rng.random((1, 4, 5)) < 0.7)
    over = str(jax.make_jaxpr(jax.vmap(lambda q, k, v: ops.attention(q, k, v, mask=mask)))(q, k, v))
    assert "vmap" not in over
    rotated = str(jax.make_jaxpr(jax.vmap(lambda x: ops.rotary(x, jnp.arange(4))))(q))
    assert "vmap" not in rotated


def test_rotary_is_a_rotation_of_complex_numbers(rng):
    x, positions = rng.normal(size=(2, 5, 3, 8)), np.array([3, 0, 1, 9, 4])
    z = x[..., :4] + 1j * x[..., 4:]
    z = z * np.exp(1j * positions[:, None, None] * 100.0 ** (-np.arange(4) / 4))
    expected = np.concatenate([z.real, z.imag], axis=-1)
    np.testing.assert_allclose(ops.rotary(x, positions, base=100), expected, rtol=1e-12, atol=1e-14)
    part = ops.rotary(x, positions, fraction=0.25)
    np.testing.assert_array_equal(part[..., 2:], x[..., 2:])
    np.testing.assert_allclose(part[..., :2], ops.rotary(x[..., :2], positions), rtol=1e-12)


def test_rotary_products_depend_on_the_distance_alone(rng):
    q, k = rng.normal(size=(2, 1, 1, 6))[:, None]

    def product(i, j):
        turned = ops.rotary(q, jnp.asarray([i])), ops.rotary(k, jnp.asarray([j]))
        return jnp.vdot(*turned)

    np.testing.assert_allclose(product(2, 5), product(102, 105), rtol=1e-10)
    assert abs(product(2, 5) - product(2, 6)) > 1e-6


def test_rotary_keeps_the_positions_only(rng):
    x, positions = jnp.asarray(rng.normal(size=(5, 2, 4))), jnp.arange(5)
    plan = fg.plan(lambda x: jnp.sum(ops.rotary(2 * x, positions)), x)
    assert not [v for v in plan.kept if v.aval.size >= x.size]


Q, K = np.zeros((2, 3, 4, 8)), np.zeros((2, 5, 2, 8))
TAKES = r"attention: cannot take q: f64\[2,3,4,8\], k: f64\[2,5,2,8\], v: f64\[2,5,2,8\]"


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda: ops.attention(Q, K, K[:, 1:]),
            r"attention: cannot take q: f64\[2,3,4,8\], k: f64\[2,5,2,8\], v: f64\[2,4,2,8\]; "
            r"q must be \[\.\.\., t, h, d\], k \[\.\.\., s, n, d\] and v \[\.\.\., s, n, e\]\.",
        ),
        (
            lambda: ops.attention(Q[:, :, :3], K, K),
            r"attention: cannot take q: f64\[2,3,3,8\], k: f64\[2,5,2,8\], v: f64\[2,5,2,8\]; "
            r"the number of query heads must be a multiple of the number of key heads, got 3 and 2\.",
        ),
        (
            lambda: ops.attention(Q, K, K.astype(np.float32)),
            r"attention: cannot take q: f64\[2,3,4,8\], k: f64\[2,5,2,8\], v: f32\[2,5,2,8\]; "
            r"q, k and v must have one dtype\.",
        ),
        (
            lambda: ops.attention(Q, K, K, mask=np.zeros((3, 5))),
            TAKES
            + r", mask: f64\[3,5\]; mask must be boolean \(True: attend\), got float64; an additive one is a bias\.",
        ),
        (
            lambda: ops.attention(Q, K, K, np.zeros((2, 3, 5))),
            TAKES + r", bias: f64\[2,3,5\]; "
            r"bias must broadcast to \[\.\.\., h, t, s\] = \[4, 3, 5\], got f64\[2,3,5\]\.",
        ),
        (
            lambda: ops.attention(Q, K, K, block=0),
            TAKES + r"; block must be a positive number of queries or None, got 0\.",
        ),
        (
            lambda: ops.rotary(Q, np.zeros(3)),
            r"rotary: cannot take x: f64\[2,3,4,8\], positions: f64\[3\]; positions must be integers, got float64\.",
        ),
        (
            lambda: ops.rotary(Q, np.arange(4)),
            r"rotary: cannot take x: f64\[2,3,4,8\], positions: i64\[4\]; "
            r"positions must broadcast to \[\.\.\., t\] = \[2, 3\], got \[4\]\.",
        ),
        (
            lambda: ops.rotary(Q[0, 0], np.arange(4)),
            r"rotary: cannot take x: f64\[4,8\], positions: i64\[4\]; "
            r"x must be \[\.\.\., t, h, d\] and positions \[t\] or \[\.\.\., t\]\.",
        ),
        (
            lambda: ops.rotary(Q, np.arange(3), fraction=0.4),
            r"rotary: cannot take x: f64\[2,3,4,8\], positions: i64\[3\]; "
            r"an even number of the 8 features must turn, and fraction=0\.4 of them is 3\.",
        ),
    ],
)
def test_bad_use(use, sentence):
    with raises_sentence(fg.errors.ShapeError, sentence):
        use()


@pytest.fixture
def no_infinities():
    jax.config.update("jax_debug_infs", True)
    yield
    jax.config.update("jax_debug_infs", False)


@pytest.mark.parametrize("block", [None, 2])
def test_masks_make_no_infinities(no_infinities, block):
    q = jnp.linspace(-1.0, 1.0, 24).reshape(4, 2, 3)
    mask = jnp.eye(4, dtype=bool)[None].at[:, 2].set(False)  # the third query sees nothing
    for options in ({"causal": True}, {"mask": mask}):
        f = lambda q, options=options: jnp.sum(ops.attention(q, q, q, **options, block=block) ** 2)
        assert jnp.isfinite(f(q))
        assert jnp.all(jnp.isfinite(fg.grad(f)(q)))
        assert jnp.all(jnp.isfinite(jax.grad(f)(q)))


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float64).min])
def test_a_bias_as_a_mask_and_a_mask(lowest):
    """A row whose seen keys all have the lowest number weighs these alike; one with minus infinities sees nothing."""
    q = jnp.linspace(-1.0, 1.0, 24).reshape(4, 2, 3)
    bias = np.zeros((1, 4, 4))
    bias[0, 1:3, :2] = lowest
    mask = np.ones((1, 4, 4), bool)
    mask[0, 1, 2:] = False  # the second query sees two keys, both of the lowest logit
    mask[0, 3] = False  # the fourth sees none
    found = ops.attention(q, q, q, jnp.asarray(bias), jnp.asarray(mask))
    z = np.einsum("thd,shd->hts", q, q) / np.sqrt(3.0) + bias
    z = np.where(mask, z, -np.inf)
    e = np.exp(z - z.max(-1, keepdims=True, initial=np.finfo(np.float64).min))
    total = e.sum(-1, keepdims=True)
    expected = np.einsum("hts,shd->thd", e / np.where(total == 0, 1, total), q)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if lowest == -np.inf:
        np.testing.assert_array_equal(found[1], 0)
    else:
        np.testing.assert_allclose(found[1], (q[0] + q[1]) / 2, rtol=1e-12)
    np.testing.assert_array_equal(found[3], 0)
