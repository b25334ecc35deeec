"""The cases as a page for readers: what passes, what raises, what does not work, what has no case."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.language.case import Family
from tests.language.cases import CASES, FAMILIES
from tests.language.exceptions import NEWER, REASONS

KINDS = {"f": "full", "h": "half", "c": "complex"}

INTRODUCTION = """\
# What of JAX's language funcgrad takes

This page is generated from the cases in `tests/language`:

    python -m tests.language --publish docs/language.md

A case is a public function of JAX (names stand here without `jax.`) at some arguments. For each, `fg.vjp` must give
the values and cotangents that `jax.vjp` gives, from random output cotangents, for all arguments at once (`float0` for
integers and booleans), and, where the result is a real scalar, `fg.value_and_grad` what `jax.value_and_grad` gives.
They agree to rounding in every dtype that the function takes: *full* is float64 and float32, *half* bfloat16 and
float16, *complex* complex128 and complex64. A dtype is left out only where JAX itself refuses it, which is tested as
well. Names with a star exist only in the newer of the two versions of JAX we test with.

The other tests there put gradients inside and outside of one another and of `vmap`, `jit`, `scan`, `cond`,
`checkpoint`, `shard_map`, `checkify` and meshes, follow prints and references, take second and third derivatives
of a `custom_jvp` whose rule writes its function out (what is differentiated again is the rule's text, as in JAX), and
make sure that a planted wrong derivative fails the comparison.
"""


LOST = """\
## What does not work

- Names and rules inside of a function with a custom rule that is defined where it is used, is called in a loop, and
  closes over an array from outside of the loop: JAX differentiates such a function as one node. (Under `jax.grad` of a
  `jit` it has no derivative at all.)
- Under JAX's experimental flag `jax_custom_vjp3`, the forward rule of a `custom_vjp` that reads something of Python
  which changes after the call (the variable of a loop): it is asked when the whole function has been traced, as JAX
  itself asks it under `jit`, and reads what is there then.
"""

SUITES = """\
## The tests of JAX, Equinox and Flax NNX

Tests of JAX 0.10.1, Equinox 0.13.8 and Flax 0.12.8, run once on a CPU with `grad`, `value_and_grad`, `vjp`, `jacrev`
(`fg.jacobian`, in reverse mode), `hessian` and the reverse half of `check_grads` replaced by ours: in the test modules,
and in the modules of Equinox and of NNX, so that `eqx.filter_grad`, `eqx.filter_vjp`, `nnx.grad` and their loops run
on ours too. Counted are the tests that ask for one of these and ran. Those that failed were run again without the
replacement, and are counted where they pass then; those that passed were not. What was mended on the way counts as
agreeing, after another run of the tests that had failed.

| tests | counted | agree |
|---|---|---|
| JAX, `lax_autodiff_test` | 676 | 675 |
| JAX, `nn_test` | 49 | 43 |
| JAX, `custom_api_test` | 162 | 151 |
| JAX, `api_test` | 318 | 274 |
| JAX, `lax_control_flow_test`: all that name a gradient in their text, 181 of 1,025 | 143 | 128 |
| Equinox, the 21 files that name a gradient | 139 | 135 |
| Flax NNX, the 13 files that name a gradient | 155 | 139 |

No difference is a wrong number. The differences are:

| difference | tests |
|---|---|
| A function is traced without the values of its arguments, as by `jax.jit`; `jax.grad` outside of `jit` knows them. \
So `if x > 0` and `x.item()` raise, also where they stand in the reference that a test compares with or in a rule; \
what asks whether it got a Python float, hoists what is not traced (`closure_convert`), or catches what a rule raises \
where the function is called, gets arrays and no error there. With JAX's gradient for the references alone, the tests \
of `cond` and `switch` agree. `fg.dynamic` is for such functions. | \
`testCondGrad*` (7), `testSwitchGrad`, `testSwitchGradWithWeakTypeMismatch`, `test_python_control_flow*` (4), \
`test_grad_item`, `test_switch_value_jit`, `test_namedtuple_subclass_transparency`, `test_float0_reshape`, \
`test_closure_convert_mixed_consts` (2), `test_symbolic_zero_custom_vjp` (2); Equinox: `test_unperturbed_output` |
| In NNX's graph mode, the gradient by a whole module is an `nnx.State`, as that of `nnx.grad` is; `jax.grad` takes \
the module for a pytree, and so do `nnx.grad`, `nnx.custom_vjp` and `nnx.remat` where they are told `graph=False`. In \
tree mode (`nnx.set_graph_mode(False)`) all of these agree. | \
Flax: `test_tree_mode_*` (8), `test_*_functional*` (3), `test_non_diff_args2`, `test_vjp_basic1`, `test_remat_basic2` |
| A variable of JAX's experimental "hijax" that the function changes and that was made outside of it: a graph has no \
place for it, and one sentence says so. | Flax: `test_example_mutable_arrays`, `test_optimize_hijax` |
| Outside of `jit` only: float16 attention on a CPU, which tries a product and takes another when that raises, and a \
`custom_jvp` of zeros under `vmap`, which are not batched while its derivative is, fail in JAX alike where they are \
jitted; of branches by platform, those of other platforms need derivatives too. | \
`testDotProductAttention` (6), `test_hard_stuff2`, `test_platform_dependent_with_non_existent_custom_call` |
| The same mistake raises another class or another sentence (docs/errors.md). | `test_bad_input`, \
`test_grad_and_aux_error`, `test_grad_bad_input`, `test_grad_complex_result_errors`, `test_grad_nonscalar_output`, \
`test_grad_object_array_error`, `test_grad_of_int_errors`, `test_grad_tuple_output`, `test_grad_unit_output`, \
`test_grad_without_enough_args_error_message`, `test_holomorphic_*_of_float_errors` (2), \
`test_unimplemented_interpreter_rules`, `test_unwrapped_numpy`, `test_vjp_bad_cotangent_shape`, \
`test_vjp_mismatched_arguments`, `test_vjp_multiple_arguments_error_message`, `test_vjp_too_many_args`, \
`test_fwd_rule_primal_out_type_doesnt_match_primal_error_message`, `test_closed_over_tracers_error_message`, \
`test_scatter_apply_vjp`, `testWhileGradError` (3); Equinox: `test_filter_custom_vjp_nondiff_args`, \
`test_nondiff_back`, `test_nontraceable` |
| Parts of `jax.vjp` that ours does not have: `with_refs`, `args_res`, `opaque_residuals`, and the jaxpr of the \
pullback (print the plan). | `test_vjp3_dont_want*` (2), `InputSavedVJPTest` (5), `test_remat_grad_accum_refs`, \
`test_scan_vjp_forwards_extensive_residuals`, \
`test_remat_checkpoint_dots_*` (4) |
| Text and counts of JAX's making, not its documented behaviour: equations of a jaxpr, name stacks, frames of a \
traceback, lines of its log. | `test_implicit_dce_linearize_jaxpr`, \
`test_remat_scan*` (2), `test_name_stack_annotation`, `TracebackTest` (2), `test_remat_residual_logging`, \
`testSwitchResidualsMerge` |
| Private primitives: one whose `impl` refuses its own parameters, one that takes a token. | \
`test_deferred_primal_with_direct_linearize`, `test_grad_of_token_consuming_primitive` |
| A rule of a `custom_vjp` returns a cotangent of another dtype than its argument. Here it is converted; JAX hands it \
on as it is. | \
`test_excess_precision_hell` |
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _summary(), "## What passes\n", *map(_passing, FAMILIES)]
    parts += [_raising(), LOST, SUITES, _without_case()]
    return "\n".join(parts)


def _summary() -> str:
    passing = [c for c in CASES if not c.raises]
    functions = {n for c in passing for n in c.names}
    runs = sum(len(list(c.dtypes)) for c in passing)
    return (
        f"{len(functions)} functions pass, in {len(passing)} cases and {runs} runs over dtypes; "
        f"{sum(bool(c.raises) for c in CASES)} cases raise, as JAX does; "
        f"{sum(len(names.split()) for names in REASONS.values())} functions need no case.\n"
    )


def _passing(family: Family) -> str:
    """A table of one family: the functions that take the same dtypes in one row."""
    kinds: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for case in family.cases:
        if not case.raises:
            for name in case.names:
                kinds[name].update(case.kinds)
                counts[name] += 1
    rows: dict[str, list[str]] = defaultdict(list)
    for name in sorted(kinds):
        times = f" ({counts[name]})" if counts[name] > 1 else ""
        rows[", ".join(word for kind, word in KINDS.items() if kind in kinds[name])].append(_code(name) + times)
    lines = [
        f"### {family.name.replace('_', ' ').capitalize()}",
        "",
        "| dtypes | functions (cases, where several) |",
        "|---|---|",
    ]
    lines += [f"| {dtypes} | {', '.join(rows[dtypes])} |" for dtypes in sorted(rows)]
    return "\n".join([*lines, ""])


def _raising() -> str:
    lines = [
        "## What raises, as in JAX",
        "",
        "JAX has no derivative of these, and says so; we raise where it does.",
        "",
        "| what | functions |",
        "|---|---|",
    ]
    return "\n".join([*lines, *_by_reason((c.raises, c.names[0]) for c in CASES if c.raises), ""])


def _without_case() -> str:
    lines = ["## What needs no case", "", "| why | functions |", "|---|---|"]
    pairs = ((reason, name) for reason, names in REASONS.items() for name in names.split())
    return "\n".join([*lines, *_by_reason(pairs), ""])


def _by_reason(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for reason, name in pairs:
        rows[reason][_code(name)] = None
    return (f"| {reason} | {', '.join(names)} |" for reason, names in rows.items())


def _code(name: str) -> str:
    return f"`{name}`" + "*" * (name in NEWER)
