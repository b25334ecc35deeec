"""Why a mutation that no test notices is none that a test could, or should, notice: by the mutation's key."""

_WRITES_NOTHING = (
    "costs only tracing: where a body is only observed, its pullback would have no target and the compiler drops it"
)
_NEVER_ASKED = (
    "no such input comes so far: only inexact values vary, and what is wanted is checked before; it says so to "
    "whoever plans otherwise"
)

EXPLAINED: dict[str, str] = {
    "funcgrad/planning/branches.py plan_branches: pullback.targets -> True": _WRITES_NOTHING,
    "funcgrad/planning/checkpoints.py plan_checkpoint: targets -> True": _WRITES_NOTHING,
    "funcgrad/planning/elementary.py find_rules: rule -> True": (
        "equivalent: a missing rule has returned already; the condition tells the type checker"
    ),
    'funcgrad/planning/elementary.py _applies: len(avals) == 1 and params.get("sharding") is None and '
    "params.get(\"dimensions\") is None -> (len(avals) == 1 or params.get('sharding') is None or "
    "params.get('dimensions') is None)": (
        "equivalent today: JAX's functions give these equations one operand and no `dimensions`, and an explicit "
        "sharding has been refused by `is_plain`"
    ),
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
    "funcgrad/registry/shapes.py _fits: return False -> return None": "equivalent: it is asked for its truth only",
}
