"""A place of a graph as a value: by a name or a glob, by what a node applies, by what is true of a node."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal, TypeVar

from funcgrad.errors import GradientError, printed
from funcgrad.naming.patterns import is_glob, matches

Sign = Literal["", "|", "&", "~"]
T = TypeVar("T")


@dataclass(frozen=True)
class Where:
    r"""A choice of places in a graph; a string stands for `Where(string)` wherever a place is asked for.

    What it stands for depends on who asks: `wrt=`, `of=`, `taps=` and `RuleSet.hook` ask for values, `at=` of
    `RuleSet.override` for nodes, `fg.select` and `fg.freeze` for leaves of the parameters.

    | written | as values | as nodes |
    |---|---|---|
    | `"x1"`, `"params/w1"`, `"block*/relu"` | what is named so, or is made by a node named so | likewise |
    | `"params"` | all leaves of that argument | |
    | `"block3"`, a scope | what is made inside and read outside | all nodes inside |
    | `"w1"`, `"enc/**"` | leaves of an argument, whose name is left out | |
    | `op="relu"` | what such nodes make | all nodes that apply it |
    | `when=lambda node: node.flops > 1e9` | what such nodes make | all nodes of which it is true |
    | `"w1@x1"`, `"w1@*"` | w1 as x1 reads it; as each of its readers does | |

    A string is read as the first of these lines that it fits. `a | b` stands for what either does, `~a` for all else,
    `a & b` for what both do. Where `op=` or `when=` is a part of `a & b`, both are taken as nodes:
    `Where("block3") & Where(op="relu")` is every relu inside of block3, whether or not its output leaves it. Several
    arguments of one `Where` are joined by `&`.

    Args:
        path: the name of a value, node, scope or argument; a path in an argument; or a glob over these: `*` stands
            for a part of one segment, `**` for any segments. `\*`, `\/` and `\\` stand for the sign itself.
        op: the name of a node's function, as a graph prints it, or a glob of these; or a function of JAX's, or an op,
            as `RuleSet.override` takes them.
        turn: which turn of the loop that a value is in, from 0, or from -1 backwards; in nested loops a tuple, that of
            the outermost first. For `wrt=` and `of=` a value that is named by its path, or a glob of these.
        when: a function of a node (`name`, `op_name`, `scope`, `shapes` of its outputs, `flops`, `line`, `inputs`,
            `outputs`), true or false.
        sign: of a combination, how its parts are joined; `|`, `&` and `~` fill it in.
        parts: of a combination, what is joined.

    Raises:
        GradientError: none of these is given, or one is of another kind.

    Example:
        >>> where = fg.Where(op="relu") & ~fg.Where("head")
        >>> block = fg.layers.chain(fg.layers.linear(2), fg.ops.relu)
        >>> net, x = fg.layers.chain(block, head=block), jnp.ones(2)
        >>> params, state = net.init(jax.random.key(0), x)
        >>> gradient = fg.grad(lambda params: net(params, x).sum(), wrt=where)(params)
        >>> print(where, list(gradient))
        op=relu & ~head ['chain0/relu']
    """

    path: str | None = None
    op: str | Callable[..., Any] | None = field(default=None, kw_only=True)
    when: Callable[[Any], bool] | None = field(default=None, kw_only=True)
    turn: int | tuple[int, ...] | None = field(default=None, kw_only=True)
    sign: Sign = field(default="", kw_only=True)
    """How the `parts` are joined; nothing for a place that is no combination."""
    parts: "tuple[Where, ...]" = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        given = {"path": self.path, "op": self.op, "when": self.when}
        wrong = [f"path={printed(self.path)}"] if not isinstance(self.path, str | None) else []
        wrong += [] if isinstance(self.op, str | None) or _is_function(self.op) else [f"op={printed(self.op)}"]
        wrong += [] if self.when is None or callable(self.when) else [f"when={printed(self.when)}"]
        if wrong or (not self.sign and all(x is None for x in given.values())):
            raise GradientError(
                f"fg.Where takes a path as 'block*/relu', op= a function or its name, when= a function of a node, or "
                f"several of these, got {', '.join(wrong) or 'none'}."
            )
        if self.turn is not None:
            object.__setattr__(self, "turn", self._checked_turn(self.turn))

    def _checked_turn(self, turn: Any) -> tuple[int, ...]:
        """A turn as a tuple of numbers."""
        turns = turn if isinstance(turn, tuple) else (turn,)
        if not turns or not all(hasattr(t, "__index__") for t in turns):
            raise GradientError(
                f"fg.Where: turn= takes the number of a turn, as -1, or in nested loops a tuple of these, got "
                f"{printed(turn)}."
            )
        if self.path is None or self.op is not None or self.when is not None:
            raise GradientError(
                f"fg.Where: turn= goes with a path and nothing else, as fg.Where('cell/h', turn=-1), got turn={turn}."
            )
        return tuple(map(index, turns))

    @classmethod
    def of(cls, place: "str | Where") -> "Where":
        """What was written for a place."""
        return place if isinstance(place, Where) else cls(place)

    @property
    def joined(self) -> "tuple[Sign, tuple[Where, ...]]":
        """The sign and the parts that it stands for; of what says one thing only, no sign, and itself."""
        if self.sign:
            return self.sign, self.parts
        path = [Where(self.path)] if self.path is not None else []
        op = [Where(op=self.op)] if self.op is not None else []
        when = [Where(when=self.when)] if self.when is not None else []
        terms = (*path, *op, *when)
        return ("&", terms) if len(terms) > 1 else ("", (self,))

    def joining(self, chosen: "Callable[[Where], frozenset[T]]", everything: Iterable[T]) -> frozenset[T]:
        """What a combination stands for, from what is `chosen` by each of its parts."""
        sign, parts = self.joined
        if sign == "~":
            return frozenset(everything) - chosen(parts[0])
        sets = [chosen(part) for part in parts]
        return frozenset().union(*sets) if sign == "|" else frozenset.intersection(*sets)

    @property
    def atoms(self) -> Iterator["Where"]:
        """The parts that say one thing each."""
        sign, parts = self.joined
        if not sign:
            yield self
        for part in parts if sign else ():
            yield from part.atoms

    @property
    def is_name(self) -> bool:
        """Whether it is a name, which stands for one place, and neither a glob nor a combination."""
        return self.joined[0] == "" and self.path is not None and not is_glob(self.path)

    @property
    def is_of_nodes(self) -> bool:
        """Whether a part of it says what a node is."""
        return any(atom.path is None for atom in self.atoms)

    def may_be(self, path: Callable[[str], bool], op: str) -> bool:
        """Whether it may stand for a node that is not there yet: all that is known is which paths fit it, and its op.

        What depends on more may be so.
        """
        sign, parts = self.joined
        if sign == "|":
            return any(part.may_be(path, op) for part in parts)
        if sign == "&":
            return all(part.may_be(path, op) for part in parts)
        if self.path is not None and not sign:
            return path(self.path)
        return self.op is None or self.may_apply(op)

    def may_apply(self, op: str) -> bool:
        """Whether `op=` may stand for a function of this name, which is all that is known of it."""
        if isinstance(self.op, str):
            return matches(self.op, op)
        return self.op is not None and op.removeprefix("_") == _name_of(self.op).removeprefix("_")

    def __or__(self, other: "str | Where") -> "Where":
        return self._and("|", other)

    def __ror__(self, other: "str | Where") -> "Where":
        return Where.of(other) | self

    def __and__(self, other: "str | Where") -> "Where":
        return self._and("&", other)

    def __rand__(self, other: "str | Where") -> "Where":
        return Where.of(other) & self

    def __invert__(self) -> "Where":
        self._combinable()
        return Where(sign="~", parts=(self,))

    def _and(self, sign: Sign, other: "str | Where") -> "Where":
        if not isinstance(other, str | Where):
            return NotImplemented
        Where.of(other)._combinable()
        self._combinable()
        return Where(sign=sign, parts=(self, Where.of(other)))

    def _combinable(self) -> None:
        if self.turn is not None:
            raise GradientError(
                f"{self!r} is one turn of a value, which is not combined with other places; ask for several in a list."
            )

    def __bool__(self) -> bool:
        raise GradientError(f"{self!r} is neither true nor false; places are combined by |, & and ~.")

    def __str__(self) -> str:
        """As errors and sets of rules write it between quotes: `block3 & op=relu`."""
        sign, parts = self.joined
        if sign:
            return self._written(sign, [str(part) for part in parts])
        if self.path is not None:
            return self.path + ("" if self.turn is None else f", turn={self._turn}")
        if self.op is not None:
            return f"op={self.op if isinstance(self.op, str) else _name_of(self.op)}"
        return f"when={_name_of(self.when)}"

    def __repr__(self) -> str:
        sign, parts = self.joined
        if sign:
            return self._written(sign, [repr(part) for part in parts])
        if self.path is not None:
            return f"fg.Where({self.path!r})" if self.turn is None else f"fg.Where({self.path!r}, turn={self._turn})"
        if self.op is not None:
            return f"fg.Where(op={repr(self.op) if isinstance(self.op, str) else _name_of(self.op)})"
        return f"fg.Where(when={_name_of(self.when)})"

    @property
    def _turn(self) -> str:
        assert isinstance(self.turn, tuple)
        return str(self.turn[0] if len(self.turn) == 1 else self.turn)

    def _written(self, sign: Sign, texts: list[str]) -> str:
        """Parts that are joined by another sign in parentheses."""
        _, parts = self.joined
        inner = [part.joined[0] for part in parts]
        texts = [f"({t})" if s and s != sign and s != "~" else t for t, s in zip(texts, inner, strict=True)]
        return f"~{texts[0]}" if sign == "~" else f" {sign} ".join(texts)


def _is_function(x: Any) -> bool:
    return callable(x) and not isinstance(x, type)


def _name_of(function: Any) -> str:
    return getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
