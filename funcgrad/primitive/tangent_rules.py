"""The rule that `jax.custom_jvp` was given for a function, as two jaxprs: the outputs, and their tangents."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jax.extend import core
from jax.extend.linear_util import WrappedFun
from jax.interpreters import partial_eval
from jax.tree_util import PyTreeDef

from funcgrad.aliases import Array
from funcgrad.primitive.binding import is_inexact
from funcgrad.primitive.cache_keys import exact, exact_structure, is_hashable
from funcgrad.primitive.jaxprs import as_function, bodies, is_literal, named, without_constants


@dataclass(frozen=True, eq=False)
class Tangent:
    """The tangents of a function's outputs, as a rule writes them.

    Equal to others that compute the same: JAX traces the rule anew at every call of the function. It holds no arrays,
    so that what is made of it may be kept for the next such call.
    """

    jaxpr: Any
    """From the arrays that the rule closes over, the function's inputs, and the tangents of `moving`."""
    n_arrays: int
    moving: tuple[int, ...]
    """The inputs whose tangents the rule takes: all, unless it tells those that are zero apart."""
    outputs: tuple[int, ...]
    """The outputs that have a tangent; that of any other is zero, whatever moves."""

    @property
    def closed(self) -> Any:
        """The same, as what reads jaxprs takes it."""
        return core.ClosedJaxpr(self.jaxpr, ())

    @cached_property
    def is_remembered(self) -> bool:
        """Whether what is made of it may be: not where a rule inside may hold arrays of the user's, nor could it be
        equal to another then.
        """
        return not _holds_rules(self.jaxpr)

    @cached_property
    def key(self) -> Any:
        """Its equations with numbers for its variables; the tangent itself where a parameter does not hash."""
        jaxpr = self.jaxpr
        seen = {v: (i, v.aval) for i, v in enumerate(jaxpr.invars)}

        def atom(a: Any) -> Any:
            return (repr(a.val), a.aval) if is_literal(a) else seen[a]

        rows = []
        for e in jaxpr.eqns:
            inputs = tuple(map(atom, e.invars))
            seen.update({v: (len(seen) + i, v.aval) for i, v in enumerate(e.outvars)})
            rows.append((e.primitive, exact(named(e.params)), inputs, e.ctx))
        wiring = (self.n_arrays, self.moving, self.outputs)
        key = (wiring, tuple(seen.values()), tuple(rows), tuple(map(atom, jaxpr.outvars)))
        return key if is_hashable(key) else self

    def __hash__(self) -> int:
        return id(self) if self.key is self else hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Tangent) and self.key is not self and self.key == other.key)


@dataclass(frozen=True, eq=False)
class TangentRule:
    """What the rule of one equation says where some inputs of the function move.

    Positions count the function's inputs; what it closes over stands before these among the equation's operands, and
    a rule knows nothing of it.
    """

    n_closed_over: int
    tangent: Tangent
    tangent_arrays: tuple[Any, ...]
    """What the rule closes over, as far as the tangents need it."""
    primal: Callable[..., list[Array]]
    """From what the rule closes over, as far as they need it, and the inputs to the outputs: what the rule writes for
    them, and what JAX differentiates, should it do so once more."""
    primal_arrays: tuple[Any, ...]

    @property
    def closes_over_nothing(self) -> bool:
        """Whether the rule reads no arrays but the function's inputs."""
        return not (self.tangent_arrays or self.primal_arrays)

    @classmethod
    def of(cls, source: Any, moving: Sequence[int]) -> "TangentRule | None":
        """Trace the rule of a `custom_jvp`, an equation `source`, where the operands at positions `moving` do.

        None where an output depends on the tangents, which JAX refuses when it gets there.
        """
        params = source.params
        n = params["num_consts"]
        inputs = range(len(source.invars) - n)
        taken = tuple(i for i in inputs if i + n in moving or not params["symbolic_zeros"])
        traced, constants, is_zero = params["jvp_jaxpr_fun"].call_wrapped(*(i not in taken for i in inputs))
        closed, arrays = without_constants(core.ClosedJaxpr(traced, constants))
        told = [k for k, zero in enumerate(is_zero) if not zero]
        outputs = [k for k in told if is_inexact(source.outvars[k].aval)]
        primal, used = _cut(closed.jaxpr, [True] * len(is_zero) + [False] * len(told), len(arrays), len(inputs))
        if len(primal.invars) > sum(used) + len(inputs):
            return None
        primal_arrays = [x for x, flag in zip(arrays, used, strict=True) if flag]
        wanted = [False] * len(is_zero) + [k in outputs for k in told]
        jaxpr, used = _cut(closed.jaxpr, wanted, len(arrays), len(closed.jaxpr.invars) - len(arrays))
        tangent_arrays = [x for x, flag in zip(arrays, used, strict=True) if flag]
        tangent = Tangent(jaxpr, len(tangent_arrays), taken, tuple(outputs))
        run = as_function(core.ClosedJaxpr(primal, ()))
        return cls(n, tangent, tuple(tangent_arrays), run, tuple(primal_arrays))


def rule_key(source: Any) -> Hashable | None:
    """What decides how the rule of a `custom_jvp` is traced, beside which inputs move and what it reads of Python.

    None where it cannot be told, as of a function with static arguments, or does not hash. The key is no good any more
    when the equation is gone, and is for rules that close over no arrays: which `vmap` it was is left out.

    An equation has its rule in a thunk that traces it, so we look for the rule in what that closes over. Of 8 layers
    with a ReLU each, tracing its rule at every one is a third of tracing the gradient.
    """
    rule = closed_over(closed_over(source.params["jvp_jaxpr_fun"].f, "fn"), "jvp")
    if not isinstance(rule, WrappedFun) or rule.params or not rule.transforms:
        return None
    *vmaps, (_, flattening) = rule.transforms
    structures = [x for x in flattening if isinstance(x, PyTreeDef)]
    if len(structures) != 1 or not all(_is_vmap(static) for _, static in vmaps):
        return None
    around = tuple((transform, exact(static[1:])) for transform, static in vmaps)
    avals = tuple(v.aval for v in (*source.invars, *source.outvars))
    params = source.params["num_consts"], source.params["symbolic_zeros"]
    key = id(rule.f), structures[0], exact_structure(structures[0]), around, avals, params, source.ctx
    return key if is_hashable(key) else None


def _is_vmap(static: Sequence[Any]) -> bool:
    """Whether these are the arguments of a `vmap` of a rule: which one it is, its axis, and where that is."""
    return len(static) == 3 and type(static[0]).__name__ == "TraceTag" and type(static[1]).__name__ == "AxisData"


def closed_over(function: Any, name: str) -> Any:
    """What a function's variable `name` stands for outside of it; None where it has none."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def _holds_rules(jaxpr: Any) -> bool:
    """Whether an equation at any depth has rules of its own, which are functions, or constants of its own."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("custom_") or equation.primitive.name == "call_hi_primitive":
            return True
        if any(getattr(b, "consts", ()) or _holds_rules(getattr(b, "jaxpr", b)) for b in bodies(equation)):
            return True
    return False


def _cut(jaxpr: Any, outputs: list[bool], n_arrays: int, n_kept: int) -> tuple[Any, list[bool]]:
    """The part of a jaxpr that makes some outputs, and which of the arrays, its first inputs, that takes.

    The next `n_kept` inputs stay whether or not it takes them.
    """
    kept = [n_arrays <= i < n_arrays + n_kept for i in range(len(jaxpr.invars))]
    part, used = partial_eval.dce_jaxpr(jaxpr, outputs, kept)
    return part, list(used[:n_arrays])
