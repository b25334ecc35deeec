"""`grad` and `value_and_grad` in the place of JAX's, and `plan`, which shows what they will do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcgrad.adapters import Opened, opened
from funcgrad.autodiff.selection import ByArgument, ByName, Selection
from funcgrad.autodiff.tape import Output, Traced, trace_and_plan
from funcgrad.autodiff.taps import Watch
from funcgrad.errors import GradientError
from funcgrad.graph import Arguments, Statistic
from funcgrad.plans import Plan
from funcgrad.registry import RuleSet
from funcgrad.reverse import reverse


class _Request(NamedTuple):
    """What the caller asked for."""

    fun: Callable[..., Any]
    argnums: tuple[int, ...]
    has_aux: bool
    allow_int: bool
    wrt: str | Sequence[str] | None
    rules: RuleSet | None
    watch: Watch | None = None

    @contextmanager
    def posed(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Opened, Selection, Traced]]:
        """Trace and plan at these arguments."""
        argnums = () if self.wrt is not None else tuple(_normal(n, len(args)) for n in self.argnums)
        with opened(self.fun, args, kwargs, argnums, self.has_aux) as call:
            arguments = Arguments.of(call.fun, call.args, call.kwargs, traced=argnums)
            selection: Selection
            if self.wrt is None:
                selection = ByArgument.of(argnums, call.args, arguments, self.allow_int)
            else:
                selection = ByName.of(self.wrt)
            yield call, selection, trace_and_plan(call, arguments, selection, self.rules, self.watch)


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    wrt: str | Sequence[str] | None = None,
    rules: RuleSet | None = None,
    taps: str | Sequence[str] = (),
    stats: Sequence[str | Statistic] = ("norm", "max", "finite"),
) -> Callable[..., Any]:
    """Make a function that returns `(fun(...), gradient)`; a drop-in for `jax.value_and_grad`.

    The function is traced at every call (under `jit`: once), so it branches on numbers but not on arrays.

    Args:
        fun: a function whose (first) result is a real scalar.
        argnums: which positional arguments to differentiate by: an int, or several.
        has_aux: `fun` returns `(loss, aux)`; the value is then that pair.
        holomorphic: `fun` is complex and holomorphic; the loss is a complex scalar.
        allow_int: integer arguments get `float0` zeros instead of an error.
        wrt: differentiate by values with these names instead of `argnums`: intermediates (`"x1"`,
            `"block3/relu"`), inputs (`"params/w1"`) or globs (`"block*/relu"`, `"**"`). One exact name gives its
            array; a glob or a list gives a mapping from name to array. A glob leaves out values that the loss
            does not depend on.
        rules: which J^T stands for which op, where not the ops' own.
        taps: names or globs of values to watch (`"block*/attn"`; a scope stands for what leaves it). The result is
            then `(fun(...), gradient, readings)`: for each name, statistics of the value and of its cotangent, from
            the same pass. Watching changes no gradient.
        stats: which statistics: names (`norm`, `max`, `mean`, `rms`, `finite`, `zeros`, `value` for the array
            itself) or functions of an array.

    Raises:
        GradientError: the loss is no real scalar, an argument is not floating, or a name is unknown or has no
            path to the loss.
        RuleError: a rule breaks its contract, or an override matches nothing.
    """
    single = isinstance(argnums, int)
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    watch = Watch.of(taps, stats) if taps else None
    request = _Request(fun, numbers, has_aux, allow_int, wrt, rules, watch)

    def value_and_grad_of(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        with request.posed(args, kwargs) as (call, selection, traced):
            _check_loss(traced.output, holomorphic)
            loss, auxiliary, kept, observed = traced.run()
            auxiliary = call.close(auxiliary)
        seeds = [jax.lax.full_like(loss, 1) for _ in traced.output.sources]
        found, n = reverse(traced.plan, kept, seeds), len(traced.plan.wanted)
        gradient = selection.assemble(traced.plan, found[:n])
        if wrt is None and single:
            (gradient,) = gradient
        value = (loss, auxiliary) if has_aux else loss
        if traced.watched is None:
            return value, gradient
        return value, gradient, traced.watched.assemble(traced.plan, observed, found[n:])

    return _named_after(fun, "value_and_grad", value_and_grad_of)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    wrt: str | Sequence[str] | None = None,
    rules: RuleSet | None = None,
    taps: str | Sequence[str] = (),
    stats: Sequence[str | Statistic] = ("norm", "max", "finite"),
) -> Callable[..., Any]:
    """Make a function that returns the gradient of `fun`; a drop-in for `jax.grad`.

    With `has_aux` it returns `(gradient, aux)`, with `taps` the readings after that. Arguments and errors are those
    of `value_and_grad`.

    >>> fg.grad(loss)(params, x)                     # a pytree like params
    >>> fg.grad(loss, wrt="block3/relu")(params, x)  # the cotangent at a node
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int, wrt=wrt, rules=rules, taps=taps, stats=stats)

    def grad_of(*args: Any, **kwargs: Any) -> Any:
        value, gradient, *readings = both(*args, **kwargs)
        result = [gradient, *([value[1]] if has_aux else []), *readings]
        return tuple(result) if len(result) > 1 else gradient

    return _named_after(fun, "grad", grad_of)


def plan(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    wrt: str | Sequence[str] | None = None,
    rules: RuleSet | None = None,
    **kwargs: Any,
) -> Plan:
    """Plan the backward pass of `fun` at arguments like these; nothing runs.

    `args` (and keyword arguments of `fun`) are pytrees of arrays or of `jax.ShapeDtypeStruct`; the output of
    `fun` need not be a scalar. The other arguments and the errors are those of `value_and_grad`.

    >>> print(fg.plan(loss, params, x))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    with _Request(fun, numbers, has_aux, False, wrt, rules).posed(args, kwargs) as (_, _, traced):
        return traced.plan


def _normal(argnum: int, n_args: int) -> int:
    if not -n_args <= argnum < n_args:
        raise GradientError(
            f"argnums asks for argument {argnum}, got {n_args} positional argument{'s' * (n_args != 1)}."
        )
    return argnum % n_args


def _check_loss(output: Output, holomorphic: bool) -> None:
    kind = "complex" if holomorphic else "real"
    if len(output.leaves) != 1 or not jax.tree_util.treedef_is_leaf(output.tree):
        raise GradientError(f"grad needs a {kind} scalar loss, got {output.describe()}; see also has_aux=True.")
    (loss,) = output.leaves
    where = f" at node '{loss.name}'" if output.sources else ""
    if loss.aval.shape != ():
        raise GradientError(
            f"grad needs a {kind} scalar loss, got {output.describe()}{where}; take its mean or sum, or use fg.vjp."
        )
    wanted_dtype = jnp.complexfloating if holomorphic else jnp.floating
    if not jnp.issubdtype(loss.aval.dtype, wanted_dtype):
        hint = "; pass holomorphic=True or take a real part" if output.sources and not holomorphic else ""
        raise GradientError(f"grad needs a {kind} scalar loss, got {output.describe()}{where}{hint}.")


def _named_after(fun: Callable[..., Any], what: str, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    wrapper = wraps(fun)(wrapper)
    wrapper.__name__ = f"{what}({getattr(fun, '__name__', type(fun).__name__)})"
    return wrapper
