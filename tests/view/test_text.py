"""A graph can be read at 20 nodes and at 2,000: as text, as Mermaid, as DOT, as HTML."""

import contextlib
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.view import to_text
from funcgrad.view.folding import Folder, fold, open_folders, shown_as
from tests.planning.holders.test_branches import two
from tests.planning.holders.test_loops import XS, H, W, nested, rnn

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)


def tower(params, x, depth):
    with fg.scope("tower"):
        for i in range(depth):
            with fg.scope(f"block{i}"):
                h = x
                for _ in range(5):
                    h = ops.tanh(ops.linear(h, params["w"]))
                x = x + h
    with fg.scope("head"):
        return jnp.sum(ops.linear(x, params["out"]))


PARAMS = {"w": W, "out": W}


def test_a_small_graph_shows_every_node_and_what_is_in_loops():
    lines = str(fg.trace(rnn, W, H, XS)).splitlines()
    assert lines[0] == "graph(w: f64[4,4], h: f64[4], xs: f64[3,4])"
    assert lines[1].split() == "scan scan(w, h, xs) -> scan.0: f64[4], scan.1: f64[3,4]".split()
    assert lines[2].startswith("    cell/linear ")
    assert "linear(scan/carry0, scan/w) -> cell/linear: f64[4]" in lines[2]
    assert lines[-1] == "  return add"


def test_a_large_graph_is_folded_by_scope_and_what_is_alike_is_one_line():
    graph = fg.trace(lambda params, x: tower(params, x, 200), PARAMS, X)
    assert len(graph.nodes) > 2000
    text = str(graph)
    assert len(text.splitlines()) < 15
    assert "tower/block0/ … tower/block199/  200 alike, each 11 nodes (5 linear, 5 tanh, 1 add) -> f64[3,4]" in text
    assert "head/linear" in text


def test_a_long_graph_without_scopes_shows_its_ends():
    def f(x):
        for _ in range(1000):
            x = jnp.sin(x) * 2.0
        return x

    lines = str(fg.trace(f, X)).splitlines()
    assert len(lines) < 70
    assert any(line.split() == ["…", "1940", "more"] for line in lines)
    assert lines[1].split()[0] == "sin"
    assert lines[-2].split()[0] == "mul#1000"


def towers(params, x):
    """Names and lists of arguments that are too long for a page, in scopes too deep for one."""
    scopes = [fg.scope(f"a_block_with_a_long_name{i}") for i in range(9)]
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        x = ops.tanh(ops.linear(x, params["the_first_of_all_weights"]))
        x = fg.name(ops.linear(x, params["the_second_of_all_weights"]), "hidden") * params["a_factor_for_everything"]
    return x, jnp.sum(x)


def nested_turns(x, depth=14):
    f = jnp.tanh
    for _ in range(depth):
        f = partial(lambda f, x: jax.lax.scan(lambda c, _: (f(c), None), x, None, 2)[0], f)
    return f(x)


LONG = {"the_first_of_all_weights": W, "the_second_of_all_weights": W, "a_factor_for_everything": jnp.ones((3, 4))}


@pytest.mark.parametrize("width", [50, 72, 100])
def test_a_graph_fits_the_page(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for graph in (fg.trace(towers, LONG, X), fg.trace(nested_turns, X), fg.trace(tower, PARAMS, X, 200)):
        lines = str(graph).splitlines()
        assert max(map(len, lines)) <= width
        assert max(len(line) - len(line.lstrip()) for line in lines) <= width // 5


def test_what_is_too_long_is_shortened_before_it_is_cut():
    scene, box = fg.trace(towers, LONG, X).scene, "a_block_with_a_long_name"
    whole, page = (to_text(scene, width=width).splitlines() for width in (None, 100))
    path = "/".join(f"{box}{i}" for i in range(9))
    line = f"  {path}/linear    linear(x, params/the_first_of_all_weights) -> {path}/linear: f64[3,4]"
    assert whole[1].split() == line.split()
    assert whole[3].endswith(f"-> {path}/hidden: f64[3,4]")
    assert page[:3] == [
        "graph(params/a_factor_for_everything: f64[3,4], params/the_first_of_all_weights: f64[4,4],",
        "      params/the_second_of_all_weights: f64[4,4], x: f64[3,4])",
        f"  **/{box}8/linear    linear(x, params/the_first_of_all_weights) -> f64[3,4]",
    ]
    assert page[4].split()[-2:] == ["**/hidden:", "f64[3,4]"]  # which is not the name of the node


def test_many_inputs_are_counted():
    params = {f"w{i}": W for i in range(20)}
    text = str(fg.trace(lambda params, x: sum(jnp.sum(x @ w) for w in params.values()), params, X))
    assert text.splitlines()[0] == "graph(params: 20 arrays, x: f64[3,4])"


GRAPHS = {
    "small": (rnn, W, H, XS),
    "nested": (nested, W, H, XS),
    "branches": (two, X, W),
    "large": (lambda params, x: tower(params, x, 200), PARAMS, X),
    "output is an input": (lambda x: (x, jnp.sin(x), 3.0), X),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_every_arrow_of_a_mermaid_picture_joins_two_boxes(case):
    function, *args = GRAPHS[case]
    text = fg.trace(function, *args).to_mermaid()
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    boxes = set(re.findall(r"^ *(?:subgraph )?(n\d+)[(\[]", text, re.MULTILINE))
    arrows = [re.fullmatch(r'  (n\d+) --> \|".*"\| (n\d+)', line) for line in lines if "-->" in line]
    assert arrows
    assert all(arrows)
    assert {end for a in arrows for end in a.groups()} <= boxes
    assert len(re.findall(r"^ *subgraph ", text, re.MULTILINE)) == sum(line.strip() == "end" for line in lines)
    assert len(lines) < 300


@pytest.mark.parametrize("case", GRAPHS)
def test_every_arrow_of_a_dot_picture_joins_two_boxes(case):
    function, *args = GRAPHS[case]
    text = fg.trace(function, *args).to_dot()
    boxes = set(re.findall(r"^ *(n\d+) \[label", text, re.MULTILINE))
    arrows = re.findall(r"^  (n\d+) -> (n\d+) ", text, re.MULTILINE)
    assert arrows
    assert {end for arrow in arrows for end in arrow} <= boxes
    assert text.count("{") == text.count("}")


def test_arrows_are_those_of_the_graph():
    text = fg.trace(lambda x, w: ops.relu(ops.linear(x, w)), X, W).to_mermaid()
    names = dict(re.findall(r'(n\d+)\(?\["?\(?"?([^"\]<)]*)', text))
    found = {(names[a].split(":")[0], names[b]) for a, b in re.findall(r"(n\d+) --> .* (n\d+)", text)}
    assert found == {("x", "linear"), ("w", "linear"), ("linear", "relu"), ("relu", "return")}


def test_a_notebook_shows_scopes_that_open():
    html = fg.trace(lambda params, x: tower(params, x, 20), PARAMS, X)._repr_html_()
    assert html.count("<details") == html.count("</details>") == 22
    assert html.count("<div") == html.count("</div>")
    assert "<details open><summary>tower/" in html
    assert "<details><summary>tower/block0/" in html


def test_names_are_escaped():
    def f(x):
        with jax.named_scope('a"<b>'):
            return jnp.sin(x)

    graph = fg.trace(f, X)
    assert "a#quot;#60;b#62;" in graph.to_mermaid()
    assert 'a\\"&#60;b&#62;' in graph.to_dot()
    assert "a&quot;&lt;b&gt;" in graph._repr_html_()


def nest(x, n, width=1):
    if n == 0:
        return jnp.sin(x)
    with fg.scope(f"s{n}"):
        for _ in range(width - 1):
            x = jnp.cos(x)
        return nest(x, n - 1, width)


def nested_scopes(n, width=1):
    return fg.trace(nest, X[0], n, width)


def test_deep_scopes_are_printed():
    lines = str(nested_scopes(400)).splitlines()
    assert len(lines) == 3  # one node: its scopes need no lines
    lines = str(nested_scopes(400, width=3)).splitlines()  # more nodes than there is room for: folded
    assert len(lines) < 200
    assert "s400/" in lines[1]
    plan = fg.plan(nest, X[0], 400)
    assert plan.rows[0].node.count("/") == 400
    assert len(str(plan).splitlines()) == 9


def test_lines_stand_in_topological_order_across_scopes():
    def f(x):
        with fg.scope("a"):
            x = jnp.sin(x)
        with fg.scope("b/c"):
            y = jnp.cos(x)
        with fg.scope("a"):  # apart from b: stays with the first a
            z = jnp.tan(x)
        with fg.scope("a/d"):  # reads what is made in b
            y = jnp.exp(y)
        with fg.scope("b/c"):  # and b reads that
            y = jnp.log(y)
        return y * z

    graph = fg.trace(f, X)
    order = [line.split()[0] for line in str(graph).splitlines()[1:-1]]
    assert order == ["a/sin", "a/tan", "b/c/cos", "a/d/exp", "b/c/log", "mul"]
    folded = [line.split()[0] for line in to_text(graph.scene, most=5).splitlines()[1:-1]]
    assert folded == ["a/", "b/", "a/", "b/", "mul"]


@pytest.mark.parametrize("most", [3, 10, 20, 60, 1000])
def test_whatever_is_folded_every_item_stands_after_what_it_reads(most):
    """Random programs whose scopes are entered again and again."""
    rng = np.random.default_rng(most)

    def f(x):
        made = [x]
        for _ in range(40):
            scope = "/".join(rng.choice(["a", "b", "c"], size=rng.integers(1, 4)))
            a, b = rng.integers(max(0, len(made) - 8), len(made), size=2)
            with fg.scope(scope):
                made.append(made[a] * made[b])
        return made

    scene = fg.trace(f, X).scene
    root = fold(scene)
    opened = open_folders(root, most)
    drawn = shown_as(root, opened)
    order, waiting = {}, [root]
    while waiting:
        item = waiting.pop()
        if item in opened:
            waiting += reversed(item.items)
        else:
            order[item] = len(order)
    maker = {v: box for box in scene.boxes for v in box.outputs}
    for box in scene.boxes:
        for v in box.inputs:
            if v in maker:
                assert order[drawn[maker[v]]] <= order[drawn[box]]
    assert sum(len(list(item.boxes)) if isinstance(item, Folder) else 1 for item in order) == len(scene.boxes)


def test_numbers_are_printed_as_numbers():
    text = str(fg.trace(lambda x: (x * 2 - 1, x.astype(np.int32) + jnp.int32(-1), x > 0.5), X))
    assert "Typed" not in text
    for number in ("2.0", "1.0", "-1", "0.5"):
        assert f", {number})" in text
    inner = jax.jit(lambda x: x @ np.asarray(W))
    assert "dot_general(x, f64[4,4])" in str(fg.trace(lambda x: inner(x), X))


def test_a_node_of_many_values_has_a_line_that_can_be_read():
    def f(xs):
        return jax.lax.scan(lambda c, r: ([x * 1.5 for x in c], None), xs, None, length=2)[0]

    traced = fg.trace(f, [X] * 30)
    assert str(traced).splitlines()[1].split("->")[1] == " f64[3,4], f64[3,4], f64[3,4], f64[3,4] and 26 more"
    whole = to_text(traced.scene)
    assert max(map(len, whole.splitlines())) < 400
    assert "and 22 more) -> scan.0: f64[3,4]" in whole
