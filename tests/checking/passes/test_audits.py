"""Every node of somebody's own function: a planted wrong rule is found where it stands, by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import CheckError, GradientError
from funcgrad.registry import Rule
from funcgrad.reverse import Cotangents
from tests.raising import raises_sentence

W = np.linspace(-1.0, 1.0, 9).reshape(3, 3)
X = np.linspace(-2.0, 1.5, 12).reshape(4, 3)


def network(w, x):
    with fg.scope("first"):
        h = ops.tanh(x @ w)
    with fg.scope("second"):
        return ops.mean(ops.sigmoid(h @ w))


def sigmoid_wrong(g, y):
    return g * y * (1 - y) * 1.001


def wrong(at="**"):
    return fg.RuleSet().override(ops.sigmoid, sigmoid_wrong, at=at, kind=fg.exact)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_right(dtype):
    w, x = (jnp.asarray(a, dtype) for a in (W, X))
    report = fg.audit(network, w, x)
    assert report.ok, report
    assert report.n_nodes == 5
    assert report.shared == ("w",)
    assert str(report).startswith("audit: right (5 nodes, ")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_rule_is_found_by_name(dtype):
    report = fg.audit(network, jnp.asarray(W, dtype), jnp.asarray(X, dtype), rules=wrong())
    (failure,) = report.failures
    assert (failure.node, failure.argument, failure.rule) == ("second/sigmoid", "x", "rule sigmoid_wrong")
    assert failure.line.startswith("test_audits.py:")
    assert "expected" in failure.detail
    assert "second/sigmoid" in str(report)


def test_the_error_it_raises():
    with raises_sentence(
        CheckError,
        r"audit: 'second/sigmoid' at test_audits.py:\d+ \(`.*`\): the cotangent of x by rule sigmoid_wrong is not that "
        r"of jax.vjp at entry \[\d,\d\], random cotangent of the output: expected \S+, found \S+; 12 of 12 entries "
        r"differ\.",
    ):
        fg.audit(network, W, X, rules=wrong()).raise_if_wrong()
    fg.audit(network, W, X).raise_if_wrong()


def test_one_of_two_nodes_is_wrong():
    def f(x):
        with fg.scope("a"):
            x = ops.sigmoid(x)
        with fg.scope("b"):
            return ops.sigmoid(x).sum()

    assert [e.node for e in fg.audit(f, X, rules=wrong(at="a/*")).failures] == ["a/sigmoid"]


def test_not_zero_at_zero():
    def shifted(g, y):
        return g * y * (1 - y) + 1e-17

    rules = fg.RuleSet().override(ops.sigmoid, shifted, kind=fg.exact)
    (failure,) = fg.audit(network, W, X, rules=rules).failures
    assert "zero cotangent of the output" in failure.detail


def test_inside_of_a_scan():
    def f(w, x):
        def turn(c, a):
            return ops.sigmoid(c @ w + a), ops.tanh(c)

        c, ys = jax.lax.scan(turn, x, np.arange(3.0))
        return c.sum() + ys.sum()

    assert fg.audit(f, W, X).ok
    (failure,) = fg.audit(f, W, X, rules=wrong()).failures
    assert failure.node == "sigmoid"
    assert "first turn" in failure.detail


def test_an_output_that_nothing_reads_has_no_cotangent():
    def f(w, x):
        c, _ = jax.lax.scan(lambda c, a: (ops.sigmoid(c @ w + a), ops.tanh(c)), x, np.arange(3.0))
        return c.sum()

    report = fg.audit(f, W, X)
    assert report.ok, report


def test_the_branch_that_is_taken():
    def f(w, x):
        return jax.lax.cond(x[0, 0] > 0, lambda a: ops.sigmoid(a).sum(), lambda a: ops.tanh(a).sum(), x @ w)

    rules = wrong()
    assert [e.node for e in fg.audit(f, W, X + 9.0, rules=rules).failures][:1] == ["sigmoid"]


def test_inside_of_a_checkpoint():
    def f(w, x):
        return jax.checkpoint(lambda a: ops.sigmoid(a @ w).sum())(x)

    assert fg.audit(f, W, X).ok
    assert [e.node.split("/")[-1] for e in fg.audit(f, W, X, rules=wrong()).failures] == ["sigmoid"]


def test_under_vmap():
    def f(w, x):
        return jax.vmap(lambda row: ops.sigmoid(row @ w).sum())(x).sum()

    assert fg.audit(f, W, X).ok
    assert len(fg.audit(f, W, X, rules=wrong()).failures) == 1


def test_a_modified_rule_is_as_claimed():
    rules = fg.RuleSet().override(ops.sigmoid, sigmoid_wrong)
    report = fg.audit(network, W, X, rules=rules)
    assert report.ok
    assert report.claims == ("'second/sigmoid': sigmoid_wrong (modified)",)
    assert "as claimed, not compared: 'second/sigmoid'" in str(report)


def test_a_convention_at_a_kink_is_no_mistake():
    def relu_half(g, x):
        return g * jnp.where(x == 0, 0.5, jnp.where(x > 0, 1.0, 0.0))

    def relu_beyond(g, x):
        return g * jnp.where(x == 0, 1.5, jnp.where(x > 0, 1.0, 0.0))

    def f(x):
        return ops.relu(x).sum()

    x = np.array([-1.0, 0.0, 2.0])
    kind = fg.subgradient("half at 0")
    assert fg.audit(f, x, rules=fg.RuleSet().override(ops.relu, relu_half, kind=kind)).ok
    assert not fg.audit(f, x, rules=fg.RuleSet().override(ops.relu, relu_beyond, kind=kind)).ok
    assert not fg.audit(f, x, rules=fg.RuleSet().override(ops.relu, relu_half, kind=fg.exact)).ok


def test_what_has_one_derivative_only_is_not_tested():
    report = fg.audit(lambda w: jnp.linalg.solve(w + 3.0 * jnp.eye(3), X.T).sum(), W)
    assert report.ok
    assert [name.rpartition("/")[2] for name in report.untested] == ["custom_linear_solve"]
    assert "not tested: solve/custom_linear_solve" in str(report)


def test_an_adjoint_that_loses_a_use(monkeypatch):
    """The last cotangent wins, instead of being added: the untied copies are not affected."""

    def overwrite(self, values, cotangents):
        self._sums.update(zip(values, cotangents, strict=True))

    monkeypatch.setattr(Cotangents, "add", overwrite)
    report = fg.audit(network, W, X)
    (failure,) = report.failures
    assert failure.node == "w"
    assert "is not the sum over an untied copy of its 2 uses" in failure.detail


def test_a_jax_function_alone():
    def f(w, x):
        h = jnp.einsum("ni,ij->nj", x, w)
        return jax.nn.log_softmax(jnp.where(h > 0, h, 0.1 * h)).sum(), jnp.sort(h)

    report = fg.audit(f, jnp.float32(W), jnp.float32(X))
    assert report.ok, report


def test_descriptions_are_not_enough():
    with raises_sentence(GradientError, r"audit needs arrays to compute with, got a description of one, f64\[3,3\]\."):
        fg.audit(network, jax.ShapeDtypeStruct((3, 3), "float64"), X)


def test_an_op_of_ones_own():
    @fg.op
    def audited_cube(x, scale):
        return scale * x**3

    @audited_cube.pullback("x")
    def cube_x(g, x, scale):
        return 3 * g * scale * x

    @audited_cube.pullback("scale")
    def cube_scale(g, x):
        return jnp.sum(g * x**3)

    report = fg.audit(lambda x, s: audited_cube(x, s).sum(), X, 2.0, argnums=(0, 1))
    assert [(e.argument, e.rule) for e in report.failures] == [("x", "rule cube_x")]
    assert isinstance(audited_cube.rules["x"], Rule)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_arguments_that_are_printed_alike_are_told_apart(factor):
    """The second of a pair is printed as `pair1`, and so is an argument of that name."""

    @fg.op(name="audited_pair", replace=True)
    def weighted(pair, pair1):
        return 2 * pair[0] + 3 * pair[1] + 5 * pair1

    weighted.pullback("pair")(lambda g: (2 * g, 3 * g))
    weighted.pullback("pair1")(lambda g: factor * 5 * g)
    report = fg.audit(lambda a, b, c: weighted((a, b), c).sum(), X, X, X, argnums=(0, 1, 2))
    assert [e.argument for e in report.failures] == ["pair1"] * (factor != 1.0), report


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_rule_for_a_jitted_function_is_found(dtype):
    def along_the_last(g, y):
        return g - jnp.exp(y) * jnp.sum(g, -1, keepdims=True)

    x, c = jnp.asarray(X, dtype), jnp.cos(jnp.asarray(X, dtype))
    rules = fg.RuleSet().override(jax.nn.log_softmax, along_the_last, kind=fg.exact)
    right, wrong = (fg.audit(lambda x, a=a: jnp.sum(jax.nn.log_softmax(x, a) * c), x, rules=rules) for a in (1, 0))
    assert right.ok
    assert right.untested == right.own_dtype == ()
    (failure,) = wrong.failures
    assert (failure.node, failure.rule) == ("log_softmax", "rule along_the_last")


def test_rules_for_jitted_functions_that_are_not_run_in_float64():
    @jax.jit
    def solved(x):
        return jax.lax.custom_linear_solve(lambda v: 2 * v, x, lambda _, b: b / 2, lambda _, b: b / 2)

    @jax.jit
    def halved(x):
        return jax.lax.while_loop(lambda x: x[0] > 1, lambda x: x / 2, x)

    for factor in (0.5, 0.6):
        rules = fg.RuleSet().override(solved, lambda g, by=factor: by * g, kind=fg.exact)
        report = fg.audit(lambda x: jnp.sum(solved(x)), jnp.ones(3), rules=rules)
        assert report.ok == (factor == 0.5)
        assert report.own_dtype == ("solved",)
    rules = fg.RuleSet().override(halved, lambda g: g, kind=fg.exact)
    report = fg.audit(lambda x: jnp.sum(halved(x)), jnp.ones(3), rules=rules)
    assert report.untested == ("halved",)  # JAX has no derivative of it
