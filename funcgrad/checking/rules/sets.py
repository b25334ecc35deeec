"""The rules of a set as those of an op, so that they are held to the same as an op's own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any

import jax

from funcgrad.autodiff import Tape, record, with_rules
from funcgrad.checking.rules.examples import choose_examples
from funcgrad.errors import CheckError, FuncgradError, require
from funcgrad.registry import (
    Example,
    Kind,
    Marker,
    Op,
    Rule,
    RuleSet,
    exact,
    modified,
    name_of,
    names_around,
    nonlinear,
    subgradient,
)


def under(
    function: Op | str | Callable[..., Any],
    rules: RuleSet,
    cases: Sequence[Any] | None,
    attributes: Mapping[str, Any],
    groups: Sequence[str],
) -> tuple[Op, Sequence[str]]:
    """A function whose J^T is what a set makes of it, as an op that is in no registry, and what can be tested of it.

    An op is so with the rules that replace its own. Another function, or an op whose rules ask for what is around them
    or have something kept for them, has one rule for all its arguments: its gradient under the set, of which the costs
    are not those of a rule.

    Raises:
        CheckError: `rules` is no set of rules; there are no examples to say how many arguments a function has.
    """
    require(rules, RuleSet, "rules", "a set of rules", CheckError)
    if isinstance(function, str):
        raise CheckError(f"fg.check: rules= are checked on a function, got the name '{function}'; pass the function.")
    put_in = [o for o in rules.overrides if o.target.op is function]
    own = [o.rule for o in put_in]
    is_theirs = own and len(own) == len(rules.overrides) and not rules.hooks
    if isinstance(function, Op) and is_theirs and not any(_asks_for_more(r, function) for r in own):
        return _with_rules_of(function, {a: o.marker or o.rule for o in put_in for a in o.rule.arguments}), groups
    made = _with_gradient_of(function, rules, cases, attributes)
    return made, [group for group in groups if group != "costs"]


def _asks_for_more(rule: Rule, op: Op) -> bool:
    """Whether a rule asks for what is around it, or has something kept."""
    return bool(rule.keep) or any(n in rule.needs and n not in op.known for n in names_around(op.arguments))


def _with_rules_of(op: Op, replaced: dict[str, Rule | Marker]) -> Op:
    made = _copied(op)
    made.rules, made.saved, made.saving_function = op.rules | replaced, op.saved, op.saving_function
    return made


def _copied(op: Op) -> Op:
    """The op without rules; in no registry."""
    made = Op(op.function, name=op.name, outputs=op.outputs, leading=op.leading, core_axes=op.core_axes)
    made.shapes, made.examples = op.shapes, op.examples
    return made


def _with_gradient_of(
    function: Op | Callable[..., Any], rules: RuleSet, cases: Sequence[Any] | None, attributes: Mapping[str, Any]
) -> Op:
    parameters = _parameters(function, cases)
    names = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)

    def forward(*arguments: Any) -> Any:
        return function(*arguments)

    def pulled(g: Any, **given: Any) -> Any:
        arguments = [given.pop(name) for name in names]
        ruled = with_rules(lambda *arguments: function(*arguments, **given), rules)
        bars = dict(zip(names, jax.vjp(ruled, *arguments)[1](g), strict=True))
        return bars if len(bars) > 1 else next(iter(bars.values()))

    signed = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in parameters]
    is_op = isinstance(function, Op)
    made = _copied(function) if is_op else Op(_signed(forward, parameters), name=name_of(function))
    claim = _claim(function, rules, choose_examples(made, cases, attributes)[0])
    rule = Rule(_signed(pulled, [Parameter("g", Parameter.KEYWORD_ONLY), *signed]), names, claim, "of the set")
    made.rules = dict.fromkeys(names, rule)
    return made


def _parameters(function: Op | Callable[..., Any], cases: Sequence[Any] | None) -> list[Parameter]:
    """Those of an op; of any other function as many as the first example has, by its own names where it tells them."""
    if isinstance(function, Op):
        return list(function.signature.parameters.values())
    if not cases:
        raise CheckError(
            f"fg.check: nothing to check {name_of(function)} on; pass cases=[(x, ...), ...] beside rules=."
        )
    n = len(cases[0]) if isinstance(cases[0], tuple) else 1
    try:
        told = [p.name for p in signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        told = []
    names = told[:n] if len(told) >= n and not {"g", "y"} & set(told[:n]) else [f"x{i}" for i in range(n)]
    return [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]


def _claim(function: Op | Callable[..., Any], rules: RuleSet, example: Example) -> Kind:
    """What a set claims of the gradient of a function: what the rules that stand in its plan do, taken together."""
    try:
        tape = jax.eval_shape(lambda *arguments: _recorded(function, rules, example, arguments), *example.arguments)
    except FuncgradError:  # said by the contract's first row
        return modified
    kinds = {pullback.rule.kind for pullback in tape.plan.all_pullbacks if pullback.rule}
    if not all(kind.is_linear for kind in (*kinds, *(hook.kind for hook in rules.hooks))):
        return nonlinear
    if rules.hooks or modified in kinds:
        return modified
    if len(kinds) == len(tape.plan.structure.nodes) == 1:
        return kinds.pop()
    if not all(kind.is_derivative for kind in kinds):  # of a part, which is no slope of the whole
        return modified
    return subgradient("of its parts") if kinds - {exact} else exact


def _recorded(function: Callable[..., Any], rules: RuleSet, example: Example, arguments: Sequence[Any]) -> Tape:
    return record(partial(function, **example.attributes), *arguments, rules=rules)[1]


def _signed(function: Callable[..., Any], parameters: Sequence[Parameter]) -> Callable[..., Any]:
    """The function, with parameters of these names: what an op and a rule take is told from them."""
    function.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return function
