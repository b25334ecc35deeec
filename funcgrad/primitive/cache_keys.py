"""When two static values are the same to a trace: more than `==` says, which holds `2`, `2.0` and `True` for one."""

from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from funcgrad.aliases import PyTreeDef


def exact(value: Any) -> Hashable:
    """A key that is equal for values of one type that no Python code can tell apart, down through containers.

    Numbers are the same if type and bits are: `0.0` is not `-0.0`, and a NaN is itself. Of anything else `==` and
    the type decide.

    >>> exact((2, 0.0)) == exact((2.0, -0.0))
    False
    """
    kind = type(value)
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    if isinstance(value, tuple):
        return kind, *map(exact, value), *(() if kind.__hash__ is tuple.__hash__ else (value,))
    if isinstance(value, frozenset):
        return kind, frozenset(map(exact, value))
    if isinstance(value, slice):
        return kind, exact(value.start), exact(value.stop), exact(value.step)
    if is_dataclass(value) and not isinstance(value, type) and kind.__eq__ is not object.__eq__:
        parts = tuple((f.name, exact(getattr(value, f.name, None))) for f in fields(value) if f.compare)
        if is_hashable(parts):
            return kind, *parts
    return kind, value


def exact_structure(tree: PyTreeDef) -> Hashable:
    """A key for the structure of a pytree, whose nodes may hold static values of their own; None where none does."""
    if tree.num_nodes == tree.num_leaves:
        return None
    kind, data = tree.node_data() or (None, None)
    children = tuple(map(exact_structure, tree.children()))
    data = tuple(data) if isinstance(data, list) else data  # the keys of a dictionary
    own = exact(data) if data is not None and kind not in (tuple, list) and is_hashable(data) else None
    return None if own is None and not any(children) else (own, children)


def is_hashable(value: Any) -> bool:
    """Whether a value can be a key."""
    try:
        hash(value)
    except TypeError:
        return False
    return True
