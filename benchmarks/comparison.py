"""One network in all libraries: the candidates, the check that they agree, and the ratios."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

import funcgrad as fg
from benchmarks.limit import back_to_back, products
from benchmarks.networks import Network
from benchmarks.timing import compile_in_turns, time_in_turns
from funcgrad.registry.op import Op

METRICS = ("trace_lower", "compile", "step", "temp_bytes")
EAGER = "pytorch"
"""The peer that is not compiled: only its step is measured."""
LIMIT = "products alone"


class Candidate(NamedTuple):
    """A function `(params, *batch) -> (loss, gradient)`, and what our gradient is in its library."""

    step: Callable[..., Any]
    arguments: tuple[Any, ...]
    convert: Callable[[Any], Any]


def compare(
    network: Network, libraries: Mapping[str, ModuleType], rounds: int, compiles: int, tolerance: float
) -> list[dict[str, Any]]:
    """Rows `{network, against, metric, ratio}`: ours over theirs."""
    found = candidates(network, libraries)
    eager = found.pop(EAGER, None)
    limit = back_to_back(products(found["ours"].step, *found["ours"].arguments))
    jitted = {name: (c.step, c.arguments) for name, c in found.items()} | {LIMIT: limit}
    compiled = compile_in_turns(jitted, compiles)
    runs = {name: c.run for name, c in compiled.items()}
    if eager:
        found[EAGER], runs[EAGER] = eager, lambda: eager.step(*eager.arguments)
    ours = runs["ours"]()
    for name, candidate in found.items():
        assert_agree(f"{network.name}, {name}", ours, runs[name](), candidate.convert, tolerance)
    steps = time_in_turns(runs, rounds)
    rows = []
    for name in runs:
        if name == "ours":
            continue
        for metric in METRICS if name in compiled and name != LIMIT else ("step",):
            mine, theirs = (steps[n] if metric == "step" else getattr(compiled[n], metric) for n in ("ours", name))
            ratio = round(mine / max(theirs, 1e-12), 3)
            rows.append({"network": network.name, "against": name, "metric": metric, "ratio": ratio})
    return rows


def assert_same_network(
    make: Callable[..., Network], sizes: Mapping[str, Any], libraries: Mapping[str, ModuleType]
) -> None:
    """All candidates have one loss and one gradient, in float64.

    In float32 a large network cannot tell: where rounding moves a pre-activation across a ReLU's kink, gradients
    differ by per cents (ResNet-18: 1 %, plain JAX from its own float64 gradient as much as ours).
    """
    with jax.enable_x64(True):
        network = make(**sizes)
        found = candidates(network, libraries)
        ours = jax.jit(found["ours"].step)(*found["ours"].arguments)
        for name, (step, arguments, convert) in found.items():
            theirs = (step if name == EAGER else jax.jit(step))(*arguments)
            assert_agree(f"{network.name} in float64, {name}", ours, theirs, convert, tolerance=1e-6)


def candidates(network: Network, libraries: Mapping[str, ModuleType]) -> dict[str, Candidate]:
    """Ours, our forward without our rules, plain JAX, and the network in each library."""

    def own_forward(*args: Any) -> Any:
        with plain_functions():
            return network.loss(*args)

    aux, arguments = network.has_state, (network.params, *network.batch)
    found = {
        "ours": Candidate(fg.value_and_grad(network.loss, has_aux=aux), arguments, lambda g: g),
        "own forward": Candidate(jax.value_and_grad(own_forward, has_aux=aux), arguments, lambda g: g),
        "plain jax": Candidate(jax.value_and_grad(network.plain, has_aux=aux), arguments, lambda g: g),
    }
    for name, library in libraries.items():
        peer = getattr(library, network.name)(network)
        if name == EAGER:
            found[name] = Candidate(peer.loss, peer.batch, peer.convert)
        else:
            step = jax.value_and_grad(peer.loss, has_aux=aux)
            found[name] = Candidate(step, (peer.convert(network.params), *peer.batch), peer.convert)
    return found


@contextlib.contextmanager
def plain_functions() -> Iterator[None]:
    """Inside, calling an op calls its plain function: JAX sees no op, and derives by itself."""
    call = Op.__call__
    Op.__call__ = lambda op, *args, **attributes: op.function(*args, **attributes)
    try:
        yield
    finally:
        Op.__call__ = call


def assert_agree(what: str, ours: Any, theirs: Any, convert: Callable[[Any], Any], tolerance: float) -> None:
    """The loss, and each array of the gradient, are equal up to `tolerance` of its norm."""
    (loss, gradient), (their_loss, their_gradient) = ours, theirs
    losses = [x[0] if isinstance(x, tuple) else x for x in (loss, their_loss)]  # without the new state
    gradients = [jax.tree.leaves(x) for x in (convert(gradient), their_gradient)]
    for a, b in [losses, *zip(*gradients, strict=True)]:
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape}"
        error, size = np.linalg.norm(a - b), np.linalg.norm(b)
        assert error <= tolerance * size + 1e-9 * a.size, f"{what}: differs by {error:.3g} where the norm is {size:.3g}"
