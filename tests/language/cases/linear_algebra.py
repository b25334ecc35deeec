"""Factorisations, solutions, determinants, functions of matrices."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import definite, distinct, normal, positive, regular

FAMILY = Family("linear_algebra")
case, each = FAMILY.case, FAMILY.each
linalg, scipy_linalg = jax.lax.linalg, jax.scipy.linalg
LOOSE = 4096
"""Factorisations round more than a sum does."""


def phases(x):
    """What does not depend on the arbitrary phase of an eigenvector or singular vector: its entries' moduli."""
    return jnp.abs(x) ** 2


each("numpy.linalg", "cholesky", definite(3, 3), tolerance=LOOSE)
each("numpy.linalg", "det inv slogdet", regular(3, 3), tolerance=LOOSE)
each("numpy.linalg", "det inv slogdet", regular(2, 3, 3), label="batch", tolerance=LOOSE, slow=True)
each("numpy.linalg", "det", np.array([[1.0, 2.0], [2.0, 4.0]]), label="singular", tolerance=LOOSE)
each("numpy.linalg", "pinv", normal(4, 3), tolerance=LOOSE)
each("numpy.linalg", "qr", normal(4, 3), tolerance=LOOSE)
each("numpy.linalg", "svdvals matrix_rank cond", normal(4, 3), tolerance=LOOSE)
each("numpy.linalg", "eigvals", regular(3, 3), tolerance=LOOSE)
each("numpy.linalg", "eigvalsh", definite(3, 3), tolerance=LOOSE)
case(
    "numpy.linalg.eigh",
    definite(3, 3),
    call=lambda a: (lambda w, v: (w, phases(v)))(*jnp.linalg.eigh(a)),
    tolerance=LOOSE,
)
case("numpy.linalg.eig", regular(3, 3), raises="eigenvectors of a general matrix", tolerance=LOOSE)
case(
    "numpy.linalg.svd",
    normal(4, 3),
    call=lambda a: (lambda u, s, v: (phases(u), s, phases(v)))(*jnp.linalg.svd(a, full_matrices=False)),
    tolerance=LOOSE,
)
case("numpy.linalg.svd", normal(3, 4), compute_uv=False, label="values", tolerance=LOOSE, slow=True)
case(
    "numpy.linalg.svd",
    normal(4, 3),
    full_matrices=True,
    label="full",
    raises="a full set of singular vectors of an oblong matrix",
    tolerance=LOOSE,
)
case("numpy.linalg.solve", regular(3, 3), normal(3, 2), tolerance=LOOSE)
case("numpy.linalg.solve", regular(2, 3, 3), normal(3), label="vector", tolerance=LOOSE, slow=True)
case("numpy.linalg.lstsq", normal(4, 3), normal(4), call=lambda a, b: jnp.linalg.lstsq(a, b)[0], tolerance=LOOSE)
case("numpy.linalg.multi_dot", [normal(2, 3), normal(3, 4), normal(4, 2)])
case("numpy.linalg.tensorsolve", normal(4, 2, 2), normal(4), tolerance=LOOSE)
case("numpy.linalg.tensorinv", normal(4, 2, 2), ind=1, tolerance=LOOSE)
for n in (3, -2, 0):
    case(
        "numpy.linalg.matrix_power",
        regular(3, 3),
        n=n,
        label=f"power {n}",
        tolerance=LOOSE,
        dtypes="fc" if n < 0 else None,
    )
each("numpy.linalg", "cross vecdot", normal(4, 3), normal(4, 3))
each("numpy.linalg", "outer", normal(4), normal(3))
each("numpy.linalg", "matmul", normal(2, 3, 4), normal(4, 5))
each("numpy.linalg", "tensordot", normal(3, 2, 4), normal(2, 4, 5))
each("numpy.linalg", "diagonal matrix_transpose trace", normal(3, 3))
each("numpy.linalg", "norm vector_norm", normal(3, 4))
each("numpy.linalg", "matrix_norm", normal(3, 4))
for order in (1, 2, -1, np.inf, "fro", "nuc"):
    case(
        "numpy.linalg.norm",
        normal(3, 4),
        ord=order,
        label=f"ord {order}",
        tolerance=LOOSE,
        slow=order != "nuc",
        dtypes="fc" if order in (2, "nuc") else None,
    )
for order in (0, 1, 3, -np.inf, 2.5):
    case("numpy.linalg.norm", normal(4), ord=order, label=f"vector ord {order}", slow=order != 3, tolerance=64)
case("numpy.linalg.norm", np.zeros(3), label="at zero")

case("lax.linalg.cholesky", definite(2, 3, 3), tolerance=LOOSE)
case(
    "lax.linalg.cholesky_update",
    np.triu(np.ones((3, 3))) + 2 * np.eye(3),
    normal(3),
    dtypes="fh",
    raises="a factorisation that JAX has no derivative of",
)
case("lax.linalg.eigh", definite(3, 3), call=lambda a: (lambda v, w: (phases(v), w))(*linalg.eigh(a)), tolerance=LOOSE)
case(
    "lax.linalg.eig",
    regular(3, 3),
    call=lambda a: linalg.eig(a, compute_left_eigenvectors=False, compute_right_eigenvectors=False),
    tolerance=LOOSE,
)
case("lax.linalg.lu", regular(3, 3), tolerance=LOOSE)
case("lax.linalg.lu", normal(4, 3), label="oblong", tolerance=LOOSE, slow=True)
case("lax.linalg.lu_pivots_to_permutation", np.array([1, 2, 2], np.int32), permutation_size=3)
case("lax.linalg.qr", normal(4, 3), full_matrices=False, tolerance=LOOSE)
case("lax.linalg.svd", normal(3, 4), full_matrices=False, compute_uv=False, tolerance=LOOSE)
case(
    "lax.linalg.triangular_solve",
    np.tril(np.ones((3, 3))) + np.eye(3),
    normal(3, 2),
    left_side=True,
    lower=True,
    tolerance=LOOSE,
)
case(
    "lax.linalg.triangular_solve",
    regular(3, 3),
    normal(2, 3),
    transpose_a=True,
    conjugate_a=True,
    unit_diagonal=True,
    label="conjugate",
    tolerance=LOOSE,
)
case(
    "lax.linalg.tridiagonal_solve", normal(4), np.array([4.0, 5.0, 6.0, 7.0]), normal(4), normal(4, 2), tolerance=LOOSE
)
case(
    "lax.linalg.symmetric_product",
    normal(3, 4),
    definite(3, 3),
    alpha=2.0,
    beta=0.5,
    dtypes="fh",
    raises="a factorisation that JAX has no derivative of",
)
case("lax.linalg.householder_product", normal(3, 2), normal(2), raises="a factorisation that JAX has no derivative of")
case("lax.linalg.ormqr", normal(3, 2), normal(2), normal(3, 3), raises="a factorisation that JAX has no derivative of")
case("lax.linalg.hessenberg", regular(3, 3), raises="a factorisation that JAX has no derivative of")
case("lax.linalg.schur", regular(3, 3), raises="a factorisation that JAX has no derivative of")
case("lax.linalg.tridiagonal", definite(3, 3), raises="a factorisation that JAX has no derivative of")
case("lax.linalg.qdwh", regular(3, 3), raises="an iteration of unknown length")

case("scipy.linalg.block_diag", normal(2, 2), normal(1, 3))
case("scipy.linalg.cho_factor", definite(3, 3), call=lambda a: scipy_linalg.cho_factor(a)[0], tolerance=LOOSE)
case(
    "scipy.linalg.cho_solve",
    np.triu(np.ones((3, 3))) + np.eye(3),
    normal(3),
    call=lambda c, b: scipy_linalg.cho_solve((c, False), b),
    tolerance=LOOSE,
)
each("scipy.linalg", "cholesky", definite(3, 3), tolerance=LOOSE)
each("scipy.linalg", "det inv lu", regular(3, 3), tolerance=LOOSE)
each("scipy.linalg", "expm", regular(3, 3), tolerance=LOOSE)
case("scipy.linalg.expm_frechet", regular(3, 3), normal(3, 3), tolerance=LOOSE, slow=True)
case(
    "scipy.linalg.eigh",
    definite(3, 3),
    call=lambda a: (lambda w, v: (w, phases(v)))(*scipy_linalg.eigh(a)),
    tolerance=LOOSE,
)
case(
    "scipy.linalg.eigh_tridiagonal",
    distinct(4),
    positive(3),
    eigvals_only=True,
    raises="an iteration of unknown length",
)
case(
    "scipy.linalg.lu_factor scipy.linalg.lu_solve",
    regular(3, 3),
    normal(3),
    call=lambda a, b: scipy_linalg.lu_solve(scipy_linalg.lu_factor(a), b),
    tolerance=LOOSE,
)
case("scipy.linalg.solve", regular(3, 3), normal(3), tolerance=LOOSE)
case("scipy.linalg.solve", definite(3, 3), normal(3), assume_a="pos", label="positive", tolerance=LOOSE)
case("scipy.linalg.solve_triangular", regular(3, 3), normal(3), lower=True, trans=1, tolerance=LOOSE)
case(
    "scipy.linalg.solve_sylvester",
    regular(2, 2),
    regular(3, 3),
    normal(2, 3),
    raises="a factorisation that JAX has no derivative of",
)
case("scipy.linalg.qr", normal(4, 3), mode="economic", tolerance=LOOSE)
case("scipy.linalg.qr_multiply", regular(3, 3), normal(3, 3), raises="a factorisation that JAX has no derivative of")
case("scipy.linalg.svd", normal(4, 3), compute_uv=False, tolerance=LOOSE)
case("scipy.linalg.polar", regular(3, 3), raises="an iteration of unknown length")
case("scipy.linalg.sqrtm", definite(3, 3), raises="a factorisation that JAX has no derivative of")
case(
    "scipy.linalg.funm",
    definite(3, 3),
    call=lambda a: scipy_linalg.funm(a, jnp.exp),
    raises="a factorisation that JAX has no derivative of",
)
case("scipy.linalg.schur", regular(3, 3), raises="a factorisation that JAX has no derivative of")
case("scipy.linalg.hessenberg", regular(3, 3), raises="a factorisation that JAX has no derivative of")
case("scipy.linalg.rsf2csf", regular(3, 3), regular(3, 3), tolerance=LOOSE, slow=True)
each("scipy.linalg", "circulant toeplitz hankel companion fiedler", positive(4))
each("scipy.linalg", "fiedler_companion", positive(4))
case("scipy.linalg.convolution_matrix", normal(3), n=4)
case("scipy.linalg.leslie", normal(4), normal(3))
for solver in ("cg", "bicgstab", "gmres"):
    case(
        f"scipy.sparse.linalg.{solver}",
        definite(3, 3),
        normal(3),
        call=lambda a, b, solver=solver: getattr(jax.scipy.sparse.linalg, solver)(lambda x: a @ x, b)[0],
        tolerance=1e10 if solver == "gmres" else 4096,
        slow=solver == "gmres",
    )
