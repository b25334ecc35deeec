"""The table of a plan: its sums against the rows, its folding, and that it fits whatever page there is."""

import re
import sys

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.view import page_width, quantity
from funcgrad.view.words import columns_of
from tests.planning.holders.test_loops import XS, H, W, nested, rnn
from tests.view.test_text import PARAMS, X, nest, tower

WORDS = 5
"""Lines below the table: what is kept, FLOPs, rules, pruned, wanted."""


def lines_of(table):
    """The cells of each line of nodes, by the gaps between; the node first."""
    rule = re.compile("─+")
    lines = table.splitlines()
    ends = [i for i, line in enumerate(lines) if rule.fullmatch(line)]
    return [re.split(r"\s{2,}", line.strip()) for line in lines[ends[0] + 1 : ends[1]]]


@pytest.fixture(scope="module")
def towers():
    return fg.plan(lambda params, x: tower(params, x, 20), PARAMS, X)


def below(plan, scope):
    return [r for r in plan.rows if r.node.startswith(scope)]


def test_a_closed_scope_has_the_sums_of_its_rows(towers):
    lines = {cells[0]: cells for cells in lines_of(towers.table(None, 10))}
    rows = below(towers, "tower/block0/")
    assert len(rows) == 11
    assert lines["block0/"][1:] == [
        "f64[3,4]",
        "5 linear_w, 5 tanh_x, 4 linear_x, 1 identity",
        quantity(sum(r.new_bytes for r in rows), "B"),
        quantity(sum(r.forward_flops for r in rows)),
        quantity(sum(r.backward_flops for r in rows)),
    ]


def test_what_is_alike_is_one_line_and_costs_the_same_each(towers):
    (cells,) = (c for c in lines_of(towers.table(None, 10)) if "alike" in "".join(c))
    assert cells[0] == "block1/ … block19/"  # the first block reads an input, which is kept anyway
    assert cells[2] == "19 alike, each 5 linear_x, 5 linear_w, 5 tanh_x, 2 identity"
    costs = [
        (sum(r.new_bytes for r in rows), sum(r.forward_flops for r in rows), sum(r.backward_flops for r in rows))
        for rows in (below(towers, f"tower/block{i}/") for i in range(1, 20))
    ]
    assert set(costs) == {costs[0]}
    assert cells[3:] == [quantity(costs[0][0], "B"), quantity(costs[0][1]), quantity(costs[0][2])]


def test_another_rule_makes_a_scope_unlike_its_neighbours():
    def as_costly(g, y):  # as tanh_x is: only the rule tells them apart
        return 2 * g * (1 + y * y)

    rules = fg.RuleSet().override(ops.tanh, as_costly, at="tower/block9/tanh")
    lines = lines_of(fg.plan(lambda params, x: tower(params, x, 20), PARAMS, X, rules=rules).table(None, 10))
    assert [c[0] for c in lines[1:5]] == ["block0/", "block1/ … block8/", "block9/", "block10/ … block19/"]
    assert "[modified]" in lines[3][2]
    assert "[modified]" not in lines[2][2] + lines[4][2]


def test_flops_of_a_loop_are_counted_once_and_what_it_keeps_is_summed():
    def f(w, h, xs):
        with fg.scope("a"):
            return rnn(w, h, xs)

    plan = fg.plan(f, W, H, XS)
    scan = next(r for r in plan.rows if r.op == "scan")
    (cells,) = (c for c in lines_of(plan.table(None, 1)) if c[0] == "a/")
    rows = below(plan, "a/")
    assert len(rows) > len([r for r in rows if r.depth == 0])
    assert cells[-2] == quantity(sum(r.forward_flops for r in rows if r.depth == 0))
    assert cells[-3] == quantity(sum(r.new_bytes for r in rows), "B")
    assert scan.forward_flops < sum(r.forward_flops for r in rows)
    assert "reverse" not in cells[2]  # the rules of the loop are those inside


def test_what_is_pruned_is_said_of_scopes_too():
    def f(x):
        with fg.scope("some"):
            y = jnp.sin(x) * fg.detach(jnp.cos(x))
        with fg.scope("none"):
            z = fg.detach(jnp.sin(jnp.cos(y)))
        return jnp.sum(y + z)

    lines = {c[0]: c for c in lines_of(fg.plan(f, X).table(None, 4))}
    assert lines["none/"][1:3] == ["f64[3,4]", "(pruned)"]
    assert len(lines["none/"]) == 4  # and no backward FLOPs
    assert lines["some/"][2] == "1 sin_x, 1 mul_x"


def test_very_many_nodes_without_scopes_have_a_line_with_their_sums():
    def f(x):
        for _ in range(200):
            x = jnp.sin(x) * 2.0
        return jnp.sum(x)

    plan = fg.plan(f, X)
    lines = lines_of(str(plan))
    (hidden,) = (c for c in lines if c[0] == "…")
    rows = plan.rows[30:-30]
    assert len(lines) == 61
    assert hidden[1:] == [
        f"{len(rows)} more",
        quantity(sum(r.new_bytes for r in rows), "B"),
        quantity(sum(r.forward_flops for r in rows)),
        quantity(sum(r.backward_flops for r in rows)),
    ]


def foreign(p):
    with fg.scope("注意力层"), jax.named_scope("ключ/é" * 20):
        y = fg.name(jnp.sin(p['重み"\n*']), "é́ ü")
        return jnp.sum(jnp.tanh(y) * y)


def many(xs):
    return sum(jnp.sum(x) for x in jax.lax.scan(lambda c, _: ([x * 1.5 for x in c], None), xs, None, length=2)[0])


PLANS = {
    "nothing": (lambda x: x, 1.0),
    "small": (lambda p, x: tower(p, x, 1), PARAMS, X),
    "folded": (lambda p, x: tower(p, x, 20), PARAMS, X),
    "loop": (rnn, W, H, XS),
    "loops": (nested, W, H, XS),
    "deep": (lambda x: jnp.sum(nest(x, 400)), X),
    "deep and folded": (lambda x: jnp.sum(nest(x, 100, 3)), X),
    "foreign": (foreign, {'重み"\n*': X}),
    "many": (
        lambda xs: sum(jnp.sum(x) for x in jax.lax.cond(True, lambda xs: [x * 2 for x in xs], list, xs)),
        [X] * 30,
    ),
}


@pytest.fixture(scope="module")
def plans():
    return {case: fg.plan(*given) for case, given in PLANS.items()}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("case", PLANS)
def test_a_table_fits_its_page(plans, case, width):
    table = plans[case].table(width, 60)
    assert max(map(columns_of, table.splitlines())) <= width
    assert table.splitlines()[0].split()[:1] == ["node"]
    assert len(plans[case].table(width).splitlines()) >= 3 + len(plans[case].rows) + WORDS


def test_deep_scopes_leave_room_for_names(plans):
    lines = plans["deep and folded"].table(60, 60).splitlines()
    assert sum("cos_x" in line for line in lines) > 30
    names = [line.split()[0] for line in lines if "cos_x" in line]
    assert all(re.match(r"cos|s\d+/", name) for name in names), names


@pytest.mark.parametrize("case", PLANS)
def test_the_table_in_full_leaves_nothing_out(plans, case):
    plan = plans[case]
    lines = plan.table().splitlines()
    assert len(lines_of(plan.table())) == len(plan.rows)
    assert "…" not in plan.table()
    names = sorted(re.split(r" \(|\s{2,}", line.strip())[0] for line in lines[2 : 2 + len(plan.rows)])
    if case != "foreign":  # whose line break is printed as something else
        assert names == sorted(r.node for r in plan.rows)


def test_columns_line_up_where_letters_are_wide(plans):
    lines = plans["foreign"].table().splitlines()
    starts = {columns_of(line[: re.search(r"[fi]64\[", line).start()]) for line in lines[2 : 2 + 4]}
    assert len(starts) == 1


def test_a_node_says_its_op_where_its_name_does_not():
    plan = fg.plan(lambda x: jnp.sum(fg.name(jnp.sin(x), "h") * fg.name(x, "again")), X)
    assert [c[0] for c in lines_of(str(plan))] == [
        "sin" if r.node == "sin" else r.node if r.node.split("#")[0] == r.op else f"{r.node} ({r.op})"
        for r in plan.rows
    ]
    assert any("(name)" in c[0] for c in lines_of(str(plan)))


def test_cells_are_shortened_before_they_are_cut():
    plan = fg.plan(lambda x, w, b: jnp.sum(ops.relu(ops.linear(x, w, b))), X, W, H, argnums=(0, 1, 2))
    linear, relu = (lambda width: lines_of(plan.table(width))[0]), (lambda width: lines_of(plan.table(width))[1])
    assert linear(None)[2:4] == ["linear_x; linear_w; linear_b", "w*, x*"]
    assert linear(72)[2] == "…_x; …_w; …_b"
    assert relu(None)[2] == "relu_x [subgradient (0 at 0)]"
    assert relu(72)[2] == "relu_x [subgradient]"
    assert plan.table(72).splitlines()[0].split() == "node shape rule keeps forward backward".split()
    assert plan.table(44).splitlines()[0].split() == "node rule keeps".split()


def test_print_fits_the_terminal_and_a_page_where_there_is_none(plans, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", None)  # no terminal
    assert str(plans["folded"]) == plans["folded"].table(100, 60)
    assert page_width() == 100
    monkeypatch.setenv("COLUMNS", "64")
    assert str(plans["folded"]) == plans["folded"].table(64, 60)


def test_what_loops_and_branches_take_of_an_argument_has_its_name():
    def loss(p, x):
        def turn(h, w):
            twice = lambda h: h @ w["w"] + w["b"]
            return jax.checkpoint(lambda h: jax.lax.cond(h.sum() > 0, twice, jnp.sin, h))(h), None

        return jnp.sum(jax.lax.scan(turn, x, p)[0])

    p = {"w": jnp.ones((2, 3, 3)), "b": jnp.ones((2, 3))}
    rows = fg.plan(loss, p, jnp.ones(3), argnums=(0, 1)).rows
    names = {row.op: set(rule.arguments) for row in rows for rule in row.rules if rule.name == "reverse"}
    assert names["scan"] == {"p/w", "p/b", "carry0"}
    assert names["cond"] == {"p/w", "p/b", "in2"}


def test_hooks_inside_of_loops_are_listed():
    rules = fg.RuleSet().hook("cell/linear", jnp.negative).hook("h", jnp.positive)
    plan = fg.plan(rnn, W, H, XS, rules=rules, argnums=(0, 1))
    (line,) = (line for line in str(plan).splitlines() if line.startswith("hooks "))
    assert line.split()[1:] == ["h:", "positive;", "cell/linear:", "negative"]
    assert {r.node: r.hooks for r in plan.rows if r.hooks} == {"cell/linear": ("negative",)}


def test_printing_takes_twice_as_much_for_twice_the_nodes():
    """Counted in calls of functions, which a busy machine does not change."""

    def deep(x, n):
        for i in range(n):
            with fg.scope(f"b{i // 5}"):
                x = jnp.sin(x)
        return jnp.sum(x)

    def calls(n, write):
        plan = fg.plan(deep, X, n)
        assert plan.rows
        count = 0

        def profile(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            write(plan)
        finally:
            sys.setprofile(None)
        return count

    for write in (str, fg.Plan.table):
        assert calls(1000, write) < 2.5 * calls(500, write)


def test_a_scene_is_the_plan_as_data(towers):
    scene = towers.scene
    assert [box.row for box in scene.all_boxes] == list(towers.rows)
    assert [box.name for box in scene.boxes] == [node.name for node in towers.structure.nodes]
    assert scene.facts.totals == towers.totals
    assert scene.facts.wanted == ("params/out", "params/w")
    makers = {wire: box for box in scene.boxes for wire in box.outputs}
    read = {(makers[wire].name, box.name) for box in scene.boxes for wire in box.inputs if wire in makers}
    made = {v: node for node in towers.structure.nodes for v in node.outputs}
    assert read == {(made[v].name, n.name) for n in towers.structure.nodes for v in n.inputs if v in made}


@pytest.mark.parametrize("given", [(rnn, W, H, XS), (nested, W, H, XS)], ids=["loop", "loops"])
def test_a_scene_says_what_goes_into_what_a_box_holds(given):
    function, *args = given
    for scene in (fg.trace(function, *args).scene, fg.plan(function, *args).scene):
        holders = [box for box in scene.all_boxes if box.scenes]
        assert holders
        for box in holders:
            for inner in box.scenes:
                assert {inside for _, inside in inner.entries} == set(inner.inputs)
                assert {outside for outside, _ in inner.entries} <= set(box.inputs)
                if box.op == "cond":  # which branch is taken is nothing that the branches read
                    assert box.inputs[0] not in {outside for outside, _ in inner.entries}
