"""What decides a trace beside the function and its avals, and what was traced under it.

JAX knows what decides: float64, dtype and rank promotion, the precision of matrix products, the mesh, the names and
sizes of mapped axes, random number generators, a user's own `jax.make_user_context`, and whatever it will add. It keys
its own caches on that, so here one of its caches says which context we are in: ask it for the context of a constant
function, and it answers with the same object as long as nothing of all this has changed. When `jax.clear_caches()` is
called, it forgets the object, and with it goes everything that was traced under it.
"""

from collections.abc import Callable
from functools import update_wrapper
from itertools import count
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import jax
from jax.api_util import debug_info
from jax.extend import core, linear_util
from jax.sharding import AxisType

P = ParamSpec("P")
T = TypeVar("T")


class Context:
    """All that decides a trace, as a number; and what was traced while it was so."""

    def __init__(self, number: int):
        self.number, self.settings = number, _settings()
        self.traces: dict[Any, dict[Any, Any]] = {}


_MISSING: Any = object()
_numbers = count()
_contexts: WeakValueDictionary[int, Context] = WeakValueDictionary()
"""The contexts that JAX remembers. Only JAX's cache holds them."""


def _nothing() -> None: ...


@linear_util.cache
def _remember(_function: Any, *_beside: Any) -> Context:
    context = Context(next(_numbers))
    _contexts[context.number] = context
    return context


_ANY_FUNCTION = linear_util.wrap_init(_nothing, debug_info=debug_info("context", _nothing, (), {}))


def _current() -> Context:
    # What JAX leaves out of its own keys: which kind of key `jax.random.key` makes, and whether functions that are
    # jitted inside are opened.
    beside = ("jax_default_prng_impl", "jax_enable_custom_prng", "jax_disable_jit")
    return _remember(_ANY_FUNCTION, *(getattr(jax.config, name) for name in beside))


def current_context() -> int:
    """The number of what decides a trace now: the same number, the same trace."""
    return _current().number


def is_current(context: int) -> bool:
    """Whether all that decided a trace in that context is so now.

    Where `vmap` goes along a sharded axis of an explicit mesh, JAX takes that axis out of a list of its own, which
    makes another context. There the settings that can be read decide.
    """
    if context == current_context():
        return True
    there = _contexts.get(context)
    is_explicit = AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types
    return is_explicit and there is not None and there.settings == _settings()


def _settings() -> tuple[Any, ...]:
    """What can be read of all that decides a trace."""
    names = core.unsafe_get_axis_names_DO_NOT_USE()  # pyright: ignore[reportPrivateImportUsage]
    axes = tuple((name, jax.lax.axis_size(name)) for name in names)
    return axes, jax.sharding.get_abstract_mesh(), *(getattr(jax.config, f"jax_{name}") for name in _READABLE)


_READABLE = (
    *("enable_x64", "numpy_dtype_promotion", "numpy_rank_promotion", "default_matmul_precision", "softmax_custom_jvp"),
    *("threefry_partitionable", "default_prng_impl", "enable_custom_prng", "disable_jit", "allow_f16_reductions"),
)


class TracedOnce(Generic[P, T]):
    """A function that traces, called once for equal arguments in one context: see `traced_once`."""

    def __init__(self, function: Callable[P, T], most: int):
        self.function, self.most = function, most
        update_wrapper(self, function)

    def __call__(self, *key: P.args, **no_others: P.kwargs) -> T:
        """What the function returns, from memory if it can."""
        traces = _current().traces.setdefault(self, {})
        found = traces.get(key, _MISSING)
        if found is not _MISSING:
            return found
        result = self.function(*key, **no_others)
        if len(traces) >= self.most:
            del traces[next(iter(traces))]
        traces[key] = result
        return result

    def within(self, context: int, *key: P.args, **no_others: P.kwargs) -> T:
        """The same, where it may have been traced in another context: what was traced there stands."""
        there = _contexts.get(context)
        found = _MISSING if there is None else there.traces.get(self, {}).get(key, _MISSING)
        return found if found is not _MISSING else self(*key, **no_others)

    def forget(self) -> None:
        """Forget all results, where what the function reads beside its arguments may have changed."""
        for context in list(_contexts.values()):
            context.traces.pop(self, None)


def traced_once(most: int = 8192) -> Callable[[Callable[P, T]], TracedOnce[P, T]]:
    """Remember what a function makes of its arguments (all positional), for each context that decides a trace.

    For everything in the library that traces: no other cache knows of the context. What it holds, it holds until
    `jax.clear_caches()`, like JAX's own caches; so what belongs to one gradient (a rule that a user passes) is not
    to be remembered here.

    Args:
        most: how many results are held in one context; the oldest go first.
    """
    return lambda function: TracedOnce(function, most)


def is_staged() -> bool:
    """Whether operations are being written into a jaxpr now (under `jit`, in the body of a loop), not run."""
    # Its name warns of code that means something else under `jit`. A rule means the same; it is traced less often.
    return core.unsafe_am_i_under_a_jit_DO_NOT_USE()  # pyright: ignore[reportPrivateImportUsage]


def running_traces(asked: Any) -> list[Any]:
    """The traces that have not ended, the innermost first, and `asked`, where one of them does not tell its parent."""
    trace, found = core.get_opaque_trace_state()._trace_ref(), []
    while trace is not None:
        found.append(trace)
        trace = getattr(trace, "parent_trace", None)
    return found if type(found[-1]).__name__ == "EvalTrace" else [*found, asked]


def current_trace() -> Any:
    """The trace that operations go to now; it equals itself and no other."""
    return core.get_opaque_trace_state()
