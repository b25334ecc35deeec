"""Why a mutation that no test notices is none that a test could, or should, notice: by the mutation's key."""

_NOTHING_TO_DO = "costs only: what it would save is done for nothing, an equation that leaves its operand as it is"
_NEVER_ASKED = (
    "no such input comes so far: only inexact values vary, and what is wanted is checked before; it says so to "
    "whoever plans otherwise"
)

EXPLAINED: dict[str, str] = {
    "funcgrad/ops/equations/moving.py broadcast_in_dim_operand: summed -> True": _NOTHING_TO_DO,
    "funcgrad/ops/equations/moving.py pad_operand: max(strides, default=1) > 1 -> True": _NOTHING_TO_DO,
    "funcgrad/planning/activity.py Watching: False -> True": (
        "equivalent: it is asked of watched values, and where this default stands there are none"
    ),
    "funcgrad/planning/holders/checkpoints.py _is_saved: False -> True": (
        "equivalent: what is left is a measurement, which no rule reads, and what nothing reads is not saved"
    ),
    "funcgrad/planning/planner.py _Planner.blocks: return True -> return None": _NEVER_ASKED,
    "funcgrad/planning/planner.py _Planner.blocks: True -> False": _NEVER_ASKED,
    "funcgrad/planning/planner.py _Planner.hooks: self.hooked -> True": (
        "costs only: all values are looked up where there are no hooks"
    ),
    "funcgrad/planning/pullbacks.py _Signature.__eq__: self.equation.key == other.equation.key -> (self.equation.key "
    "!= other.equation.key)": (
        "costs only: equal equations are traced each for itself; unequal ones are compared where their hashes collide"
    ),
    "funcgrad/planning/views.py find_views: v in makers -> True": (
        "equivalent: what is kept and no view counts for itself in the room of its views, which is then more than its "
        "own; the segment that it would be is empty"
    ),
    "funcgrad/registry/rule.py Kind: False -> True": (
        "equivalent: it is read of subgradients only, and `subgradient` always says it"
    ),
    "funcgrad/registry/shape_declarations.py _fits: return False -> return None": (
        "equivalent: it is asked for its truth only"
    ),
}
