"""Write the table of the battery into the documentation: `python -m tests.mutants` (it needs PyTorch)."""

import jax

from tests.mutants.table import write

jax.config.update("jax_enable_x64", True)  # the peers need it; fg.check does not
write()
