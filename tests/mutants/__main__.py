"""Write the table of the battery into the documentation: `python -m tests.mutants` (it needs PyTorch)."""

from tests import conftest as conftest
from tests.mutants.table import write

write()
