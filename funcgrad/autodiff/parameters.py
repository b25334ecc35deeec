"""Which parameters: one value that the gradient, the training step and the optimizer share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax

from funcgrad.adapters import named_leaves
from funcgrad.aliases import PyTree
from funcgrad.errors import GradientError
from funcgrad.graph import hint
from funcgrad.naming import Where, choose, matches, paths_of

_HOLE = object()


@dataclass(frozen=True)
class Selector:
    """A choice among the leaves of any pytree of parameters, by their paths; `~` chooses the others.

    Made by `fg.select` and `fg.freeze`. Give it to `fg.grad(wrt=...)` and to `fg.train.init(trainable=...)`. Called on
    parameters it is the pytree of booleans that optax takes for a mask, so it stands wherever optax takes a function
    that makes one (`optax.adamw(1e-3, mask=fg.select("**/w"))`), and where optax takes one that makes labels, which are
    then True and False (`optax.multi_transform({True: ..., False: ...}, fg.select("encoder/**"))`).

    Example:
        >>> weights = fg.select("**/w")
        >>> print(weights({"fc": {"w": jnp.ones(2), "b": jnp.ones(2)}}), ~weights)
        {'fc': {'b': False, 'w': True}} fg.freeze('**/w')
    """

    places: tuple[Where, ...]
    is_inverted: bool = False

    def __invert__(self) -> "Selector":
        return replace(self, is_inverted=not self.is_inverted)

    def __str__(self) -> str:
        places = (repr(where.path) if where.path is not None else repr(where) for where in self.places)
        return f"fg.{'freeze' if self.is_inverted else 'select'}({', '.join(places)})"

    def __call__(self, params: PyTree) -> PyTree:
        """A pytree like `params`, or like updates, that says True where a leaf is chosen and False elsewhere.

        An optimizer may be given a part of the parameters only, the others None or masked. A pattern is then held
        against these too, and all leaves that are left may be chosen, or none.

        Raises:
            GradientError: a pattern matches no leaf, and nothing that was left out.
        """
        paths, absent = _paths(params)
        return jax.tree.structure(params).unflatten(self._chooses(paths, absent))

    def __bool__(self) -> bool:
        raise GradientError(
            f"{self} is neither true nor false; call it on parameters for a mask of them, or compare it with None."
        )

    def flags(self, params: PyTree, argument: str = "params") -> list[bool]:
        """Whether each leaf of `params` is chosen; a path may begin with the name of the `argument` that they are.

        Raises:
            GradientError: a pattern matches no leaf, or no leaf is left to choose.
        """
        paths, absent = _paths(params)
        flags = self._chooses(paths, absent, argument)
        if not any(flags):
            raise GradientError(f"{self} chooses none of the {len(paths)} parameters; narrow its patterns.")
        return flags

    def _chooses(self, paths: Sequence[str], absent: Sequence[str], argument: str = "params") -> list[bool]:
        everything = (*paths, *absent)

        def chosen(where: Where) -> frozenset[str]:
            if where.path is None:
                return where.joining(chosen, everything)
            found = choose(where.path, everything)
            head, _, inner = where.path.partition("/")
            if not found and head == argument:
                found = choose(inner or "**", everything)
            if not found and not any(_leads_to(where.path, hole) for hole in absent):
                raise GradientError(f"{self}: no parameter's path matches '{where}'; {_hint(where.path, paths)}")
            return frozenset(found)

        names = frozenset().union(*map(chosen, self.places))
        return [(path in names) != self.is_inverted for path in paths]

    def split(self, params: PyTree) -> tuple[PyTree, PyTree]:
        """The parameters that are chosen, and the others: two pytrees like `params`, None at the leaves they lack."""
        flags = self.flags(params)
        leaves, tree = jax.tree.flatten(params)
        chosen = [x if flag else None for x, flag in zip(leaves, flags, strict=True)]
        others = [None if flag else x for x, flag in zip(leaves, flags, strict=True)]
        return tree.unflatten(chosen), tree.unflatten(others)


def join(chosen: PyTree, others: PyTree) -> PyTree:
    """What `Selector.split` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, chosen, others, is_leaf=lambda x: x is None)


def select(*paths: str | Where) -> Selector:
    """Choose the parameters whose paths match: `*` stands for a part of one segment, `**` for any segments.

    Args:
        paths: paths inside of the parameters, `"encoder/0/w"`, globs, or an `fg.Where` of these. The name of the
            argument that holds the parameters may stand in front, as a graph prints it: what the function calls it in
            `fg.grad`, and `params` in `fg.train.init` and in a mask.

    Returns:
        A `Selector`.

    Raises:
        GradientError: none is given, or one says what a node is (`op=`, `when=`), which a parameter is not.

    Example:
        >>> params = {"body": jnp.ones(2), "head": {"w": jnp.ones(2)}}
        >>> loss = lambda params: jnp.sum(params["body"] * params["head"]["w"])
        >>> gradient = fg.grad(loss, wrt=fg.select("head/**"))(params)
        >>> gradient["body"], gradient["head"]["w"].shape
        (None, (2,))
    """
    return Selector(_checked("select", paths))


def freeze(*paths: str | Where) -> Selector:
    """Choose all parameters but those whose paths match; `fg.freeze(...)` is `~fg.select(...)`.

    What is frozen costs no FLOPs in the backward pass, has no state in the optimizer, and is not decayed by it.

    Args:
        paths: as for `fg.select`.

    Returns:
        A `Selector`.

    Raises:
        GradientError: as for `fg.select`.

    Example:
        >>> print(fg.freeze("encoder/**")({"encoder": {"w": jnp.ones(2)}, "head": jnp.ones(2)}))
        {'encoder': {'w': False}, 'head': True}
    """
    return Selector(_checked("freeze", paths), is_inverted=True)


def _checked(name: str, paths: tuple[str | Where, ...]) -> tuple[Where, ...]:
    if not paths or not all(isinstance(p, str | Where) for p in paths):
        raise GradientError(f"fg.{name} takes patterns such as 'encoder/**', got {paths!r}.")
    places = tuple(map(Where.of, paths))
    for where in places:
        if where.is_of_nodes:
            raise GradientError(f"fg.{name} takes paths of parameters, got '{where}', which says what a node is.")
        if where.turn is not None:
            raise GradientError(f"fg.{name} takes paths of parameters, got '{where}', which says a turn of a loop.")
    return places


def _paths(params: PyTree) -> tuple[list[str], list[str]]:
    """The paths of the leaves, and of what was taken out of the pytree: None, or a node such as `optax.MaskedNode()`.

    They are written together, for what is left is called as it was in the whole.
    """
    is_none = lambda x: x is None  # noqa: E731
    is_hole = lambda x: is_none(x) or not jax.tree.leaves(x, is_leaf=is_none)  # noqa: E731
    filled = jax.tree.map(lambda x: _HOLE if is_hole(x) else x, params, is_leaf=is_hole)
    leaves = named_leaves(filled)
    paths = paths_of(path for path, _ in leaves)
    of = lambda holes: [path for path, (_, leaf) in zip(paths, leaves, strict=True) if (leaf is _HOLE) == holes]  # noqa: E731
    return of(False), of(True)


def _leads_to(pattern: str, hole: str) -> bool:
    """Whether a pattern may match what stood at a hole, or below it, the pattern's first segments being the hole's."""
    first = "/".join(pattern.split("/")[: hole.count("/") + 1])
    return matches(pattern, hole) or ("**" not in first and matches(first, hole))


def _hint(path: str, paths: Sequence[str]) -> str:
    return hint(path, paths) or (f"the first path is '{paths[0]}'." if paths else "there are no parameters.")
