"""Write the page of errors: `python -m tests.errors --publish docs/errors.md`, or say which no test produces."""

import argparse
from pathlib import Path

from tests.errors.publishing import page
from tests.errors.recording import record


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.errors", description=__doc__)
    parser.add_argument("--publish", type=Path, required=True, metavar="FILE", help="where the page goes")
    file = parser.parse_args().publish
    file.write_text(page(record()))


if __name__ == "__main__":
    main()
