"""An op: a named pure function whose J^T can be registered argument by argument."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any, overload

import jax

from funcgrad.aliases import PureFunction, PyTree
from funcgrad.errors import RuleError, ShapeError, describe, require
from funcgrad.naming import name_here
from funcgrad.primitive import OpPrimitives
from funcgrad.registry.call import Call
from funcgrad.registry.example import Example
from funcgrad.registry.kind import Kind, Marker, exact
from funcgrad.registry.rule import Rule, module_of, name_of
from funcgrad.registry.shape_declarations import Shapes

_OPS: dict[str, "Op"] = {}
_RESERVED = ("g", "y")


def registered() -> Mapping[str, "Op"]:
    """All ops defined so far, by name."""
    return dict(_OPS)


class Op:
    """A pure function of arrays (positional) and static attributes (keyword-only), bound as one JAX primitive.

    Call it anywhere in JAX code. Made by `fg.op`, which enters it under its name; given rules by `pullback`, `saving`
    and `mark`.
    """

    def __init__(
        self,
        function: PureFunction,
        *,
        name: str | None = None,
        outputs: tuple[str, ...] = (),
        leading: tuple[str, ...] = (),
        elementwise: bool = False,
        core_axes: int | None = None,
        shapes: str = "",
    ):
        if not callable(function):
            found = type(function).__name__
            raise RuleError(f"fg.op expects a function, got {found}; write @fg.op, or @fg.op(name=...).")
        self.function = function
        if name is not None:
            require(name, str, "fg.op: name=", "a string", RuleError)
        self.name = name or name_of(function)
        for option, given in (("outputs", outputs), ("leading", leading)):
            require(given, (tuple, list), f"op {self.name}: {option}=", "a tuple of names", RuleError)
        require(core_axes, (int, type(None)), f"op {self.name}: core_axes=", "a number of axes", RuleError)
        require(shapes, str, f"op {self.name}: shapes=", "a string, as 'x[..., n] w[n, m]'", RuleError)
        self.outputs = outputs
        self.leading = leading
        self.core_axes = 0 if elementwise else core_axes
        self.shapes = Shapes.parse(shapes)
        self.saved: tuple[str, ...] = ()
        self.saving_function: PureFunction | None = None
        self.rules: dict[str, Rule | Marker] = {}
        self.examples: list[Example] = []
        self.__doc__, self.__name__, self.__module__ = function.__doc__, self.name, module_of(function)
        self.__wrapped__ = function
        self._check_declaration()
        self.primitives = OpPrimitives.named(self.name)

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.signature.parameters)})>"

    def __reduce__(self) -> tuple[Any, ...]:
        """An op is pickled as its module and name, like a function."""
        entered = _OPS.get(self.name)
        if "<locals>" in getattr(self.function, "__qualname__", "<locals>") or entered is not self:
            why = "was replaced" if entered not in (self, None) else "is defined inside a function"
            raise RuleError(
                f"op {self.name} cannot be pickled: it {why}, so that no other process can find it; define it at the "
                f"top level of a module."
            )
        return _find, (self.__module__, self.name)

    def __copy__(self) -> "Op":
        """An op is copied as a function is: it is itself."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Op":
        return self

    @cached_property
    def signature(self) -> inspect.Signature:
        """The plain function's signature."""
        return inspect.signature(self.function)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Names of the array arguments, in order."""
        return tuple(n for n, p in self.signature.parameters.items() if p.kind != p.KEYWORD_ONLY)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Names of the static attributes."""
        return tuple(n for n, p in self.signature.parameters.items() if p.kind == p.KEYWORD_ONLY)

    def __call__(self, *args: Any, **kwargs: Any) -> PyTree:
        """Apply the op: arrays (or pytrees of arrays) by position or name, attributes by name."""
        where = name_here(self.name)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ShapeError(f"{where}: {error}; its signature is {self.name}{self._written_signature()}.") from None
        bound.apply_defaults()
        arrays = tuple(bound.arguments[n] for n in self.arguments)
        attributes = tuple((n, bound.arguments[n]) for n in self.attributes)
        for n, value in attributes:
            _check_static(where, n, value)
        for n, value in zip(self.arguments, arrays, strict=True):
            _check_no_list(where, n, value)
        leaves, tree = jax.tree.flatten(arrays)
        call = Call(self, tree, attributes)
        outline = call.outline(call.check(where, leaves))
        call = dataclasses.replace(call, axes=outline.axes) if outline.axes else call
        return outline.unflatten_outputs(self.primitives.bind(leaves, call))

    def pullback(self, *arguments: str, kind: Kind = exact) -> Callable[[PureFunction], PureFunction]:
        """Register J^T with respect to one or several arguments.

        The decorated function asks for what it needs by parameter name (see `Rule`) and returns the cotangent,
        or a mapping by name where it serves several arguments. Un-broadcasting and casting to the primal's
        dtype are done for it.

        Raises:
            RuleError: no such argument, an argument served twice, or a parameter that names nothing known.
        """
        for a in arguments:
            _check_name(f"{self.name}.pullback", a, self.arguments)
            if a not in self.arguments:
                raise RuleError(f"{self.name} has no argument '{a}' to pull back to; it has {_listed(self.arguments)}.")
            if a in self.rules:
                raise RuleError(
                    f"{self.name} has a rule for '{a}' already; use fg.RuleSet().override(...) for another one."
                )
        if not arguments:
            raise RuleError(f"{self.name}.pullback needs the name of an argument, one of {_listed(self.arguments)}.")

        def register(function: PureFunction) -> PureFunction:
            rule = Rule(function, arguments, kind)
            self.check_rule(rule)
            self.rules.update(dict.fromkeys(arguments, rule))
            return function

        return register

    def saving(self, *names: str) -> Callable[[PureFunction], PureFunction]:
        """Register a forward that also returns what rules need: `(output, {name: value, ...})`.

        Raises:
            RuleError: the name is taken, a saving forward exists, or its parameters differ from the op's.
        """
        for name in names:
            _check_name(f"{self.name}.saving", name, ("rstd",))
        if self.saving_function is not None:
            raise RuleError(f"{self.name} has a saving forward already.")
        if taken := [n for n in names if n in self.known]:
            raise RuleError(f"{self.name} cannot save '{taken[0]}': the name is taken.")

        def register(function: PureFunction) -> PureFunction:
            if (found := tuple(inspect.signature(function).parameters)) != tuple(self.signature.parameters):
                raise RuleError(
                    f"{self.name}: the saving forward must take the op's parameters "
                    f"{_listed(tuple(self.signature.parameters))}, got {_listed(found)}."
                )
            self.saved, self.saving_function = names, function
            return function

        return register

    def mark(self, **markers: Marker) -> "Op":
        """Say why arguments have no pullback: `op.mark(labels=fg.Marker.NON_DIFFERENTIABLE)`."""
        for a, marker in markers.items():
            if a not in self.arguments or a in self.rules:
                problem = "has a rule already" if a in self.rules else "is no argument of it"
                raise RuleError(f"{self.name} cannot mark '{a}': it {problem}.")
            self.rules[a] = marker
        return self

    def example(self, *args: Any, **attributes: Any) -> Example:
        """Register arguments at which `fg.check` checks the rules: awkward points are worth an example each.

        The first is the one for the costlier checks, so let it be an ordinary one. Nothing runs until the check.

        >>> linear.example(x, w)
        """
        self.examples.append(Example(args, attributes))
        return self.examples[-1]

    def check_rule(self, rule: Rule, around: tuple[str, ...] = ()) -> None:
        """RuleError unless every parameter of the rule names something this op can give it, or has a default.

        `around` is what else there is for a rule that is put in (`registry/setting.py`).
        """
        rule.check(self.name, self.known, around)

    def _written_signature(self) -> inspect.Signature:
        """The signature without annotations, as errors write it."""
        bare = [p.replace(annotation=p.empty) for p in self.signature.parameters.values()]
        return self.signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)

    @property
    def known(self) -> tuple[str, ...]:
        """The names that a rule may ask for."""
        cotangents = tuple(f"g_{o}" for o in self.outputs) or ("g",)
        avals = tuple(f"{a}_aval" for a in self.arguments)
        return cotangents + self.arguments + avals + (self.outputs or ("y",)) + self.saved + self.attributes

    def _check_declaration(self) -> None:
        for n, p in self.signature.parameters.items():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise RuleError(f"op {self.name}: {p} is not allowed; name every argument (a tuple may hold several).")
            if n in _RESERVED:
                raise RuleError(f"op {self.name}: an argument cannot be called '{n}', which rules use; rename it.")
        for a in (*self.leading, *self.shapes.axes):
            if a not in self.arguments:
                raise RuleError(f"op {self.name} has no argument '{a}'; it has {_listed(self.arguments)}.")


def _find(module: str, name: str) -> Op:
    """The op that was pickled: importing the module that defines it makes it."""
    import_module(module)
    if name not in _OPS:
        raise RuleError(f"op {name} cannot be unpickled: module {module} defines no op of this name.")
    return _OPS[name]


def _check_name(where: str, name: Any, known: tuple[str, ...]) -> None:
    if not isinstance(name, str):
        raise RuleError(f"{where} expects names, got {type(name).__name__}; write @{where}('{(*known, '')[0]}').")


def _check_no_list(where: str, argument: str, value: Any) -> None:
    """ShapeError for a list of numbers: to JAX it is several arrays, and times two it is twice as long."""
    leaves = jax.tree.leaves(value) if isinstance(value, list) else []
    if any(isinstance(x, bool | int | float | complex) for x in leaves):
        raise ShapeError(f"{where}: {argument} must be an array, got the list {_short(value)}; wrap it in jnp.array.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]} ...]"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _check_static(where: str, name: str, value: Any) -> None:
    try:
        hash(value)
    except TypeError:
        raise ShapeError(
            f"{where}: attribute {name} must be static and hashable, got {describe(value)}; "
            f"pass arrays as positional arguments, and tuples for lists."
        ) from None


@overload
def op(function: PureFunction, /) -> Op: ...
@overload
def op(
    *,
    name: str | None = None,
    outputs: tuple[str, ...] = (),
    leading: tuple[str, ...] = (),
    elementwise: bool = False,
    core_axes: int | None = None,
    shapes: str = "",
    replace: bool = False,
) -> Callable[[PureFunction], Op]: ...
def op(function: PureFunction | None = None, /, **options: Any) -> Op | Callable[[PureFunction], Op]:
    """Make an op of a pure function: arrays positional, static attributes keyword-only.

    Args:
        function: the plain forward.
        name: the op's name; the function's by default.
        outputs: names of the outputs, for a function that returns a tuple of several. Rules then ask for
            `g_<name>` and `<name>` instead of `g` and `y`.
        leading: arguments (and all outputs) whose leading axes are batch axes, the same on all of them; `vmap`
            over them is then the op itself with one axis more.
        elementwise: the op broadcasts its arguments as numpy does; `vmap` is then the op itself.
        core_axes: the op broadcasts all but the last so many axes as numpy does (2 for a matrix product); `vmap`
            is then the op itself for arguments that have these axes.
        shapes: a declaration such as `"x[..., n] w[n, m]"`, checked at every call.
        replace: allow a second op of the same name; in an interactive session that is allowed anyway.
        options: all of the above, by name.

    Returns:
        The op: call it as the function; register its rules by `pullback`, `saving` and `mark`, and `example`s for
        `fg.check`. With options but no function, a decorator that makes it.

    Raises:
        RuleError: the name is taken, or the signature cannot be an op's.

    Example:
        >>> @fg.op
        ... def scaled(x, *, by): return by * x
        >>> @scaled.pullback("x")
        ... def scaled_x(g, by): return by * g
        >>> print(jax.grad(lambda x: scaled(x, by=3.0).sum())(jnp.ones(2)))
        [3. 3.]
    """
    if function is not None:
        return _entered(Op(function))
    replace = options.pop("replace", False)
    return lambda function: _entered(Op(function, **options), replace)


def _entered(made: Op, replace: bool = False) -> Op:
    """The op, registered under its name."""
    here, known = made.__module__, _OPS.get(made.name)
    rerun = here == "__main__" and known is not None and known.__module__ == here  # a notebook cell, say
    if known is not None and not (replace or rerun):
        raise RuleError(
            f"An op named '{made.name}' exists already (in {known.__module__}); "
            f"choose another with name=, or pass replace=True."
        )
    _OPS[made.name] = made
    return made
