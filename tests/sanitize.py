"""Runs the op's tests and random calls under sanitizers: `python tests/sanitize.py`.

Builds the CPU extension, without CUDA, and the emulated CUDA kernels with AddressSanitizer and
UndefinedBehaviorSanitizer. The extension goes into a copy of the package under build/sanitize,
which comes first on the path; what is installed stays as it is. The first error ends a step.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cuda_emulator.build import SANITIZED, build, compiler

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "sanitize"
COPIED = (
    "csrc",
    "softraster",
    "setup.py",
    "setup_cuda.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
TESTS = ("arguments", "parity", "gradients", "composites", "joints", "op", "large", "curves")
# Not the op, or not what sanitizers leave as it is.
LEFT_OUT = (
    "test_strokes_compile_with_inductor",  # starts a compiler, which would run sanitized
    "test_memory_grows_with_inputs_and_canvas_and_not_with_their_product",  # counts theirs too
    "test_a_batch_of_more_than_2_to_the_31_pixels",  # as much memory again for each byte's state
)
OPTIONS = {
    # Python and torch keep what they need until the process ends.
    "ASAN_OPTIONS": "detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=1"
    ":malloc_context_size=5"  # torch allocates so often that longer traces take a quarter
    ":allocator_may_return_null=1",  # where there is no memory, which is an error of torch's
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def build_extension() -> None:
    """Compile softraster._C with sanitizers into build/sanitize, what has changed since only."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, FOLDER / name
        if source.is_dir():
            # Times are copied too: ninja compiles what is newer than its object.
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
    setup = FOLDER / "setup.py"
    setup.write_text(setup.read_text().replace('"-O3"', '"-O1"'))
    flags = [*SANITIZED, "-fno-sanitize-recover=all", "-D_GLIBCXX_ASSERTIONS"]
    flags.append("-DSOFTRASTER_VECTOR_CLONES=")  # one of them is enough, and builds sooner
    environ = {
        **os.environ,
        "SOFTRASTER_CUDA": "0",
        "CFLAGS": " ".join(flags),
        "LDFLAGS": " ".join(flag for flag in SANITIZED if flag.startswith("-fsanitize")),
        "MAX_JOBS": os.environ.get("MAX_JOBS", "2"),
    }
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=FOLDER, env=environ, check=True)


def environment() -> dict[str, str]:
    """Return the environment of a process that can load what is built with sanitizers."""
    libraries = []
    for name in ("libasan.so", "libstdc++.so"):  # libasan looks for the functions that throw
        command = [*compiler(), f"-print-file-name={name}"]
        libraries.append(subprocess.check_output(command, text=True).strip())
    path = f"{FOLDER}{os.pathsep}{ROOT / 'tests'}"
    return {**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(libraries), "PYTHONPATH": path}


LOADED = """
import pathlib, sys, softraster._C
file = pathlib.Path(softraster._C.__file__)
assert pathlib.Path(sys.argv[1]) in file.parents, file
assert b"__asan_report_load" in file.read_bytes() and b"__ubsan_handle" in file.read_bytes(), file
print("sanitized:", file)
"""


def steps(calls: int, emulated: int, processes: int) -> dict[str, list[str]]:
    """Return the commands by what they do."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    pytest += [f"--deselect=tests/test_{f}.py::{t}" for f in ("op", "large") for t in LEFT_OUT]
    fuzz = [sys.executable, str(ROOT / "tests" / "fuzz.py")]
    return {
        "the build loads": [sys.executable, "-c", LOADED, str(FOLDER)],
        "tests of the op": [*pytest, *(str(ROOT / "tests" / f"test_{name}.py") for name in TESTS)],
        "random calls": [*fuzz, f"--calls={calls - calls // 10}", f"--processes={processes}"],
        # On as many cores as threads: they wait for each other awake.
        "random calls, two threads": [*fuzz, f"--calls={calls // 10}", "--threads=2"],
        "random calls, emulated kernels": [
            *(*fuzz, "--sanitized-emulator"),
            *(f"--calls={emulated}", f"--processes={processes}"),
        ],
    }


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100_000, help="random calls of the CPU op")
    parser.add_argument("--emulated", type=int, default=5_000, help="of the emulated kernels")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(argv)
    print("compiling, which takes minutes", flush=True)
    build_extension()
    build(sanitize=True)
    environ, outcomes = environment(), []
    for name, command in steps(given.calls, given.emulated, given.processes).items():
        print(f"\n{name}", flush=True)
        start = time.monotonic()
        # In FOLDER, for Python looks there first.
        status = subprocess.run(command, cwd=FOLDER, env=environ).returncode
        outcomes.append((name, status, time.monotonic() - start))
    print("\nUnder AddressSanitizer and UndefinedBehaviorSanitizer:")
    for name, status, seconds in outcomes:
        print(f"{'passed' if status == 0 else f'failed ({status})':14}{seconds:7.0f} s  {name}")
    return 1 if any(status for _, status, _ in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
