"""Which modules are mutated, and by which tests each is judged: the nearest first, as the first failure decides."""

from pathlib import Path

CORE = (
    "funcgrad/registry",
    "funcgrad/ops/equations",
    "funcgrad/planning",
    "funcgrad/planning/holders",
    "funcgrad/reverse",
)

_PLANS = ("tests/reverse/test_cotangents.py", "tests/planning/test_plans.py")
_PLANNING = ("tests/planning/test_activity.py", "tests/planning/test_residuals.py")
_OPS = ("tests/registry", "tests/primitive", *_PLANS)
_TAPS = "tests/autodiff/test_taps.py"
_BODIES = (
    "tests/planning/holders/test_checkpoints.py",
    "tests/planning/holders/test_branches.py",
    "tests/planning/holders/test_loops.py",
)

_TESTS: dict[str, tuple[str, ...]] = {
    "funcgrad/registry": _OPS,
    "funcgrad/reverse": (*_PLANS, *_BODIES, _TAPS),
    "funcgrad/planning": (*_PLANS, *_PLANNING, *_BODIES, _TAPS),
    "funcgrad/planning/holders": (*_BODIES, _TAPS, "tests/planning/holders/test_jitted_calls.py"),
    "funcgrad/ops/equations": ("tests/ops/equations",),
    "funcgrad/planning/custom_tangents.py": ("tests/planning/test_custom_tangents.py",),
    "funcgrad/planning/holders/branches.py": ("tests/planning/holders/test_branches.py", _TAPS),
    "funcgrad/planning/holders/checkpoints.py": ("tests/planning/holders/test_checkpoints.py", _TAPS),
    "funcgrad/planning/holders/loops.py": (
        "tests/planning/holders/test_loops.py::test_a_loop_has_the_gradient_that_jax_gives_it",
        "tests/planning/test_activity.py",
        "tests/planning/holders/test_loops.py",
        _TAPS,
    ),
}


def judges_of(module: str) -> tuple[str, ...]:
    """The tests that judge a module."""
    return _TESTS.get(module) or _TESTS[str(Path(module).parent)]


def find_modules(root: Path, folders: tuple[str, ...] = CORE) -> list[str]:
    """The modules of folders, by path from the root."""
    return [str(p.relative_to(root)) for folder in folders for p in sorted((root / folder).glob("*.py"))]
