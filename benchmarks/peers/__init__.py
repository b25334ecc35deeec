"""The same networks in other libraries, as an expert in each writes them, with the parameters of ours.

Each module has a function per network, of the same name, from our network to a `Peer`.
"""

import importlib
from types import ModuleType

MODULES = {"flax nnx": "flax_nnx", "equinox": "equinox_nn", "pytorch": "pytorch"}


def installed() -> tuple[dict[str, ModuleType], list[str]]:
    """The modules that can be imported, and the names of the libraries that are missing."""
    modules, missing = {}, []
    for name, module in MODULES.items():
        try:
            modules[name] = importlib.import_module(f"benchmarks.peers.{module}")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("benchmarks"):
                raise
            missing.append(name)
    return modules, missing
