"""The rules of a primitive of JAX's as those of an op, so that they are held to the same as an op's.

The op is the function of the row's examples, `case` says of which; it refuses what the row does not hold for, as there
the rules are not asked. What a rule reads of the equation beside arrays (`dimension_numbers`, `axes`) is found by
tracing that function at the arrays in hand.
"""

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any

import jax
from jax import lax

from funcgrad.aliases import Array, PureFunction
from funcgrad.errors import CheckError
from funcgrad.naming import suggest
from funcgrad.primitive import body, is_jit
from funcgrad.registry import Equation, Marker, Op, Row, Rule, equations_of, module_of, name_of, row_of, written

_CASE = Parameter("case", Parameter.KEYWORD_ONLY, default=0)
"""The static attribute: of which example the function is."""


def op_of(primitive: str) -> Op:
    """An op that is in no registry: a primitive of JAX's with the rules that are written down for it.

    Raises:
        CheckError: JAX has no such primitive, or nothing is written down for it.
    """
    row = row_of(primitive)
    if row is not None:
        return as_op(primitive, row)
    if hasattr(lax, f"{primitive}_p"):
        raise CheckError(
            f"fg.check: no rules are written down for JAX's primitive '{primitive}'; it is derived by jax.vjp, which "
            f"is what rules are compared with."
        )
    near = suggest(primitive, sorted(written()))
    raise CheckError(
        f"fg.check: JAX has no primitive '{primitive}'; "
        f"{near or 'an op is passed itself, as in fg.check(fg.ops.linear).'}"
    )


def name_of_primitive(function: Callable[..., Any]) -> str:
    """Which primitive a function of JAX's is: `tanh` of `jax.lax.tanh` and `jnp.tanh`, `max` of `jnp.maximum`.

    Told from the one equation that the function leaves in a trace, and not from its name: `jnp.max` is no `max`. What
    takes more than arrays is not traced for that; a function of `jax.lax` is then the primitive of its name.

    Raises:
        CheckError: the function is not JAX's, or is none of its primitives.
    """
    name = name_of(function)
    if module_of(function).partition(".")[0] != "jax":
        raise CheckError(
            f"fg.check expects an op made by fg.op, a primitive of JAX's by its name, or a function of JAX's that is "
            f"one, got the function {name}; a whole function is checked at its own numbers by fg.audit({name}, ...)."
        )
    equations = equations_of(function)
    while len(equations) == 1 and is_jit(equations[0].source) and (inner := body(equations[0].source)) is not None:
        equations = [Equation.of(equation) for equation in inner.jaxpr.eqns]
    only = equations[0] if len(equations) == 1 else None
    if only is not None and not (only.is_custom_jvp or only.is_custom_vjp):
        return only.source.primitive.name
    if not equations and getattr(lax, name, None) is function:
        return name
    found = f"is {', '.join(equation.name for equation in equations)}" if equations else "is none"
    if only is not None:
        found = "has a derivative of its own, which fg.audit compares with that of its function"
    raise CheckError(
        f"fg.check takes functions of JAX's that are one primitive with written rules, and '{name}' {found}; name the "
        f"primitive that is meant, as in fg.check('tanh')."
    )


def as_op(primitive: str, row: Row) -> Op:
    """A row as an op, which is called as JAX calls the primitive itself, `tanh_p`.

    Its arguments are called as the primitive's; one that is called as the output, `y`, becomes `y_`.
    """
    if not row.uses:
        raise CheckError(f"fg.check: the row of '{primitive}' has no example; add row(...).example(function, x).")
    equations = [_only(primitive, use.function, use.operands) for use in row.uses]
    arguments = {a: "y_" if a == "y" else a for a in equations[0].argument_slots}

    def apply(*operands: Any, case: int = 0) -> Any:
        leaves = jax.tree.leaves(operands)
        function = row.uses[case].function
        if not row.holds(_only(primitive, function, leaves)):
            raise TypeError(f"the rules of {primitive} do not hold for these arrays, it is derived")
        result = function(*leaves)
        return tuple(result) if isinstance(result, list) else result

    positional = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in arguments.values()]
    made = Op(_signed(apply, [*positional, _CASE]), name=f"{primitive}_p")
    for argument, rule in row.rules.items():
        if isinstance(rule, Marker):
            made.mark(**{arguments[argument]: rule})
        else:
            adapted = _adapted(primitive, row, rule, arguments, equations[0].output_name)
            made.rules[arguments[argument]] = adapted
    for case, (use, equation) in enumerate(zip(row.uses, equations, strict=True)):
        operands = (slot.take(use.operands) for slot in equation.argument_slots.values())
        made.example(*operands, **({"case": case} if case else {}))
    return made


def _only(primitive: str, function: PureFunction, operands: Sequence[Array]) -> Equation:
    """The equation that a function of a row's example leaves."""
    traced = jax.make_jaxpr(lambda *leaves: function(*leaves))(*operands)
    found = [equation.primitive.name for equation in traced.eqns]
    if found != [primitive]:
        raise CheckError(
            f"fg.check: an example of the row of '{primitive}' must leave that one equation, got "
            f"{', '.join(found) or 'none'}; make of it a function of all operands."
        )
    return Equation.of(traced.eqns[0])


def _adapted(primitive: str, row: Row, rule: Rule, arguments: dict[str, str], output: str) -> Rule:
    """A row's rule, asking for what it reads by the names of the op."""
    names = {"g": "g", output: "y", **arguments, **{f"{a}_aval": f"{name}_aval" for a, name in arguments.items()}}
    avals = [f"{name}_aval" for name in arguments.values()]
    asked = [names[need] for need in rule.needs if need in names]

    def adapted(case: int, **given: Any) -> Any:
        leaves = jax.tree.leaves([given[name] for name in avals])
        statics = _only(primitive, row.uses[case].function, leaves).statics
        return rule.function(**{need: given[names[need]] if need in names else statics[need] for need in rule.needs})

    by_name = [Parameter(name, Parameter.KEYWORD_ONLY) for name in dict.fromkeys((*asked, *avals))]
    served = tuple(arguments[a] for a in rule.arguments)
    return Rule(_signed(adapted, [*by_name, _CASE]), served, rule.kind, rule.name)


def _signed(function: PureFunction, parameters: Sequence[Parameter]) -> PureFunction:
    """The function, with parameters of these names: what an op and a rule take is told from them."""
    function.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return function
