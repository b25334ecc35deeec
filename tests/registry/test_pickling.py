"""An op is pickled and copied as a function is; plans, graphs and tapes say that they are of one process."""

import copy
import pickle
import subprocess
import sys

import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import GradientError, GraphError, RuleError
from tests.raising import raises_sentence

X = jnp.ones(3)


@fg.op(name="named_otherwise", replace=True)
def local_name(x):
    """The variable and the op have names of their own."""
    return 2 * x


def doubled(g):
    return 2 * g


def loss(x):
    return jnp.sum(ops.relu(x))


@pytest.mark.parametrize("op", [*fg.registry.registered().values()][:40], ids=str)
@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
def test_an_op_comes_back_as_itself(op, again):
    if op.__module__.startswith("funcgrad"):
        assert again(op) is op
    assert again(local_name) is local_name


def test_an_op_comes_back_in_another_process():
    code = "import pickle, sys; op = pickle.load(sys.stdin.buffer); import funcgrad as fg; assert op is fg.ops.relu"
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(ops.relu), check=True)


def test_a_set_of_rules_comes_back_equal():
    rules = fg.RuleSet().override(ops.relu, doubled, kind=fg.surrogate(of=loss), at="**/relu")
    again = pickle.loads(pickle.dumps(rules))
    assert again == rules
    assert fg.grad(loss, rules=again)(X)[0] == 2.0
    of_this_process = fg.RuleSet().override(ops.relu, lambda g: g)
    assert copy.deepcopy(of_this_process) == of_this_process


def test_a_local_op_cannot_be_pickled_and_is_copied():
    op = fg.op(name="of_a_test", replace=True)(lambda x: x * 2)
    with raises_sentence(
        RuleError,
        r"op of_a_test cannot be pickled: it is defined inside a function, so that no other process can find it; "
        r"define it at the top level of a module\.",
    ):
        pickle.dumps(op)
    assert copy.deepcopy({"op": op})["op"] is op


def test_a_replaced_op_cannot_be_pickled():
    old = fg.op(name="replaced_in_a_test", replace=True)(loss)
    fg.op(name="replaced_in_a_test", replace=True)(loss)
    with raises_sentence(RuleError, r"op replaced_in_a_test cannot be pickled: it was replaced, so that .*"):
        pickle.dumps(old)


def test_an_op_that_the_module_no_longer_defines():
    gone = pickle.dumps(local_name).replace(b"named_otherwise", b"named_elsewhere")
    with raises_sentence(
        RuleError,
        r"op named_elsewhere cannot be unpickled: module tests\.registry\.test_pickling defines no op of this name\.",
    ):
        pickle.loads(gone)


def test_a_set_with_a_rule_without_a_name_cannot_be_pickled():
    with raises_sentence(
        RuleError,
        r"A RuleSet with rule <lambda> cannot be pickled, because no other process can find a function that is defined "
        r"inside another or has no name; define it at the top level of a module\.",
    ):
        pickle.dumps(fg.RuleSet().override(ops.relu, lambda g: g))


@pytest.mark.parametrize("again", [pickle.dumps, copy.copy, copy.deepcopy])
def test_plans_graphs_and_tapes_are_of_one_process(again):
    with raises_sentence(
        GradientError, r"A plan cannot be pickled or copied; pickle the function, and plan it again with fg\.plan\."
    ):
        again(fg.plan(loss, X))
    with raises_sentence(
        GraphError, r"A graph cannot be pickled or copied; pickle the function, and trace it again with fg\.trace\."
    ):
        again(fg.trace(loss, X))
    with raises_sentence(GradientError, r"A tape cannot be pickled or copied; record it again with fg\.record\."):
        again(fg.record(loss, X)[1])
