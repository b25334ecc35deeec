"""What is no argument of the kind that is expected: one sentence says what is, and what was found."""

import functools

import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import CheckError, FuncgradError, GradientError, GraphError, RuleError
from tests.raising import raises_sentence

X = jnp.linspace(0.1, 0.9, 3)
WRONG = {"3": 3, "1.5": 1.5, "True": True, "object": object()}
NO_NAMES = {**WRONG, r"\(1, 2\)": (1, 2), r"f64\[3\]": X}
TAPS = r"a name or a glob of values, as 'block\*/attn', an fg\.Where, or several"
STATS = "the name of a statistic, a function of an array, or several"
ARGNUMS = (
    r"argnums takes the position of an argument, as 0, or several, as \(0, 1\), got {}; the arguments themselves go to "
    r"the function that is returned: fg\.grad\(loss\)\(w, x\)\."
)


def loss(x):
    return jnp.sum(fg.ops.tanh(x))


def overridden(**options):
    return fg.RuleSet().override(fg.ops.tanh, lambda g: g, **options)


def made(**options):
    return fg.op(name="wrongly_made", replace=True, **options)(lambda x: 2 * x)


@pytest.mark.parametrize("found", WRONG)
def test_taps_and_statistics(found):
    with raises_sentence(GradientError, rf"taps must be {TAPS}, got {found}\."):
        fg.grad(loss, taps=WRONG[found])
    with raises_sentence(GradientError, rf"stats must be {STATS}, got {found}\."):
        fg.value_and_grad(loss, taps="**", stats=WRONG[found])
    with raises_sentence(GradientError, rf"taps must be {TAPS}, got {found}\."):
        fg.grad(loss, taps=["**", WRONG[found]])
    with raises_sentence(
        GradientError, rf"No statistic is called {found}; there are .*, or pass a function of arrays\."
    ):
        fg.grad(loss, taps="**", stats=["norm", WRONG[found]])


def two_heads(p, x, *, scale):
    return jnp.sum(p * x) * scale


TAKES = r"takes a function and its arguments, as fg\.{0}\(two_heads, p, x, scale=scale\), and cannot call two_heads:"


CALLED_WRONG = {
    "none": ((), {}, "missing a required argument: 'p'"),
    "one": ((X,), {"scale": 1.0}, "missing a required argument: 'x'"),
    "three": ((X, X, X), {"scale": 1.0}, "too many positional arguments"),
    "keyword": ((X, X), {"scale": 1.0, "vanish": 1}, "got an unexpected keyword argument 'vanish'"),
}
CALLS = [(name, case) for name in ("trace", "plan", "audit", "blame") for case in CALLED_WRONG]


@pytest.mark.parametrize(("name", "case"), [*CALLS, ("vjp", "none")])  # vjp passes no arguments by name
def test_a_function_with_other_arguments_than_it_takes(name, case):
    args, kwargs, wrong = CALLED_WRONG[case]
    with raises_sentence(GradientError, rf"{name} {TAKES.format(name)} {wrong}\."):
        getattr(fg, name)(two_heads, *args, **kwargs)


def test_what_a_function_raises_itself_is_left_alone():
    def wrong(x):
        return x + "a"

    def says_less(x):  # a decorator may give an argument, so that the signature says more than is needed
        return fg.trace(functools.wraps(two_heads)(lambda p: jnp.sum(p)), x)

    with pytest.raises(TypeError, match="str"):
        fg.trace(wrong, X)
    assert len(says_less(X).nodes) == 1


def test_nothing_watched():
    for nothing in (None, (), [], ""):
        assert fg.grad(loss, taps=nothing)(X).shape == (3,)


@pytest.mark.parametrize("name", ["audit", "blame"])
def test_what_audit_and_blame_take(name):
    whole = getattr(fg, name)
    with raises_sentence(GradientError, rf"{name} takes a function first, got 3\."):
        whole(3, X)
    for wrong, found in ((None, "None"), ("x", "'x'"), (1.5, "1.5"), (X, r"f64\[3\]")):
        with raises_sentence(GradientError, ARGNUMS.format(found)):
            whole(loss, X, argnums=wrong)


@pytest.mark.parametrize("threshold", ["vanishing", "exploding", "dead"])
def test_thresholds_of_blame(threshold):
    with raises_sentence(GradientError, rf"{threshold} must be a number, got 'small'\."):
        fg.blame(loss, X, **{threshold: "small"})


SENTENCES = {
    r"override: at= must be a glob over names of nodes, as 'encoder/\*\*', got 3\.": lambda: overridden(at=3),
    r"rule <lambda>: kind must be fg\.exact, fg\.subgradient\(convention\), fg\.surrogate\(function\), fg\.modified or "
    r"fg\.nonlinear, got 'exact'\.": lambda: overridden(kind="exact"),
    r"RuleSet\.diff: the other must be a set of rules, got 3\.": lambda: fg.RuleSet().diff(3),
    r"fg\.op: name= must be a string, got 3\.": lambda: fg.op(name=3)(loss),
    r"op wrongly_made: leading= must be a tuple of names, got 'x'\.": lambda: made(leading="x"),
    r"op wrongly_made: outputs= must be a tuple of names, got 3\.": lambda: made(outputs=3),
    r"op wrongly_made: core_axes= must be a number of axes, got 'x'\.": lambda: made(core_axes="x"),
    r"op wrongly_made: shapes= must be a string, as 'x\[\.\.\., n\] w\[n, m\]', got 3\.": lambda: made(shapes=3),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_ops_and_rules(sentence):
    with raises_sentence(RuleError, sentence):
        SENTENCES[sentence]()


def test_the_checker():
    with raises_sentence(CheckError, r"groups must be several of the names of groups, got 'values'\."):
        fg.check(fg.ops.tanh, groups="values")
    with raises_sentence(
        CheckError, r"cases must be a list of tuples of arguments, \[\(x, w\), \.\.\.\], got f64\[3\]\."
    ):
        fg.check(fg.ops.tanh, cases=X)
    with raises_sentence(CheckError, r"attributes must be a mapping by name, \{'axis': 0\}, got 3\."):
        fg.check(fg.ops.tanh, attributes=3)


@pytest.mark.parametrize("what", ["name", "detach"])
def test_what_is_named_and_detached(what):
    given = ("h",) if what == "name" else ()
    for wrong, found in (("relu", "'relu'"), (object(), "object"), ({"a": [X, loss]}, "function")):
        with raises_sentence(GraphError, rf"fg\.{what} takes an array, or a pytree of arrays, got {found}\."):
            getattr(fg, what)(wrong, *given)


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        pytest.param(option, wrong, id=f"{option}-{type(wrong).__name__}")
        for option in ("argnums", "of", "wrt", "unreachable", "rules", "taps")
        for wrong in (*NO_NAMES.values(), b"x", {1: 2}, {1}, lambda x: x)
        if not (option == "argnums" and wrong is True)  # which is the position 1, as in JAX
    ],
)
def test_no_option_raises_anything_but_a_sentence(option, wrong):
    with pytest.raises(FuncgradError):
        fg.grad(loss, **{option: wrong})(X)
