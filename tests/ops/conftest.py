"""The order of the tests over the registry: by case."""

import pytest

from tests.ops.cases import Case


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of one case follow each other, so that they share its compiled programs (`asserting.Programs`)."""
    places = [i for i, item in enumerate(items) if _case(item) is not None]
    first: dict[str, int] = {}
    for i in places:
        first.setdefault(str(_case(items[i])), i)
    in_order = sorted((items[i] for i in places), key=lambda item: first[str(_case(item))])
    for i, item in zip(places, in_order, strict=True):
        items[i] = item


def _case(item: pytest.Item) -> Case | None:
    """The case that a test is for."""
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    return case if isinstance(case, Case) else None
