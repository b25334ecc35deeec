r"""One language for places: globs, escapes, names that are unique, what is meant by a name that nothing has."""

import collections

import jax
import pytest

from funcgrad.errors import GradientError, GraphError
from funcgrad.naming import Names, choose, escape, is_glob, matches, name, paths_of, printable, scope, suggest
from tests.raising import raises_sentence


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("relu", "relu", True),
        ("relu", "block/relu", False),
        ("*/relu", "block/relu", True),
        ("*/relu", "a/b/relu", False),
        ("**/relu", "a/b/relu", True),
        ("**/relu", "relu", True),
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**", "ab/c", False),
        ("**", "anything/at#2/all", True),
        ("**", "with\na line break", True),
        ("block*/relu#2", "block12/relu#2", True),
        ("a.c", "abc", False),
        (r"w\*", r"w\*", True),
        (r"w\*", "wx", False),
        (r"**/w\**", r"p/w\*1", True),
        (r"h\#2", "h#2", True),
        (r"a\/b", r"a\/b", True),
        (r"a\/b", "a/b", False),
        ("a/b", r"a\/b", False),
        ("*", r"a\/b", True),
        ("a/*", r"a\/b", False),
        (r"\\*", r"\\x", True),
    ],
)
def test_globs_and_escapes(glob, name, expected):
    assert matches(glob, name) is expected


@pytest.mark.parametrize("text", ["plain", "w*", "**", "a\\b", "\\*", "h#2", "a.b[c](d)", "\\", "line\nbreak", "ü"])
def test_a_name_stands_for_itself_and_nothing_else(text):
    others = ["w", "wx", "ab", "h", "h2", "", "a.b", "\\\\x"]
    assert not is_glob(escape(text))
    assert choose(escape(text), [escape(text), *others]) == [escape(text)]
    assert choose(escape(text), others) == []


def test_a_slash_in_a_key_may_be_written_either_way_where_nothing_is_confused():
    assert choose(r"p/a\/b", ["p/a/b", "p/c"]) == ["p/a/b"]
    assert choose("p/a/b", [r"p/a\/b", "p/c"]) == [r"p/a\/b"]
    assert choose("p/a/b", [r"p/a\/b", "p/a/b"]) == ["p/a/b"]
    assert choose(r"p/a\/b", [r"p/a\/b", "p/a/b"]) == [r"p/a\/b"]
    assert choose(r"p/a/b/*", [r"p/a\/b/c", r"p/a/b\/c"]) == [r"p/a\/b/c", r"p/a/b\/c"]
    with raises_sentence(
        GradientError,
        r"'p/a/b/c' could be 'p/a\\/b/c' or 'p/a/b\\/c', whose keys have slashes; write the one that is meant, as a "
        r"raw string\.",
    ):
        choose("p/a/b/c", [r"p/a\/b/c", r"p/a/b\/c"])


Pair = collections.namedtuple("Pair", "first second")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"fc": {"w": 1}, "list": [2, 3]}, ["fc/w", "list/0", "list/1"]),
        ({"mlp/~/linear_0": {"w": 1}}, ["mlp/~/linear_0/w"]),  # as Haiku writes its paths
        ({"a/b": 1, "a": {"b": 2}}, ["a/b", r"a\/b"]),
        ({"a/b": {"c": 1}, "a": {"b/c": 2, "b": {"c": 3}}}, ["a/b/c", r"a/b\/c", r"a\/b/c"]),
        ({"w*": 1, "c\\d": 2}, [r"c\\d", r"w\*"]),
        (collections.OrderedDict([(1, 0), ("1", 0), ("1#2", 0)]), ["1", "1#3", "1#2"]),
        (Pair(1, (2,)), ["first", "second/0"]),
        (7, [""]),
    ],
)
def test_every_leaf_has_a_path_of_its_own(tree, expected):
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert paths_of(paths) == expected
    assert len(set(expected)) == len(expected)


def test_what_is_reserved_is_given_to_who_comes_for_it():
    names = Names(taken=["x"], reserved=["h#2", "h", "x"])
    assert [names.give("h") for _ in range(2)] == ["h#3", "h#4"]
    assert [names.give("h", is_reserved=True) for _ in range(2)] == ["h", "h#5"]
    assert names.give("h#2", is_reserved=True) == "h#2"
    assert names.give("x", is_reserved=True) == "x#2"


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("blk/rellu", "did you mean 'blk/relu'?"),
        ("h1", "did you mean 'blk/h1'?"),
        ("other/h1", "did you mean 'blk/h1'?"),
        ("block/relu", "did you mean 'blk/relu'?"),
        ("hl", ""),
        ("completely different", ""),
    ],
)
def test_a_name_that_nothing_has_is_near_to_one(wrong, near):
    assert suggest(wrong, ["x", "blk/relu", "blk/h1", "out"]).replace(" or 'out'", "") == near


def test_names_stay_on_their_line():
    assert printable("a\nb\tc\x7f") == "a␊b␉c\ufffd"
    assert printable("w\\*/ü") == "w\\*/ü"


@pytest.mark.parametrize("label", ["", "/", " "])
def test_an_empty_name_is_none(label):
    with raises_sentence(GraphError, rf"fg\.name takes a name such as 'h1', got '{label}'\."):
        name(1.0, label)


def test_a_name_is_a_string():
    with raises_sentence(GraphError, r"fg\.name in 'block' takes a name such as 'h1', got 3\."), scope("block"):
        name(1.0, 3)
    with raises_sentence(GraphError, r"fg\.scope takes a name such as 'h1', got ''\."), scope(""):
        pass
