"""Many entries and the ends of what a dtype holds: where counts overflow, slopes are lost and windows are empty."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from funcgrad.errors import ShapeError
from funcgrad.ops.summation import einstein_sum
from tests.ops.asserting import Flat
from tests.ops.cases import library_ops
from tests.raising import raises_sentence

N = 70_000
"""Above 65,504, the largest float16."""

ROW, COLUMN, ONE = (N,), (N, 1), (1,)


def ints(n: int) -> np.ndarray:
    return np.arange(n) % 2


# Arguments for each op, as shapes or arrays: some cotangent is a sum over N, a share of N, or has N entries.
MANY: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    *((op, (ROW,), {}) for op in (ops.sum, ops.mean, ops.max)),
    (ops.mean, ((2, N),), {"axis": 1, "keepdims": True}),
    (ops.max, ((N, 2),), {"axis": 0}),
    *((getattr(ops, n), (ROW,), {}) for n in (
        "sigmoid log_sigmoid tanh softplus squareplus silu mish gelu elu celu selu relu leaky_relu relu6 hard_tanh "
        "hard_sigmoid hard_silu soft_sign sparse_plus sparse_sigmoid negative square exp absolute").split()),
    *((op, (ROW,), {}) for op in (ops.log, ops.sqrt)),
    (ops.power, (ROW,), {"exponent": 2.5}),
    (ops.clip, (ROW,), {"low": -0.5, "high": 0.625}),
    *((getattr(ops, n), (ROW, ONE), {}) for n in (
        "add subtract multiply maximum minimum logaddexp swiglu squared_error absolute_error huber "
        "binary_cross_entropy").split()),
    (ops.divide, (ROW, np.array([2.0])), {}),
    (ops.where, (ints(N).astype(bool), ROW, ONE), {}),
    (ops.glu, ((2 * N,),), {}),
    *((op, (ROW,), {}) for op in (ops.heaviside, ops.binarize)),
    (ops.ternarize, (ROW, ONE), {}),
    (ops.fake_quantize, (ROW, ONE), {"low": 0, "high": 15}),
    (ops.stochastic_round, (ROW, jax.random.key(0)), {}),
    (ops.dropout, (ROW, jax.random.key(0)), {"rate": 0.4}),
    (ops.drop_path, (COLUMN, jax.random.key(0)), {"rate": 0.4}),
    *((op, (ROW,), {}) for op in (ops.softmax, ops.log_softmax, ops.logsumexp)),
    (ops.cross_entropy, ((2, N), np.array([0, N - 1])), {"smoothing": 0.5}),
    (ops.soft_cross_entropy, ((1, N), np.full((1, N), 2.0**-16)), {}),
    (ops.layer_norm, ((2, N), ROW, ROW), {}),
    (ops.layer_norm, ((N, 2), (2,), (2,)), {}),
    (ops.rms_norm, ((2, N), ROW), {}),
    (ops.group_norm, ((1, N, 2), (2,), (2,)), {"groups": 1}),
    (ops.batch_norm, ((N, 2), (2,), (2,)), {}),
    (ops.batch_norm_inference, ((N, 2), (2,), (2,), np.ones(2), (2,)), {}),
    (ops.linear, ((N, 2), (2, 1), ONE), {}),
    (ops.linear, ((2, N), (N, 1)), {}),
    (ops.matmul, ((2, N), (N, 1)), {}),
    (einstein_sum, ((N, 2), (N, 1)), {"subscripts": "ni,nj->ij"}),
    (ops.attention, ((1, 1, 1, 2), (1, N, 1, 2), (1, N, 1, 2)), {}),
    (ops.rotary, ((1, N, 1, 2), np.arange(N) % 7), {}),
    (ops.conv1d, ((1, N, 1), (3, 1, 1), ONE), {}),
    (ops.conv2d, ((1, 265, 265, 1), (2, 2, 1, 1), ONE), {}),
    (ops.conv3d, ((1, 42, 42, 42, 1), (1, 2, 1, 1, 1), ONE), {}),
    (ops.conv_transpose1d, ((1, N, 1), (2, 1, 1), ONE), {}),
    (ops.conv_transpose2d, ((1, 265, 265, 1), (2, 1, 1, 1), ONE), {}),
    (ops.conv_transpose3d, ((1, 42, 42, 42, 1), (1, 2, 1, 1, 1), ONE), {}),
    (ops.embedding, ((2, 1), ints(N)), {}),
    (ops.take, ((2,), ints(N)), {"axis": 0}),
    (ops.take_along_axis, ((2,), ints(N)), {"axis": 0}),
    (ops.scatter_add, ((2, 1), ints(N), COLUMN), {}),
    (ops.max_pool1d, ((1, 2 * N, 1),), {"window": 2}),
    (ops.max_pool2d, ((1, 265, 265, 1),), {"window": 265}),
    (ops.max_pool3d, ((1, 42, 42, 42, 1),), {"window": 2}),
    (ops.avg_pool1d, ((1, N, 1),), {"window": N}),
    (ops.avg_pool2d, ((1, 265, 265, 1),), {"window": 265}),
    (ops.avg_pool3d, ((1, 42, 42, 42, 1),), {"window": 42}),
    (ops.global_max_pool, ((1, 265, 265, 1),), {}),
    (ops.global_avg_pool, ((1, 265, 265, 1),), {}),
    (ops.rnn_cell, ((N, 1), (N, 2), (1, 2), (2, 2), (2,)), {}),
    (ops.gru_cell, ((N, 1), (N, 2), (1, 6), (2, 6), (6,), (2,)), {}),
    (ops.lstm_cell, ((N, 1), (N, 2), (N, 2), (1, 8), (2, 8), (8,)), {}),
    (ops.rnn, ((N, 1, 1), (N, 2), (1, 2), (2, 2), (2,)), {}),
    (ops.gru, ((N, 1, 1), (N, 2), (1, 6), (2, 6), (6,), (2,)), {}),
    (ops.lstm, ((N, 1, 1), (N, 2), (N, 2), (1, 8), (2, 8), (8,)), {}),
    (ops.reshape, (COLUMN,), {"shape": (-1,)}),
    (ops.transpose, (COLUMN,), {}),
    (ops.broadcast_to, (ONE,), {"shape": ROW}),
    (ops.concatenate, ([ROW, ONE],), {}),
]  # fmt: skip


def test_every_op_has_many_entries():
    assert {op.name for op, _, _ in MANY} == library_ops()


def arrays(tree: Any) -> Any:
    """Reproducible numbers around one half for shapes; arrays as they are."""
    if isinstance(tree, tuple):
        return 0.5 + 0.25 * np.sin(np.arange(np.prod(tree, dtype=int))).reshape(tree)
    return [arrays(t) for t in tree] if isinstance(tree, list) else tree


def seed(shape: tuple[int, ...]) -> np.ndarray:
    """Positive cotangents: sums of them stay within float16, and shares of them far above its smallest number."""
    g = 2 + np.sin(np.arange(np.prod(shape, dtype=int))).reshape(shape)
    return g * (2.0**-6 if g.size >= N // 2 else 500.0)


# By default the ops of each kind of sum and share; the slow ones are others of the same kinds.
FIRST = set(
    "sum mean max add divide sigmoid softmax logsumexp cross_entropy layer_norm batch_norm linear matmul attention "
    "conv2d conv_transpose1d take scatter_add max_pool2d avg_pool2d global_avg_pool rnn_cell lstm broadcast_to "
    "concatenate".split()
)


@pytest.mark.parametrize(
    ("op", "args", "attributes"),
    [pytest.param(*m, marks=[] if m[0].name in FIRST else [pytest.mark.slow]) for m in MANY],
    ids=lambda x: getattr(x, "name", ""),
)
def test_many_entries_in_float16(op, args, attributes):
    """What sums or divides by 70,000 neither overflows nor stands still, as float16 alone would."""
    flat = Flat(op, tuple(arrays(a) for a in args), attributes, np.float16)

    def pull(plain: bool) -> Any:
        def evaluate(moving: Any) -> Any:
            outputs, vjp = jax.vjp(flat.function(plain), *moving)
            return outputs, vjp([jnp.asarray(seed(y.shape), y.dtype) for y in outputs])

        return jax.jit(evaluate)

    (outputs, cotangents), (expected_outputs, expected) = pull(False)(flat.low), pull(True)(flat.exact)
    for what, found, truth in zip(
        ["output"] * len(outputs) + flat.names,
        outputs + list(cotangents),
        expected_outputs + list(expected),
        strict=True,
    ):
        assert_half(found, truth, f"{op.name}: {what}")


def assert_half(found: Any, truth: Any, what: str) -> None:
    """Equal to 32 roundings of the largest entry, and to three of float16's smallest numbers.

    (So many for log_softmax, whose rule reads an output of -11 with the digits that float16 has there.)
    """
    info = jnp.finfo(np.float16)
    found, rounded = np.asarray(found, np.float64), np.asarray(truth.astype(np.float16), np.float64)
    assert np.array_equal(np.isfinite(found), np.isfinite(rounded)), what
    finite = np.isfinite(rounded)
    allowed = 32 * float(info.eps) * np.abs(rounded[finite]).max(initial=0) + 3 * float(info.smallest_subnormal)
    error = np.abs(found - rounded)[finite].max(initial=0)
    assert error <= allowed, f"{what}: off by {error:.3g}, allowed {allowed:.3g}"


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("slope", [0.01, 0.0, -2.0])
def test_leaky_relu_knows_its_branch_where_its_output_underflows(dtype, slope):
    """Numbers so small that `s x` is no number of the dtype but 0: the slope is `s` all the same, and 1 right of 0."""
    tiny = jnp.finfo(dtype).tiny
    x = jnp.array([-tiny, -0.0, 0.0, tiny, jnp.nan], dtype)
    expected = jnp.array([slope, 1, 1, 1, slope], dtype)
    pulled = jax.jit(lambda x: jax.vjp(lambda x: ops.leaky_relu(x, negative_slope=slope), x)[1](jnp.ones_like(x))[0])(x)
    np.testing.assert_array_equal(pulled, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_quotient_of_the_smallest_numbers(dtype):
    """`b_bar = -a / b²` of `a = b` is `-1/b`, a number though `b²` is 0."""
    x = jnp.array([1.0, -2.0], dtype) * jnp.finfo(dtype).tiny
    found = jax.jit(lambda x: jax.vjp(lambda b: ops.divide(x, b), x)[1](jnp.ones_like(x))[0])(x)
    np.testing.assert_array_equal(found, -1 / x)


@pytest.mark.parametrize(
    ("pool", "padding", "before"),
    [(ops.max_pool1d, ((1, 1),), (1,)), (ops.max_pool2d, ((2, 1), (1, 0)), (2, 1)), (ops.max_pool2d, "SAME", (0, 0)),
     (ops.max_pool3d, ((0, 1), (1, 1), (2, 0)), (0, 1, 2))],
)  # fmt: skip
def test_padding_never_wins(pool, padding, before):
    """Of windows full of the lowest number too, the first entry of the image gets the cotangent."""
    n, window, stride = len(before), 3, 2
    x = np.full((4,) * n, -np.inf)
    y = pool(x[..., None], window=window, stride=stride, padding=padding)
    g = 1.0 + np.arange(y.size).reshape(y.shape[:-1])
    expected = np.zeros_like(x)
    for place in np.ndindex(*g.shape):
        expected[tuple(max(i * stride - b, 0) for i, b in zip(place, before, strict=True))] += g[place]
    found = jax.vjp(lambda x: pool(x, window=window, stride=stride, padding=padding), jnp.asarray(x)[..., None])[1]
    np.testing.assert_array_equal(found(jnp.asarray(g)[..., None])[0][..., 0], expected)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax, ops.logsumexp, ops.mean], ids=lambda op: op.name)
def test_an_axis_must_be_there(op):
    x = jnp.ones((3, 4))
    for axis in (2, -3):
        sentence = rf"{op.name}: cannot take x: f64\[3,4\]; axis must be one of the 2 axes of x, got {axis}\."
        with raises_sentence(ShapeError, sentence):
            op(x, axis=axis)


def test_an_axis_counts_once():
    with raises_sentence(
        ShapeError, r"logsumexp: cannot take x: f64\[3,4\]; axis must name each axis once, got \(1, -1\)\."
    ):
        ops.logsumexp(jnp.ones((3, 4)), axis=(1, -1))
