"""Whole Jacobians: of any values with respect to any others, column by column or row by row.

For y = f(x) the Jacobian is the tensor J with axes of y, then axes of x. The reverse pass gives a row of it (all x,
for one entry of y), the forward pass a column (all y, for one entry of x); so whichever of x and y is smaller says
which of them is run, batched over the entries of the smaller one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff.gradients import named_after
from funcgrad.autodiff.named_values import Names, positions
from funcgrad.autodiff.requests import Output, Request, Traced, is_source
from funcgrad.autodiff.selection import Unreachable, Wrt
from funcgrad.errors import GradientError, describe, require_function
from funcgrad.graph import Constant, Value, read
from funcgrad.plans import Plan
from funcgrad.primitive import JittedCall, bodies, typed, zeros_of
from funcgrad.registry import Equation, RuleSet
from funcgrad.reverse import reverse

Mode = Literal["forward", "reverse"]


def jacobian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    of: Names | None = None,
    wrt: Wrt | None = None,
    mode: Mode | None = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the Jacobian of `fun`; a drop-in for `jax.jacobian`.

    Every leaf has the axes of a leaf of the output, then those of a leaf of the input. Pytrees nest: that of the
    output outside, in each leaf of it that of the gradient. With `has_aux` it returns `(jacobian, aux)`.

    Args:
        fun: a function of arrays, whose results are floating.
        argnums: which positional arguments to differentiate by.
        has_aux: `fun` returns `(output, aux)`.
        holomorphic: `fun` is complex and holomorphic.
        allow_int: integer arguments get `float0` zeros instead of an error.
        of: differentiate these values inside `fun` instead of its result; see `value_and_grad`.
        wrt: differentiate by these values instead of `argnums`; see there.
        mode: `"reverse"` for one reverse pass per entry of the output, `"forward"` for one forward pass per entry of
            the input; by default the one with fewer passes. It is reverse where only that is possible: through
            `custom_vjp`, by values inside loops and branches, with other `rules` than the ops' own.
        unreachable: what to do if the output does not depend on something that `wrt` names.
        rules: which J^T stands for which op, where not the ops' own.

    Returns:
        A function of the arguments of `fun` that gives the Jacobian: `[..., output axes, input axes]`.

    Raises:
        GradientError: the output is not floating, forward mode is asked for where it is not possible, or as in
            `value_and_grad`.

    Example:
        >>> x, w = jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [1.0, 3.0]])
        >>> print(fg.jacobian(lambda x: x @ w)(x))
        [[1. 1.]
         [0. 3.]]
        >>> print(fg.jacobian(lambda x: jnp.sum(fg.name(x @ w, "h")), of="h", mode="forward")(x))
        [[1. 1.]
         [0. 3.]]
    """
    if mode not in (None, "forward", "reverse"):
        raise GradientError(f"jacobian: mode must be 'forward' or 'reverse', got {mode!r}.")
    require_function("jacobian", fun)
    request = Request(fun, positions(argnums, may_be_none=True), has_aux, allow_int, of, wrt, unreachable, rules)

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        with request.traced_at(args, kwargs, opens=False) as (call, traced):
            _check_output(traced.output, holomorphic)
            is_forward = _choose(traced, mode, rules) == "forward"
            blocks, auxiliary = (_by_columns if is_forward else _by_rows)(traced)
            auxiliary = call.close(auxiliary)
        found, assemble = iter(blocks), traced.selection.assemble
        plan, leaves = traced.plan, []
        for y in traced.output.leaves:
            block = next(found) if is_source(y) else _zeros(y, plan)
            # Weakly typed where the input is, as in JAX.
            block = [typed(x, v.aval) for x, v in zip(block, plan.wanted, strict=True)]
            leaves.append(assemble(plan, block, y.aval.shape))
        result = traced.output.tree.unflatten(leaves)
        return (result, auxiliary) if has_aux else result

    return named_after(fun, "jacobian", jacobian_of)


Blocks = list[list[Array]]
"""For each source, the derivative by each wanted value: axes of the one, then of the other."""


def _by_rows(traced: Traced) -> tuple[Blocks, PyTree]:
    """One reverse pass for each entry of the output."""
    plan, sources = traced.plan, traced.output.sources
    _, auxiliary, kept, _ = traced.run()
    found = jax.vmap(lambda seeds: reverse(plan, kept, seeds))(_basis(sources)) if sources else []
    blocks: Blocks = [[] for _ in sources]
    for stack in found:
        for y, rows, block in zip(sources, _cut(stack, sources), blocks, strict=True):
            block.append(rows.reshape(*y.aval.shape, *rows.shape[1:]))
    return blocks, auxiliary


def _by_columns(traced: Traced) -> tuple[Blocks, PyTree]:
    """One forward pass for each entry of the wanted values, of which the values inside of the graph are perturbed."""
    plan, structure, sources = traced.plan, traced.plan.structure, traced.output.sources
    wanted = tuple(dict.fromkeys(plan.wanted))
    given: dict[Value, Any] = dict(zip(structure.constants, traced.constants, strict=True))
    given.update(zip(structure.inputs, traced.inputs, strict=True))

    def run(changes: list[Array]) -> tuple[list[Array], list[Array]]:
        change = dict(zip(wanted, changes, strict=True))
        values = given | {v: x for v, x in change.items() if v in given}
        for node in structure.nodes:
            for v, x in zip(node.outputs, node.run(*read(node.inputs, values)), strict=True):
                values[v] = x + change[v] if v in change else x
        return read(sources, values), read(structure.outputs, values)

    starts = [typed(given[v], v.aval) if v in given else zeros_of(v.aval) for v in wanted]
    _, push, leaves = jax.linearize(run, starts, has_aux=True)
    blocks: Blocks = []
    for y, stack in zip(sources, jax.vmap(push)(_basis(wanted)), strict=True):
        columns = dict(zip(wanted, _cut(stack, wanted), strict=True))
        blocks.append([jnp.moveaxis(columns[v], 0, -1).reshape(*y.aval.shape, *v.aval.shape) for v in plan.wanted])
    return blocks, traced.unflatten(leaves)[1]


def _choose(traced: Traced, mode: Mode | None, rules: RuleSet | None) -> Mode:
    """The mode with fewer passes, of those that are possible."""
    obstacle = _obstacle(traced.plan, rules)
    if mode == "forward" and obstacle:
        raise GradientError(
            f"jacobian: forward mode does not reach through {obstacle}; leave mode out, or say 'reverse'."
        )
    if mode is not None:
        return mode
    n_wanted, n_outputs = _size(traced.plan.wanted), _size(traced.output.sources)
    return "forward" if not obstacle and 0 < n_wanted <= n_outputs else "reverse"


def _obstacle(plan: Plan, rules: RuleSet | None) -> str | None:
    """What only a reverse pass can go through."""
    outermost = {*plan.structure.inputs, *(v for node in plan.structure.nodes for v in node.outputs)}
    for v in plan.wanted:
        if v in plan.reached and v not in outermost:
            return f"a loop or branch to '{v.name}'"
    for step in plan.steps:
        if step.captured:
            return f"the rule of '{step.node.name}', which closes over values"
    if (custom := _custom_vjp(plan)) is not None:
        return f"the custom_vjp '{custom}'"
    is_complex = lambda values: any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in values)  # noqa: E731
    if is_complex(plan.wanted) and not is_complex(plan.sources):
        return "complex arguments of a real function"
    return "replaced rules" if rules is not None and (rules.overrides or rules.hooks) else None


def _custom_vjp(plan: Plan) -> str | None:
    """The first node of a plan that is a `custom_vjp`, or holds one; inside of a jitted function, only if active."""
    for step in plan.steps:
        function = step.node.function
        if isinstance(step.node.holder, JittedCall):
            if (inside := _custom_vjp(step.bodies[0])) is not None:
                return inside
        elif isinstance(function, Equation) and _has_custom_vjp(function.source):
            return step.node.name
    return None


def _has_custom_vjp(equation: Any) -> bool:
    if Equation.of(equation).is_custom_vjp:
        return True
    return any(_has_custom_vjp(inner) for body in bodies(equation) for inner in body.eqns)


def _check_output(output: Output, holomorphic: bool) -> None:
    kind, dtype = ("complex", jnp.complexfloating) if holomorphic else ("floating", jnp.floating)
    for leaf in output.leaves:
        if not jnp.issubdtype(leaf.aval.dtype, dtype):
            hint = "; pass holomorphic=True or take a real part" if leaf.is_inexact and not holomorphic else ""
            raise GradientError(f"jacobian needs {kind} outputs, got {describe(leaf.aval)} at '{leaf.name}'{hint}.")


def _size(values: Sequence[Value]) -> int:
    return sum(v.aval.size for v in values)


def _basis(values: Sequence[Value]) -> list[Array]:
    """Unit vectors of all entries of all values, one value's after another's: `[n, *shape]` for each value."""
    starts = np.cumsum([0, *(v.aval.size for v in values)])
    n = int(starts[-1])
    return [
        jnp.eye(n, v.aval.size, -int(start), dtype=v.aval.dtype).reshape(n, *v.aval.shape)
        for v, start in zip(values, starts, strict=False)
    ]


def _cut(stack: Array, values: Sequence[Value]) -> list[Array]:
    """The parts of a first axis that belong to the entries of each value."""
    return jnp.split(stack, np.cumsum([v.aval.size for v in values])[:-1])


def _zeros(y: Value | Constant, plan: Plan) -> list[Array]:
    """The block of an output that is a number."""
    return [jnp.zeros((*y.aval.shape, *v.aval.shape), v.aval.dtype) for v in plan.wanted]
