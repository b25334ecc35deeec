"""One way to test an error: its kind, and its whole sentence."""

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest

observers: list[Callable[[BaseException], None]] = []
"""Told of every error that had its sentence; `tests.errors` makes a page of them."""


@contextlib.contextmanager
def raises_sentence(kind: type[Exception], pattern: str) -> Iterator[None]:
    """Expect an error whose whole text matches (JAX adds notes to it, which `match=` would include)."""
    with pytest.raises(kind) as info:
        yield
    text = str(info.value)
    assert re.fullmatch(pattern, text), f"expected {pattern!r}, got {text!r}"
    assert "\n" not in text
    for observe in observers:
        observe(info.value)
