"""What a pullback is: a named pure function, the arguments it serves, and what it claims to be."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax

from funcgrad.aliases import Array, Aval, PureFunction, PyTree
from funcgrad.errors import FuncgradError, RuleError, describe, describe_tree, require, said_by
from funcgrad.naming import line_here
from funcgrad.primitive import is_inexact, typed
from funcgrad.registry.broadcasting import Room, broadcasts
from funcgrad.registry.kind import Kind, exact


@dataclass(frozen=True)
class Rule:
    """A pullback: `function(**needs) -> cotangent`, or a mapping by name where it serves several arguments.

    `needs` are the parameter names of `function`: `g` (the output cotangent; `g_<output>` for an op with named
    outputs), any argument, `<argument>_aval` (its shape and dtype, which keeps nothing), `y` (the output; or the
    named outputs), any saved value, any attribute. A parameter that names none of these must have a default, which it
    keeps; a `functools.partial` asks for what it leaves open.

    What it asks for is kept for the backward pass. Where less would do, `keep` says what is made of it on the way
    forward and kept instead: the signs of `x`, say.

    Args:
        function: the pullback.
        arguments: the arguments that it serves.
        kind: what it claims to be: `fg.exact`, `fg.subgradient(...)`, `fg.surrogate(...)`, `fg.modified` or
            `fg.nonlinear`.
        title: what it is called, where the function has no name of its own.
        keep: by the name that the pullback asks for, a function of arguments, outputs, saved values and attributes,
            asked for by name, that returns an array. Of rules that a `RuleSet` puts in.

    Raises:
        RuleError: the function is none, or has parameters that cannot be asked for by name.

    Example:
        >>> rule = fg.ops.tanh.rules["x"]
        >>> rule.name, rule.needs, str(rule.kind)
        ('tanh_x', ('g', 'y'), 'exact')
    """

    function: PureFunction
    arguments: tuple[str, ...]
    kind: Kind = exact
    title: str = ""
    """What it is called, where the function has no name of its own."""
    keep: Mapping[str, PureFunction] = field(default_factory=dict, hash=False)
    """What the forward makes for it, by name, to be kept in the place of what that is made of."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise RuleError(f"A rule must be a function, got {type(self.function).__name__}.")
        kinds = "fg.exact, fg.subgradient(convention), fg.surrogate(function), fg.modified or fg.nonlinear"
        require(self.kind, Kind, f"rule {self.name}: kind", kinds, RuleError)
        _check_names(f"rule {self.name}", self._parameters)
        functions = "a mapping from names to functions, {'positive': lambda x: x > 0}"
        require(self.keep, Mapping, f"rule {self.name}: keep=", functions, RuleError)
        object.__setattr__(self, "keep", dict(self.keep))
        for name, function in self.keep.items():
            if name not in self.needs or not callable(function):
                found = "does not ask for it" if callable(function) else f"it is no function, but {describe(function)}"
                raise RuleError(f"rule {self.name}: keep= has '{name}', and {found}.")
            _check_names(f"rule {self.name}: what is kept as '{name}'", _parameters(function, name))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.arguments, self.kind, self.title, self.keep)

    @property
    def name(self) -> str:
        """The function's name, or the title that it was given."""
        return self.title or name_of(self.function)

    @property
    def written(self) -> str:
        """The name, with the line at which the function is written, where that is in a file."""
        function = self.function
        while isinstance(function, partial):
            function = function.func
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
        if code is None or not Path(code.co_filename).exists():
            return self.name
        return f"{self.name} ({Path(code.co_filename).name}:{code.co_firstlineno})"

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """What the function asks for, and what it has defaults for."""
        return tuple(self._parameters)

    @property
    def defaults(self) -> tuple[str, ...]:
        """The parameters that may go without a value."""
        return tuple(n for n, p in self._parameters.items() if p.default is not p.empty)

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return _parameters(self.function, f"rule {self.name}")

    @property
    def alone(self) -> "Rule":
        """The same, of what is kept: it asks for what that is made of."""
        return replace(self, function=_Remaking(self), title=self.name, keep={}) if self.keep else self

    @cached_property
    def kept_of(self) -> frozenset[str]:
        """What is asked for by what makes what is kept for it."""
        return frozenset(need for name, function in self.keep.items() for need in _parameters(function, name))

    def check(self, where: str, known: Sequence[str], around: Sequence[str] = ()) -> None:
        """RuleError unless all that it asks for is there, or has a default.

        Args:
            where: what has the rule.
            known: the names of its function's values and attributes, and of cotangents.
            around: what else there is for a rule that is put in (`registry/setting.py`).
        """
        if taken := [n for n in self.keep if n in known or n in around]:
            raise RuleError(f"{where}: rule {self.name} cannot keep '{taken[0]}': the name is taken.")
        _check_needs(f"{where}: rule {self.name}", self._parameters, (*known, *around, *self.keep))
        primal = [n for n in known if n != "g" and not n.startswith("g_")]
        for name, function in self.keep.items():
            what = f"{where}: what rule {self.name} keeps as '{name}'"
            _check_needs(what, _parameters(function, name), primal)

    def made_for(self, known: Mapping[str, Any], where: str) -> dict[str, Array]:
        """What is kept for it, of all that is known by name.

        Raises:
            RuleError: a function of `keep` returned no array, or raised.
        """
        return {name: self._made(name, known, where) for name in self.keep}

    def _made(self, name: str, known: Mapping[str, Any], where: str) -> Array:
        what = f"{where}: what rule {self.name} keeps as '{name}'"
        needs = [n for n in _parameters(self.keep[name], name) if n in known]
        try:
            found = self.keep[name](**{n: known[n] for n in needs})
        except (FuncgradError, FloatingPointError):
            raise
        except Exception as error:
            raise RuleError(f"{what} raised {said_by(error)}.") from error
        if not isinstance(found, jax.Array):
            raise RuleError(f"{what} must be an array, got {describe(found)}.")
        return found

    def apply(
        self, needs: Mapping[str, Any], avals: Mapping[str, PyTree], where: str, room: Room
    ) -> list[Array | None]:
        """Cotangents of the rule's arguments, leaf by leaf, shaped and typed like the primals.

        `avals` gives the avals of each served argument, `room` the shapes to which it may have been broadcast. An
        integer leaf has no cotangent (None).
        """
        first, *others = self.arguments
        result = self._run(needs, where)
        result = self._by_name(result, where) if others else {first: result}
        return [leaf for a in self.arguments for leaf in self._fit_argument(a, result[a], avals[a], where, room)]

    def _run(self, needs: Mapping[str, Any], where: str) -> Any:
        """What the function returns; RuleError for what it raises, unless that is ours."""
        try:
            return self.function(**needs)
        except (FuncgradError, FloatingPointError):  # the latter is JAX's, which was asked to look for NaN
            raise
        except jax.errors.UnexpectedTracerError as error:
            raise RuleError(
                f"{_with_line(where)}: rule {self.name} reads an array of another trace, which has ended; pass the "
                f"array to the op as an argument, and let the rule ask for it by name."
            ) from error
        except Exception as error:
            raise RuleError(f"{_with_line(where)}: rule {self.name} raised {said_by(error)}.") from error

    def _by_name(self, result: Any, where: str) -> Mapping[str, Any]:
        expected = ", ".join(self.arguments)
        if not isinstance(result, Mapping):
            raise RuleError(
                f"{where}: rule {self.written} serves {expected}, so it must return a mapping with these names, "
                f"got {type(result).__name__}."
            )
        if missing := [a for a in self.arguments if a not in result]:
            raise RuleError(
                f"{where}: rule {self.written} serves {expected}, but its result has no cotangent for "
                f"{', '.join(missing)}; return one for every argument it serves."
            )
        if extra := [a for a in result if a not in self.arguments]:
            raise RuleError(
                f"{where}: rule {self.written} returned a cotangent for {', '.join(map(str, extra))}, "
                f"which it does not serve; it serves {expected}."
            )
        return result

    def _fit_argument(self, argument: str, result: PyTree, avals: PyTree, where: str, room: Room) -> list[Array | None]:
        if isinstance(result, jax.Array) and hasattr(avals, "shape"):
            return [self._fit(argument, result, avals, where, room)]
        flat_avals, structure = jax.tree.flatten(avals)
        if jax.tree.structure(result) == structure:  # also where an argument, or a part of it, is None
            leaves = jax.tree.leaves(result)
            return [self._fit(argument, x, aval, where, room) for x, aval in zip(leaves, flat_avals, strict=True)]
        is_none = lambda x: x is None  # noqa: E731 (an integer leaf may be given as None)
        leaves = jax.tree.leaves(result, is_leaf=is_none)
        found, is_leaf = jax.tree.structure(result, is_leaf=is_none), jax.tree_util.treedef_is_leaf
        is_other = found != structure if len(leaves) > 1 else is_leaf(structure) and not is_leaf(found)
        if len(leaves) != len(flat_avals) or is_other:
            raise RuleError(
                f"{where}: rule {self.written} must return the cotangent of {argument} as {describe_tree(avals)}, "
                f"got {describe_tree(result)}."
            )
        return [self._fit(argument, x, aval, where, room) for x, aval in zip(leaves, flat_avals, strict=True)]

    def _fit(self, argument: str, x: Any, aval: Aval, where: str, room: Room) -> Array | None:
        if not is_inexact(aval):
            return None
        if isinstance(x, jax.Array) and _is_alike(found := jax.typeof(x), aval):
            return x
        promise = f"{where}: rule {self.written} must return the cotangent of {argument} as {describe(aval)}"
        try:
            found = jax.typeof(x)
        except TypeError:
            raise RuleError(f"{promise}, got {type(x).__name__}; return an array.") from None
        if not is_inexact(found):
            raise RuleError(f"{promise}, got {describe(found)}; return a floating cotangent.")
        if jax.numpy.iscomplexobj(x) and not jax.numpy.issubdtype(aval.dtype, jax.numpy.complexfloating):
            raise RuleError(f"{promise}, got {describe(found)}; return the real part.")
        if not broadcasts(aval.shape, found.shape):
            raise RuleError(f"{promise}, got {describe(found)}.")
        if found.shape != aval.shape and not room.explains(aval.shape, found.shape):
            raise RuleError(
                f"{promise}, got {describe(found)}, and {argument} was not broadcast along the axes that are too "
                f"many; sum over them in the rule."
            )
        return typed(unbroadcast(jax.numpy.asarray(x), aval), aval)


def _is_alike(found: Aval, aval: Aval) -> bool:
    """Whether a cotangent can stay as it is; one that is weakly typed may, as in JAX."""
    keeps_type = found.weak_type or not getattr(aval, "weak_type", False)
    return (found.shape, found.dtype) == (aval.shape, aval.dtype) and keeps_type


@dataclass(frozen=True)
class _Remaking:
    """A rule that makes for itself what else were kept for it."""

    rule: Rule

    @property
    def __signature__(self) -> inspect.Signature:
        own = {n: p for n, p in self.rule._parameters.items() if n not in self.rule.keep}
        for name, function in self.rule.keep.items():
            own = _parameters(function, name) | own
        return inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in own.values()])

    def __call__(self, **known: Any) -> Any:
        """What the rule returns."""
        own = {n: x for n, x in known.items() if n in self.rule.needs}
        return self.rule.function(**own, **self.rule.made_for(known, self.rule.name))


def _parameters(function: PureFunction, what: str) -> dict[str, inspect.Parameter]:
    """What a function asks for by name, and what it has defaults for."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        raise RuleError(f"{what} does not tell the names of its parameters; wrap it in a function that does.") from None
    fixed = function.keywords if isinstance(function, partial) else {}
    return {n: p for n, p in parameters.items() if n not in fixed}


def _check_names(what: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    for parameter in parameters.values():
        if parameter.kind not in by_name:
            found = _written(parameter)
            raise RuleError(
                f"{what} takes {found}, but what a rule reads is told from the names of its parameters; write them out."
            )


def _check_needs(what: str, parameters: Mapping[str, inspect.Parameter], known: Sequence[str]) -> None:
    for need, parameter in parameters.items():
        if need not in known and parameter.default is parameter.empty:
            raise RuleError(f"{what} asks for '{need}'; it may ask for {', '.join(known)}.")


def _with_line(where: str) -> str:
    line = line_here()
    return f"{where} at {line}" if line else where


def _written(parameter: inspect.Parameter) -> str:
    """A parameter that is not asked for by name, as its function writes it, without its annotation."""
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return f"{parameter.name}, /"
    return str(parameter.replace(annotation=parameter.empty))


def name_of(function: Any) -> str:
    """What a function is called; a partial as what it was made of."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def module_of(function: Any) -> str:
    """Where a function is defined."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__module__", type(function).__module__)


def unbroadcast(x: Array, aval: Aval) -> Array:
    """Sum `x` over the axes along which a value of `aval` was broadcast, and cast to its dtype.

    Broadcasting reads one entry several times, so its cotangent is the sum over the readings: the transpose of
    `broadcast_to`. What was weakly typed (a Python number) has a weakly typed cotangent; the other way round, a weakly
    typed cotangent stays as it is, as in JAX.
    """
    if x.shape != aval.shape:
        n_new = x.ndim - len(aval.shape)
        stretched = [n_new + i for i, n in enumerate(aval.shape) if n == 1 and x.shape[n_new + i] != 1]
        x = x.sum((*range(n_new), *stretched)).reshape(aval.shape)
    return typed(x, aval) if x.dtype != aval.dtype or getattr(aval, "weak_type", False) else x
