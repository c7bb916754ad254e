"""How the benchmarks time, what they say of the machine, and how they keep it.

Calls are timed in interleaved rounds, so that a busy moment hits all alike. On a GPU a round ends
when its work is done.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call: by the clock (on a GPU, the GPU's), and of this process on the CPU."""

    elapsed: float
    cpu: float


def time_call(call: Callable[[], object], calls: int, device: str = "cpu") -> Timing:
    """Time `calls` calls in a row; on a GPU from when it begins with them until it is done."""
    start, start_cpu = time.perf_counter(), time.process_time()
    if device == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
    for _ in range(calls):
        call()
    if device == "cuda":
        events[1].record()
        events[1].synchronize()
        elapsed = events[0].elapsed_time(events[1])
    else:
        elapsed = (time.perf_counter() - start) * 1e3
    return Timing(elapsed / calls, (time.process_time() - start_cpu) * 1e3 / calls)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: of every call.
        seconds: for all rounds of a call together, in which a quick one is called many times.
        patience: seconds for all rounds of a slow call, which gets fewer of them, at least one.
    """

    rounds: int = 9
    seconds: float = 5.0
    patience: float = 20.0


def interleave(
    calls: dict[str, Callable[[], object]], effort: Effort, device: str = "cpu"
) -> dict[str, list[Timing]]:
    """Time all calls in turn, round by round; a list of at most effort.rounds for each name."""
    counts, rounds = {}, {}
    for name, call in calls.items():
        once = time_call(call, 1, device).elapsed
        if once < 1e3:
            time_call(call, 2, device)
            once = time_call(call, 1, device).elapsed
        counts[name] = max(1, int(effort.seconds * 1e3 / effort.rounds / once))
        rounds[name] = min(effort.rounds, max(1, int(effort.patience * 1e3 / once)))
    times = {name: [] for name in calls}
    for nth in range(effort.rounds):
        for name, call in calls.items():
            if nth < rounds[name]:
                times[name].append(time_call(call, counts[name], device))
    return times


def summary(times: list[Timing]) -> dict[str, float]:
    """Return median and spread of rounds, as the rows of the results have them."""
    elapsed = [t.elapsed for t in times]
    return {
        "median_ms": statistics.median(elapsed),
        "min_ms": min(elapsed),
        "max_ms": max(elapsed),
        "cpu_ms": statistics.median(t.cpu for t in times),
        "rounds": len(times),
    }


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return machine, versions and commit."""
    commit = None
    if shutil.which("git"):
        git = ["git", "describe", "--always", "--dirty"]
        run = subprocess.run(git, capture_output=True, text=True, cwd=Path(__file__).parent)
        commit = run.stdout.strip() or None
    return {
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": commit,
    }


def cpu_name() -> str:
    """Return the processor's name, as well as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write results so that a reader finds the old file or the new, whole; do nothing for None."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(part, path)
