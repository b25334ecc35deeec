"""Pictures of graphs with hostile names: read back by parsers of our own, they are what the graph is called."""

import html
import html.parser
import re

import jax
import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.naming import escape, printable
from tests.view.test_text import nested_scopes

X = jnp.linspace(-1.0, 1.0, 3)
HOSTILE = [
    "<img onerror=x>",
    "<script>alert(1)</script>",
    "a & b &amp; c",
    "100 %% comment %%{init: {}}%%",
    "`markdown`",
    'quo"te',
    "[brackets](x){y}|z|",
    "line\nbreak\\n",
    "#quot; #35; $$x$$",
    "end",
    "ü → ∂",
]


def graph(text):
    """A hostile argument name and key, scope, value name and node, also inside of a loop."""

    def f(p, **named):
        with jax.named_scope(text):
            y = fg.name(jnp.sin(p[text]) * 2, text) + 1
            return jax.lax.scan(lambda c, r: (c + jnp.cos(r), r), y, named[text])[0].sum()

    return fg.trace(f, {text: X}, **{text: jnp.ones((2, 3))})


def parts(text):
    """The names in the picture of such a graph, as they are printed."""
    scope = printable(escape(text))
    return {scope, f"{scope}/sin", f"{scope}/scan", f"p/{scope}: f64[3]", f"{scope}: f64[2,3]"}


LABEL = r'"((?:[^"\\]|\\.)*)"'


def mermaid_text(quoted):
    """What mermaid.js shows of a quoted label; an error for whatever it could take for something else."""
    assert not re.search(r"[<>&`%$\\]", quoted.replace("<br>", ""))
    decoded = re.sub(r"#(\d+);", lambda m: chr(int(m[1])), quoted.replace("<br>", "\n").replace("#quot;", '"'))
    assert not re.sub(r"#(\d+|quot);", "", quoted).count("#")
    return decoded.split("\n")[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_mermaid_shows_every_name(text):
    lines = graph(text).to_mermaid().splitlines()
    assert lines[0] == "flowchart TD"
    box = re.compile(r' *(?:subgraph )?(n\d+)(?:\(\[|\[\[|\[)"([^"]*)"(?:\]\)|\]\]|\])')
    arrow = re.compile(r'  (n\d+) --> \|"[^"]*"\| (n\d+)')
    shown = {}
    for line in lines[1:]:
        if found := box.fullmatch(line):
            shown[found[1]] = mermaid_text(found[2])
        else:
            assert arrow.fullmatch(line) or line.strip() == "end" or re.fullmatch(r"  n\d+\(\[return\]\)", line), line
    assert parts(text) <= set(shown.values())


@pytest.mark.parametrize("text", HOSTILE)
def test_dot_shows_every_name(text):
    lines = graph(text).to_dot().splitlines()
    label = rf"label=(?:{LABEL}|return)"
    forms = (
        r"digraph \{",
        r"  node \[shape=box\];",
        r" *subgraph cluster_n\d+ \{",
        r" *\}",
        rf" *{label};",
        rf" *n\d+ \[{label}(?:, shape=\w+)?\];",
        rf"  n\d+ -> n\d+ \[{label}\];",
    )
    shown = set()
    for line in lines:
        found = next((m for form in forms if (m := re.fullmatch(form, line))), None)
        assert found, line
        for quoted in filter(None, found.groups()):
            assert not re.search(r"[<>`%]", quoted)
            first = re.sub(r"(?<!\\)((?:\\\\)*)\\n.*", r"\1", quoted)
            shown.add(html.unescape(first.replace('\\"', '"').replace("\\\\", "\\")))
    assert parts(text) <= shown


class Page(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = set(), [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_html_has_no_tags_but_ours(text):
    page = Page(graph(text)._repr_html_())
    assert page.tags <= {"div", "details", "summary", "b"}
    assert not page.open
    shown = "".join(page.text)
    assert all(part in shown for part in parts(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_and_table_keep_a_name_on_its_line(text):
    traced = graph(text)
    assert len(str(traced).splitlines()) == 2 + len(list(traced.structure.all_nodes))
    plan = fg.plan(lambda p: (fg.name(jnp.sin(p[text]), text) ** 2).sum(), {text: X})
    assert len(str(plan).splitlines()) == 1 + 1 + len(plan.rows) + 1 + 5


def test_deep_scopes_are_drawn():
    traced = nested_scopes(400)
    assert traced.to_mermaid().count("subgraph") == 400
    assert traced.to_dot().count("subgraph") == 400
    assert traced._repr_html_().count("<details") == 400
