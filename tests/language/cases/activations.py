"""`jax.nn`: activations, softmax and its family, attention, initializers of their scale."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import KINKS, booleans, integers, normal, positive

FAMILY = Family("activations")
case, each = FAMILY.case, FAMILY.each
nn = jax.nn

each("nn", "identity log_sigmoid sigmoid silu swish soft_sign softplus tanh gelu mish squareplus", normal(3, 4))
each(
    "nn",
    "celu elu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu relu relu6 selu sparse_plus sparse_sigmoid",
    normal(3, 4),
)
each(
    "nn",
    "celu elu hard_sigmoid hard_silu hard_tanh leaky_relu relu relu6 selu sparse_plus sparse_sigmoid",
    KINKS,
    label="kinks",
)
case("nn.gelu", normal(3, 4), approximate=False, label="exact", dtypes="fh")
case("nn.celu", normal(3, 4), positive(), label="alpha")
each("nn", "log1mexp", positive(3, 4))
each("nn", "softmax log_softmax logsumexp logmeanexp standardize", normal(3, 4), axis=1, tolerance=64)
each(
    "nn",
    "softmax log_softmax logsumexp",
    normal(3, 4),
    axis=1,
    where=booleans(3, 4) | np.eye(3, 4, dtype=bool),
    label="where",
)
case("nn.logsumexp", normal(3, 4), b=np.array([1.0, -2.0, 0.5, 1.0]), return_sign=True, label="weights")
case("nn.logsumexp", np.array([[-np.inf, -np.inf], [800.0, 799.0]]), axis=1, label="huge")
case("nn.softmax", np.array([[-np.inf, 0.0], [800.0, 799.0]]), axis=1, label="huge")
case("nn.glu", normal(3, 4))
case("nn.one_hot", integers(4, 3), num_classes=4)
case(
    "nn.one_hot",
    normal(3, 4),
    integers(4, 3),
    call=lambda x, i: jnp.sum(nn.log_softmax(x) * nn.one_hot(i, 4), -1),
    label="cross-entropy",
)
_HEADS = (normal(2, 5, 4, 3), normal(2, 6, 2, 3), normal(2, 6, 2, 3))
case("nn.dot_product_attention", *_HEADS, tolerance=64, in_float32=True)
case(
    "nn.dot_product_attention",
    *_HEADS,
    normal(1, 1, 5, 6),
    booleans(1, 1, 5, 6) | np.eye(5, 6, dtype=bool),
    label="bias and mask",
    tolerance=64,
    in_float32=True,
    slow=True,
)
case(
    "nn.dot_product_attention",
    normal(2, 5, 2, 3),
    normal(2, 5, 2, 3),
    normal(2, 5, 2, 3),
    is_causal=True,
    label="causal",
    tolerance=64,
    in_float32=True,
)
for scaled in ("scaled_dot_general",):
    case(f"nn.{scaled}", normal(2, 3, 4), normal(2, 5, 4), dimension_numbers=(((2,), (2,)), ((0,), (0,))))
