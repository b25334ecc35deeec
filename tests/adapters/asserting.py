"""What every test of a foreign model asks."""

import jax
import numpy as np

import funcgrad as fg


def assert_same(found, expected, tolerance=1e-5):
    """One structure, and equal arrays up to float32 rounding of their norm."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array) == isinstance(b, jax.Array)
        assert (a.shape, a.dtype, getattr(a, "weak_type", None)) == (b.shape, b.dtype, getattr(b, "weak_type", None))
        if jax.numpy.issubdtype(b.dtype, jax.dtypes.extended):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b) + 1e-6 * a.size


def scopes(function, *args):
    """Where the nodes of a traced function stand, in loops too, in the order of first use.

    Equations of an einsum are no places.
    """
    found = [node.scope for node in fg.trace(function, *args).structure.all_nodes]
    return list(dict.fromkeys("/".join(p for p in scope.split("/") if "->" not in p) for scope in found))
