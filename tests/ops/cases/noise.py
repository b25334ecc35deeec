"""Cases of noise."""

import jax

from funcgrad import ops
from tests.ops.cases.case import case, normal

case(ops.dropout, normal(6, 5), jax.random.key(3), rate=0.4)
case(ops.dropout, normal(6, 5), jax.random.PRNGKey(3), rate=0.4, label="raw-key")
case(ops.dropout, normal(4), jax.random.key(3), rate=0.0, label="none")
case(ops.dropout, normal(4), jax.random.key(3), rate=1.0, label="all")
case(ops.drop_path, normal(6, 5), jax.random.key(3), rate=0.4)
case(ops.drop_path, normal(4), jax.random.key(3), rate=0.4, label="vector", slow=True)
