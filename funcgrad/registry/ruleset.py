"""Which J^T stands for which function and argument, at which nodes; and what changes cotangents on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import jax

from funcgrad.aliases import Array, PureFunction
from funcgrad.errors import RuleError, describe, printed, require
from funcgrad.naming import Where, holds, unnumbered
from funcgrad.registry.function import Function
from funcgrad.registry.hook import Hook, check_call
from funcgrad.registry.kind import STOPPING, Kind, Marker, modified, nonlinear
from funcgrad.registry.likeness import alike
from funcgrad.registry.op import Op
from funcgrad.registry.origin import ORIGIN, Origin
from funcgrad.registry.override import Override, nothing
from funcgrad.registry.region import Region
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import Replaced, Setting, asked_around, names_around
from funcgrad.registry.targets import Target, functions_in

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class RuleSet:
    """An immutable choice of rules: the functions' own, with overrides; the latest matching override wins.

    `override` and `hook` leave the set as it is and return another one: keep what they return. `print` lists it, and
    `diff` compares two.

    Args:
        overrides: what `override` was given.
        hooks: what `hook` was given.
        signal: what `with_signal` was given.
        key: what `with_key` was given.

    Example:
        >>> def guided_relu(g, y):
        ...     return jnp.where((y > 0) & (g > 0), g, 0.0)
        >>> rules = fg.RuleSet().override(fg.ops.relu, guided_relu, at="**", kind=fg.nonlinear)
        >>> loss = lambda x: jnp.sum(fg.ops.relu(x) * jnp.array([1.0, -1.0]))
        >>> print(fg.grad(loss)(jnp.ones(2)), fg.grad(loss, rules=rules)(jnp.ones(2)))
        [ 1. -1.] [1. 0.]
        >>> print(rules)
        relu at '**': guided_relu for x (nonlinear)
    """

    overrides: tuple[Override, ...] = ()
    hooks: tuple[Hook, ...] = ()
    signal: Where | None = None
    key: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        listed = "; ".join(self._lines)
        return f"<RuleSet of {listed or 'no overrides'}; immutable: override(...) returns another set>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its ops and rules, each as its module and name."""
        atoms = (atom for x in (*self.overrides, *self.hooks) for atom in x.at.atoms)
        functions = {
            **{f"rule {o.rule.name}": o.rule.function for o in self.overrides},
            **{f"what is kept as '{name}'": f for o in self.overrides for name, f in o.rule.keep.items()},
            **{f"rule {hook.name}": hook.function for hook in self.hooks},
            **{str(atom): atom.when for atom in atoms if atom.when is not None},
        }
        for what, function in functions.items():
            if any(mark in getattr(function, "__qualname__", "") for mark in ("<locals>", "<lambda>")):
                raise RuleError(
                    f"A RuleSet with {what} cannot be pickled, because no other process can find "
                    f"a function that is defined inside another or has no name; define it at the top level of a module."
                )
        return type(self), (self.overrides, self.hooks, self.signal, self.key)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Self":
        """Nothing of it changes, so its copy is itself."""
        return self

    @classmethod
    def of(cls, rules: "RuleSet | None") -> "RuleSet":
        """What was passed as `rules=`: RuleError unless it is a set of rules, or None for the ops' own."""
        if rules is None:
            return cls()
        if not isinstance(rules, RuleSet):
            found = "a function" if callable(rules) else describe(rules)
            raise RuleError(
                f"rules= expects an fg.RuleSet, got {found}; write fg.RuleSet().override(op, rule), which says for "
                f"which op a rule stands."
            )
        return rules

    def override(
        self,
        function: Op | str | Region | Target | Callable[..., Any],
        rule: PureFunction | Rule | Marker,
        *arguments: str,
        at: str | Where = "**",
        kind: Kind | None = None,
        optional: bool = False,
        keep: Mapping[str, PureFunction] | None = None,
    ) -> "Self":
        """A new set in which `rule` stands for the pullback of a function at the nodes that `at` stands for.

        Args:
            function: an op; an `fg.Region`, or a class of modules;
                a function of JAX's (`jax.nn.relu`, `jnp.round`, `jax.lax.dot_general`); or what a graph
                prints as the name of a node's function (`"relu"`, `"dot_general"`). A jitted function that is meant
                is one node.
            rule: a function as for `op.pullback`; or a `Rule`, of which what else is passed here replaces its own; or
                an `fg.Marker`, by which the arguments get no cotangent (`ZERO`, `NON_DIFFERENTIABLE`) or must not need
                one (`NOT_IMPLEMENTED`, which raises where they do). For a function of JAX's a rule asks for the
                parameters of the function, for those of a primitive (`dimension_numbers`), for the output `y` (`out`,
                where a parameter is called so), and for `<argument>_aval`. Any may ask for what is around it: `pull`,
                the J^T that it replaces, from a cotangent to that of its argument (a mapping, where it serves several);
                `f`, the forward as a function of the arguments, of which those left out are the node's own; `node`;
                `loss_g`, the cotangent of the value of `with_signal`; `key`, a random key made of that of `with_key`
                for this node and this turn of a loop; `w_origin`, of an argument `w`, where its value comes from.
            arguments: the arguments it serves; may be left out for a function with one argument.
            at: names of nodes, of what they make, or of scopes; globs of these; an `fg.Where`.
            kind: what the rule claims; by default `modified`, no derivative, but linear in `g`. What is not even that
                is `nonlinear`.
            optional: whether it may match no node: of sets that are for many models. Else that raises.
            keep: what the forward makes for the rule, to be kept in the place of what that is made of: by the name
                that the rule asks for, a function of what a rule may ask for but cotangents, by name.

        Returns:
            Another set.

        Raises:
            RuleError: the op has no such argument, or the rule asks for something the op cannot give; for functions
                of JAX's, that is said when the set is used in a plan, as is a pattern that matches no node. A marker
                comes with a `kind` or something to `keep`.

        Example:
            >>> def guided_relu(g, x):
            ...     return jnp.where((x > 0) & (g > 0), g, 0.0)
            >>> rules = fg.RuleSet().override(jax.nn.relu, guided_relu, kind=fg.nonlinear)
            >>> print(fg.grad(lambda x: -jnp.sum(jax.nn.relu(x)), rules=rules)(jnp.ones(2)))
            [0. 0.]
            >>> by_bytes = fg.RuleSet().override(
            ...     jax.nn.relu, lambda g, passes: jnp.where(passes, g, 0), keep={"passes": lambda x: x > 0}
            ... )
            >>> loss, x = lambda x: jnp.sum(jax.nn.relu(x + 1)), jnp.ones(16, jnp.float32)
            >>> [fg.plan(loss, x, rules=r).totals.kept_bytes for r in (fg.RuleSet(), by_bytes)]
            [64, 16]
        """
        target = Target.of(function)
        _check_place(at, "override", "a glob over names of nodes, as 'encoder/**'")
        marker = rule if isinstance(rule, Marker) else None
        if marker is not None and (kind or keep):
            what = "kind" if kind else "keep"
            raise RuleError(
                f"override of {target.title}: fg.Marker.{marker.name} says that nothing flows, and takes no {what}=; "
                f"leave that out, or pass a rule."
            )
        if isinstance(rule, Marker):
            rule = nothing(rule, arguments or (_only_argument(target.op) if target.op else ()))
        elif not isinstance(rule, Rule):
            rule = Rule(rule, () if arguments or not target.op else _only_argument(target.op), modified)
        passed = {"arguments": arguments or None, "kind": kind, "keep": keep}
        if given := {name: value for name, value in passed.items() if value is not None}:
            rule = replace(rule, **given)
        if target.op is not None:
            for a in rule.arguments:
                if a not in target.op.arguments:
                    raise RuleError(
                        f"{target.title} has no argument '{a}' to override; it has {', '.join(target.op.arguments)}."
                    )
            target.op.check_rule(rule, names_around(target.op.arguments))
        return replace(self, overrides=(*self.overrides, Override(target, rule, Where.of(at), optional, marker)))

    def hook(self, at: str | Where, function: Callable[[Array], Array], kind: Kind = modified) -> "Self":
        """A new set in which the cotangents of the values that `at` stands for are changed by a function.

        What is changed is the sum over all readers of a value, before the rule of its node reads it; the cotangent
        of an input is changed before it is returned. Inside a loop that is done at every turn.

        Args:
            at: a name or a glob of values, nodes, scopes or leaves of arguments, or an `fg.Where`.
            function: from a cotangent to one of the same shape and dtype: `lambda g: -g` reverses it,
                `lambda g: jnp.clip(g, -1, 1)` clips it. Where it has a parameter `key`, it gets a random key there
                (see `with_key`); any other needs a default. Where several match, the first that was added comes first.
            kind: what the function claims: `fg.modified`, which is linear, or `fg.nonlinear`, as clipping is.

        Returns:
            Another set.

        Raises:
            RuleError: `function` is none or asks for more, or `kind` is neither of the two. A pattern that matches no
                value raises when the set is used in a plan.

        Example:
            >>> rules = fg.RuleSet().hook("h", lambda g: -g)
            >>> print(fg.grad(lambda x: jnp.sum(fg.name(2.0 * x, "h")), rules=rules)(jnp.ones(2)))
            [-2. -2.]
        """
        _check_place(at, "hook", "the name of a value, or a glob")
        if not callable(function):
            raise RuleError(f"hook: expected a function of a cotangent, got {type(function).__name__}.")
        if kind not in (modified, nonlinear):
            raise RuleError(
                f"hook: what changes a cotangent is no derivative, kind= takes fg.modified or fg.nonlinear, got {kind}."
            )
        hook = Hook(Where.of(at), function, kind)
        check_call(hook)
        return replace(self, hooks=(*self.hooks, hook))

    def with_key(self, key: Any) -> "Self":
        """A new set whose rules and hooks may ask for a random `key`.

        Args:
            key: as `jax.random.key(0)` gives it; another one in every step, or the noise is the same in all. Each
                node's key is made of it and the node's name.

        Returns:
            Another set.

        Raises:
            RuleError: it is no key.

        Example:
            >>> noisy = lambda g, pull, key: pull(g + jax.random.normal(key, g.shape))
            >>> rules = fg.RuleSet().override(jnp.tanh, noisy)
            >>> gradient = lambda x, key: fg.grad(lambda x: jnp.tanh(x).sum(), rules=rules.with_key(key))(x)
            >>> a, b = (gradient(jnp.ones(2), jax.random.key(i)) for i in range(2))
            >>> bool(jnp.any(a != b))
            True
        """
        try:
            jax.random.fold_in(key, 0)
        except (TypeError, ValueError):
            raise RuleError(f"with_key: expected a random key, jax.random.key(0), got {describe(key)}.") from None
        return replace(self, key=key)

    def with_signal(self, at: str | Where) -> "Self":
        """A new set whose rules may ask for the cotangent of one value, wherever they stand before it: `loss_g`.

        In loops, branches and checkpoints too. A value that is itself in one of these is for the rules in there, which
        are told that of their turn.

        Args:
            at: the name of the value, or an `fg.Where`. Without it, `loss_g` is the cotangent of the output.

        Returns:
            Another set.

        Raises:
            RuleError: it is no place. When the set is used in a plan: it stands for no value, or for several; for one
                that comes before a rule that asks, or inside of something that does not hold it; or for one on which
                the output does not depend.

        Example:
            >>> rules = fg.RuleSet().override(jnp.tanh, lambda g, loss_g: jnp.full_like(g, loss_g.sum()))
            >>> loss = lambda x: (fg.name(jnp.tanh(x) * 2, "y") ** 2).sum()
            >>> print(fg.grad(loss, rules=rules.with_signal("y"))(jnp.zeros(2)))
            [0. 0.]
        """
        _check_place(at, "with_signal", "the name of a value")
        return replace(self, signal=Where.of(at))

    def __or__(self, other: "RuleSet") -> "RuleSet":
        """Both sets as one, in which the right one wins where both match; of hooks, the left one's come first.

        Raises:
            RuleError: the other is no set of rules.
        """
        if not isinstance(other, RuleSet):
            _refuse_beside(other)
        return RuleSet(
            self.overrides + other.overrides,
            self.hooks + other.hooks,
            self.signal if other.signal is None else other.signal,
            self.key if other.key is None else other.key,
        )

    def __ror__(self, other: object) -> NoReturn:
        """RuleError: the left one is no set of rules."""
        _refuse_beside(other)

    def find(self, function: Function, argument: str, node: str) -> Rule | Marker | None:
        """The rule for an argument of a function at a node; None where it is to be derived."""
        return self.replaced(function, argument, node) or function.rules.get(argument)

    def replaced(self, function: Function, argument: str, node: str) -> Rule | Marker | None:
        """The rule, or marker, that overrides those of a function at a node; None where none does."""
        found = self._standing(function, argument, node, len(self.overrides))
        return (self.overrides[found[0]].marker or found[1]) if found else None

    def blocks(self, function: Function, position: int, node: str) -> bool:
        """Whether no cotangent passes a function to its input at a position, by its own rules or what was put in."""
        replaced = self.replaced(function, function.argument_of(position), node) if self.overrides else None
        return function.blocks(position) if replaced is None else replaced in STOPPING

    def _standing(self, function: Function, argument: str, node: str, n: int) -> tuple[int, Rule] | None:
        """The latest of the first `n` overrides that serves an argument at a node: its number, and its rule."""
        for i in reversed(range(n)):
            override = self.overrides[i]
            if override.target.covers(function) and override.stands_at(node):
                rule = override.bound(function, node)
                if argument in rule.arguments:
                    return i, rule
        return None

    def setting(
        self, function: Function, rule: Rule, node: Any, origin_of: Callable[[int], Origin], n: int | None = None
    ) -> Setting | None:
        """What a rule asks for that is around it at a node; None where it asks for nothing of that kind.

        Args:
            function: the node's.
            rule: the one that stands there, of the first `n` overrides.
            node: the node.
            origin_of: where its input at a position comes from.
            n: all, if None.

        Raises:
            RuleError: it asks for a key, and the set has none.
        """
        asked = asked_around(rule, function)
        if not (self.overrides and asked):
            return None
        if "key" in asked and self.key is None:
            raise RuleError(
                f"{node.name}: rule {rule.name} asks for a random key, and the set has none; give it one in every "
                f"step, as rules.with_key(jax.random.key(0))."
            )
        replaced = self._replaced_by(function, rule, node, origin_of, len(self.overrides) if n is None else n)
        slots = {name: function.slot_of(name.removesuffix(ORIGIN)) for name in asked if name.endswith(ORIGIN)}
        origins = tuple((name, slot.take({p: origin_of(p) for p in slot.positions})) for name, slot in slots.items())
        return Setting(asked, replaced if "pull" in asked else (), node if "node" in asked else None, origins)

    def _replaced_by(
        self, function: Function, rule: Rule, node: Any, origin_of: Callable[[int], Origin], n: int
    ) -> tuple[Replaced, ...]:
        """What would stand for the arguments of a rule, the latest of the first `n` overrides, if it did not."""
        groups: dict[tuple[int, Rule | None], list[str]] = {}
        for argument in rule.arguments:
            own = self._standing(function, argument, node.name, n)
            below = self._standing(function, argument, node.name, own[0] if own else 0)
            if below is None:
                written = function.rules.get(argument)
                below = (-1, written) if isinstance(written, Rule) else None
            groups.setdefault(below or (-1, None), []).append(argument)
        return tuple(
            Replaced(
                r and r.alone,
                tuple(arguments),
                self.setting(function, r, node, origin_of, i + 1) if r is not None and i >= 0 else None,
            )
            for (i, r), arguments in groups.items()
        )

    def means(self, function: Function, node: str) -> bool:
        """Whether a rule is meant for a function that holds others, at a node whose number is not known yet."""
        at = [override.at for override in self.overrides if override.target.covers(function)]
        name = unnumbered(node)
        return any(where.may_be(lambda path: holds(unnumbered(path), name), function.name) for where in at)

    @property
    def written_out(self) -> tuple[Callable[..., Any], ...]:
        """The functions with a rule that leave several equations in a trace."""
        return tuple(dict.fromkeys(o.target.written_out for o in self.overrides if o.target.written_out is not None))

    def reaches_into(self, jaxpr: Any) -> bool:
        """Whether a rule may be meant for something inside a jaxpr."""
        targets = [override.target for override in self.overrides]
        if any(target.region for target in targets):
            return True
        return bool(targets) and any(t.covers(f) for _, f in functions_in(jaxpr) for t in targets)

    def diff(self, other: "RuleSet") -> str:
        """What `other` replaces or changes that this set does not (`+`), and the other way round (`-`).

        Args:
            other: another set.

        Returns:
            A line for each override and hook that one of the two lacks.

        Raises:
            RuleError: it is no set of rules.
        """
        require(other, RuleSet, "RuleSet.diff: the other", "a set of rules", RuleError)
        mine, others = (*self.overrides, *self.hooks), (*other.overrides, *other.hooks)
        lines = [f"- {x}" for x in mine if not any(alike(x, other) for other in others)]
        lines += [f"+ {x}" for x in others if not any(alike(x, other) for other in mine)]
        return "\n".join(lines)

    @property
    def _lines(self) -> list[str]:
        signal = [] if self.signal is None else [f"loss_g: the cotangent of '{self.signal}'"]
        key = [] if self.key is None else ["key: one is set"]
        return [*map(str, (*self.overrides, *self.hooks)), *signal, *key]

    def __str__(self) -> str:
        return "\n".join(self._lines) or "the ops' own rules"


def _check_place(at: object, what: str, expected: str) -> None:
    """RuleError for what is no place, and for one turn of a loop."""
    if isinstance(at, list | tuple | set | frozenset):
        raise RuleError(f"{what}: at= takes one place, {expected}, got {at!r}; join several, as fg.Where('a') | 'b'.")
    require(at, (str, Where), f"{what}: at=", expected, RuleError)
    if isinstance(at, Where) and at.turn is not None:
        raise RuleError(f"{what}: what stands in a loop stands there at every turn, got '{at}'; leave out turn=.")


def _refuse_beside(other: object) -> NoReturn:
    raise RuleError(
        f"RuleSet |: both must be sets of rules, got {printed(other)}; write rules | fg.RuleSet().override(op, rule), "
        f"or fg.RuleSet() for a set that changes nothing."
    )


def _only_argument(op: Op) -> tuple[str, ...]:
    if len(op.arguments) != 1:
        raise RuleError(
            f"{op.name} has several arguments ({', '.join(op.arguments)}); say which the rule serves: "
            f"override({op.name}, rule, '{op.arguments[0]}')."
        )
    return op.arguments
