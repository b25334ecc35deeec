"""A scene of a plan as a table: a line per box, or per scope where they are many; below, what is true of the whole."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from funcgrad.naming import printable, unnumbered
from funcgrad.view.columns import Cell, Column, lay_out
from funcgrad.view.folding import Folder, Readers, makes, readers_of
from funcgrad.view.outline import Line, outline
from funcgrad.view.scene import Box, Facts, Row, RowRule, Scene
from funcgrad.view.words import indentation, listed, parts_of, quantity, shorter_lists, shorter_paths, wrapped

_COLUMNS = (
    Column("node", least=20),
    Column("shape", least=16, rank=3),
    Column("rule", least=20),
    Column("reads", least=10, rank=4),
    Column("keeps"),
    Column("forward", rank=2),
    Column("backward", rank=1),
)


def to_table(scene: Scene, width: int | None = None, lines: int | None = None) -> str:
    """The scene of a plan as a table.

    Args:
        scene: a scene of a plan, with rows and facts.
        width: how many columns of a terminal the lines may take; None for as many as they need.
        lines: about how many rows are shown, folded by scope where there are more; None for a row per node.
    """
    readers = readers_of(scene)
    cells = [_cells(line, readers, width) for line in outline(scene, lines)]
    head, *body = lay_out(_COLUMNS, cells, width)
    rule = "─" * max(map(len, (head, *body)))
    facts = [] if scene.facts is None else _facts(scene.facts, len(scene.boxes))
    return "\n".join(
        [head, rule, *body, rule, *(part for fact in facts for part in wrapped(printable(fact), width, 9))]
    )


def _cells(line: Line, readers: Readers, width: int | None) -> tuple[Cell, ...]:
    indent = indentation(line.depth, width)
    box = line.box
    if box and box.row:
        return (_indented(_box_names(box, line.base), indent), *_of_row(box.row))
    folder = line.folder
    if folder is None:
        return (f"{indent}…", "", f"{len(line.items)} more", "", *_sums(line.items))
    names = [_below(name, line.base) for name in line.names]
    if line.is_open:
        return (_indented(shorter_paths(names[0]), indent), *[""] * 6)
    shown = [names[0]] if len(names) == 1 else [" … ".join(names), f"{names[0]} …"]
    rules, made = _counted_rules(folder, len(line.items)), shorter_lists(makes(folder, readers))
    return (_indented(shown, indent), made, rules, "", *_sums([folder]))


def _indented(names: Iterable[str], indent: str) -> list[str]:
    return [indent + name for name in names]


def _below(name: str, base: str) -> str:
    """A name without the scope that the lines above have named."""
    return name.removeprefix(f"{base}/") if base else name


def _box_names(box: Box, base: str) -> list[str]:
    """The name, with the op where its last part does not say it; then without, and ever shorter."""
    paths = shorter_paths(_below(box.name, base))
    says_op = unnumbered(parts_of(box.name)[-1]) == box.op
    return paths if says_op else [f"{paths[0]} ({box.op})", *paths]


def _of_row(row: Row) -> tuple[Cell, ...]:
    numbers = (quantity(row.new_bytes, "B") if row.new_bytes else "", quantity(row.forward_flops))
    if not row.rules:
        return shorter_lists(row.shapes), "(pruned)", "", *numbers, ""
    reads = shorter_lists(list(map(str, row.reads)))
    return shorter_lists(row.shapes), _rule_texts(row), reads, *numbers, quantity(row.backward_flops)


def _rule_texts(row: Row) -> list[str]:
    """The rules with their conventions, then with the bare kinds, then without the op's name, then ever fewer.

    A rule is called by its name where that ends in the argument, as `linear_w` does, else `x, y: identity`.
    """
    named: dict[tuple[str, str, str], list[str]] = {}
    for rule in row.rules:
        says_argument = len(rule.arguments) == 1 and rule.name.endswith(f"_{rule.arguments[0]}")
        arguments = named.setdefault((rule.name, *_kinds_of(rule)), [])
        arguments += [] if says_argument else rule.arguments
    whole, bare, short = [], [], []
    for (name, claim, kind), arguments in named.items():
        to = f"{listed(arguments, 4)}: " if arguments else ""
        whole.append(f"{to}{name}{claim}")
        bare.append(f"{to}{name}{kind}")
        short.append(f"{to}{re.sub(f'^{re.escape(row.op)}_', '…_', name)}{kind}")
    return [listed(whole, 4, "; "), listed(bare, 4, "; "), *shorter_lists(short, "; ")]


def _kinds_of(rule: RowRule) -> tuple[str, str]:
    """What is said of a rule's kind, where anything is: with its convention, and without."""
    return ("", "") if rule.is_plain else (f" [{rule.claim}]", f" [{rule.kind}]")


def _counted_rules(folder: Folder, n_alike: int) -> list[str]:
    """The rules in a closed folder by count: by name, `5 linear_x, 5 linear_w, 5 relu_x [subgradient]`; then by kind.

    Where it stands for several that are alike, that is said first, and in the shortest form alone.
    """
    rows = [box.row for box in folder.boxes if box.row and not box.scenes]
    rules = [rule for row in rows for rule in row.rules if rule.kind != "label"]
    names = Counter(rule.name + _kinds_of(rule)[1] for rule in rules)
    kinds = Counter(rule.kind for rule in rules)
    is_pruned = not any(row.rules for row in rows)
    texts = ["(pruned)"] if is_pruned else [_counted(names)[0], *_counted(kinds)]
    if n_alike == 1:
        return texts
    return [*(f"{n_alike} alike, each {text}" for text in texts), f"{n_alike} alike, each"]


def _counted(counts: Counter[str]) -> list[str]:
    texts = [f"{n} {what}" for what, n in counts.most_common()]
    return [", ".join(texts), *(", ".join([*texts[:k], "…"]) for k in range(len(texts) - 1, 0, -1))]


def _sums(items: Sequence[Box | Folder]) -> tuple[str, str, str]:
    """Bytes of all boxes; FLOPs of the outermost, which have those of the boxes that they hold."""
    folder = Folder("", items=list(items))
    kept = sum(_numbers(folder.boxes, lambda row: row.new_bytes))
    forward = sum(_numbers(folder.outermost, lambda row: row.forward_flops))
    backward = sum(_numbers(folder.outermost, lambda row: row.backward_flops))
    is_active = any(box.row and box.row.rules for box in folder.outermost)
    return quantity(kept, "B") if kept else "", quantity(forward), quantity(backward) if is_active else ""


def _numbers(boxes: Iterable[Box], number: Callable[[Row], Any]) -> Iterable[Any]:
    return (number(box.row) for box in boxes if box.row)


def _facts(facts: Facts, n_nodes: int) -> list[str]:
    totals = facts.totals
    kinds = ", ".join(f"{n} {kind}" for kind, n in totals.kinds)
    lines = [
        f"kept     {quantity(totals.kept_bytes, 'B')} for the backward pass,"
        f" and {quantity(totals.input_bytes, 'B')} of inputs and parameters (*) are read in place"
    ]
    if facts.repeated_bytes:
        again = quantity(facts.repeated_bytes, "B")
        lines.append(
            f"again    {again} that rules make by products as the forward pass did: a compiler keeps it as well"
        )
    if facts.compiled_bytes is not None:
        needed = quantity(facts.compiled_bytes, "B")
        lines.append(f"compiled {needed} beside arguments and results, says XLA on this device")
    if facts.budget:
        lines.append(f"memory   {facts.budget}")
    lines += [
        f"FLOPs    forward {quantity(totals.forward_flops)}, backward {quantity(totals.backward_flops)}:"
        f" {totals.ratio:.2f} times the forward",
        f"rules    {kinds or 'none'}",
        f"pruned   {totals.pruned} of {n_nodes} nodes, which no wanted gradient passes through",
        f"wanted   {listed(facts.wanted, 6)}",
    ]
    if facts.remade:
        lines.append(f"remade   {listed(facts.remade, 4)}: run again on the way back, and what they make is not kept")
    if facts.hooks:
        lines.append(f"hooks    {listed(facts.hooks, 4, between='; ')}")
    if facts.zero:
        lines.append(f"zero     {listed(facts.zero, 6)}: nothing that is differentiated depends on them")
    if facts.suggestions:
        lines.append(f"could be {listed(facts.suggestions, 3, between='; ')}: see fg.ops")
    return lines
