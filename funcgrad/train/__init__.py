"""Training: one jitted step for any optax optimizer, and the loop around it.

Functions
    supervised   the loss of a network on pairs (inputs, targets)
    init         the state before the first step: parameters, the optimizer's state, a count
    step         make the step: gradient, clipping, update, jitted
    minibatches  arrays in batches, in a new order each epoch
    fit          the loop: progress, evaluation, a record of it all; goes on where it stopped

What they take and give
    State        what a step reads and returns
    LossScale    for float16: a loss scale that finds its size
    Nonfinite, NonfiniteError
                 which losses and gradients were not finite; what a step raises
"""

from funcgrad.surface import hide_modules as _hide_modules
from funcgrad.train.batches import minibatches as minibatches
from funcgrad.train.fitting import fit as fit
from funcgrad.train.nonfinite import Nonfinite as Nonfinite
from funcgrad.train.nonfinite import NonfiniteError as NonfiniteError
from funcgrad.train.objectives import supervised as supervised
from funcgrad.train.scaling import LossScale as LossScale
from funcgrad.train.state import State as State
from funcgrad.train.state import init as init
from funcgrad.train.stepping import step as step

__all__ = [
    "LossScale",
    "Nonfinite",
    "NonfiniteError",
    "State",
    "fit",
    "init",
    "minibatches",
    "step",
    "supervised",
]

_hide_modules(__name__)
