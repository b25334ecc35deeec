"""`fg.audit`: the backward pass of somebody's own function, held node by node to JAX's derivative.

Nothing is made up but the cotangents: each node runs at the shapes, dtypes and numbers that it has in the function.
What it gives is compared with the derivative of its plain function in float64 (`derivatives`), and what an argument
gets that is read several times with the sum over copies of it (`shared_arguments`).
"""

from funcgrad.checking.passes.audits import Audit as Audit
from funcgrad.checking.passes.audits import audit as audit
from funcgrad.checking.passes.failures import Failure as Failure
