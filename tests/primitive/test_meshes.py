"""How arrays are cut over a mesh with explicit axes, and functions that run where the axes are automatic."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from funcgrad.primitive import cut, explicit_mesh, labelled_cut, n_parts, on_automatic_axes, on_mesh_of


def aval(mesh, *axes):
    return jax.typeof(jax.device_put(jnp.zeros((8, 4, 4)[: max(len(axes), 2)]), NamedSharding(mesh, P(*axes))))


def test_how_an_aval_is_cut():
    mesh = jax.make_mesh((2, 2), ("a", "b"))
    assert cut(aval(mesh, "a")) == ("a", None)
    assert cut(aval(mesh, ("a", "b"), None)) == (("a", "b"), None)
    assert [n_parts(aval(mesh, ("a", "b"), None), axis) for axis in (0, 1)] == [4, 1]
    assert n_parts(aval(mesh, None, "b"), 1) == 2
    assert cut(jax.typeof(jnp.zeros(3))) == (None,)
    assert n_parts(jax.typeof(jnp.zeros(3)), 0) == 1


@pytest.mark.parametrize(
    ("terms", "output", "expected"),
    [
        ([("bi", ("d", None)), ("ij", (None, None))], "bj", P("d", None)),
        ([("bi", ("d", None)), ("bj", ("d", None))], "ij", P(None, None)),  # summed over the batch
        ([("bi", (None, None)), ("b", ("d",))], "bi", P("d", None)),  # whole and cut
        ([("bi", ("d", None)), ("ic", (None, "d"))], "bc", P("d", None)),  # the first is followed
        ([("b", ("d",)), ("b", ("e",))], "b", P("d")),
        ([("bc", (("d", "e"), None)), ("cf", (None, "e"))], "bf", P(("d", "e"), None)),
        ([], "b", P(None)),
    ],
)
def test_a_result_is_cut_as_its_labels_are(terms, output, expected):
    assert labelled_cut(terms, output) == expected


def total(x, y):
    return [jnp.einsum("bi,bj->ij", x, y)]


def test_nothing_is_wrapped_without_explicit_axes():
    avals = [jax.typeof(jnp.zeros((4, 2)))]
    assert on_automatic_axes(total, avals, avals) is total
    with jax.set_mesh(jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))):
        assert on_automatic_axes(total, [jax.typeof(jnp.zeros((4, 2)))], P()) is total
    assert explicit_mesh(avals) is None


def test_what_jax_refuses_runs_on_automatic_axes():
    mesh = jax.make_mesh((4,), ("d",))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.arange(8.0).reshape(4, 2), NamedSharding(mesh, P("d")))
        with pytest.raises(Exception, match="ambiguous"):
            total(x, x)
        (found,) = on_automatic_axes(total, [jax.typeof(x)], lambda _: P())(x, x)
        assert found.tolist() == [[56.0, 68.0], [68.0, 84.0]]
        assert jax.typeof(found).sharding.spec == P(None, None)


def test_a_function_that_names_the_axes_sees_them():
    def reshards(x):
        return [jnp.sin(jax.reshard(x, P(None, "d")))]

    def fails(x):
        raise ValueError("Autumn")

    mesh = jax.make_mesh((4,), ("d",))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((4, 4)), NamedSharding(mesh, P("d")))
        (found,) = on_automatic_axes(reshards, [jax.typeof(x)], lambda _: P("d"))(x)
        assert jax.typeof(found).sharding.spec == P("d", None)
        with pytest.raises(ValueError, match="Autumn"):
            on_automatic_axes(fails, [jax.typeof(x)], lambda _: P("d"))(x)


def test_the_mesh_of_what_is_inside_auto_axes():
    mesh = jax.make_mesh((4,), ("d",))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((4, 4)), NamedSharding(mesh, P("d")))
        inside = jax.reshard(x, NamedSharding(mesh.abstract_mesh.update_axis_types({"d": AxisType.Auto}), P()))
        with on_mesh_of([None, x]):
            assert jax.sharding.get_abstract_mesh().axis_types == (AxisType.Explicit,)
        with on_mesh_of([inside]):
            assert jax.sharding.get_abstract_mesh().axis_types == (AxisType.Auto,)
            assert (inside + inside).shape == (4, 4)
