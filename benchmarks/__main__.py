"""`python -m benchmarks speed|models|watching|calling|memory|budgets|rules|published`: ratios, measured in turns.

`speed`: our step against other libraries' and JAX's own, as ratios (below 1: ours is less).

`own forward` is our forward with each op's plain function in its place, so JAX derives it without our rules.
`plain jax`, `flax nnx`, `equinox` and `pytorch` are the same network as an expert writes it there; libraries that are
not installed are left out. `products alone` is the time of the step's matrix products and convolutions, back to
back. Losses and gradients are checked to agree before anything is timed: to 1e-6 in float64 at a small size (not with
--quick), and what is timed up to what float32 allows.

`models`: `fg.value_and_grad` against `jax.value_and_grad`, through the library it was written for, of models in other
libraries that nobody changed.

`watching`: the step of a transformer of 12 blocks with statistics taken on the way, over the same step without.

`calling`: the gradient of functions, jitted and not, and of models in other libraries, asked for outside of `jit`, and
traced a second time, against JAX's.

`memory`: what plans say that is kept for the backward pass, against what the compiled programs keep. Nothing is timed.

`budgets`: gradients within memory budgets, and plain JAX under `jax.checkpoint`, against `jax.value_and_grad`.

`rules`: the step of models with a rule put in, over that of the same written with `jax.custom_vjp`.

`published FOLDER`: what a memory budget costs on the graphs of Kusumoto et al., which are read from their folder
`computational_graphs`, beside what their program finds with as many bytes.
"""

import argparse
from pathlib import Path

from benchmarks import budgets, calling, memory, peers, published, report, rules, watching
from benchmarks.comparison import assert_same_network, compare
from benchmarks.models import NAMES, maker, missing_library
from benchmarks.models import comparison as foreign
from benchmarks.networks import ALL, QUICK

STEPS = {"watching": watching, "rules": rules}
"""The suites of which nothing but steps are timed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    suites = ["speed", "models", "watching", "calling", "memory", "budgets", "rules", "published"]
    parser.add_argument("suite", choices=suites)
    parser.add_argument("folder", type=Path, nargs="?", help="of the graphs, for `published`")
    parser.add_argument("--quick", action="store_true", help="small networks, few rounds")
    parser.add_argument("--rounds", type=int, help="timed steps per candidate (default 50, quick 5)")
    parser.add_argument("--compiles", type=int, help="timed compilations per candidate (default 3, quick 1)")
    parser.add_argument(
        "--only", nargs="+", metavar="NETWORK", help=f"some of {', '.join(ALL)}; or of {', '.join(NAMES)}"
    )
    parser.add_argument("--json", type=Path, help="write rows {network, against, metric, ratio} here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--publish", type=Path, nargs="+", metavar="PAGE", help="put the table between its marks there")
    options = parser.parse_args()
    check(parser, options)
    rounds, compiles = options.rounds or (5 if options.quick else 50), options.compiles or (1 if options.quick else 3)
    if options.suite in STEPS:
        suite = STEPS[options.suite]
        rows = suite.compare(rounds, options.quick)
        print("\n".join([report.table(rows), "", *(suite.misses(rows) or ["All ratios are within their targets."])]))
        if options.json:
            report.write_json(rows, options.json)
    elif options.suite == "calling":
        rows = calling.compare(rounds)
        verdict = calling.misses(rows) or ["All ratios are within their targets."]
        print("\n".join([calling.table(rows), "", report.setting(calling.left_out()), "", *verdict]))
        if options.json:
            report.write_json(rows, options.json)
    elif options.suite in ("memory", "budgets"):
        sizes(options, rounds)
    elif options.suite == "published":
        found = published.compare(options.folder)
        print("\n".join([published.table(found), "", *(published.misses(found) or ["All are at or below theirs."])]))
    elif options.suite == "models":
        models(options, rounds, compiles)
    else:
        speed(options, rounds, compiles)


def sizes(options: argparse.Namespace, rounds: int) -> None:
    """What programs take of memory."""
    if options.suite == "memory":
        suite, found = memory, memory.compare(options.only or memory.EVERY, options.quick)
        within = "All programs keep what their plans say."
    else:
        suite, found = budgets, budgets.compare(options.only or budgets.EVERY, rounds, options.quick)
        within = "All programs stay within, and use what was asked."
    print("\n".join([suite.table(found), "", *(suite.misses(found) or [within])]))
    if options.json:
        report.write_json(suite.rows(found), options.json)


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if (options.suite == "published") != (options.folder is not None):
        parser.error("the folder of the graphs goes with `published`, and with it alone")
    known = {"speed": ALL, "memory": memory.EVERY, "budgets": budgets.EVERY}.get(options.suite, NAMES)
    if unknown := [name for name in options.only or () if name not in known]:
        parser.error(f"--only {unknown[0]}: choose from {', '.join(known)}")


def models(options: argparse.Namespace, rounds: int, compiles: int) -> None:
    """Models of other libraries."""
    names, rows = options.only or NAMES, []
    missing = {name: library for name in names if (library := missing_library(name))}
    for name in names:
        if name in missing:
            continue
        rows += foreign.compare(maker(name, small=options.quick)(), rounds, compiles)
        print(f"{name} done", flush=True)
        if options.json:
            report.write_json(rows, options.json)
    print(foreign.summary(rows, sorted(set(missing.values()))))
    if options.markdown:
        options.markdown.write_text(report.table(rows) + "\n")


def speed(options: argparse.Namespace, rounds: int, compiles: int) -> None:
    """Our networks against the peers."""
    libraries, missing = peers.installed()
    rows = []
    for name in options.only or ALL:
        if options.quick:
            rows += compare(ALL[name](**QUICK[name]), libraries, rounds, compiles, tolerance=1e-3)
        else:
            assert_same_network(ALL[name], QUICK[name], libraries)
            rows += compare(ALL[name](), libraries, rounds, compiles, tolerance=5e-2)
        print(f"{name} done", flush=True)
        if options.json:  # after each, so that a long run loses nothing
            report.write_json(rows, options.json)
    print(report.summary(rows, missing))
    if options.markdown:
        options.markdown.write_text(report.table(rows) + "\n")
    if options.publish:
        report.publish(rows, missing, options.publish)


if __name__ == "__main__":
    main()
