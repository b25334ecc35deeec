"""Whether the tests notice a mutation: a forked child imports the package with it, and runs them.

The parent has imported JAX and the test tools, which takes seconds, and neither the package nor a backend, whose
threads do not survive a fork. Children share a cache of compiled programs: most of what one runs, others have run.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path

import beartype  # noqa: F401
import chex  # noqa: F401
import hypothesis  # noqa: F401
import jax
import jaxtyping  # noqa: F401
import numpy  # noqa: F401
import optax  # noqa: F401
import pytest

from tests.mutation.mutating import Mutation

ROOT = Path(__file__).parents[2]
OPTIONS = ("-x", "-q", "-o", "addopts=", "-m", "not slow and not thorough", "-p", "no:cacheprovider")


BROKEN = 70
"""What a child ends with that could not run the tests."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    mutation: Mutation
    verdict: str
    """`killed` by a test, `out of time`, or `survived`."""
    seconds: float
    by: str = ""
    """The test that failed."""


@dataclass(frozen=True)
class _Child:
    """A running child."""

    mutation: Mutation | None
    started: float
    log: Path


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
    """The outcome of each mutation, as it is known; `tests` are those for a module.

    Raises:
        RuntimeError: the tests do not pass without a mutation.
    """
    jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    mutations = list(mutations)
    paths = dict.fromkeys(path for m in mutations for path in tests(m.module))
    unchanged = {path: _time_unchanged(path, work) for path in paths}
    running: dict[int, _Child] = {}
    waiting = list(enumerate(mutations))[::-1]
    while waiting or running:
        while waiting and len(running) < workers:
            i, mutation = waiting.pop()
            pid, child = _start(mutation, tests(mutation.module), work / f"{i}.log")
            running[pid] = child
        time.sleep(0.05)
        for pid, child in list(running.items()):
            assert child.mutation is not None
            seconds = time.monotonic() - child.started
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and seconds < 60 + 4 * sum(unchanged[path] for path in tests(child.mutation.module)):
                continue
            if not ended:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                outcome = Outcome(child.mutation, "out of time", seconds)
            elif os.waitstatus_to_exitcode(status) == 0:
                outcome = Outcome(child.mutation, "survived", seconds)
            else:
                outcome = Outcome(child.mutation, "killed", seconds, _find_failure(child.log))
            del running[pid]
            yield outcome


def _time_unchanged(path: str, work: Path) -> float:
    """How long tests take without a mutation, which they must pass."""
    pid, child = _start(None, [path], work / "unchanged.log")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise RuntimeError(f"without a mutation {path} must pass, got {code}: {child.log.read_text()[-2000:]}")
    return time.monotonic() - child.started


def _start(mutation: Mutation | None, tests: Sequence[str], log: Path) -> tuple[int, _Child]:
    sys.stdout.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            os.setsid()
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
    return pid, _Child(mutation, started, log)


def _find_failure(log: Path) -> str:
    """The first test that failed, or could not be collected."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ", 1)[1].split(" - ")[0]
    return "the package cannot be imported"
