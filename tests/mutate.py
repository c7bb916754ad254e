"""Mutation testing: changes a module in small ways, one at a time; its tests must notice each.

`python tests/mutate.py` judges every module in JUDGES, `python tests/mutate.py FILE ...` some. A
mutant lives in a forked process of its own, never in a file. What may be changed is mutations.py's
to say; changes that no test can notice are in equivalent_mutants.py, with the reason.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from equivalent_mutants import EQUIVALENT
from mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
# What pytest is told to run for each file: no sub-processes, which would have no mutant.
JUDGES = {
    "softraster/api.py": (
        "tests/test_arguments.py",
        "tests/test_parity.py",
        "tests/test_op.py",
        "-k=arguments or draw_strokes or half or autocast or fake or kernels",
    ),
    "handwriting/strokes.py": ("tests/handwriting/test_strokes.py",),
    "handwriting/losses.py": ("tests/handwriting/test_losses.py",),
    "handwriting/metrics.py": ("tests/handwriting/test_metrics.py",),
}
# Loaded before the forks. Nothing of ours: it would hold on to what a mutant replaces.
PRELOADED = ("torch", "torch._subclasses.fake_tensor", "numpy", "cv2", "scipy.ndimage", "h5py")
LIMIT = 5, 20  # processor time: times that of the tests without a mutant, and seconds besides
NOT_LOADED = 100  # exit status: the tests never imported the mutant
OUTCOMES = {
    0: "survived",
    int(pytest.ExitCode.TESTS_FAILED): "killed",
    int(pytest.ExitCode.INTERRUPTED): "killed",  # the tests' files could not be imported
    -signal.SIGXCPU: "timed out",
}


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module other code."""

    def __init__(self, file: str, code: CodeType) -> None:
        self.name = file.removesuffix(".py").replace("/", ".")
        self.file, self.code, self.loaded = str(ROOT / file), code, False

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        self.loaded = True
        exec(self.code, module.__dict__)


def _run_tests(file: str, code: CodeType, limit: float | None) -> None:
    """Exit as pytest does on a file's tests with `code` in its place, silent within a limit."""
    if limit is not None:
        seconds = int(limit) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, sys.stdout.fileno())
        os.dup2(silence, sys.stderr.fileno())
    loader = _Loader(file, code)
    sys.meta_path.insert(0, loader)
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *JUDGES[file]])
    sys.exit(int(status) if loader.loaded else NOT_LOADED)


def _start(*args: object) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=args)
    process.start()
    return process


def _processor_time_without_mutant(file: str, source: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = _start(file, compile(source, file, "exec"), None)
    process.join()
    if process.exitcode:
        sys.exit(f"{file}: its tests fail without any mutant, status {process.exitcode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def judged(file: str, processes: int) -> Iterator[tuple[Mutant, str]]:
    """Return every mutant of a file, and what became of it, in the order in which they end."""
    source = (ROOT / file).read_text()
    times, seconds = LIMIT
    limit = times * _processor_time_without_mutant(file, source) + seconds
    coming, running = mutants(source, file), {}
    while True:
        while len(running) < processes and (mutant := next(coming, None)):
            process = _start(file, mutant.code, limit)
            running[process.sentinel] = mutant, process
        if not running:
            return
        for sentinel in wait(running):
            mutant, process = running.pop(sentinel)
            process.join()
            if process.exitcode not in OUTCOMES:
                sys.exit(f"{file}:{mutant.line}: {mutant.change}: status {process.exitcode}")
            yield mutant, OUTCOMES[process.exitcode]


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status, 1 if a mutant lives that should not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(JUDGES), metavar="FILE")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(argv)
    for file in given.files:
        if file not in JUDGES:
            parser.error(f"FILE must be one of {', '.join(JUDGES)}, got {file}")
    os.chdir(ROOT)
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    for name in PRELOADED:
        importlib.import_module(name)
    faults = sum(_faults(file, given.processes) for file in given.files)
    return 1 if faults else 0


def _faults(file: str, processes: int) -> int:
    """Judge a file and print what came of it; return how many mutants are not as they should be."""
    start, counts, faults = time.monotonic(), Counter(), 0
    equivalent = {change for changes in EQUIVALENT.get(file, {}).values() for change in changes}
    unseen = set(equivalent)
    for mutant, outcome in judged(file, processes):
        unseen.discard(mutant.change)
        listed = mutant.change in equivalent
        if listed and outcome == "survived":
            outcome = "equivalent"
        elif listed or outcome == "survived":
            faults += 1
            print(f"{file}:{mutant.line}: {outcome}: {mutant.change}", flush=True)
        counts[outcome] += 1
    for change in unseen:
        print(f"{file}: listed as equivalent, but never made: {change}")
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    print(
        f"{file}: {counts.total()} mutants, {summary}, {time.monotonic() - start:.0f} s", flush=True
    )
    return faults + len(unseen)


if __name__ == "__main__":
    sys.exit(main())
