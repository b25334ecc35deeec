"""One language for places: every way to ask for a value takes the same spellings, and finds the same value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence

X = jnp.linspace(-1.2, 1.4, 3)
P = {"enc": {"w": jnp.linspace(0.4, 1.6, 3)}, "b": jnp.linspace(0.1, 0.2, 3)}


def loss(p, x):
    with fg.scope("block3"):
        h = fg.name(jnp.tanh(jnp.sin(x) * p["enc"]["w"]), "x1")
    with fg.scope("tail"):
        lower, upper = lax.sort((h + p["b"], h * 3), num_keys=1)
    return jnp.sum(lower * jnp.arange(1.0, 4) + upper**2)


# What goes from x1 to the loss, in numpy: sorting by h + b.
H = np.tanh(np.sin(X) * P["enc"]["w"])
ORDER = np.argsort(H + P["b"])
LOWER_BAR, UPPER_BAR = np.arange(1.0, 4), 2 * (3 * H)[ORDER]
H_BAR = np.zeros(3)
H_BAR[ORDER] = LOWER_BAR + 3 * UPPER_BAR
W_BAR = H_BAR * (1 - H**2) * np.sin(X)

ONE = {
    "block3/x1": H_BAR,  # the value's name
    "block3/tanh": H_BAR,  # the node's, which the trace prints
    "block3": H_BAR,  # the scope's: what leaves it
    "p/enc/w": W_BAR,  # the path of an argument's leaf
    "enc/w": W_BAR,  # and without the argument
    r"enc\/w": W_BAR,
}
SEVERAL = {
    "tail/sort": {"tail/sort.0": LOWER_BAR, "tail/sort.1": UPPER_BAR},  # a node of several outputs
    "tail": {"tail/sort.0": LOWER_BAR, "tail/sort.1": UPPER_BAR},
    "block*": {"block3": H_BAR},  # a glob over scopes
    "block3/t*": {"block3/x1": H_BAR},  # a glob over nodes
    "enc/*": {"p/enc/w": W_BAR},
}


def by_wrt(place):
    return fg.grad(loss, wrt=place)(P, X)


def by_taps(place):
    readings = fg.grad(loss, taps=place, stats="value")(P, X)[1]
    return {name: r.cotangent["value"] for name, r in readings.items()}


@pytest.mark.parametrize("place", ONE)
def test_a_name_of_one_value(place):
    np.testing.assert_allclose(by_wrt(place), ONE[place], rtol=1e-12)
    np.testing.assert_allclose(by_wrt([place])[place], ONE[place], rtol=1e-12)
    np.testing.assert_allclose(by_taps(place)[place], ONE[place], rtol=1e-12)
    np.testing.assert_allclose(by_wrt(fg.Where(place)), ONE[place], rtol=1e-12)
    assert fg.plan(loss, P, X, wrt=place).wanted[0].name == fg.plan(loss, P, X, wrt=[fg.Where(place)]).wanted[0].name
    value, g = fg.value_and_grad(loss, of=place, wrt=place, cotangent=X)(P, X)
    np.testing.assert_array_equal(g, X)
    np.testing.assert_allclose(value, P["enc"]["w"] if "w" in place else H, rtol=1e-12)
    rules = fg.RuleSet().hook(place, lambda g: 7 * g)
    np.testing.assert_allclose(fg.grad(loss, wrt="enc/w", rules=rules)(P, X), 7 * W_BAR, rtol=1e-12)


@pytest.mark.parametrize("place", SEVERAL)
def test_what_may_be_several_is_a_mapping(place):
    for found in (by_wrt(place), by_wrt([place]), by_taps(place)):
        assert found.keys() == SEVERAL[place].keys()
        for name, expected in SEVERAL[place].items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-12)
    values = fg.value_and_grad(loss, of=place, wrt="x", cotangent=SEVERAL[place], unreachable="zero")(P, X)[0]
    assert values.keys() == SEVERAL[place].keys()


def test_an_argument_is_its_leaves():
    assert by_taps("p").keys() == {"p/b", "p/enc/w"}
    assert fg.value_and_grad(loss, of="p", cotangent={"p/b": X, "p/enc/w": X})(P, X)[1]["b"] is not None
    doubled = fg.grad(loss, rules=fg.RuleSet().hook("p", lambda g: 2 * g))(P, X)
    np.testing.assert_allclose(doubled["enc"]["w"], 2 * W_BAR, rtol=1e-12)


@pytest.mark.parametrize("place", ["block3/tanh", "block3/x1", "block3", "block*", "block3/*"])
def test_a_rule_stands_at_the_same_places(place):
    rules = fg.RuleSet().override("tanh", lambda g: 5 * g, at=place)
    np.testing.assert_allclose(fg.grad(loss, wrt="enc/w", rules=rules)(P, X), 5 * H_BAR * np.sin(X), rtol=1e-12)
    assert fg.audit(loss, P, X, rules=rules).claims


def test_parameters_take_the_path_with_and_without_the_argument():
    for path in ("enc/w", "p/enc/w", "enc/*", "p/enc/**", fg.Where("enc/w"), fg.Where("*/w") & ~fg.Where("b")):
        found = fg.grad(loss, wrt=fg.select(path))(P, X)
        np.testing.assert_allclose(found["enc"]["w"], W_BAR, rtol=1e-12)
        assert found["b"] is None
    assert fg.freeze("params/enc/w")(P) == fg.freeze("enc/w")(P) == {"enc": {"w": False}, "b": True}
    assert fg.select("b" | fg.Where("enc/**"))(P) == {"enc": {"w": True}, "b": True}
    assert fg.select("params/w")({"params": {"w": X}, "w": X}) == {"params": {"w": True}, "w": False}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (fg.Where(op="tanh"), {"block3/x1"}),
        (fg.Where(when=lambda node: node.op_name == "tanh" and node.scope == "block3"), {"block3/x1"}),
        (fg.Where("block3", op="tanh") | "x", {"block3/x1", "x"}),
        ("block3" & fg.Where(op="sin"), {"block3/sin"}),  # as nodes: it does not leave the scope
        ("block3" & ~fg.Where(op="sin"), {"block3/mul", "block3/x1"}),
        ("block3/*" & ~fg.Where("block3"), {"block3/sin", "block3/mul"}),  # as values
        (fg.Where("p") & ~fg.Where("b"), {"p/enc/w"}),
        (fg.Where(op="tanh") & ~fg.Where("p"), {"block3/x1"}),
    ],
    ids=lambda x: str(x) if isinstance(x, fg.Where) else "",  # sets are written in another order in each process
)
def test_places_are_combined(place, expected):
    assert by_wrt(place).keys() == fg.grad(loss, taps=place)(P, X)[1].keys() == expected


def test_ops_are_globs_and_functions_too():
    def f(x):
        with fg.scope("m"):
            y = fg.name(jax.nn.relu(x), "r") * jax.nn.softmax(x)
        return jnp.sum(y + jax.nn.silu(fg.ops.tanh(x)))

    def found(op):
        return set(fg.grad(f, wrt=fg.Where(op=op))(X))

    assert found("re*") == {"m/r", "m/softmax/reduce_sum", "reduce_sum"}
    assert found("*u*") >= {"m/r", "m/mul", "reduce_sum"}
    assert found(jax.nn.relu) == {"m/r"}
    assert found(jax.nn.softmax) == {"m/softmax"}
    assert found(jax.nn.silu) == {"silu"}
    assert found(fg.ops.tanh) == {"tanh"}
    assert found(jax.lax.mul) == {"m/mul", "silu/mul"}
    np.testing.assert_allclose(
        fg.grad(f, wrt=fg.Where(op=jax.nn.softmax))(X)["m/softmax"], jnp.maximum(X, 0.0), rtol=1e-12
    )


def test_a_node_says_what_it_costs():
    def f(w, x):
        return jnp.sum(jnp.sin(x @ w) @ w)

    w, x = jnp.ones((4, 4)), jnp.ones((2, 4))
    nodes = {node.name: node for node in fg.trace(f, w, x).nodes}
    assert {name: node.flops for name, node in nodes.items()} == {
        "dot_general": 64.0, "sin": 8.0, "dot_general#2": 64.0, "reduce_sum": 8.0
    }  # fmt: skip
    assert nodes["sin"].shapes == ((2, 4),)
    assert fg.grad(f, wrt=fg.Where(when=lambda node: node.flops > 10))(w, x).keys() == {"dot_general", "dot_general#2"}
    op = fg.trace(fg.ops.linear, x, w).nodes[0]
    assert op.flops == 64.0


def rounded(x):
    return jax.jit(lambda x: jnp.round(x * 2))(x)


def test_rules_at_places_of_nodes_in_loops_and_jitted_functions():
    @jax.jit
    def act(x):
        return jnp.where(x > 0, x, 0.0)

    def f(x):
        with fg.scope("outer"):
            x = act(x)

            def turn(c, _):
                with fg.scope("inner"):
                    return act(jnp.sin(c)), None

            x, _ = lax.scan(turn, x, None, length=2)
        return jnp.sum(act(x))

    x = jnp.array([0.5, 1.0])
    c1 = jnp.sin(x)
    local = jnp.cos(x) * jnp.cos(c1)
    for at, factor in {
        "outer": 2.0**3,
        "outer/inner": 2.0**2,
        "outer/inner/act": 2.0**2,
        fg.Where("outer") & ~fg.Where("**/inner/**"): 2.0,
        fg.Where(when=lambda node: node.scope == "outer"): 2.0,
        fg.Where(when=lambda node: bool(node.loops)): 2.0**2,
        "**": 2.0**4,
    }.items():
        rules = fg.RuleSet().override("act", lambda g: 2 * g, at=at)
        np.testing.assert_allclose(fg.grad(f, rules=rules)(x), factor * local, rtol=1e-12, err_msg=str(at))
    readings = fg.grad(f, taps=fg.Where(op="act"), stats="value")(x)[1]
    assert len(readings) == 3


def two(p, q):
    return jnp.sum(p["w"] * q["w"])


BAD = {
    "in two arguments": (
        lambda: fg.grad(two, wrt="w")({"w": X}, {"w": X}),
        r"'w' could be 'p/w' or 'q/w'; write the name of the argument in front\.",
    ),
    "an op that is not there": (
        lambda: fg.grad(loss, wrt=fg.Where(op="tan"))(P, X),
        r"No node is a tan; did you mean 'tanh'\?",
    ),
    "a predicate that nothing fits": (
        lambda: fg.grad(loss, taps=fg.Where(when=lambda node: node.flops > 1e9))(P, X),
        r"No node fits when=<lambda>; print\(fg\.trace\(\.\.\.\)\) lists them\.",
    ),
    "a combination that is empty": (
        lambda: fg.grad(loss, wrt="tail" & fg.Where(op="tanh"))(P, X),
        r"No value is 'tail & op=tanh', though each part of that is somewhere; print\(fg\.trace\(\.\.\.\)\) lists the "
        r"names\.",
    ),
    "a part that is misspelled": (
        lambda: fg.grad(loss, wrt="**" & ~fg.Where("block3/x2"))(P, X),
        r"No value or scope is named 'block3/x2'; did you mean 'block3/x1' or .*\?",
    ),
    "the head of some paths": (
        lambda: fg.grad(loss, wrt="p/enc")(P, X),
        r"No value or scope is named 'p/enc'; what is below it matches 'p/enc/\*\*'\.",
    ),
    "an argument without floating leaves": (
        lambda: fg.grad(lambda p, n: jnp.sum(p["b"]), of="n")(P, {"k": jnp.arange(2)}),
        r"'n/k' is i\d+\[2\]; only floating or complex values have gradients\.",
    ),
    "parameters of a kind of node": (
        lambda: fg.select(fg.Where(op="relu")),
        r"fg\.select takes paths of parameters, got 'op=relu', which says what a node is\.",
    ),
    "a predicate that raises": (
        lambda: fg.grad(loss, wrt=fg.Where(when=first_is_named))(P, X),
        r"fg\.Where\(when=first_is_named\) raised AttributeError: .* at '.*' \(a .*\); it is asked about every node, "
        r"of which inputs and outputs may be several or none\.",
    ),
    "a function that nothing applies": (
        lambda: fg.grad(loss, wrt=fg.Where(op=jax.nn.relu))(P, X),
        r"No node is a relu; its ops are .*tanh.*\.",
    ),
    "the end of some paths without their heads": (
        lambda: fg.grad(loss, wrt=~fg.Where("enc"))(P, X),
        r"No value or scope is named 'enc'; what is below it matches 'enc/\*\*'\.",
    ),
    "all inside of a scope, misspelled": (
        lambda: fg.grad(loss, wrt="blok3/**")(P, X),
        r"No value or scope is named 'blok3/\*\*'; did you mean 'block3' or 'block3/x1'\?",
    ),
    "uses of a value, and a name like theirs": (
        lambda: fg.grad(named_like_a_use, wrt="p/w@*")({"w": X, "w@x": X}),
        r"'p/w@\*' could be 'p/w@x', which is named so, or uses of 'p/w'; write r'p/w\\@\*' for what is named so, and "
        r"a use by its whole name\.",
    ),
    "the same without the argument": (
        lambda: fg.grad(named_like_a_use, wrt="w@*")({"w": X, "w@x": X}),
        r"'w@\*' could be 'p/w@x', which is named so, or uses of 'p/w'; write r'w\\@\*' for what is named so, and a "
        r"use by its whole name\.",
    ),
    "a turn of parameters": (
        lambda: fg.freeze(fg.Where("w", turn=0)),
        r"fg\.freeze takes paths of parameters, got 'w, turn=0', which says a turn of a loop\.",
    ),
    "a scope inside of a loop": (
        lambda: fg.grad(in_a_loop, of="cell")(X),
        r"of='cell' is inside 'scan' \(a scan\), so it has an array for each of 3 turns; say which, "
        r"of=fg\.Where\('cell', turn=-1\) for that of the last\.",
    ),
}  # fmt: skip


def named_like_a_use(p):
    return jnp.sum(p["w"] * p["w@x"]) + jnp.sum(p["w"])


def test_a_name_like_that_of_a_use():
    p = {"w": jnp.arange(1.0, 4.0), "w@x": jnp.arange(3.0)}
    for wrt in (r"p/w\@*", r"w\@*"):
        (found,) = fg.grad(named_like_a_use, wrt=wrt)(p).items()
        assert found[0] == "p/w@x"
        np.testing.assert_array_equal(found[1], p["w"])
    np.testing.assert_array_equal(fg.grad(named_like_a_use, wrt="p/w@mul")(p), p["w@x"])
    only = {"w@x": jnp.arange(3.0)}
    assert list(fg.grad(lambda p: jnp.sum(p["w@x"] ** 2), wrt="p/w@*")(only)) == ["p/w@x"]


def first_is_named(node):
    return node.outputs[0].title == "x1"


def in_a_loop(x):
    def turn(c, v):
        with fg.scope("cell"):
            return jnp.sin(c) * v, None

    return lax.scan(turn, x[0], x)[0]


@pytest.mark.parametrize("case", BAD)
def test_places_that_are_nowhere_get_one_sentence(case):
    call, sentence = BAD[case]
    with raises_sentence(GradientError, sentence):
        call()


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ("block4", r"The override of tanh at 'block4' matches nothing; its nodes are block3/tanh; did you mean "
                   r"'block3' or 'block3/x1'\?"),
        ("blok3/**", r"The override of tanh at 'blok3/\*\*' matches nothing; its nodes are block3/tanh; did you mean "
                   r"'block3' or 'block3/x1'\?"),
        ("block3/tahn", r"The override of tanh at 'block3/tahn' matches nothing; its nodes are block3/tanh; did you "
                   r"mean 'block3/tanh' or 'block3'\?"),
        ("tail", r"The override of tanh at 'tail' matches nothing; its nodes are block3/tanh\."),
        (~fg.Where("block4"), r"The override of tanh at '~block4': no value or scope is named 'block4'; did you mean "
                              r"'block3' or 'block3/x1'\?"),
    ],
    ids=str,
)  # fmt: skip
def test_a_rule_that_is_nowhere(at, sentence):
    with raises_sentence(RuleError, sentence):
        fg.grad(loss, rules=fg.RuleSet().override("tanh", lambda g: g, at=at))(P, X)


def test_a_hook_at_a_scope_does_not_see_what_watches_it():
    rules = fg.RuleSet().hook("block3", lambda g: 7 * g)
    gradient, _ = fg.grad(loss, wrt="enc/w", rules=rules, taps="**")(P, X)
    np.testing.assert_allclose(gradient, 7 * W_BAR, rtol=1e-12)
    assert fg.blame(loss, P, X, rules=rules).ok


def test_an_audit_and_blame_of_a_part():
    """What is asked of the whole pass can be asked of what lies between two places."""
    wrong = fg.RuleSet().override("sin", lambda g, x: g * jnp.sin(x), kind=fg.exact)
    assert not fg.audit(loss, P, X, rules=wrong, argnums=1).ok
    part = fg.audit(loss, P, X, of="tail", wrt="block3")
    assert part.ok
    assert part.n_nodes < fg.audit(loss, P, X, argnums=1).n_nodes
    born = lambda x: jnp.sum(fg.name(jnp.log(fg.name(jnp.sin(x), "h") * 0), "y") * x)
    assert fg.blame(born, X).forward is not None
    assert fg.blame(born, X, of="h").ok
    assert fg.blame(born, X, of="y", wrt="h").forward.node == "log"
