"""The steps of nodes that hold graphs, each kind made by its own module."""

from funcgrad.planning.holders.branches import plan_branches
from funcgrad.planning.holders.checkpoints import plan_checkpoint
from funcgrad.planning.holders.jitted_calls import plan_jitted_call
from funcgrad.planning.holders.loops import plan_loop, refuse_while
from funcgrad.planning.holders.steps import Maker
from funcgrad.primitive import Checkpoint, Cond, Holder, JittedCall, Scan, While

MAKERS: dict[type[Holder], Maker] = {
    Scan: plan_loop,
    While: refuse_while,
    Cond: plan_branches,
    Checkpoint: plan_checkpoint,
    JittedCall: plan_jitted_call,
}
