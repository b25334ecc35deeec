"""Convolution's own behaviour: geometry against JAX, the shortcut of a 1x1 kernel, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence

X, KERNEL = jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 4, 2))
TAKES = r"cannot take x: f64\[1,5,5,4\], kernel: "


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("window", "stride", "dilation"), [(3, 2, 1), (2, 3, 1), (1, 2, 1), (3, 2, 2), (4, 1, 1)])
def test_transposed_is_that_of_jax_with_the_kernel_turned(padding, window, stride, dilation, rng):
    x, kernel = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(window, window, 3, 2))
    found = ops.conv_transpose2d(x, kernel, stride=stride, padding=padding, dilation=dilation)
    steps, gaps = (stride, stride), (dilation, dilation)
    expected = lax.conv_transpose(jnp.asarray(x), jnp.asarray(kernel[::-1, ::-1]), steps, padding, gaps)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if padding == "SAME":
        assert found.shape == (2, 4 * stride, 5 * stride, 2)


def test_transposed_is_the_cotangent_of_convolution(rng):
    x, kernel, g = rng.normal(size=(2, 7, 7, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=(2, 4, 4, 2))
    pads = ((1, 1), (1, 1))
    pull = jax.vjp(lambda x: ops.conv2d(x, jnp.asarray(kernel), stride=2, padding=pads), jnp.asarray(x))[1]
    spread = ops.conv_transpose2d(g, kernel.swapaxes(2, 3), stride=2, padding=pads)
    np.testing.assert_allclose(spread, pull(jnp.asarray(g))[0], atol=1e-12)


def test_groups_are_convolutions_side_by_side(rng):
    x, kernel = rng.normal(size=(2, 5, 5, 6)), rng.normal(size=(3, 3, 2, 9))
    apart = [ops.conv2d(x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3]) for i in range(3)]
    np.testing.assert_allclose(ops.conv2d(x, kernel, groups=3), jnp.concatenate(apart, axis=-1), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_kernel_gradient_without_a_window_is_a_matrix_product(stride, rng):
    x, kernel = jnp.asarray(rng.normal(size=(2, 5, 5, 3))), jnp.asarray(rng.normal(size=(1, 1, 3, 2)))
    pull = lambda g: jax.vjp(lambda k: ops.conv2d(x, k, stride=stride), kernel)[1](g)
    jaxpr = str(jax.make_jaxpr(pull)(ops.conv2d(x, kernel, stride=stride)))
    assert "dot_general" in jaxpr
    assert "batch_group_count" not in jaxpr.replace("batch_group_count=1", "", 1)  # the forward's alone


def in_plain_jax(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("gradient_of", [fg.grad, jax.grad], ids=["funcgrad", "our rules in jax.grad"])
def test_kernel_gradients_read_no_copies_kept_since_the_forward_pass(gradient_of, rng):
    def loss(kernels, x, conv):
        for kernel in kernels:
            x = jax.nn.relu(conv(x, kernel))
        return jnp.sum(x * x)

    kernels = [jnp.asarray(rng.normal(size=(3, 3, 8, 8)), jnp.float32) / 8 for _ in range(6)]
    x = jnp.asarray(rng.normal(size=(8, 16, 16, 8)), jnp.float32)
    gradients = [lambda *a: gradient_of(loss)(*a, ops.conv2d), lambda *a: jax.grad(loss)(*a, in_plain_jax)]
    ours, theirs = (jax.jit(gradient).lower(kernels, x).compile() for gradient in gradients)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours(kernels, x), theirs(kernels, x)
    )
    bytes_kept = [compiled.memory_analysis().temp_size_in_bytes for compiled in (ours, theirs)]
    assert bytes_kept[0] < 0.75 * bytes_kept[1]


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda: ops.conv2d(X, jnp.ones((3, 3, 2, 4))),
         rf"conv2d: {TAKES}f64\[3,3,2,4\]; the kernel's axis -2 must be the channels of x, 4, got 2\."),
        (lambda: ops.conv2d(X, KERNEL, groups=2),
         rf"conv2d: {TAKES}f64\[3,3,4,2\]; the kernel's axis -2 must be the channels of x, 4 / 2 groups, got 4\."),
        (lambda: ops.conv2d(X, KERNEL, groups=3),
         rf"conv2d: {TAKES}f64\[3,3,4,2\]; groups must divide the channels of x \(4\) and of the kernel's output "
         r"\(2\), got 3\."),
        (lambda: ops.conv2d(X, KERNEL, stride=0),
         rf"conv2d: {TAKES}f64\[3,3,4,2\]; stride must be a number of at least 1 or 2 of them, got 0\."),
        (lambda: ops.conv2d(X, KERNEL, dilation=(1, 2, 3)),
         rf"conv2d: {TAKES}f64\[3,3,4,2\]; dilation must be a number of at least 1 or 2 of them, got \(1, 2, 3\)\."),
        (lambda: ops.conv1d(X[0], KERNEL[0], padding="same"),
         r"conv1d: cannot take x: f64\[5,5,4\], kernel: f64\[3,4,2\]; padding must be 'SAME', 'VALID', a number or "
         r"\(\(left, right\),\), got 'same'\."),
        (lambda: ops.conv3d(X, KERNEL[None], padding=((1, 1),)),
         r"conv3d: cannot take x: f64\[1,5,5,4\], kernel: f64\[1,3,3,4,2\]; padding must be 'SAME', 'VALID', a number "
         r"or \(\(front, back\), \(top, bottom\), \(left, right\)\), got \(\(1, 1\),\)\."),
        (lambda: ops.conv_transpose2d(X, KERNEL, stride=2, output_padding=1),
         rf"conv_transpose2d: {TAKES}f64\[3,3,4,2\]; output_padding needs explicit padding, got 1 with 'SAME'\."),
        (lambda: ops.conv_transpose1d(X, KERNEL),
         r"conv_transpose1d: kernel must be \[kw, i, f\], got f64\[3,3,4,2\]\."),
    ],
)  # fmt: skip
def test_bad_arguments(use, sentence):
    with raises_sentence(fg.errors.ShapeError, sentence):
        use()
