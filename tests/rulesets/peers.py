"""Modules of zennit's, and torch; where they are missing, who imports this is skipped."""

import sys
import types

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the second oracle: pip install funcgrad[rulesets]")


def imported(name):
    """A module of zennit's. It imports torchvision for the classes of two blocks, which fits one build of PyTorch only.

    Nothing here is of these classes, so others do.
    """
    with pytest.MonkeyPatch.context() as patch:
        for path in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
            patch.setitem(sys.modules, path, types.ModuleType(path))
        blocks = {block: type(block, (torch.nn.Module,), {}) for block in ("BasicBlock", "Bottleneck")}
        vars(sys.modules["torchvision.models.resnet"]).update(blocks)
        return pytest.importorskip(f"zennit.{name}", reason="zennit is the oracle: pip install funcgrad[rulesets]")
