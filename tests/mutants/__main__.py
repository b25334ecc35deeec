"""Write the table of the battery into the documentation (it needs PyTorch).

python -m tests.mutants [FAMILY ...]: all families, or those named; of the others the document keeps what it says.
"""

import sys

import jax

from tests.mutants import FAMILIES
from tests.mutants.table import write

jax.config.update("jax_enable_x64", True)  # the peers need it; fg.check does not
write(sys.argv[1:] or tuple(FAMILIES))
