"""`fg.grad` and `fg.value_and_grad` in the place of JAX's: same values, same shapes, same options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.3, 12).reshape(3, 4)
W = jnp.linspace(0.5, -0.7, 8).reshape(4, 2)
B = jnp.array([0.1, -0.2])
PARAMS = {"w": W, "b": B}


def assert_same(found, expected, rtol=1e-10):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (np.shape(a), a.dtype) == (np.shape(b), b.dtype)
        if a.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def with_ops(params, x):
    return jnp.sum(ops.sigmoid(ops.linear(x, params["w"], params["b"])) ** 2)


def plain(params, x):
    return jnp.sum(jax.nn.sigmoid(x @ params["w"] + params["b"][None]) ** 2)


FUNCTIONS = {
    "ops": with_ops,
    "plain jax": plain,
    "vmapped": lambda p, x: jax.vmap(with_ops, (None, 0))(p, x[:, None]).sum(),
    "fan-out and fan-in": lambda p, x: (jnp.sin(h := x @ p["w"]) * h + h * p["b"][None]).sum(),
    "scan": lambda p, x: jax.lax.scan(lambda c, r: (jnp.tanh(c @ r @ p["w"].T), c.sum()), x, jnp.stack([p["w"]] * 2))[
        0
    ].sum(),
    "cond": lambda p, x: jax.lax.cond(x.sum() > 0, lambda w: (w**2).sum(), lambda w: w.sum(), p["w"]),
    "switch": lambda p, x: jax.lax.switch(1, [jnp.sum, lambda w: (w**3).sum()], p["w"]),
    "fori": lambda p, x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), p["w"]).sum(),
    "checkpoint": lambda p, x: jax.checkpoint(lambda p: plain(p, x))(p),
    "custom_jvp": lambda p, x: (jax.nn.relu(x @ p["w"]) * jax.nn.silu(p["b"])[None]).sum(),
    "gather and sort": lambda p, x: (jnp.sort(p["w"], 0)[jnp.array([0, 0, 2])] * x[:, :2]).sum(),
    "scatter": lambda p, x: (x[:, :2].at[1].add(p["b"]) ** 2).sum(),
    "logsumexp": lambda p, x: jax.nn.logsumexp(x @ p["w"]) + jax.nn.log_softmax(p["b"])[0],
    "linear algebra": lambda p, x: jnp.linalg.slogdet(p["w"].T @ p["w"] + jnp.eye(2))[1] + jnp.linalg.norm(p["w"]),
    "fft": lambda p, x: jnp.abs(jnp.fft.fft(p["w"], axis=0)).sum(),
    "complex inside": lambda p, x: jnp.real(jnp.exp(1j * p["w"].astype(complex)) ** 2).sum(),
    "einsum": lambda p, x: jnp.einsum("ab,bc,c->", x, p["w"], p["b"]),
    "unused parameter": lambda p, x: (p["w"] ** 2).sum(),
    "an input is the loss": lambda p, x: p["b"][0],
    "nested fg.grad": lambda p, x: sum(map(jnp.sum, jax.tree.leaves(fg.grad(with_ops)(p, x)))),
    "nested jax.grad": lambda p, x: sum(map(jnp.sum, jax.tree.leaves(jax.grad(with_ops)(p, x)))),
    "inside jit": jax.jit(with_ops),
    "saved values": lambda p, x: (ops.layer_norm(x @ p["w"], p["b"], p["b"]) ** 2).sum(),
    "gradient penalty": lambda p, x: (fg.grad(with_ops, 1)(p, x) ** 2).sum() + with_ops(p, x),
    "penalty through saved values": lambda p, x: (
        fg.grad(lambda x: (ops.layer_norm(x @ p["w"], p["b"], p["b"]) ** 3).sum())(x) ** 2
    ).sum(),
}


@functools.cache
def expected(name):
    return jax.jit(jax.value_and_grad(FUNCTIONS[name]))(PARAMS, X)


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name, jit):
    f = FUNCTIONS[name]
    ours = fg.value_and_grad(f)
    assert_same((jax.jit(ours) if jit else ours)(PARAMS, X), expected(name))


def test_equals_the_same_function_written_without_ops():
    assert_same(fg.value_and_grad(with_ops)(PARAMS, X), jax.value_and_grad(plain)(PARAMS, X))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_low_precision_keeps_its_dtype(dtype):
    params, x = jax.tree.map(lambda a: a.astype(dtype), (PARAMS, X))
    value, gradient = fg.value_and_grad(with_ops)(params, x)
    reference = jax.grad(plain)(PARAMS, X)
    assert value.dtype == dtype
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(reference), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a.astype(jnp.float64), b, atol=40 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("argnums", [0, 1, -1, (0,), (0, 1), [1, 0], (0, 2)])
def test_argnums(argnums):
    f = lambda x, y, z: jnp.sum(jnp.sin(x) * y) + z**2
    args = (X, 2 * X, jnp.ones(()))
    assert_same(fg.grad(f, argnums)(*args), jax.grad(f, argnums)(*args))


def test_has_aux_gives_what_the_function_made():
    f = lambda p, x: (with_ops(p, x), {"logits": x @ p["w"], "n": 3})
    (value, aux), gradient = fg.value_and_grad(f, has_aux=True)(PARAMS, X)
    expected = jax.value_and_grad(f, has_aux=True)(PARAMS, X)
    np.testing.assert_allclose(aux["logits"], expected[0][1]["logits"])
    assert_same((value, gradient), (expected[0][0], expected[1]))
    gradient, aux = fg.grad(f, has_aux=True)(PARAMS, X)
    assert_same(gradient, expected[1])


def test_keyword_arguments_numbers_and_strings_pass_through():
    def f(p, x, power, *, mode, scale):
        return scale * (jnp.sum(p["w"] ** power) if mode == "w" else jnp.sum(p["b"]))

    call = lambda grad: grad(f)(PARAMS, X, 3, mode="w", scale=jnp.array(2.0))
    assert_same(call(fg.grad), call(jax.grad))


def test_python_numbers_are_differentiated():
    assert float(fg.grad(lambda x: x**3)(2.0)) == 12.0
    assert float(fg.grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 5.0})["a"]) == 5.0


def test_integer_arguments_raise_or_get_float0():
    f = lambda x, n: jnp.sum(x * n.astype(x.dtype))
    n = jnp.arange(4, dtype=jnp.int32)
    with raises_sentence(
        fg.errors.GradientError,
        r"Argument 1 has a leaf 'n' of i32\[4\]; gradients need floating or complex arrays: cast it, leave it "
        r"out of argnums, or pass allow_int=True\.$",
    ):
        fg.grad(f, 1)(X[0], n)
    assert_same(fg.grad(f, (0, 1), allow_int=True)(X[0], n), jax.grad(f, (0, 1), allow_int=True)(X[0], n))


def test_holomorphic():
    z = jnp.array(1.0 + 2.0j)
    f = lambda z: z**3
    assert_same(fg.grad(f, holomorphic=True)(z), jax.grad(f, holomorphic=True)(z))


def test_vmap_of_grad_equals_a_loop():
    found = jax.vmap(fg.grad(with_ops), (None, 0))(PARAMS, X)
    for i in range(3):
        assert_same(jax.tree.map(lambda a, i=i: a[i], found), fg.grad(with_ops)(PARAMS, X[i]))


@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev], ids=["forward over reverse", "reverse over reverse"])
def test_hessians(outer):
    f = lambda w: with_ops({"w": w, "b": B}, X)
    assert_same(outer(fg.grad(f))(W), jax.hessian(lambda w: plain({"w": w, "b": B}, X))(W))


def test_third_order():
    f = lambda x: jnp.sum(ops.tanh(x) ** 3)
    total = lambda g: lambda x: jnp.sum(g(x))
    ours = fg.grad(total(fg.grad(total(fg.grad(f)))))(B)
    assert_same(ours, jax.grad(total(jax.grad(total(jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 3))))))(B))


def test_gradients_inside_a_scan():
    def descend(w, _):
        return w - 0.1 * fg.grad(lambda w: with_ops({"w": w, "b": B}, X))(w), None

    def descend_plain(w, _):
        return w - 0.1 * jax.grad(lambda w: plain({"w": w, "b": B}, X))(w), None

    assert_same(jax.lax.scan(descend, W, length=5)[0], jax.lax.scan(descend_plain, W, length=5)[0])


def test_nan_and_infinity_pass_through():
    f = lambda x: jnp.sum(ops.log(x) * jnp.array([1.0, 1.0, 0.0]))
    x = jnp.array([0.0, jnp.nan, 0.0])
    np.testing.assert_array_equal(
        fg.grad(f)(x), jax.grad(lambda x: jnp.sum(jnp.log(x) * jnp.array([1.0, 1.0, 0.0])))(x)
    )


def test_print_effects_happen_once(capfd):
    def f(x):
        jax.debug.print("loss {}", x)
        return x * x

    fg.grad(f)(jnp.array(3.0))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("loss 3.0") == 1


def test_the_wrapper_keeps_the_functions_name():
    assert fg.grad(with_ops).__name__ == "grad(with_ops)"
    assert fg.grad(with_ops).__doc__ == with_ops.__doc__


BAD = {
    "not a scalar": (
        lambda: fg.grad(lambda x: fg.name(2 * x, "h"))(B),
        r"grad needs a real scalar loss, got f64\[2\] at node 'h'; take its mean or sum, pass cotangent=, or use "
        r"fg.vjp or fg.jacobian\.",
    ),
    "a pair without has_aux": (
        lambda: fg.grad(lambda x: (jnp.sum(x), x))(B),
        r"grad needs a real scalar loss, got \(f64\[\], f64\[2\]\); see also has_aux=True\.",
    ),
    "complex": (
        lambda: fg.grad(lambda z: z * z)(jnp.array(1j)),
        r"grad needs a real scalar loss, got c128\[\] at node 'mul'; pass holomorphic=True or take a real part\.",
    ),
    "an integer loss": (
        lambda: fg.grad(lambda x: jnp.argmax(x))(B),
        r"grad needs a real scalar loss, got i\d+\[\]\.",
    ),
    "has_aux without a pair": (
        lambda: fg.grad(lambda x: jnp.sum(x), has_aux=True)(B),
        r"With has_aux=True the function must return a pair \(output, aux\), got f64\[\]\.",
    ),
    "argnums out of range": (
        lambda: fg.grad(lambda x: jnp.sum(x), 2)(B),
        r"argnums asks for argument 2, got 1 positional argument\.",
    ),
    "no array": (
        lambda: fg.grad(lambda p: jnp.sum(p["x"]))({"x": B, "name": "mlp"}),
        r"Argument 0 has a leaf 'p/name' of type str; gradients need arrays, so pass it as another argument\.",
    ),
    "a wrong rule": (
        lambda: fg.grad(with_ops, rules=fg.RuleSet().override(ops.sigmoid, lambda g: g.T))(PARAMS, X),
        r"sigmoid: rule <lambda> \(test_gradients\.py:\d+\) must return the cotangent of x as f64\[3,2\], "
        r"got f64\[2,3\]\.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(case):
    call, message = BAD[case]
    with raises_sentence(fg.errors.FuncgradError, message):
        call()
