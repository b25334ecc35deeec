"""Several nodes with one output as one: a scope, a module, a chain, a product with what is affine after it, a norm.

A rule may stand for all of them: a linear layer with its bias, an attention block, a convolution with the batch norm
that follows. The nodes become the call of a function with named arguments, of which some are parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from funcgrad.aliases import Array
from funcgrad.errors import RuleError, printed
from funcgrad.naming import is_glob
from funcgrad.registry.equation import Equation
from funcgrad.registry.function import Reading, Slot
from funcgrad.registry.op import registered

PRODUCTS = (
    "dot_general", "conv_general_dilated", "linear", "matmul", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip
"""Primitives of JAX's and ops of ours that are linear in activations and in a weight."""
ENTRYWISE = (
    "add", "add_any", "sub", "mul", "div", "subtract", "multiply", "divide", "batch_norm_inference",
)  # fmt: skip
"""Those that are affine in activations, entry by entry."""


@dataclass(frozen=True)
class Region:
    """Which nodes a rule stands for together: for `RuleSet.override`, in the place of an op.

    One of its arguments says which; `at=` of the override may narrow it. The rule asks for the inputs by name: `x` is
    what comes from other nodes (`x0`, `x1`, ... if that is several), parameters have the last part of theirs, `kernel`.
    `parameters` is the tuple of these names; `f` and `pull` are those of the whole. Of an affine region, `affine` has
    the product, and weight and bias with all that is merged into them (`Affine`).

    Where regions overlap, a node belongs to that of the override added last; other overrides do not reach inside.

    Args:
        scope: the name of a scope, or a glob: all nodes in it, call by call.
        of: a class of modules of Flax NNX or Equinox: what each call of such a module computes.
        ops: a chain of nodes by the names of their functions, each the only reader of the one before; what only moves
            axes, or puts in or takes out axes of length one, may stand between.
        affine: the names of products (`"dot_general"`, `"conv_general_dilated"`, `"linear"`): each of activations with
            parameters, and after it, as long as nothing else reads them, sums and products with parameters: a bias, a
            batch norm at its running statistics. Also `"add"`, `"sub"` (of which activations come first), `"mul"`,
            `"div"`, `"batch_norm_inference"`, where no product comes before: the weight is what entries are multiplied
            by, of length one along axes where that does not vary. An op of yours counts as linear in its first two
            arguments, with channels along the last axes.
        bilinear: the names of products (`"mul"`, `"dot_general"`): each of two different activations. Both depend on
            what is differentiated, or on all arguments where that is a value inside; parameters are none.
        first: of affine regions only those that no other product comes before, of those with the same names.
        constants: beside `bilinear`, names of functions, or globs of scopes, whose results count as parameters: a rule
            stops what arrives there.
        sums: names of sums (`"add"`): each of two different activations, whether they are differentiated or not;
            parameters and numbers are none.
        statistics: normalizations and softmaxes that are written out: from the array that is normalized to that less
            its mean, over its norm, or both, with all that makes these of it.

    Raises:
        RuleError: none of `scope`, `of`, `ops`, `affine`, `bilinear`, `sums` and `statistics` is given, or several;
            what says more of another; or `affine` names what is no product.

    Example:
        >>> rules = fg.RuleSet().override(fg.Region("dense"), lambda g, pull: 2 * pull(g), "x")
        >>> def loss(x, params):
        ...     with fg.scope("dense"):
        ...         y = x @ params["w"] + params["b"]
        ...     return jnp.sum(y)
        >>> print(fg.grad(loss, rules=rules)(jnp.ones(2), {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}))
        [4. 4.]
    """

    scope: str | None = None
    of: type | None = None
    ops: tuple[str, ...] = ()
    affine: tuple[str, ...] = ()
    first: bool = False
    bilinear: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    statistics: bool = False

    def __post_init__(self) -> None:
        for name in ("ops", "affine", "bilinear", "constants", "sums"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        kinds = (self.scope, self.of, self.ops, self.affine, self.bilinear, self.sums, self.statistics)
        if sum(map(bool, kinds)) != 1:
            raise RuleError(
                "fg.Region takes one of these: the name of a scope, of= a class of modules, ops= a chain of "
                "operations, affine= or bilinear= products, sums= of activations, statistics=True."
            )
        if wrong := [name for name in self.affine if not _may_be_product(name)]:
            possible = ", ".join((*PRODUCTS, *ENTRYWISE))
            raise RuleError(
                f"fg.Region: affine= takes names of what is affine in activations ({possible}, or an op of yours), got "
                f"'{wrong[0]}'."
            )
        if (self.first and not self.affine) or (self.constants and not self.bilinear):
            raise RuleError("fg.Region: first= is of affine= products, constants= of bilinear= ones; leave it out.")
        if self.scope is not None and not isinstance(self.scope, str):
            raise RuleError(f"fg.Region: a scope is given by its name, got {printed(self.scope)}; a class by of=.")

    @property
    def title(self) -> str:
        """What it is called where rules are listed."""
        if self.of is not None:
            return self.of.__name__
        if self.scope is not None:
            return f"region {self.scope}"
        if self.statistics:
            return "statistics"
        if self.sums:
            return f"sums {'|'.join(self.sums)}"
        if self.bilinear:
            return f"bilinear {'|'.join(self.bilinear)}"
        first = "first " if self.first else ""
        return "-".join(self.ops) or f"{first}affine {'|'.join(self.affine)}"


def _may_be_product(name: str) -> bool:
    op = registered().get(name)
    is_yours = op is not None and not op.__module__.startswith("funcgrad.ops")
    return name in (*PRODUCTS, *ENTRYWISE) or is_yours or is_glob(name)


class Affine(NamedTuple):
    """A region `y = product(x, weight) + bias`, at the values of a node."""

    product: Callable[[Array, Array], Array]
    """Linear in both."""
    weight: Array
    """With the scale that follows merged into it."""
    bias: Array
    """In the shape of the output."""


@dataclass(frozen=True, eq=False)
class Merged(Equation):
    """The nodes of a region as the call of one function."""

    region: Region = field(default_factory=Region)
    parameters: tuple[str, ...] = ()
    """Its arguments that are parameters, or depend on nothing else."""
    affine: Callable[[Sequence[Any]], Affine] | None = field(default=None, repr=False)
    """Of an affine one, from the leaves of its inputs."""
    weight: Slot | None = None
    """Likewise, its input that is the product's weight."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Its arguments that are no parameters."""
        return tuple(a for a in self.argument_slots if a not in self.parameters)

    @cached_property
    def statics(self) -> dict[str, Any]:
        """What rules may ask for by name beside values."""
        return {"parameters": self.parameters}

    @property
    def known(self) -> tuple[str, ...]:
        """The names that a rule may ask for."""
        return (*super().known, *(("affine",) if self.affine is not None else ()))

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Also `affine`, whose origin is that of the product's weight."""
        return (*super().argument_names, *(("affine",) if self.weight is not None else ()))

    def slot_of(self, argument: str) -> Slot:
        """Which inputs make up an argument."""
        return self.weight if argument == "affine" and self.weight is not None else super().slot_of(argument)

    def reading(self, avals: Sequence[Any]) -> Reading:
        """All that a rule can read."""
        return super().reading(avals)._replace(affine=self.affine)
