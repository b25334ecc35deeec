"""The pictures of the notebooks: matplotlib only, no logic of the story."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch

import funcgrad as fg

plt.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "font.size": 10,
        "legend.frameon": False,
        "lines.markersize": 5,
    }
)
INK, FIRST, SECOND, THIRD, PALE = "#222222", "#0b6fb8", "#c9461c", "#2a8c4a", "#9a9a9a"
PHOTO_DPI = 80  # they are stored with the notebook, and photographs are large


def draw_dag(net):
    """A `fg.layers.dag` with one input: values as circles, functions as boxes, parameters above what uses them.

    Each use of a shared parameter is drawn in colour, with its name.
    """
    _, axes = plt.subplots(figsize=(8.6, 3.7))
    axes.set(xlim=(-0.5, 2 * len(net.ordered) + 0.5), ylim=(-0.95, 2.35), aspect="equal")
    axes.axis("off")
    values = {net.inputs[0]: _circle(axes, (0, 0), net.inputs[0], "#e3f0fa")}
    boxes = {}
    for i, (name, node) in enumerate(net.ordered):
        boxes[name] = _box(axes, (2 * i + 1, 0), _function_name(node))
        values[name] = _circle(axes, (2 * i + 2, 0), name, "#e3f0fa")
        _arrow(axes, boxes[name], values[name])
        for read in node.reads:
            is_neighbour = boxes[name][1][0] - values[read][1][0] == 1
            _arrow(axes, values[read], boxes[name], bend=0.0 if is_neighbour else 0.45)

    uses = {}
    for name, node in net.ordered:
        uses.setdefault(node.params, []).append(name)
    for i, params in enumerate(sorted(uses, key=lambda p: -len(uses[p]))):
        _draw_uses(axes, params, {name: boxes[name] for name in uses[params]}, height=2.05 - i)
    plt.show()


def _draw_uses(axes, params, boxes, height):
    """A parameter above the functions that use it."""
    is_shared = len(boxes) > 1
    centre = np.mean([at[0] for _, at in boxes.values()])
    source = _circle(axes, (centre, height), params, "#fde9e1" if is_shared else "#eeeeee")
    for name, box in boxes.items():
        _arrow(axes, source, box, colour=SECOND if is_shared else INK)
        if is_shared:
            x, y = 0.45 * np.array(source[1]) + 0.55 * np.array(box[1])
            side = np.sign(box[1][0] - centre)
            axes.text(x + 0.15 * side, y + 0.1, f"{params}@{name}", color=SECOND, ha="left" if side > 0 else "right")


def _function_name(node):
    name = getattr(getattr(node.layer, "function", None), "__name__", type(node.layer).__name__)
    return name.replace("phi", "φ")


def _circle(axes, at, label, colour):
    patch = axes.add_patch(Circle(at, 0.24, fc=colour, ec=INK))
    axes.text(*at, label, ha="center", va="center")
    return patch, at


def _box(axes, at, label):
    corner = (at[0] - 0.2, at[1] - 0.17)
    patch = axes.add_patch(FancyBboxPatch(corner, 0.4, 0.34, boxstyle="round,pad=0,rounding_size=0.07", fc="w", ec=INK))
    axes.text(*at, label, ha="center", va="center")
    return patch, at


def _arrow(axes, source, target, bend=0.0, colour=INK):
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 1, "mutation_scale": 13}
    ends = {"patchA": source[0], "patchB": target[0], "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", target[1], source[1], arrowprops=style | ends)


def draw_terms(terms, total, name):
    """Matrices that add up to another one, in one colour scale."""
    matrices = [*terms.items(), (name, total)]
    limit = max(np.abs(m).max() for _, m in matrices)
    figure, axes = plt.subplots(1, len(matrices), figsize=(8.6, 2.7))
    for i, (ax, (title, matrix)) in enumerate(zip(axes, matrices, strict=True)):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"[∂ℓ/∂{title}]")
        if i:
            ax.set_ylabel("=" if i == len(matrices) - 1 else "+", rotation=0, fontsize=18, labelpad=16, va="center")
    figure.colorbar(image, ax=axes, shrink=0.85)
    plt.show()


def draw_norms(norms, place="layer"):
    """Gradient norm per layer (or other place), one line per network."""
    _, ax = plt.subplots(figsize=(7.2, 3.3))
    for (label, values), colour in zip(norms.items(), (SECOND, THIRD, FIRST), strict=False):
        layers = np.arange(1, len(values) + 1)
        ax.semilogy(layers, values, "o-", color=colour, label=label)
    ax.set(xlabel=f"{place} (the loss is on the right)", ylabel="‖[∂ℓ/∂s]‖", xlim=(0.5, len(values) + 0.5))
    ax.set_xticks(range(1, len(values) + 1) if len(values) < 5 else [1, *range(5, len(values) + 1, 5)])
    ax.set_title(f"How much gradient reaches each {place}")
    ax.legend()
    plt.show()


def draw_maps(images, maps, titles):
    """Images, and below each where its gradient is large."""
    _, axes = plt.subplots(2, len(images), figsize=(8.6, 3.2))
    for column, image, found, title in zip(axes.T, images, maps, titles, strict=True):
        column[0].imshow(image, cmap="gray_r")
        column[1].imshow(found, cmap="Oranges", vmin=0)
        column[0].set_title(title)
        for ax in column:
            ax.set(xticks=[], yticks=[])
    plt.show()


def draw_costs(depths, memory, cost):
    """Two panels over depth: lines of mebibytes, and lines of ratios."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    for ax, lines in ((left, memory), (right, cost)):
        styles = [("o", FIRST), ("x", SECOND), ("-", PALE)]
        for (label, values), (style, colour) in zip(lines.items(), styles, strict=False):
            options = {"mew": 2, "ms": 8} if style == "x" else {}
            joined = style if style == "-" else f"{style}-"
            ax.plot(depths, values, joined, color=colour, label=label, lw=1.2, **options)
        ax.set(xlabel="depth (layers)", xticks=depths)
        ax.legend()
    left.set(ylabel="MiB", title="Memory: one activation per layer")
    left.set_ylim(bottom=0)
    right.set(ylabel="FLOPs, as multiples of the forward", title="Cost: two products where the forward has one")
    right.set_ylim(1.25, 2.5)
    plt.show()


def draw_descent(losses, x, t, before, after):
    """The loss over steps, and the function before and after."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    left.plot(losses, color=FIRST)
    left.set_ylim(bottom=0)
    left.set(xlabel="step", ylabel="loss", title="W ← W − η [[∂ℓ/∂W]]")
    right.plot(x, t, ".", color=PALE, label="data")
    right.plot(x, before, "--", color=SECOND, label="before")
    right.plot(x, after, color=FIRST, label="after", lw=2)
    right.set(xlabel="input", ylabel="output", title="What it learned")
    right.legend()
    plt.show()


def draw_growth(factors):
    """What each layer multiplies the cotangent by, and what that comes to from the loss back; a line per network."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    for (label, values), colour in zip(factors.items(), (SECOND, THIRD, FIRST), strict=False):
        layers = np.arange(1, len(values) + 1)
        left.semilogy(layers, values, ".", color=colour, label=label)
        right.semilogy(layers, np.cumprod(values[::-1])[::-1], color=colour, label=label)
    for ax in (left, right):
        ax.axhline(1, color=PALE, lw=0.8)
        ax.set(xlabel="layer (the loss is on the right)")
    left.set(ylabel="factor", title="Each layer multiplies the cotangent", ylim=(0.1, 10))
    right.set(ylabel="product of the factors", title="From the loss back to the layer")
    right.legend()
    plt.show()


def draw_images(images, titles, columns=7):
    """Photographs in a grid."""
    rows = -(-len(images) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(1.35 * columns, 1.5 * rows), dpi=PHOTO_DPI, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image)
        ax.set_title(title, fontsize=9)
    plt.show()


def draw_passes(images, titles, maps):
    """A row for each image; a column for each name in `maps`, of attributions like the images, over them in grey.

    Each map has the full colour at the 99.5th percentile of its magnitudes.
    """
    rows, columns = len(images), len(maps) + 1
    _, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.58 * rows), dpi=PHOTO_DPI, squeeze=False)
    for i, (row, image, title) in enumerate(zip(axes, images, titles, strict=True)):
        row[0].imshow(image)
        row[0].set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
        for ax, (name, found) in zip(row[1:], maps.items(), strict=True):
            signed = np.asarray(found[i])
            signed = signed.sum(-1) if signed.ndim == 3 else signed
            fg.view.heatmap(signed, image, limit=np.quantile(np.abs(signed), 0.995), ax=ax)
            ax.images[-1].colorbar.remove()
            if i == 0:
                ax.set_title(name, fontsize=9)
    plt.show()
