"""Makes recorded calls of the emulator's module in a process of its own, under sanitizers.

`python -m cuda_emulator.replay MODULE CALLS RESULTS`: CALLS is a pickled list of (function's name,
arguments), RESULTS becomes the pickled list of what they return. Imports no torch, which would take
longer here than the calls. replay() starts such a process.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cuda_emulator.build import compiler, load

TESTS = Path(__file__).resolve().parents[1]


def _library(name: str) -> str:
    command = [*compiler(), f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def replay(
    module: Path, calls: Sequence[tuple[str, tuple[Any, ...]]], folder: Path
) -> tuple[list[Any] | None, str]:
    """Make the calls in a sanitized module.

    Returns:
        What they returned, or None where the process failed; and all that it printed.
    """
    inputs, outputs = folder / "calls.pickle", folder / "results.pickle"
    inputs.write_bytes(pickle.dumps(list(calls)))
    done = subprocess.run(
        [sys.executable, "-m", "cuda_emulator.replay", str(module), str(inputs), str(outputs)],
        cwd=TESTS,
        env={
            **os.environ,
            # libasan looks for the functions that throw when the process starts.
            "LD_PRELOAD": f"{_library('libasan.so')} {_library('libstdc++.so')}",
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    results = pickle.loads(outputs.read_bytes()) if done.returncode == 0 else None
    return results, done.stdout


def main(module: str, inputs: str, outputs: str) -> None:
    """Make the calls of one file and write what they return to another."""
    emulator = load(Path(module))
    calls = pickle.loads(Path(inputs).read_bytes())
    results = [getattr(emulator, name)(*arguments) for name, arguments in calls]
    Path(outputs).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
