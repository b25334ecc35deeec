"""Which modules are mutated, and by which tests each is judged: the nearest first, as the first failure decides."""

from pathlib import Path

CORE = ("funcgrad/registry", "funcgrad/ops/equations", "funcgrad/planning", "funcgrad/reverse")

_REPLACING, _TAPS = "tests/autodiff/test_replacing.py", "tests/autodiff/test_taps.py"
_COTANGENTS = "tests/reverse/test_cotangents.py"

_NEXT: dict[str, tuple[str, ...]] = {
    "registry/attributes": ("tests/ops/test_refusals.py",),
    "registry/batching": ("tests/primitive/test_transformations.py",),
    "registry/broadcasting": ("tests/registry/test_contracts.py",),
    "registry/call": ("tests/registry/test_calls.py", "tests/registry/test_errors.py"),
    "registry/cuts": ("tests/primitive/test_meshes.py", "tests/ops/test_meshes.py"),
    "registry/differential": ("tests/registry/test_calls.py", "tests/primitive/test_transformations.py"),
    "registry/equation": (_REPLACING, "tests/checking/rules/test_primitives.py"),
    "registry/function": (_REPLACING,),
    "registry/op": ("tests/registry/test_errors.py",),
    "registry/rows": ("tests/ops/equations/test_rows.py",),
    "registry/rule": ("tests/registry/test_errors.py", "tests/checking/rules/test_kinks.py"),
    "registry/ruleset": (_REPLACING, "jitted_calls", "tests/registry/test_errors.py"),
    "registry/shape_declarations": ("tests/registry/test_errors.py", "tests/ops/test_refusals.py"),
    "registry/targets": (_REPLACING, "tests/graph/test_addresses.py"),
    "ops/equations/elementwise": ("tests/ops/test_extremes.py",),
    "planning/activity": ("flows", _TAPS),
    "planning/captures": ("foreign",),
    "planning/custom_tangents": ("tests/registry/test_freeing.py",),
    "planning/flows": ("recording", "foreign", "custom_tangents", "captures"),
    "planning/foreign": ("captures",),
    "planning/planner": (_REPLACING, "segments"),
    "planning/pullbacks": ("captures", "sharing", "foreign"),
    "planning/recording": ("flows", "foreign", "captures"),
    "planning/replacements": (_REPLACING,),
    "planning/reverse_loops": ("loops", "groups"),
    "planning/segments": ("residuals",),
    "reverse/cotangents": (_REPLACING,),
}
"""By folder and stem, the tests that know a module best after its own; a bare word stands for `test_<word>.py`."""
_LAST: dict[str, tuple[str, ...]] = {
    "registry": ("tests/registry", "tests/primitive/test_transformations.py", _COTANGENTS, "plans", "foreign"),
    "ops/equations": ("tests/ops/equations", "tests/checking/rules/test_primitives.py"),
    "planning": (
        _COTANGENTS,
        "plans",
        "residuals",
        "foreign",
        "checkpoints",
        "branches",
        "loops",
        "jitted_calls",
        _TAPS,
    ),
    "reverse": (_COTANGENTS, "plans", "checkpoints", "branches", "loops", "jitted_calls", _TAPS),
}
"""By folder, those that judge all of it."""


def judges_of(module: str, root: Path) -> tuple[str, ...]:
    """The tests that judge a module: its own, those that know it best, those of its folder."""
    folder = next(f for f in CORE if module.startswith(f"{f}/"))
    short, stem = folder.removeprefix("funcgrad/"), Path(module).stem
    own = _find(root, stem, folder.replace("funcgrad", "tests", 1))
    others = [_find(root, t) if t.isidentifier() else [t] for t in (*_NEXT.get(f"{short}/{stem}", ()), *_LAST[short])]
    return tuple(dict.fromkeys(path for found in (own, *others) for path in found))


def _find(root: Path, stem: str, folder: str = "tests/planning") -> list[str]:
    """The tests of a module, in whichever folder below the one that mirrors its package."""
    return [str(path.relative_to(root)) for path in sorted((root / folder).rglob(f"test_{stem}.py"))]


def find_modules(root: Path, folders: tuple[str, ...] = CORE) -> list[str]:
    """The modules of folders and of those in them, by path from the root."""
    return [str(p.relative_to(root)) for folder in folders for p in sorted((root / folder).rglob("*.py"))]
