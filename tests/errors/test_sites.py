"""Places that make an error are found in any source, and an error is traced to its own."""

import jax.numpy as jnp
import pytest

import funcgrad as fg
from funcgrad.errors import ShapeError
from tests.errors.sites import Site, all_sites, site_of

SOURCE = '''
class Ours(ValueError):
    """Of the package."""

class Wrong(Exception):
    """Internal."""

class Op:
    def call(self, x):
        def inner(y):
            raise Ours(f"{self}: y must be [n], "
                       f"got {y}.") from None
        if x:
            raise ValueError("x must be 0")
        if x is None:
            raise Wrong("never seen")
        error = builtins.TypeError(message(x))
        raise error
'''


@pytest.fixture
def sites(tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "a.py").write_text(SOURCE)
    return all_sites(tmp_path)


def test_they_are_found_with_what_they_say(sites):
    places = [("Op.call.inner", "Ours"), ("Op.call", "ValueError"), ("Op.call", "TypeError")]
    assert [(s.function, s.kind) for s in sites] == places
    assert {s.module for s in sites} == {"ops/a.py"}


@pytest.mark.parametrize("raised", ["ValueError", "ValueError()", "errors.ShapeError()"])
def test_an_error_without_a_sentence_is_refused(raised, tmp_path):
    (tmp_path / "a.py").write_text(f"class ShapeError(Exception): pass\n\ndef f():\n    raise {raised}\n")
    with pytest.raises(AssertionError, match=r"a\.py, line 4: an error without a sentence"):
        all_sites(tmp_path)


def test_a_template_takes_anything_in_its_holes_and_nothing_else_elsewhere(sites):
    ours = sites[0]
    assert ours.matches("block/op: y must be [n], got f32[2].")
    assert not ours.matches("block/op: y must be [m], got f32[2].")
    assert not ours.matches("before; block/op: y must be [n], got f32[2]. And after")


def test_a_reason_stands_within_a_sentence(sites):
    assert sites[1].matches("op: cannot take x: f32[]; x must be 0.")
    assert not sites[1].matches("op: cannot take x: f32[]; x must be 1.")


def test_an_error_and_its_reason_are_traced_to_their_functions():
    with pytest.raises(ShapeError) as info:
        fg.ops.huber(jnp.ones(3), jnp.ones(3), delta=0)
    error, sentence = info.value, str(info.value)
    outer, inner = site_of(error, sentence), site_of(error.__cause__, sentence)
    assert (outer.module, outer.function, outer.kind) == ("registry/call.py", "Call.check", "ShapeError")
    assert (inner.module, inner.function, inner.kind) == ("ops/losses.py", "huber", "ValueError")


def test_of_two_that_fit_the_nearest_is_taken():
    with pytest.raises(ShapeError) as info:
        fg.ops.einsum("ij,jk->ik", jnp.ones((3, 4)), jnp.ones((5, 6)))
    reason = site_of(info.value.__context__, str(info.value))
    assert isinstance(reason, Site)
    assert "in operand" not in reason.template.replace("\\", "")


def test_an_error_of_another_library_has_no_place():
    with pytest.raises(TypeError) as info:
        jnp.ones(3) @ jnp.ones(4)
    assert site_of(info.value, str(info.value)) is None
