"""Write the page of what passes: `python -m tests.language --publish docs/language.md`."""

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.language", description=__doc__)
    parser.add_argument("--publish", type=Path, required=True, metavar="FILE", help="where the page goes")
    file = parser.parse_args().publish
    # The cases name devices, as the tests have them.
    os.environ.update(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="4")
    from tests.language.publishing import page

    file.write_text(page())


if __name__ == "__main__":
    main()
