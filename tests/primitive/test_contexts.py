"""What decides a trace is asked of JAX, and every cache of the library that traces is keyed on it."""

import ast
import gc
import importlib
import pathlib
import weakref
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import funcgrad as fg
from funcgrad.checking.rules.cases import Case
from funcgrad.checking.rules.oracles import oracle
from funcgrad.checking.rules.rule_traces import trace_rule
from funcgrad.planning.sharing import MANY
from funcgrad.primitive import current_context, traced_once
from funcgrad.primitive.contexts import TracedOnce

X = jnp.linspace(0.5, 1.5, 3)
USER = jax.make_user_context(0)


@fg.op(name="bent_in_contexts", replace=True)
def bent(x):
    """An op whose J^T is derived."""
    return jnp.sin(x) * x


@fg.op(name="ruled_in_contexts", replace=True)
def ruled(x):
    """An op with a rule."""
    return 2 * x


@ruled.pullback("x")
def ruled_x(g):
    return 2 * g


def multiplied(x):
    """Equations of JAX without a written rule, as many alike as share a trace."""
    for _ in range(MANY):
        x = jax.lax.cumprod(x)
    return jnp.sum(x)


# A module and its cache, and something that fills it.
ROWS = {
    "primitive.binding:_jitted": lambda: bent(X),
    "registry.call:_trace": lambda: bent(X),
    "registry.call:_outline": lambda: bent(X),
    "graph.flops:flops_of_call": lambda: fg.trace(bent, X).nodes[0].flops,
    "planning.pullbacks:_derived_pull": lambda: fg.plan(lambda x: jnp.sum(bent(x)), X),
    "planning.pullbacks:_equation_pull": lambda: fg.plan(multiplied, X),
    "planning.sharing:_jitted": lambda: fg.plan(multiplied, X),
    "planning.custom_tangents:_links": lambda: fg.plan(lambda x: jnp.sum(jax.nn.relu(x)), X),
    "planning.custom_tangents:_transpose": lambda: fg.plan(lambda x: jnp.sum(jax.nn.relu(x)), X),
    "checking.rules.flat_ops:compiled": lambda: FLAT.pull,
    "checking.rules.oracles:oracle": lambda: oracle(FLAT),
    "checking.rules.rule_traces:trace_rule": lambda: trace_rule(FLAT, ruled.rules["x"]),
}
FLAT = Case(ruled, fg.registry.Example((X,), {})).flat
# Caches that trace nothing, and why they may be.
OTHERS = {
    "primitive.binding:named": "a pair of primitives for each name that an op ever had",
    "primitive.contexts:_remember": "JAX's own, which says what a context is",
    "primitive.contexts:_contexts": "what JAX remembers, weakly",
    "graph.tracing:_bodies": "jitted functions opened, weakly by their jaxprs, which are of one context",
    "primitive.jaxprs:_holding": "a fact about a jaxpr, weakly",
    "primitive.jaxprs:_sizes": "a fact about a jaxpr, weakly",
    "primitive.nesting:_scoped": "a fact about a jaxpr, weakly",
    "primitive.nesting:_scope_in": "reads a stack of names",
    "graph.tracing:_below": "joins names",
    "registry.op:_OPS": "the ops themselves, by name: one that is replaced goes",
    "registry.rows:_ROWS": "the rules written down for primitives",
    "registry.equation:_names_of": "what operands of these names are called by rules",
    "primitive.parameter_names:_names_of_primitive": "the parameters of JAX's functions",
    "ops.equations.guards:_is_floating": "a fact about a dtype",
    "ops.equations.guards:_is_inexact": "a fact about a dtype",
    "graph.gathering:cache": "within one graph: what a function writes for an array",
    "naming.patterns:_compiled": "compiles patterns of names",
    "budget.choosing:frontier": "choices for numbers",
    "budget.choosing:_whole": "likewise",
    "planning.fitting:tried": "within one plan",
    "planning.turns:cut": "within one plan",
    "checking.rules.oracles:cache": "within one oracle, which is of one context",
}


def caches_of(path):
    """What remembers in a module: decorated functions, calls of decorators, containers that start empty."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    remembering = ("lru_cache", "cache", "traced_once")
    name_of = lambda node: getattr(node, "id", getattr(node, "attr", None))
    decorators = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for d in node.decorator_list:
                decorators.update(ast.walk(d))
                if name_of(d.func if isinstance(d, ast.Call) else d) in remembering:
                    yield f"{module}:{node.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in decorators and name_of(node.func) in remembering:
            yield f"{module}:{name_of(node.func)}"
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_empty_container(node.value):
            yield f"{module}:{name_of(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])}"


def is_empty_container(value):
    if isinstance(value, ast.Call) and not value.args:
        return getattr(value.func, "id", "") in (
            *("dict", "set", "list", "WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "OrderedDict"),
            *("defaultdict", "deque"),
        )
    return isinstance(value, ast.Dict | ast.List) and not (getattr(value, "keys", None) or getattr(value, "elts", None))


PACKAGE = pathlib.Path(fg.__file__).parent


def test_every_cache_has_a_row():
    found = {c for path in PACKAGE.rglob("*.py") if "adapters" not in path.parts for c in caches_of(path)}
    assert found == set(ROWS) | set(OTHERS)


@pytest.mark.parametrize("first_is_highest", [False, True])
@pytest.mark.parametrize("row", ROWS)
def test_what_was_traced_in_one_context_is_not_used_in_another(row, first_is_highest, monkeypatch):
    module, name = row.split(":")
    cache = getattr(importlib.import_module(f"funcgrad.{module}"), name)
    made, make = [], cache.function
    note = lambda: made.append(jax.config.jax_default_matmul_precision)
    monkeypatch.setattr(cache, "function", lambda *key: note() or make(*key))
    jax.clear_caches()
    for highest in (first_is_highest, not first_is_highest):
        before = len(made)
        with jax.default_matmul_precision("highest") if highest else nullcontext():
            ROWS[row]()
            assert made[before:], "the row does not use the cache"
            assert set(made[before:]) == {"highest" if highest else None}
            n = len(made)
            ROWS[row]()
            assert len(made) == n, "the cache forgets"


def mesh_of_one():
    return jax.sharding.use_abstract_mesh(jax.make_mesh((1,), ("x",), axis_types=(AxisType.Explicit,)).abstract_mesh)


@pytest.mark.parametrize(
    "enter",
    [
        lambda: jax.default_matmul_precision("highest"),
        lambda: jax.enable_x64(False),
        lambda: jax.numpy_dtype_promotion("standard"),
        lambda: jax.numpy_rank_promotion("allow"),
        lambda: jax.threefry_partitionable(False),
        lambda: jax.default_prng_impl("rbg"),
        lambda: jax.enable_custom_prng(True),
        lambda: jax.softmax_custom_jvp(not jax.config.jax_softmax_custom_jvp),
        lambda: jax.disable_jit(),
        lambda: USER(3),
        mesh_of_one,
    ],
)
def test_a_setting_that_decides_a_trace_is_a_context_of_its_own(enter):
    outside = current_context()
    with enter():
        inside = current_context()
        assert inside == current_context()
    assert inside != outside
    assert current_context() == outside


def test_the_name_and_size_of_a_mapped_axis_are_a_context_of_their_own():
    def numbers(*sizes_and_names):
        return [
            jax.vmap(lambda _: seen.append(current_context()), axis_name=a)(jnp.ones(n)) for n, a in sizes_and_names
        ]

    seen = []
    numbers((2, "i"), (3, "i"), (2, "j"), (2, "i"))
    assert len(set(seen)) == 3
    assert seen[0] == seen[3]


def test_what_a_context_holds_goes_with_the_caches_of_jax():
    class Big: ...

    held = []

    @traced_once()
    def make(_):
        held.append(weakref.ref(big := Big()))
        return big

    make(1)
    assert held[0]() is not None
    jax.clear_caches()
    gc.collect()
    assert held[0]() is None


def test_the_oldest_result_goes_first():
    made = []
    cache = TracedOnce(lambda x: made.append(x) or x, most=2)
    for x in (1, 2, 3, 3, 2, 1):
        cache(x)
    assert made == [1, 2, 3, 1]


def test_what_was_traced_elsewhere_stands_where_it_was_bound():
    """A jaxpr that is written under one precision and lowered under another keeps the first."""

    @fg.op(name="product_elsewhere", replace=True)
    def product(x, w):
        return jnp.dot(x, w)

    a = jnp.ones((2, 2))
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(product).trace(a, a)
    assert "HIGHEST" in traced.lower().as_text()
    assert "HIGHEST" not in jax.jit(lambda x, w: product(x, w)).lower(a, a).as_text()


@pytest.mark.parametrize("vmapped", [False, True])
def test_a_jaxpr_that_is_batched_elsewhere_keeps_its_precision(vmapped):
    @fg.op(name="product_elsewhere", replace=True, core_axes=2)
    def matmul(x, w):
        return jnp.matmul(x, w)

    a = jnp.ones((2, 2))
    with jax.default_matmul_precision("highest"):
        jaxpr = jax.make_jaxpr(matmul)(a, a)
    run = lambda x, w: jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, x, w)
    run, x = (jax.vmap(run, (0, None)), a[None]) if vmapped else (run, a)
    assert "HIGHEST" in jax.jit(run).lower(x, a).as_text()


@pytest.mark.parametrize("highest_first", [False, True])
@pytest.mark.parametrize("lib", [fg, jax])
@pytest.mark.parametrize("elsewhere", ["op", "equation", "tangent"])
def test_the_precision_of_a_gradient_is_that_of_the_moment(elsewhere, lib, highest_first):
    product = fg.op(replace=True)(named_product)
    bent = jax.custom_jvp(jnp.dot)
    bent.defjvp(lambda p, t: (jnp.dot(*p), jnp.dot(t[0], p[1])))
    f = {
        "op": lambda x, w: jnp.sum(product(x, w)),
        "equation": lambda x, w: jnp.sum(jnp.dot(x, w)),
        "tangent": lambda x, w: jnp.sum(bent(x, w)),
    }[elsewhere]
    a = jnp.ones((2, 2))
    for highest in (highest_first, not highest_first):
        with jax.default_matmul_precision("highest") if highest else nullcontext():
            text = jax.jit(lambda x, w: lib.grad(f)(x, w)).lower(a, a).as_text()
        assert ("HIGHEST" in text) == highest


def named_product(x, w):
    return jnp.dot(x, w)


named_product.__name__ = "product_of_the_moment"


@pytest.mark.parametrize("order", [(2, 4), (4, 2)])
def test_an_op_knows_the_size_of_its_axis(order):
    share = fg.op(replace=True)(share_of_axis)
    for n in order:
        x = jnp.arange(1.0, n + 1)
        for run in (lambda f: f, jax.jit):
            found = run(jax.vmap(jax.value_and_grad(share), axis_name="i"))(x)
            ours = run(jax.vmap(fg.value_and_grad(share), axis_name="i"))(x)
            np.testing.assert_allclose(np.asarray(found), [x * x / n, 2 * x / n], rtol=1e-14)
            np.testing.assert_allclose(np.asarray(ours), [x * x / n, 2 * x / n], rtol=1e-14)


def share_of_axis(x):
    return x * x / jax.lax.psum(1, "i")
