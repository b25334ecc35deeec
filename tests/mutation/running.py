"""Whether the tests notice a mutation: a forked child imports the package with it, and runs them.

The parent has imported JAX and the test tools, which takes seconds, and neither the package nor a backend, whose
threads do not survive a fork. Children share a cache of compiled programs: most of what one runs, others have run.
"""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path

import beartype  # noqa: F401
import chex  # noqa: F401
import hypothesis  # noqa: F401
import jax
import numpy  # noqa: F401
import optax  # noqa: F401
import pytest

from tests.mutation.mutating import Mutation

ROOT = Path(__file__).parents[2]
OPTIONS = ("-x", "-q", "-o", "addopts=", "-m", "not slow and not thorough", "-p", "no:cacheprovider")


LIMIT = 300
"""Seconds of processor time for a child, several times what the longest list of tests takes."""
BROKEN = 70
"""What a child ends with that could not run the tests."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    mutation: Mutation
    verdict: str
    """`killed` by a test, `out of time`, or `survived`."""
    seconds: float
    """Processor time."""
    by: str = ""
    """The test that failed."""


def run_tests(mutation: Mutation | None, tests: Sequence[str]) -> int:
    """Run tests in this process, with the fault in the package, until some fail: pytest's last verdict.

    Most mutants fall to the first tests, so that the others are not even collected.
    """
    if mutation is not None:
        plant(ROOT / mutation.module, mutation.apply((ROOT / mutation.module).read_bytes()))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading those takes longer than most tests
    return next((code for path in tests if (code := int(pytest.main([*OPTIONS, path])))), 0)


def plant(path: Path, source: bytes) -> None:
    """Let a module be imported as another text, and not from its bytecode; whatever hooks wrap the loader."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def get_planted(self: SourceFileLoader, asked: str) -> bytes:
        return source if Path(asked) == path else get_data(self, asked)

    def have_no_bytecode(self: SourceFileLoader, asked: str) -> object:
        if Path(asked) == path:
            raise OSError("a planted module has no bytecode")
        return path_stats(self, asked)

    SourceFileLoader.get_data = get_planted  # type: ignore[method-assign]
    SourceFileLoader.path_stats = have_no_bytecode  # type: ignore[method-assign,assignment]


def judge(
    mutations: Iterable[Mutation], tests: Callable[[str], Sequence[str]], work: Path, workers: int
) -> Iterator[Outcome]:
    """The outcome of each mutation, as it is known; `tests` are those for a module. First all run without a mutation.

    Raises:
        RuntimeError: the tests do not pass without a mutation.
    """
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    mutations = list(mutations)
    unchanged = [(None, (path,)) for path in dict.fromkeys(path for m in mutations for path in tests(m.module))]
    waiting = [*unchanged, *((m, tests(m.module)) for m in mutations)][::-1]
    running: dict[int, tuple[Mutation | None, Path]] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            mutation, chosen = waiting.pop()
            log = work / f"{len(waiting)}.log"
            running[_start(mutation, chosen, log)] = mutation, log
        pid, status, usage = os.wait4(-1, 0)
        mutation, log = running.pop(pid)
        if mutation is not None:
            yield _outcome(mutation, os.waitstatus_to_exitcode(status), usage, log)
        elif status != 0:
            raise RuntimeError(f"without a mutation all tests must pass: {log.read_text()[-2000:]}")


def _outcome(mutation: Mutation, code: int, usage: resource.struct_rusage, log: Path) -> Outcome:
    seconds = round(usage.ru_utime + usage.ru_stime, 1)
    if code == 0:
        return Outcome(mutation, "survived", seconds)
    if code == -signal.SIGXCPU:
        return Outcome(mutation, "out of time", seconds)
    by = f"signal {-code}" if code < 0 else _find_failure(log)
    return Outcome(mutation, "killed", seconds, by)


def _start(mutation: Mutation | None, tests: Sequence[str], log: Path) -> int:
    """Fork a child: its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = run_tests(mutation, tests)
        except BaseException:  # whatever it is: a child must not return into the parent's code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def _find_failure(log: Path) -> str:
    """The first test that failed, or could not be collected."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ", 1)[1].split(" - ")[0]
    return "the package cannot be imported"
