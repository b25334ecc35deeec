"""Why a mutation that no test notices is none that a test could, or should, notice: by the mutation's key."""

_NEVER_ASKED = (
    "no such input comes so far: only inexact values vary, and what is wanted is checked before; it says so to "
    "whoever plans otherwise"
)

EXPLAINED: dict[str, str] = {
    "funcgrad/planning/planner.py _Planner.blocks: return True -> return None": _NEVER_ASKED,
    "funcgrad/planning/planner.py _Planner.blocks: True -> False": _NEVER_ASKED,
    "funcgrad/planning/planner.py _Planner.call: call.saving and any(v in reached for v in saved) -> (call.saving or "
    "any((v in reached for v in saved)))": (
        "costs only: saved values that nothing reaches have zeros for cotangents, which are pulled back for nothing"
    ),
    "funcgrad/planning/pullbacks.py share: uses > 1 -> (uses >= 1)": (
        "costs only: a function that stands once is traced through `jit` for nothing"
    ),
    "funcgrad/planning/pullbacks.py _Signature.__eq__: self.equation.key == other.equation.key -> (self.equation.key "
    "!= other.equation.key)": (
        "costs only: equal equations are traced each for itself; unequal ones are compared where their hashes collide"
    ),
    "funcgrad/registry/shape_declarations.py _fits: return False -> return None": (
        "equivalent: it is asked for its truth only"
    ),
}
