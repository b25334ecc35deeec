"""Shapes that an op declares it takes: from `shapes="x[..., n] w[n, m]"`, or from `elementwise=True`."""

from collections.abc import Iterator, Mapping

from funcgrad.registry import Op

Shape = tuple[int, ...]


def sized(op: Op, sizes: Mapping[str, int], leading: Shape) -> dict[str, Shape]:
    """The shape of each declared argument, for the given sizes of letters."""
    shapes = {}
    for argument, axes in op.shapes.axes.items():
        parts = [leading if a == "..." else (int(a) if a.isdigit() else sizes[a],) for a in axes]
        shapes[argument] = tuple(n for part in parts for n in part)
    return shapes


def other_shapes(op: Op, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Mapping[str, Shape]]]:
    """Awkward shapes like those of an example, and what is awkward about them."""
    if op.core_axes == 0:
        ranked = list(shapes)
        yield "scalars", dict.fromkeys(ranked, ())
        yield "empty", dict.fromkeys(ranked, (0, 3))
        for n in ranked if len(ranked) > 1 else ():
            yield f"{n} of size 1", {m: (2, 1) if m == n else (2, 3) for m in ranked}
            yield f"{n} of lower rank", {m: (3,) if m == n else (2, 3) for m in ranked}
        return
    sizes, leading = read(op, shapes)
    if not sizes:
        return
    present = {n: axes for n, axes in op.shapes.axes.items() if n in shapes}

    def resized(sizes: Mapping[str, int], leading: Shape) -> dict[str, Shape]:
        return {n: s for n, s in sized(op, {**dict.fromkeys(letters(op), 1), **sizes}, leading).items() if n in present}

    if any("..." in axes for axes in present.values()):
        yield "no batch axes", resized(sizes, ())
        yield "two batch axes", resized(sizes, (2, 3))
        yield "empty batch", resized(sizes, (0,))
    yield "size 1", resized(dict.fromkeys(sizes, 1), leading)


def letters(op: Op) -> list[str]:
    """The axes that are declared by a letter."""
    found = (a for axes in op.shapes.axes.values() for a in axes)
    return list(dict.fromkeys(a for a in found if a != "..." and not a.isdigit()))


def read(op: Op, shapes: Mapping[str, Shape]) -> tuple[dict[str, int] | None, Shape]:
    """The sizes of letters, and the leading axes, from the shapes of an example; None where it does not fit."""
    sizes: dict[str, int] = {}
    leading: Shape = ()
    for argument, axes in op.shapes.axes.items():
        if argument in shapes:
            fixed = [a for a in axes if a != "..."]
            split = len(shapes[argument]) - len(fixed)
            if split < 0:
                return None, ()
            leading = shapes[argument][:split] if "..." in axes else leading
            sizes.update((a, n) for a, n in zip(fixed, shapes[argument][split:], strict=True) if not a.isdigit())
    return sizes, leading
