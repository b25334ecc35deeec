"""`docs/language.md` says what the cases say."""

from pathlib import Path

from tests.language.publishing import page

DOCUMENT = Path(__file__).parents[2] / "docs" / "language.md"


def test_the_page_is_what_the_cases_say():
    assert DOCUMENT.read_text() == page(), f"python -m tests.language --publish docs/{DOCUMENT.name}"
