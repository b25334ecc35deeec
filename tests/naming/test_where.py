"""A place as a value: what it is made of, how it prints, what it is no good for."""

import pickle

import pytest

import funcgrad as fg
from funcgrad.errors import GradientError, RuleError
from tests.raising import raises_sentence


def is_big(node):
    return node.flops > 10


A, RELU, BIG = fg.Where("a/*"), fg.Where(op="relu"), fg.Where(when=is_big)


@pytest.mark.parametrize(
    ("where", "text", "written"),
    [
        (A, "a/*", "fg.Where('a/*')"),
        (RELU, "op=relu", "fg.Where(op='relu')"),
        (BIG, "when=is_big", "fg.Where(when=is_big)"),
        (A | "b", "a/* | b", "fg.Where('a/*') | fg.Where('b')"),
        ("b" | A, "b | a/*", "fg.Where('b') | fg.Where('a/*')"),
        ("b" & ~A, "b & ~a/*", "fg.Where('b') & ~fg.Where('a/*')"),
        (A & (RELU | BIG), "a/* & (op=relu | when=is_big)",
         "fg.Where('a/*') & (fg.Where(op='relu') | fg.Where(when=is_big))"),
        (~(A & "b"), "~(a/* & b)", "~(fg.Where('a/*') & fg.Where('b'))"),
        (fg.Where("a/h", turn=-1), "a/h, turn=-1", "fg.Where('a/h', turn=-1)"),
        (fg.Where("a/h", turn=(0, 2)), "a/h, turn=(0, 2)", "fg.Where('a/h', turn=(0, 2))"),
        (fg.Where("a", op="relu", when=is_big), "a & op=relu & when=is_big",
         "fg.Where('a') & fg.Where(op='relu') & fg.Where(when=is_big)"),
    ],
)  # fmt: skip
def test_it_prints_as_it_is_written(where, text, written):
    assert (str(where), repr(where)) == (text, written)
    assert str(eval(written, {"fg": fg, "is_big": is_big})) == text
    assert pickle.loads(pickle.dumps(where)) == where
    assert len({where, pickle.loads(pickle.dumps(where))}) == 1


def test_places_that_are_made_alike_are_equal():
    assert fg.Where("a") == fg.Where("a") != fg.Where("b")
    assert A | RELU == A | RELU != RELU | A
    rules = [fg.RuleSet().override("relu", is_big, at=at).hook(at, is_big) for at in ("a", fg.Where("a"))]
    assert rules[0] == rules[1]
    assert hash(rules[0]) == hash(rules[1])
    assert str(rules[0]) == str(rules[1])
    other = fg.RuleSet().override("relu", is_big, at="b" & ~A)
    assert rules[0].diff(other).endswith("+ relu at 'b & ~a/*': is_big for its argument (modified)")


def test_a_set_of_rules_goes_with_its_places():
    named = fg.RuleSet().override("relu", is_big, at=BIG | "a").hook(RELU, is_big)
    assert pickle.loads(pickle.dumps(named)) == named
    with raises_sentence(
        RuleError,
        r"A RuleSet with when=<lambda> cannot be pickled, because no other process can find a function that is "
        r"defined inside another or has no name; define it at the top level of a module\.",
    ):
        pickle.dumps(fg.RuleSet().hook(A & fg.Where(when=lambda node: True), is_big))


WRONG = {
    "nothing": (lambda: fg.Where(), "none"),
    "a number": (lambda: fg.Where(3), "path=3"),
    "a number for an op": (lambda: fg.Where(op=3), "op=3"),
    "a value for a predicate": (lambda: fg.Where("a", when=True), "when=True"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_place(case):
    call, found = WRONG[case]
    with raises_sentence(
        GradientError,
        rf"fg\.Where takes a path as 'block\*/relu', op= a function or its name, when= a function of a node, or "
        rf"several of these, got {found}\.",
    ):
        call()


TURNS = {
    "no number": (
        lambda: fg.Where("a", turn="last"),
        r"fg\.Where: turn= takes the number of a turn, as -1, or in nested loops a tuple of these, got 'last'\.",
    ),
    "none": (
        lambda: fg.Where("a", turn=()),
        r"fg\.Where: turn= takes the number of a turn, as -1, or in nested loops a tuple of these, got \(\)\.",
    ),
    "no path": (
        lambda: fg.Where(op="relu", turn=0),
        r"fg\.Where: turn= goes with a path and nothing else, as fg\.Where\('cell/h', turn=-1\), got turn=0\.",
    ),
    "combined": (
        lambda: "b" | fg.Where("a", turn=-1),
        r"fg\.Where\('a', turn=-1\) is one turn of a value, which is not combined with other places; ask for several "
        r"in a list\.",
    ),
    "negated": (
        lambda: ~fg.Where("a", turn=-1),
        r"fg\.Where\('a', turn=-1\) is one turn of a value, which is not combined with other places; ask for several "
        r"in a list\.",
    ),
}


@pytest.mark.parametrize("case", TURNS)
def test_what_is_no_turn(case):
    call, sentence = TURNS[case]
    with raises_sentence(GradientError, sentence):
        call()


def test_it_is_no_condition():
    with raises_sentence(
        GradientError, r"fg\.Where\('a/\*'\) is neither true nor false; places are combined by \|, & and ~\."
    ):
        bool(A)
    with pytest.raises(TypeError, match="unsupported operand"):
        A | 3
