"""`grad` and `value_and_grad` in the place of JAX's, and `plan`, which shows what they will do."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PyTree
from funcgrad.autodiff.limits import held_to
from funcgrad.autodiff.named_values import Names, positions
from funcgrad.autodiff.requests import Output, Request
from funcgrad.autodiff.selection import Unreachable, Wrt
from funcgrad.autodiff.taps import Watch
from funcgrad.budget import Budget
from funcgrad.errors import GradientError, called_with, describe, require_function
from funcgrad.graph import Statistic
from funcgrad.naming import Where
from funcgrad.planning import Limit
from funcgrad.plans import Plan
from funcgrad.registry import RuleSet
from funcgrad.reverse import forward, reverse


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    of: Names | None = None,
    wrt: Wrt | None = None,
    cotangent: PyTree = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
    taps: str | Where | Sequence[str | Where] = (),
    stats: Sequence[str | Statistic] = ("norm", "max", "finite"),
    memory: int | float | str | Budget | Limit | None = None,
) -> Callable[..., Any]:
    r"""Make a function that returns `(fun(...), gradient)`; a drop-in for `jax.value_and_grad`.

    The function is traced at every call (under `jit`: once), so it branches on numbers but not on arrays that are
    differentiated. Others it may look at where it is called outside of `jit`; then it is traced a second time, with
    these and what is made of constants known, and the graph lacks what is computed from these alone.

    Args:
        fun: a function whose (first) result is a real scalar.
        argnums: which positional arguments to differentiate by: an int, or several; for a model of Flax NNX also an
            `nnx.DiffState(argnum, filter)`, which says by which of its variables.
        has_aux: `fun` returns `(loss, aux)`; the value is then that pair.
        holomorphic: `fun` is complex and holomorphic; the loss is a complex scalar.
        allow_int: integer arguments get `float0` zeros instead of an error.
        of: differentiate a value inside `fun` instead of its result: an intermediate (`"x3"`, `"block3/relu"`), a
            scope, an argument (its position or name), a glob or an `fg.Where`. It is also the value returned, and
            nothing that only comes after it is run; modules among the arguments keep their state. Of several values,
            returned as a mapping from names, the gradients are added.
        wrt: differentiate by these instead of `argnums`. A position or an argument's name (`"params"`) gives a
            pytree like the argument; the name of a value or of the node that makes it (`"x1"`, `"block3/tanh"`), of
            a scope that one value leaves (`"block3"`), or the path of a leaf (`"params/w1"`, or `"w1"` where no other
            argument has it) gives its array. A glob (`"block*/relu"`, `"params/fc1/**"`), an `fg.Where` or a list
            gives a mapping by name, and so does the name of a node or scope with several values; a list of positions
            a tuple. What may stand for several leaves out values that nothing asked for depends on. An
            `fg.select(...)` or `fg.freeze(...)` chooses among the leaves of the arguments `argnums`: those that it
            leaves out are None. A backslash takes the sign after it as it is: `*`, `/` and `#` in the key of a dict
            or in a label are written so (`r"params/w\*"`, `r"params/a\/b"`), as `print(fg.trace(...))` shows them.
        cotangent: [∂ℓ/∂(value)], like the value, where that is not a scalar of which the derivative is taken. For
            many cotangents of one value, see `record`; for all of them, `jacobian`.
        unreachable: what to do if the loss does not depend on something that `wrt` names: `"raise"`, or give `"zero"`
            (as for `argnums`).
        rules: which J^T stands for which op, where not the ops' own.
        taps: values to watch, written as in `wrt` (`"block*/attn"`; a scope stands for what leaves it). The result is
            then `(fun(...), gradient, readings)`: for each name, statistics of the value and of its cotangent, from
            the same pass. Watching changes nothing: a value has a cotangent where the gradient passes it anyway, and
            where all its ways to the loss begin at nodes that are visited anyway, by rules that are written down;
            that of any other is None.
        stats: which statistics: names (`norm`, `max`, `mean`, `rms`, `finite`, `zeros`, `value` for the array
            itself) or functions of an array.
        memory: what both passes may take beside the arguments: bytes as an int, a size such as `"2 GiB"`, a float up
            to 1.0 for a share of what keeping everything takes, `"min"` for the least, `"auto"` for what the device
            has. The plan then keeps less and makes values again, as cheaply as that can be had, with the same numbers.
            Outside of `jit`, the call is compiled, as `jit` would, and measured; inside, the plan's foresight stands,
            within some hundredths, and `fg.certify` measures the whole. An `fg.Budget` also says whether the plan
            replaces what `jax.checkpoint` decides in `fun`.

    Returns:
        A function of the arguments of `fun`: `(value, gradient)`, or `((value, aux), gradient)` with `has_aux`, or
        `(value, gradient, readings)` with `taps`. The gradient has the shape that `argnums` or `wrt` says.

    Raises:
        GradientError: the loss is no real scalar, an argument is not floating, a name is unknown, has no path to the
            loss, or asks for the gradient of a value inside a loop or branch.
        RuleError: a rule breaks its contract, or an override matches nothing.
        BudgetError: `memory` cannot be read, or no choice of what is kept stays within it.

    Example:
        >>> def loss(params, x):
        ...     h = fg.name(jnp.tanh(x @ params["w"]), "h")
        ...     return jnp.sum(h**2)
        >>> params, x = {"w": jnp.eye(2)}, jnp.ones((1, 2))
        >>> value, gradient = fg.value_and_grad(loss)(params, x)
        >>> f"{value:.3f}", gradient["w"].shape
        ('1.160', (2, 2))
        >>> value, h_bar, readings = fg.value_and_grad(loss, wrt="h", taps="h", stats="norm")(params, x)
        >>> h_bar.shape, f"{readings['h'].cotangent['norm']:.3f}"
        ((1, 2), '2.154')
    """
    require_function("grad", fun)
    watches = taps is not None and not (isinstance(taps, str | tuple | list) and not taps)
    watch = Watch.of(taps, stats) if watches else None
    request = Request(fun, positions(argnums), has_aux, allow_int, of, wrt, unreachable, rules, watch)

    def within(limit: Limit | None) -> Callable[..., Any]:
        asked = request._replace(limit=limit)

        def value_and_grad_of(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
            with asked.traced_at(args, kwargs, opens=False) as (call, traced):
                if cotangent is None:
                    _check_loss(traced.output, holomorphic)
                value, auxiliary, kept, observed = traced.run()
            output = traced.output
            seeds = output.ones(value) if cotangent is None else output.seeds(cotangent)
            found, n = reverse(traced.plan, kept, seeds), len(traced.plan.wanted)
            gradient = traced.selection.assemble(traced.plan, found[:n])
            readings = [traced.watched.assemble(traced.plan, observed, found[n:])] if traced.watched else []
            auxiliary = call.close(auxiliary)  # last: a pass that fails changes no model
            return ((value, auxiliary) if has_aux else value), gradient, *readings

        return named_after(fun, "value_and_grad", value_and_grad_of)

    return within(None) if memory is None else held_to(memory, within)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    of: Names | None = None,
    wrt: Wrt | None = None,
    cotangent: PyTree = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
    taps: str | Where | Sequence[str | Where] = (),
    stats: Sequence[str | Statistic] = ("norm", "max", "finite"),
    memory: int | float | str | Budget | Limit | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the gradient of `fun`; a drop-in for `jax.grad`.

    It is `value_and_grad` without the value, which says more of its arguments.

    Args:
        fun: a function whose (first) result is a real scalar.
        argnums: which positional arguments to differentiate by: an int, or several.
        has_aux: `fun` returns `(loss, aux)`, and the result is `(gradient, aux)`.
        holomorphic: `fun` is complex and holomorphic.
        allow_int: integer arguments get `float0` zeros instead of an error.
        of: differentiate a value inside `fun`, by name, instead of its result.
        wrt: differentiate by these instead of `argnums`: values, nodes, scopes, arguments or their leaves, by name or
            glob.
        cotangent: [∂ℓ/∂(value)], where that is no scalar.
        unreachable: if the loss does not depend on something that `wrt` names: `"raise"`, or give `"zero"`.
        rules: which J^T stands for which op, where not the ops' own.
        taps: values to watch, by name or glob; their readings are a further result.
        stats: which statistics a reading has.
        memory: what both passes may take beside the arguments: `"2 GiB"`, bytes, a share of what keeping everything
            takes, `"min"`, `"auto"`.

    Returns:
        A function of the arguments of `fun` that gives the gradient: one like the argument that is differentiated by, a
        tuple or mapping of these for several, an array for a value.

    Raises:
        GradientError: the loss is no real scalar, an argument is not floating, a name is unknown, or has no path to the
            loss.
        RuleError: a rule breaks its contract, or an override matches nothing.
        BudgetError: `memory` cannot be read, or nothing stays within it.

    Example:
        >>> def loss(params, x):
        ...     h = fg.name(fg.ops.relu(x @ params["w"]), "h")
        ...     return jnp.sum(h * params["v"])
        >>> params, x = {"w": jnp.eye(2), "v": jnp.array(3.0)}, jnp.ones((1, 2))
        >>> print(fg.grad(loss)(params, x)["v"])
        2.0
        >>> print(fg.grad(loss, wrt="h")(params, x))
        [[3. 3.]]
        >>> {name: g.shape for name, g in fg.grad(loss, wrt=["params/w", "x", "relu"])(params, x).items()}
        {'x': (1, 2), 'params/w': (2, 2), 'relu': (1, 2)}
    """
    both = value_and_grad(
        fun,
        argnums,
        has_aux,
        holomorphic,
        allow_int,
        of=of,
        wrt=wrt,
        cotangent=cotangent,
        unreachable=unreachable,
        rules=rules,
        taps=taps,
        stats=stats,
        memory=memory,
    )

    def grad_of(*args: Any, **kwargs: Any) -> Any:
        value, gradient, *readings = both(*args, **kwargs)
        result = [gradient, *([value[1]] if has_aux else []), *readings]
        return tuple(result) if len(result) > 1 else gradient

    return named_after(fun, "grad", grad_of)


def plan(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    of: Names | None = None,
    wrt: Wrt | None = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
    compiled: bool = False,
    memory: int | float | str | Budget | None = None,
    **kwargs: Any,
) -> Plan:
    """Plan the backward pass of `fun` at arguments like these; nothing runs.

    Printed, it is a table of the nodes in the order in which they are pulled back: rule, kind, what is kept, FLOPs.

    Args:
        fun: a function of arrays; its output need not be a scalar.
        args: its arguments, pytrees of arrays or of `jax.ShapeDtypeStruct`.
        argnums: which of them to differentiate by: an int, or several.
        has_aux: `fun` returns `(output, aux)`.
        of: a value inside `fun` in the place of its result; see `value_and_grad`.
        wrt: what to differentiate by instead of `argnums`; see there.
        unreachable: what to do if the output does not depend on something that `wrt` names.
        rules: which J^T stands for which op, where not the ops' own.
        compiled: compile both passes for the default device. The plan then has (and prints) XLA's figure of the memory
            that the program needs, `plan.temp_bytes`, beside its own of what is kept.
        memory: what both passes may take beside the arguments; see `value_and_grad`. What was found is `plan.memory`.
        kwargs: arguments of `fun` by keyword.

    Returns:
        A `Plan`.

    Raises:
        GradientError: an argument is not floating, or a name is unknown or has no path to the output.
        RuleError: an override matches nothing, or asks for what its function cannot give.
        BudgetError: `memory` cannot be read, or nothing stays within it.

    Example:
        >>> layer = lambda x, w: fg.ops.sum(fg.ops.tanh(fg.ops.linear(x, w)))
        >>> plan = fg.plan(layer, jnp.ones((4, 2)), jnp.ones((2, 3)), wrt="w")
        >>> [step.node.name for step in plan.steps], [value.name for value in plan.kept]
        (['linear', 'tanh', 'sum'], ['x', 'tanh'])
    """
    limit = None if memory is None else Limit(Budget.of(memory))
    request = Request(fun, positions(argnums), has_aux, False, of, wrt, unreachable, rules, limit=limit)
    with called_with("plan", fun, args, kwargs), request.traced_at(args, kwargs, runs=False) as (_, traced):
        return replace(traced.plan, temp_bytes=_temp_bytes(traced.plan)) if compiled else traced.plan


def _temp_bytes(plan: Plan) -> int | None:
    """Memory of the program of both passes beside its arguments and results; None where the device does not say."""

    def both(constants: Sequence[Array], inputs: Sequence[Array], seeds: Sequence[Array]) -> Any:
        outputs, kept = forward(plan, constants, inputs)
        arrays = [y for y, v in zip(outputs, plan.structure.outputs, strict=True) if v.aval is not None]
        return arrays, reverse(plan, kept, seeds)

    avals = ([v.aval for v in values] for values in (plan.structure.constants, plan.structure.inputs, plan.sources))
    analysis = jax.jit(both).lower(*avals).compile().memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def _check_loss(output: Output, holomorphic: bool) -> None:
    kind = "complex" if holomorphic else "real"
    if not output.is_inner and not (len(output.leaves) == 1 and jax.tree_util.treedef_is_leaf(output.tree)):
        raise GradientError(f"grad needs a {kind} scalar loss, got {output.describe()}; see also has_aux=True.")
    for loss in output.leaves:
        where = f" at node '{loss.name}'" if output.sources else ""
        if loss.aval.shape != ():
            raise GradientError(
                f"grad needs a {kind} scalar loss, got {describe(loss.aval)}{where}; take its mean or sum, pass "
                f"cotangent=, or use fg.vjp or fg.jacobian."
            )
        wanted_dtype = jnp.complexfloating if holomorphic else jnp.floating
        if not jnp.issubdtype(loss.aval.dtype, wanted_dtype):
            hint = "; pass holomorphic=True or take a real part" if output.sources and not holomorphic else ""
            raise GradientError(f"grad needs a {kind} scalar loss, got {describe(loss.aval)}{where}{hint}.")


def named_after(fun: Callable[..., Any], what: str, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """Let a wrapper call itself `grad(loss)`, and describe itself as `loss` does."""
    wrapper = wraps(fun)(wrapper)
    wrapper.__name__ = f"{what}({getattr(fun, '__name__', type(fun).__name__)})"
    return wrapper
