"""Mixed precision: which dtype parameters are kept in, which one is computed in, which one comes out."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.children import Child
from funcgrad.layers.functions import lift
from funcgrad.layers.layer import Layer
from funcgrad.layers.printing import call

_SHORT = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"}


def _full_name(field: str, dtype: Any) -> str:
    """The name of a floating dtype."""
    try:
        found = jnp.dtype(_SHORT.get(dtype, dtype) if isinstance(dtype, str) else dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise GraphError(f"Policy: {field} must be a floating dtype such as 'bfloat16', got {dtype!r}.")
    return found.name


@dataclass(frozen=True, repr=False)
class Policy:
    """Dtypes of a network: of its parameters, of what it computes in between, of its output.

    Args:
        params: what `init` makes, the optimizer updates, and gradients come out in.
        compute: what parameters and floating inputs are cast to.
        output: what floating outputs are cast to.

    Raises:
        GraphError: something is no floating dtype.

    Example:
        >>> fg.layers.Policy.parse("params=f32,compute=f16") == fg.layers.Policy(compute=jnp.float16)
        True
    """

    params: str = "float32"
    compute: str = "bfloat16"
    output: str = "float32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _full_name(field.name, getattr(self, field.name)))

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Read `"params=float32,compute=bfloat16,output=float32"`; `f32`, `bf16`, `f16`, `f64` for short.

        What is left out is as in `Policy()`. A dtype alone is the one to compute in: `"bf16"`.

        Raises:
            GraphError: the text cannot be read.
        """
        if "=" not in text and "," not in text:
            return cls(compute=text.strip())
        known, found = [f.name for f in dataclasses.fields(cls)], {}
        for part in text.split(","):
            name, equals, dtype = (p.strip() for p in part.partition("="))
            if not equals or name not in known or name in found:
                raise GraphError(
                    f"Policy: '{text}' cannot be read at '{part.strip()}'; "
                    f"write it as 'params=float32,compute=bfloat16,output=float32'."
                )
            found[name] = dtype
        return cls(**found)

    def __repr__(self) -> str:
        changed = [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        return call("Policy", [f"{f.name}={getattr(self, f.name)!r}" for f in changed])


class mixed(Layer):
    """A network in mixed precision: `params` and inputs are cast on the way in, the output on the way out.

    | value                                              | dtype                                                |
    |----------------------------------------------------|------------------------------------------------------|
    | parameters, their gradients, the optimizer's state | `params`                                             |
    | activations, their cotangents, products            | `compute`                                            |
    | sums, statistics, softmax, losses, carried states  | float32 at least, inside the op; results in `compute`|
    | the network's state (running means)                | as `init` made it: `params`                          |
    | output                                             | `output`                                             |
    | integers, booleans, keys                           | left as they are                                     |

    The same in other libraries: `params` and `compute` are Flax's `param_dtype` and `dtype`; all three are a policy
    of Haiku or jmp; PyTorch's autocast chooses `compute` by operator from a list, where here ops that need float32
    take it inside themselves. A loss is best computed outside, on an output of float32. float16 needs
    `fg.train.step(..., loss_scale=...)`; bfloat16, with the exponents of float32, does not. A part of a network can
    have a policy of its own: `chain(mixed(encoder, "compute=bf16"), head)`.

    Args:
        net: a layer or a pure function.
        policy: a `Policy`, the text of one, or a dtype to compute in: `"bf16"`, `jnp.bfloat16`.

    Raises:
        GraphError: the policy cannot be read.

    Example:
        >>> net, x = fg.layers.mixed(fg.layers.linear(3), "compute=bf16"), jnp.ones((2, 4))
        >>> params, state = net.init(jax.random.key(0), x)
        >>> print(net, params["w"].dtype, net(params, x).dtype)
        mixed(linear(3)) float32 float32
    """

    net: Layer
    policy: Policy = Policy()

    def __init__(self, net: Any, policy: Any = Policy()):
        object.__setattr__(self, "net", lift(net, "mixed"))
        if isinstance(policy, str):
            policy = Policy.parse(policy)
        elif not isinstance(policy, Policy):
            policy = Policy(compute=policy)
        object.__setattr__(self, "policy", policy)

    @property
    def random(self) -> bool:
        """Whether the network is."""
        return self.net.random

    @property
    def arity(self) -> tuple[int, int | float]:
        """That of the network."""
        return self.net.arity

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """The network's params and state, made in the policy's `params`."""
        return self.net.init(key, *(_spec(s, self.policy.params) for s in specs))

    def apply(
        self, params: PyTree, state: PyTree, *inputs: Any, key: Array | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        """The network's output, computed in `compute`, returned in `output`."""
        params, inputs = _cast((params, inputs), self.policy.compute)
        output, after = Child("", self.net).apply(params, state, *inputs, key=key, train=train)
        return _cast(output, self.policy.output), after


def _cast(tree: PyTree, dtype: str) -> PyTree:
    """Floating leaves in another dtype, everything else as it is."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype) if _is_floating(x) else x, tree)


def _spec(tree: PyTree, dtype: str) -> PyTree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype) if _is_floating(x) else x, tree)


def _is_floating(x: Any) -> bool:
    return jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.floating)
