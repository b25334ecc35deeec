"""J^T of JAX's commonest primitives, written down: what `jax.vjp` would derive, without tracing to derive it.

Each row is a primitive and a rule for each argument, with the equations for which it holds; anything else is derived.
"""

from funcgrad.ops.equations import elementwise as elementwise
from funcgrad.ops.equations import moving as moving
from funcgrad.ops.equations import products as products
from funcgrad.ops.equations import reducing as reducing
from funcgrad.ops.equations import windows as windows
