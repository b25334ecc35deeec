"""The forward pass as a value: a tape that holds the plan and what its rules will read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from funcgrad.aliases import PyTree
from funcgrad.autodiff.named_values import Names
from funcgrad.autodiff.requests import Output, Request
from funcgrad.autodiff.selection import Selection, Unreachable, Wrt
from funcgrad.errors import GradientError, called_with
from funcgrad.plans import Plan
from funcgrad.registry import RuleSet
from funcgrad.reverse import reverse


@partial(jax.tree_util.register_dataclass, data_fields=["kept"], meta_fields=["plan", "selection", "output"])
@dataclass(eq=False)
class Tape:
    """What a forward pass leaves behind: pull cotangents through it as often as you like, until you release it.

    A pytree whose leaves are the kept arrays, so it may leave a jitted function and enter another.

    Example:
        >>> y, tape = fg.record(fg.ops.tanh, jnp.zeros(2))
        >>> (x_bar,) = tape.pull(jnp.array([1.0, 2.0]))
        >>> print(x_bar, tape.pull(jnp.ones(2))[0])
        [1. 2.] [1. 1.]
    """

    plan: Plan
    kept: list[Any] | None
    """None once it is released."""
    selection: Selection
    output: Output

    def __repr__(self) -> str:
        """One line, also where a bound `pull` is printed."""
        wanted = ", ".join(v.name for v in self.plan.wanted[:3]) + ", ..." * (len(self.plan.wanted) > 3)
        kept = "released" if self.kept is None else f"{len(jax.tree.leaves(self.kept))} arrays kept"
        return f"Tape(of {self.output.describe()} by {wanted}, {kept})"

    def __reduce__(self) -> str:
        """Its plan is of this process."""
        raise GradientError("A tape cannot be pickled or copied; record it again with fg.record.")

    def pull(self, *cotangent: PyTree, last: bool = False) -> PyTree:
        """Cotangents of what the tape was recorded for, from that of the output.

        Args:
            cotangent: one, like the output: same structure, shapes and dtypes; numbers and numpy arrays are taken
                where JAX reads them so. Integer outputs have none; whatever stands in their place is ignored.
            last: release the tape after this pull.

        Returns:
            A tuple with a cotangent for each primal, or what `wrt` asked for.

        Raises:
            GradientError: the cotangent is not like the output, or the tape was released.
        """
        if len(cotangent) != 1:
            raise GradientError(
                f"pull takes one cotangent, like the output {self.output.describe()}, got {len(cotangent)}; where the "
                f"output is a tuple, pass a tuple."
            )
        if self.kept is None:
            raise GradientError("The tape was released, so nothing can be pulled through it; record it again.")
        cotangents = reverse(self.plan, self.kept, self.output.seeds(*cotangent))
        if last:
            self.release()
        return self.selection.assemble(self.plan, cotangents)

    def release(self) -> None:
        """Let go of the kept arrays: what nobody else holds of them is freed. Pulling raises from now on."""
        self.kept = None


def record(
    fun: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    of: Names | None = None,
    wrt: Wrt | None = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
) -> Any:
    """Run `fun` and keep its tape: `(output, tape)`, or `(output, tape, aux)` with `has_aux`.

    Args:
        fun: the function.
        primals: its arguments, pytrees of arrays; cotangents come out for all of them (`float0` for integers).
        has_aux: `fun` returns `(output, aux)`.
        of: stop at named values, which take the place of the output; as in `value_and_grad`, but of any shape.
        wrt: only cotangents of these come out, in the shape that `value_and_grad` gives them.
        unreachable: what to do if the output does not depend on what `wrt` names: `"raise"`, or give `"zero"`.
        rules: which J^T stands for which op, where not the ops' own.

    Returns:
        The output and the tape, whose `pull` gives a tuple with a cotangent for each primal, or what `wrt` asks for;
        and with `has_aux` the auxiliary result.

    Raises:
        GradientError: an argument to differentiate holds a leaf that is no array, or `of` or `wrt` cannot be found
            or reached.
        RuleError: an override matches nothing, or a rule is marked not implemented.

    Example:
        >>> y, tape = fg.record(jnp.multiply, jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]))
        >>> x_bar, y_bar = tape.pull(jnp.ones(2))
        >>> print(y, x_bar, y_bar)
        [3. 8.] [3. 4.] [1. 2.]
    """
    request = Request(fun, tuple(range(len(primals))), has_aux, wrt is None, of, wrt, unreachable, rules)
    return _recorded(request, primals)


def record_everything(fun: Callable[..., Any], primals: Sequence[Any], rules: RuleSet) -> tuple[Any, Tape]:
    """The same, by all variables of modules among the arguments, and not by those alone that a library trains."""
    request = Request(fun, tuple(range(len(primals))), allow_int=True, rules=rules, of_everything=True)
    return _recorded(request, primals)


def _recorded(request: Request, primals: Sequence[Any]) -> Any:
    fun, has_aux = request.fun, request.has_aux
    with called_with("vjp", fun, primals, {}), request.traced_at(primals, {}, opens=False) as (call, traced):
        output, auxiliary, kept, _ = traced.run()
        auxiliary = call.close(auxiliary)
    tape = Tape(traced.plan, kept, traced.selection, traced.output)
    return (output, tape, auxiliary) if has_aux else (output, tape)


def vjp(
    fun: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    of: Names | None = None,
    wrt: Wrt | None = None,
    unreachable: Unreachable = "raise",
    rules: RuleSet | None = None,
) -> Any:
    """Run `fun` and make its pullback: `(output, pull)`, or `(output, pull, aux)`; a drop-in for `jax.vjp`.

    What newer JAX hangs on the function that `jax.vjp` returns (`with_refs`, `args_res`) it has not: what is kept is in
    the tape that `record` returns.

    Args:
        fun: the function.
        primals: its arguments, pytrees of arrays.
        has_aux: `fun` returns `(output, aux)`.
        of: stop at named values, which take the place of the output; see `record`.
        wrt: only cotangents of these come out.
        unreachable: what to do if the output does not depend on what `wrt` names: `"raise"`, or give `"zero"`.
        rules: which J^T stands for which op, where not the ops' own.

    Returns:
        The output and `pull(cotangent)`, which gives a tuple with a cotangent for each primal, or what `wrt` asks for;
        and with `has_aux` the auxiliary result.

    Raises:
        GradientError: as from `record`; from `pull`, the cotangent is not like the output.
        RuleError: as from `record`.

    Example:
        >>> y, pull = fg.vjp(jnp.sin, jnp.zeros(2))
        >>> (x_bar,) = pull(jnp.array([1.0, 2.0]))
        >>> print(x_bar)
        [1. 2.]
    """
    output, tape, *auxiliary = record(
        fun, *primals, has_aux=has_aux, of=of, wrt=wrt, unreachable=unreachable, rules=rules
    )
    return (output, jax.tree_util.Partial(Tape.pull, tape), *auxiliary)
