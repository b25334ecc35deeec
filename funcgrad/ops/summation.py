"""Einstein summation: `einsum`, split into ops of two operands, each with its pullbacks.

Two operands at a time because that is how the sum is computed anyway, so a product of n factors costs backward
twice what it costs forward, as under JAX; one rule for n factors would multiply the other n - 1 anew for each.
"""

from collections.abc import Sequence
from string import ascii_letters

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.errors import ShapeError, describe, require
from funcgrad.naming import name_here
from funcgrad.ops.contraction import accumulator, widen
from funcgrad.ops.labelled_axes import cut_by_labels
from funcgrad.registry import op

Sizes = dict[str, int]


def einsum(subscripts: str, *operands: Array) -> Array:
    """The Einstein sum as numpy and `jax.numpy` write it: any subscripts, any number of operands.

    A label names an axis; axes with one label run together (within an operand: its diagonal), labels missing
    from the output are summed over, `...` stands for any axes. Axes of size 1 broadcast. Three or more operands
    are multiplied pair by pair, in the order that `jnp.einsum` takes.

    Args:
        subscripts: labels of the operands' axes, with those of the output behind an arrow (left out: every label that
            stands once, in order of the alphabet).
        operands: arrays.

    Returns:
        The sum, with axes as the output's labels.

    Raises:
        ShapeError: the subscripts cannot be read, or do not fit the operands.

    Example:
        >>> queries, keys = jnp.ones((5, 2, 8)), jnp.ones((5, 3, 8))
        >>> fg.ops.einsum("...qd,...kd->...qk", queries, keys).shape
        (5, 2, 3)
        >>> print(fg.ops.einsum("ii", jnp.array([[1.0, 2.0], [3.0, 4.0]])))
        5.0
    """
    require(subscripts, str, f"{name_here('einsum')}: the subscripts", "a string, as 'ij,jk->ik'", ShapeError)
    avals = [jnp.asarray(x) for x in operands]
    try:
        terms, output = _parse(subscripts, [x.shape for x in avals])
    except ValueError as error:
        found = ", ".join(describe(x) for x in avals) or "nothing"
        raise ShapeError(f"{name_here('einsum')}: cannot take {subscripts!r} of {found}; {error}.") from None
    pairs = jnp.einsum_path(f"{','.join(terms)}->{output}", *avals)[0] if len(avals) > 2 else [tuple(range(len(avals)))]
    remaining = list(zip(terms, operands, strict=True))
    for pair in pairs:
        chosen = [remaining.pop(i) for i in sorted(pair, reverse=True)][::-1]
        needed = set(output).union(*(term for term, _ in remaining))
        labels = output if not remaining else _in_order("".join(t for t, _ in chosen), needed)
        product = einstein_sum(*(x for _, x in chosen), subscripts=f"{','.join(t for t, _ in chosen)}->{labels}")
        remaining.append((labels, product))
    return remaining[0][1]


@op(name="einsum", leading=("a",))
def einstein_sum(a: Array, b: Array | None = None, *, subscripts: str) -> Array:
    """`y = Σ a b` over the labels that the output lacks, for subscripts such as `"ij,jk->ik"` or `"ii->i"`.

        a_bar = Σ g b   over the labels that `a` lacks,   b_bar = Σ g a   over those that `b` lacks,

    repeated along labels that stand in one operand alone, and on the diagonal of labels that it repeats; so a
    cotangent is an Einstein sum itself. Written out: no `...`, and an output; `einsum` does that. Axes of `a` in
    front of those with labels are batch axes, which the output has too. Keeps the other operand.

    Args:
        a: the first operand.
        b: the second one, where the subscripts have two.
        subscripts: labels of each operand's axes, an arrow, labels of the output.

    Returns:
        `y`, with axes as the output's labels.

    Raises:
        ShapeError: a label stands for two sizes, or the subscripts do not fit the operands.

    Example:
        >>> fg.ops.einstein_sum(jnp.ones((2, 3)), jnp.ones((3, 4)), subscripts="ij,jk->ki").shape
        (4, 2)
    """
    summed = _Summation.of(subscripts, a, b)
    operands, labels = ((a,), (summed.a,)) if b is None else ((a, b), (summed.a, summed.b))
    dtype = jnp.result_type(*operands)

    def contract(*operands: Array) -> Array:
        factors = [(c, x.astype(dtype)) for c, x in zip(labels, operands, strict=True)]
        return summed.contract(factors, summed.output).astype(dtype)

    return cut_by_labels(contract, operands, labels, summed.output)


@einstein_sum.pullback("a")
def einstein_sum_a(g: Array, a_aval: Aval, b: Array | None, subscripts: str) -> Array:
    """`a_bar = Σ g b`."""
    summed = _Summation.of(subscripts, a_aval, b)
    return summed.pull(g, summed.a, a_aval, None if b is None else (summed.b, b))


@einstein_sum.pullback("b")
def einstein_sum_b(g: Array, a: Array, b_aval: Aval, subscripts: str) -> Array:
    """`b_bar = Σ g a`."""
    summed = _Summation.of(subscripts, a, b_aval)
    return summed.pull(g, summed.b, b_aval, (summed.a, a))


class _Summation:
    """Subscripts written out for given operands: every axis has a label, every label a size."""

    def __init__(self, a: str, b: str, output: str, sizes: Sizes):
        self.a, self.b, self.output, self.sizes = a, b, output, sizes

    @classmethod
    def of(cls, subscripts: str, a: Array | Aval, b: Array | Aval | None) -> "_Summation":
        """Give the leading axes of `a` labels of their own."""
        terms, output = subscripts.split("->")
        first, _, second = terms.partition(",")
        batch = _unused(len(a.shape) - len(first), terms)
        terms = (batch + first, second)
        shapes = (a.shape, () if b is None else b.shape)
        return cls(*terms, batch + output, _sizes(terms, shapes))

    def contract(self, factors: Sequence[tuple[str, Array]], output: str) -> Array:
        """The sum of the product of one or two factors, with axes in the order of `output`."""
        factors = [self._simplify(*f) for f in factors]
        factors = [_sum_alone(*f, output + "".join(o[0] for o in factors if o is not f)) for f in factors]
        labels, x = factors[0] if len(factors) == 1 else _multiply(*factors[0], *factors[1], output)
        return lax.transpose(x, [labels.index(c) for c in output]) if labels != output else x

    def _simplify(self, labels: str, x: Array) -> tuple[str, Array]:
        """A factor without axes that broadcast, and with its diagonals for repeated labels."""
        stretched = [i for i, c in enumerate(labels) if x.shape[i] != self.sizes[c]]
        labels, x = _without(labels, stretched), lax.squeeze(x, stretched) if stretched else x
        for c in dict.fromkeys(labels):
            while labels.count(c) > 1:
                labels, x = _diagonal(labels, x, c)
        return labels, x

    def pull(self, g: Array, labels: str, aval: Aval, other: tuple[str, Array] | None) -> Array:
        """The cotangent of the operand with these labels: `g` times the other one, in its shape."""
        first: dict[str, int] = {}
        for i, c in enumerate(labels):
            if aval.shape[i] == self.sizes[c]:
                first.setdefault(c, i)
        factors = [(self.output, g)]
        if other is not None:
            dtype = jnp.result_type(g, other[1])
            factors = [(self.output, g.astype(dtype)), (other[0], other[1].astype(dtype))]
        known = "".join(c for c in first if c in self.output or (other is not None and self._spans(*other, c)))
        x = self.contract(factors, known)
        if not jnp.issubdtype(aval.dtype, jnp.complexfloating):
            x = jnp.real(x)
        x = lax.broadcast_in_dim(x, aval.shape, [first[c] for c in known])
        for i, c in enumerate(labels):
            if c in first and first[c] != i and aval.shape[i] == self.sizes[c]:
                rows, columns = (lax.broadcasted_iota(jnp.int32, aval.shape, p) for p in (first[c], i))
                x = lax.select(rows == columns, x, lax.full_like(x, 0))
        return x

    def _spans(self, labels: str, x: Array, c: str) -> bool:
        """Whether the factor really has an axis for the label, not one of size 1 that broadcasts."""
        return any(d == c and n == self.sizes[c] for d, n in zip(labels, x.shape, strict=True))


def _sum_alone(labels: str, x: Array, others: str) -> tuple[str, Array]:
    """A factor summed over the labels that nothing else has."""
    alone = [i for i, c in enumerate(labels) if c not in others]
    return _without(labels, alone), lax.reduce_sum(widen(x), alone) if alone else x


def _multiply(left: str, a: Array, right: str, b: Array, output: str) -> tuple[str, Array]:
    """One product over the shared labels: those that `output` has are batch axes, the others are summed."""
    if next((c in right for c in output if (c in left) != (c in right)), False):
        left, a, right, b = right, b, left, a  # so that the product has its axes in the order of the output
    batch = [c for c in left if c in right and c in output]
    summed = [c for c in left if c in right and c not in output]
    axes = [[labels.index(c) for c in group] for group in (summed, batch) for labels in (left, right)]
    dtype = jnp.promote_types(a.dtype, b.dtype)
    y = lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        ((axes[0], axes[1]), (axes[2], axes[3])),
        preferred_element_type=accumulator(dtype),
    )
    free = [c for c in left + right if (c in left) != (c in right)]
    return "".join(batch + free), y


def _diagonal(labels: str, x: Array, c: str) -> tuple[str, Array]:
    """The first two axes labelled `c` as one, at the end: every (n + 1)-th entry of the two laid end to end."""
    i = labels.index(c)
    j = labels.index(c, i + 1)
    n, rest = x.shape[i], [k for k in range(x.ndim) if k not in (i, j)]
    flat = lax.transpose(x, [*rest, i, j]).reshape(*(x.shape[k] for k in rest), n * n)
    return _without(labels, [i, j]) + c, lax.slice_in_dim(flat, 0, n * n, n + 1, axis=len(rest))


def _without(labels: str, axes: Sequence[int]) -> str:
    return "".join(c for i, c in enumerate(labels) if i not in axes)


def _in_order(labels: str, wanted: set[str]) -> str:
    """The wanted among the labels, once each; shared labels first, as a product leaves them."""
    once = [c for c in dict.fromkeys(labels) if c in wanted]
    return "".join(sorted(once, key=lambda c: labels.count(c) == 1))


def _unused(n: int, taken: str) -> str:
    """So many labels that do not occur yet."""
    free = [c for c in (*ascii_letters, *map(chr, range(0x100, 0x140 + n))) if c not in taken]
    return "".join(free[:n])


def _parse(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """One label per axis of each operand and of the output; ValueError where the subscripts do not fit."""
    text = subscripts.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    terms = inputs.split(",")
    if any(not (c in ascii_letters or c == "") for term in (*terms, output) for c in [*term.replace("...", "", 1)]):
        raise ValueError("subscripts are letters, commas, one '...' per operand and one '->'")
    if len(terms) != len(shapes):
        raise ValueError(f"the subscripts name {len(terms)} operands, but there are {len(shapes)}")
    ranks = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    for i, (term, rank, shape) in enumerate(zip(terms, ranks, shapes, strict=True)):
        if rank < 0 or (rank and "..." not in term):
            raise ValueError(f"'{term}' must have one label per axis of operand {i}, which has {len(shape)}")
    batch = _unused(max((r for t, r in zip(terms, ranks, strict=True) if "..." in t), default=0), text)
    full = [t.replace("...", batch[len(batch) - r :]) for t, r in zip(terms, ranks, strict=True)]
    if arrow:
        output = output.replace("...", batch)
    else:
        every = "".join(terms).replace("...", "")
        output = batch + "".join(c for c in sorted(set(every)) if every.count(c) == 1)
    if unknown := [c for c in output if output.count(c) > 1 or not any(c in term for term in full)]:
        raise ValueError(f"the output label '{unknown[0]}' must stand there once and in an operand")
    _sizes(full, shapes)
    return full, output


def _sizes(terms: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Sizes:
    """The size of each label; ValueError where it has two, or an operand repeats it with two."""
    sizes: Sizes = {}
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        here: Sizes = {}
        for c, n in zip(term, shape, strict=True):
            if here.setdefault(c, n) != n:
                raise ValueError(f"label '{c}' stands for sizes {here[c]} and {n} in operand {i}")
        for c, n in here.items():
            known = sizes.setdefault(c, n)
            if 1 not in (known, n) and known != n:
                raise ValueError(f"label '{c}' stands for sizes {known} and {n}")
            sizes[c] = n if known == 1 else known
    return sizes
