r"""Names are unique, and one language of patterns stands for them.

`*` stands for a part of one segment of a path, `**` for any segments, and a backslash takes the sign after it as it
is: `\*`, `\\`, and `\/` for a slash inside of one key. A name is written so that, as a pattern, it stands for itself.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import jax

from funcgrad.errors import GradientError

_TOKEN = re.compile(r"(\\.|\*\*/|/\*\*|\*\*|\*)", re.DOTALL)
_GLOBS = {"**/": r"(?:.*/)?", "/**": r"(?:/.*)?", "**": r".*", "*": r"(?:[^/\\]|\\.)*"}
_ALL_INSIDE = re.compile(r"(/\*\*?)+$")
_KEPT = ("\\\\", "\\*", "\\/")
"""The escapes that names are written with."""


def escape(text: str) -> str:
    r"""Text as a part of a name: `w*` as `w\*`."""
    return text.replace("\\", r"\\").replace("*", r"\*") if "*" in text or "\\" in text else text


def is_glob(pattern: str) -> bool:
    """Whether a pattern may stand for several names: whether a star in it is not escaped."""
    return any(token in _GLOBS for token in _TOKEN.findall(pattern))


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = _TOKEN.split(_plain(pattern))
    return re.compile("".join(_GLOBS.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _plain(pattern: str) -> str:
    r"""A pattern without the escapes that no name is written with: `h\#2` is `h#2`."""
    return re.sub(r"\\(.)", lambda m: m[0] if m[0] in _KEPT else m[1], pattern, flags=re.DOTALL)


def _flat(name: str) -> str:
    """A name or pattern in which a slash inside of a key is like any other."""
    return re.sub(r"\\(.)", lambda m: "/" if m[1] == "/" else m[0], name, flags=re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """Whether a path such as `block3/relu` matches a pattern such as `block*/relu` or `**`."""
    return _compiled(pattern).fullmatch(name) is not None


def holds(pattern: str, name: str) -> bool:
    """Whether a path such as `block3/relu` matches a pattern, or one of the scopes does that it stands in."""
    parts = name.split("/")
    return any(matches(pattern, "/".join(parts[:n])) for n in range(len(parts), 0, -1))


def choose(pattern: str, names: Iterable[str]) -> list[str]:
    r"""The names that a pattern stands for, in order; none where nothing is named so.

    Where nothing is, a slash and an escaped slash are taken for the same: a key with a slash is escaped only where it
    would be confused with another path, and `a\/b` is right either way.

    Raises:
        GradientError: it is no glob, and could be one of several names.
    """
    names = list(names)
    is_one = not is_glob(pattern)
    found = [_plain(pattern)] if is_one else [name for name in names if matches(pattern, name)]
    if found and (not is_one or found[0] in names):
        return found
    found = [name for name in names if matches(_flat(pattern), _flat(name))]
    if len(found) > 1 and is_one:
        raise GradientError(
            f"'{pattern}' could be {' or '.join(map(_quoted, found))}, whose keys have slashes; write the one that is "
            f"meant, as a raw string."
        )
    return found


def _quoted(name: str) -> str:
    """A name between quotes, as it is printed elsewhere: backslashes are not doubled."""
    return f"'{name}'"


def printable(text: str) -> str:
    """Text that stays on its line: a name may have been made of a key with a line break in it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _picture(c) for c in text)


def _picture(control: str) -> str:
    return chr(0x2400 + ord(control)) if ord(control) < 0x20 else "\ufffd"


def suggest(pattern: str, names: Sequence[str], most: int = 2) -> str:
    """The names that are most like one that nothing has, as the end of an error: "did you mean 'h'?"; else nothing.

    A name with the same last segments, in another scope, is nearer than one that is spelled much like it. Of a glob
    over all that is in a scope, it is the scope that is looked for.
    """
    pattern = _ALL_INSIDE.sub("", pattern)
    ends = [name for name in names if name.endswith(f"/{pattern}") or pattern.endswith(f"/{name}")]
    last = pattern.rpartition("/")[2]
    by_last = {name.rpartition("/")[2]: name for name in reversed(names)}
    near = [by_last[n] for n in difflib.get_close_matches(last, by_last, n=most, cutoff=0.75)]
    found = list(dict.fromkeys([*ends, *difflib.get_close_matches(pattern, names, n=most), *near]))
    return f"did you mean {' or '.join(map(_quoted, found[:most]))}?" if found else ""


def unnumbered(name: str) -> str:
    """A name or pattern without the number that makes it a new one: `h` of `h#2`."""
    return re.sub(r"#\d+$", "", name)


def paths_of(paths: Iterable[Sequence[Any]]) -> list[str]:
    r"""A name for each path of JAX's keys or strings: `fc1/w`; `a\/b` where a key's slash would be taken for two keys.

    Custom pytree nodes may give several leaves the same keys; those are numbered, `w#2`.
    """
    keys = [[escape(_text(entry)) for entry in path] for path in paths]
    plain = ["/".join(parts) for parts in keys]
    counts = Counter(plain)
    exact = [
        p if counts[p] == 1 else "/".join(k.replace("/", r"\/") for k in ks) for p, ks in zip(plain, keys, strict=True)
    ]
    names = Names(reserved=exact)
    return [names.give(name, is_reserved=True) for name in exact]


def _text(entry: Any) -> str:
    return entry if isinstance(entry, str) else jax.tree_util.keystr((entry,), simple=True)


class Names:
    """The names that are given, and those that are kept for who will come for them."""

    def __init__(self, taken: Iterable[str] = (), reserved: Iterable[str] = ()):
        self._taken = set(taken)
        self._reserved = set(reserved) - self._taken
        self._counts: Counter[str] = Counter()

    def give(self, name: str, is_reserved: bool = False) -> str:
        """The name, or with the first number that makes it a new one: `h#2`. What is reserved is given on demand."""
        if is_reserved and name in self._reserved:
            self._reserved.discard(name)
        found = name
        while found in self._taken or found in self._reserved:
            self._counts[name] = n = max(self._counts[name], 1) + 1
            found = f"{name}#{n}"
        self._taken.add(found)
        return found
