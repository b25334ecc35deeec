"""A graph can be read at 20 nodes and at 2,000: as text, as Mermaid, as DOT, as HTML."""

import re

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.planning.test_branches import two
from tests.planning.test_loops import XS, H, W, nested, rnn

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
    assert "linear(scan/carry0, scan/in0) -> cell/linear: f64[4]" in lines[2]
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
    assert "a#quot;<b>" in graph.to_mermaid()
    assert 'a\\"<b>' in graph.to_dot()
    assert "a&quot;&lt;b&gt;" in graph._repr_html_()
