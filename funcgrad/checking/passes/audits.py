"""The report of an audit, and `fg.audit` itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.core import Tracer

from funcgrad.autodiff.named_values import Names, positions
from funcgrad.autodiff.requests import Request
from funcgrad.autodiff.selection import Wrt
from funcgrad.checking.passes.auditor import Auditor
from funcgrad.checking.passes.failures import Failure
from funcgrad.checking.passes.shared_arguments import compare_shared_arguments
from funcgrad.errors import CheckError, GradientError, called_with, describe
from funcgrad.registry import RuleSet


@dataclass(frozen=True)
class Audit:
    """What an audit found. Print it, or ask `.ok`.

    Attributes:
        failures: what is wrong, in the order of the forward pass.
        n_nodes: nodes of the backward pass, those inside of loops and branches included.
        n_cotangents: how many cotangents were looked at.
        claims: rules that claim to be no derivative of the node's function: not compared.
        own_dtype: loops, branches and checkpoints compared with `jax.vjp` in their own dtype, since what they hold
            cannot be run in float64, or has derivatives of its own.
        untested: nodes that nothing can be compared with: there is no derivative but the one they were given, or JAX's.
        shared: arguments that are read several times, for which the sum over copies was taken.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> report = fg.audit(lambda x: fg.ops.tanh(x).sum(), jnp.ones(2))
    >>> report.ok, report.n_nodes, report.failures
    (True, 2, ())
    """

    failures: tuple[Failure, ...]
    n_nodes: int
    n_cotangents: int
    claims: tuple[str, ...]
    own_dtype: tuple[str, ...]
    untested: tuple[str, ...]
    shared: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def raise_if_wrong(self) -> None:
        """Fail where something is wrong.

        Raises:
            CheckError: the first failure, and how many there are more.
        """
        for first in self.failures[:1]:
            more = f" ({len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            raise CheckError(f"audit: {first}{more}.")

    def __str__(self) -> str:
        verdict = "right" if self.ok else f"WRONG in {len(self.failures)} of {self.n_cotangents} cotangents"
        lines = [f"audit: {verdict} ({self.n_nodes} nodes, {self.n_cotangents} cotangents)", *map(str, self.failures)]
        lines += [f"as claimed, not compared: {claim}" for claim in self.claims]
        if self.own_dtype:
            lines.append(f"compared in their own dtype: {', '.join(self.own_dtype)}")
        if self.untested:
            lines.append(f"not tested: {', '.join(self.untested)}")
        if self.shared:
            lines.append(f"read several times, so compared with the sum over copies: {', '.join(self.shared)}")
        return "\n  ".join(lines)


def audit(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    of: Names | None = None,
    wrt: Wrt | None = None,
    rules: RuleSet | None = None,
    **kwargs: Any,
) -> Audit:
    """Check every node of the backward pass of `f` at these arguments.

    The node's inputs are the real ones. Its cotangents, for a random and a zero cotangent of its output, are compared
    with `jax.vjp` of its plain function in float64, up to 32 roundings in the node's own dtype, or 4 times the error
    that JAX's own derivative makes in it. Inside of loops that is done in the first turn, of a `cond` in the branch
    that is taken; and all turns together are compared as one function. A function that was given a derivative by
    `jax.custom_jvp` or `jax.custom_vjp` is compared with its own: what is meant to be another belongs in an op, whose
    rule says so with `kind=fg.modified`. An argument that is read several times must get the sum of what its uses get
    when each has a copy of its own.

    Args:
        f: a function that `fg.vjp` could take.
        args: its arguments: arrays, not their descriptions.
        argnums: by which to differentiate.
        has_aux: `f` returns `(output, aux)`.
        of: the values inside of `f` that are differentiated instead of its result, as in `fg.value_and_grad`.
        wrt: the values by which to differentiate instead of `argnums`, as there.
        rules: as in `fg.value_and_grad`.
        kwargs: keyword arguments of `f`.

    Returns:
        The failures, each with node, line of code, argument, expected and found; what was not compared, and why.

    Raises:
        GradientError: `f` cannot be differentiated, or there are no numbers to do it at.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> def loss(w, x):
    ...     with fg.scope("head"):
    ...         return jnp.mean(fg.ops.sigmoid(x @ w))
    >>> w, x = jnp.ones((3, 2)), jnp.ones((4, 3))
    >>> print(fg.audit(loss, w, x))
    audit: right (4 nodes, 4 cotangents)
    >>> rules = fg.RuleSet().override(fg.ops.sigmoid, lambda g, y: g * y, kind=fg.exact)
    >>> fg.audit(loss, w, x, rules=rules).failures[0].node
    'head/sigmoid'
    """
    request = Request(f, positions(argnums), has_aux, of=of, wrt=wrt, unreachable="zero", rules=rules)
    # Descriptions in the place of arrays have a sentence of their own, below.
    with called_with("audit", f, args, kwargs), request.traced_at(args, kwargs, runs=False) as (_, traced):
        pass
    for x in (*traced.inputs, *traced.constants):
        if isinstance(x, jax.ShapeDtypeStruct | Tracer):
            raise GradientError(f"audit needs arrays to compute with, got a description of one, {describe(x)}.")
    auditor = Auditor()
    auditor.visit(traced.plan, traced.constants, traced.inputs)
    shared, failures = compare_shared_arguments(traced, rules)
    return Audit(
        (*auditor.failures, *failures),
        auditor.n_nodes,
        auditor.n_cotangents + len(shared),
        tuple(auditor.claims),
        tuple(auditor.own_dtype),
        tuple(auditor.untested),
        shared,
    )
