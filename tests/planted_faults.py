"""Plants the faults of faults_in_csrc.py in the CPU op; its tests must notice each.

`python tests/planted_faults.py` tries all, `--only NAME ...` some. All are in one build of the
extension, each behind a switch, in a copy of the package under build/faults; a forked process turns
one of them on and runs the test that should see it, and all the others if it does not.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from faults_in_csrc import FAULTS, Fault
from sanitize import COPIED

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "faults"
SWITCH = "SOFTRASTER_FAULT"  # environment variable: number_of() a fault, 0 for none
SWITCH_HEADER = f"""#pragma once
#include <cstdlib>
inline const int softraster_fault = [] {{
  const char* const number = std::getenv("{SWITCH}");
  return number ? std::atoi(number) : 0;
}}();
"""
FILES = ("composites", "kinks", "parity", "gradients", "large", "op")
TESTS = [f"tests/test_{name}.py" for name in FILES]
# Minutes on their own, and no words on the numbers.
LEFT_OUT = "not inductor and not memory_grows and not opcheck and not 2_to_the_31"
PRELOADED = ("torch", "torch._subclasses.fake_tensor", "numpy")  # not softraster: it has the switch
LIMIT = 300  # seconds of processor time: then a loop is taken not to end


def number_of(fault: Fault) -> int:
    """Return what turns a fault on; others in the list leave it as it is, and so the build."""
    return zlib.crc32(fault.name.encode()) >> 1


def planted(file: str, text: str) -> str:
    """Return the text of a file of csrc with all its faults, each behind its switch.

    Raises:
        ValueError: what a fault replaces does not stand there once, or is another one's, too.
    """
    places = []
    for fault in FAULTS:
        if fault.file != file:
            continue
        if text.count(fault.old) != 1:
            times = text.count(fault.old)
            raise ValueError(
                f"{fault.name}: {file} must have this once, got {times} times: {fault.old}"
            )
        begin = text.index(fault.old)
        places.append((begin, begin + len(fault.old), fault))
    places.sort(reverse=True)
    for (begin, _, later), (_, end, earlier) in pairwise(places):
        if end > begin:
            raise ValueError(f"{earlier.name} and {later.name} replace the same text of {file}")
    for begin, end, fault in places:
        switched = f"softraster_fault == {number_of(fault)}"
        if fault.old.endswith(";"):
            both = f"if ({switched}) {{ {fault.new} }} else {{ {fault.old} }}"
        else:
            both = f"({switched} ? ({fault.new}) : ({fault.old}))"
        text = text[:begin] + both + text[end:]
    return text


def _write(file: Path, text: str) -> None:
    """Write what is not there yet: ninja compiles what is newer than its object."""
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def build_extension() -> None:
    """Compile softraster._C with all faults into build/faults, what has changed since only."""
    for name in COPIED:
        source = ROOT / name
        for file in source.rglob("*") if source.is_dir() else [source]:
            if file.suffix in (".h", ".cpp", ".py", ".toml", ".md") or file.name == "LICENSE":
                text, inner = file.read_text(), file.relative_to(ROOT)
                if name == "csrc":
                    text = planted(file.relative_to(source).as_posix(), text)
                elif name == "setup.py":
                    text = text.replace('"-O3"', '"-O1"')
                _write(FOLDER / inner, text)
    header = FOLDER / "switch.h"
    _write(header, SWITCH_HEADER)
    environ = {
        **os.environ,
        "SOFTRASTER_CUDA": "0",
        "CFLAGS": f"-DSOFTRASTER_VECTOR_CLONES= -include {header}",  # one clone builds sooner
        "MAX_JOBS": os.environ.get("MAX_JOBS", "2"),
    }
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=FOLDER, env=environ, check=True)


class _FirstFailure:
    """A plugin of pytest that keeps what failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)


def _run_tests(number: int, tests: list[str], options: list[str], results: Connection) -> None:
    """Run tests with a fault turned on; send pytest's status and what failed. Silent."""
    os.environ[SWITCH] = str(number)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(FOLDER / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    sys.path.insert(0, str(FOLDER))
    loaded = Path(importlib.import_module("softraster._C").__file__)
    if FOLDER not in loaded.parents:
        raise RuntimeError(f"{loaded} was loaded, which has no faults")
    failures = _FirstFailure()
    command = ["-q", "-p", "no:cacheprovider", "-k", LEFT_OUT, *options]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    command += [str(ROOT / test) for test in tests]
    status = pytest.main(command, plugins=[failures])
    results.send((int(status), failures.failed))


def failures_of(number: int, tests: list[str], *options: str) -> list[str]:
    """Return the tests that fail with a fault turned on; what ended the process, if that did.

    Raises:
        RuntimeError: pytest could not run them; build/faults/output.txt says why.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_run_tests, args=(number, tests, [*options], sender)
    )
    process.start()
    sender.close()
    try:
        status, failed = receiver.recv()
    except EOFError:
        status, failed = None, []
    process.join()
    if process.exitcode < 0:
        return [signal.Signals(-process.exitcode).name]
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {status}, see {FOLDER / 'output.txt'}: {tests}")
    return failed


def try_fault(fault: Fault) -> str | None:
    """Return the test that sees a fault, or None."""
    for tests in ([f"tests/{fault.test}"], TESTS):
        if failed := failures_of(number_of(fault), tests, "-x"):
            return failed[0]
    return None


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status, 1 if a fault survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the faults")
    given = parser.parse_args(argv)
    names = [fault.name for fault in FAULTS]
    for name in given.only or ():
        if name not in names:
            parser.error(f"NAME must be one of {', '.join(map(repr, names))}, got {name!r}")
    # Sub-processes of tests have the fault too. One thread, where a test asks for no more.
    path = f"{FOLDER}{os.pathsep}{ROOT / 'tests'}"
    os.environ |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # seconds for each fault
    print("compiling, which takes minutes", flush=True)
    build_extension()
    os.chdir(FOLDER)  # Python looks there first
    for name in PRELOADED:
        importlib.import_module(name)
    chosen = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    caught: dict[str, str | None] = {}
    for fault in chosen:
        start = time.monotonic()
        caught[fault.name] = try_fault(fault)
        seconds = time.monotonic() - start
        print(f"{caught[fault.name] or 'SURVIVED'}: {fault.name}, {seconds:.0f} s", flush=True)
    judges = sorted({test for test in caught.values() if test and "::" in test})
    broken = failures_of(0, judges) if judges else []
    for test in broken:
        print(f"fails without any fault: {test}")
    survivors = [fault for fault in chosen if caught[fault.name] in (None, *broken)]
    print(f"\n{len(chosen)} faults, {len(survivors)} survived:")
    for fault in chosen:
        print(f"{fault.file:16} {fault.name:60} {caught[fault.name] or f'SURVIVED: {fault.why}'}")
    return 1 if survivors or broken else 0


if __name__ == "__main__":
    sys.exit(main())
