"""Peak memory of a call: on the CPU counted block by block, on a GPU by torch's allocator.

What a process occupies says little: allocators keep what was freed, and the kernel counts in pages
and in batches of pages, while a canvas may have 3 kB. So on the CPU the calls run in a process of
their own, before whose allocator heap.c counts every block: tensors, and what kernels take besides.
Needs Linux, glibc and a C compiler; elsewhere `cpu_peaks` says why there are no figures.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from workloads import Workload

HERE = Path(__file__).parent

# By contender and pass: bytes that a call adds at most to what its process holds before it, and
# those of what it returns, which are among them.
Peaks = dict[str, dict[str, dict[str, int]]]


def cpu_peaks(
    workloads: Iterable[Workload], names: Iterable[str], threads: int
) -> list[Peaks] | str:
    """Measure contenders by name on each workload, on the CPU; or say why that cannot be done."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        return "counting the heap needs Linux and a C compiler"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "heap.so"
        build = [compiler, "-O2", "-fPIC", "-shared", "-o", str(library), str(HERE / "heap.c")]
        run = subprocess.run(build, capture_output=True, text=True)
        if run.returncode == 0:
            fields = json.dumps([asdict(workload) for workload in workloads])
            command = [sys.executable, str(HERE / "memory.py"), fields]
            run = subprocess.run(
                [*command, str(threads), *names],
                capture_output=True,
                text=True,
                env={**os.environ, "LD_PRELOAD": str(library)},
            )
    if run.returncode != 0:
        return (run.stderr.strip().splitlines() or ["killed"])[-1]
    return json.loads(run.stdout.splitlines()[-1])


def gpu_peak(call: Callable[[], object]) -> int:
    """Return by how many bytes a call raises what the GPU holds, its results included."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before


def _count(call: Callable[[], list[torch.Tensor]], heap: ctypes.CDLL) -> dict[str, int]:
    # Twice: what is made once, such as compiled code and tables, is not the call's.
    for _ in range(2):
        gc.collect()
        before = heap.heap_used()
        heap.heap_forget_peak()
        results = call()
        peak = heap.heap_peak() - before
        returned = sum(x.numel() * x.element_size() for x in results)
        del results
    return {"peak_bytes": peak, "returned_bytes": returned}


def main() -> None:
    """What `cpu_peaks` runs: WORKLOADS THREADS NAME...; prints a list of Peaks."""
    from contenders import contenders, passes  # which imports much: not for the parent

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("workloads", type=json.loads)
    parser.add_argument("threads", type=int)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    heap = ctypes.CDLL(None)
    if not hasattr(heap, "heap_used"):
        parser.error("heap.c is not loaded: this is what bench_draw.py runs, not for itself")
    heap.heap_used.restype = heap.heap_peak.restype = ctypes.c_long
    peaks = []
    for fields in options.workloads:
        peaks.append({})
        for contender in contenders("cpu"):
            if contender.name in options.names:
                calls = passes(contender, Workload(**fields), "cpu")
                peaks[-1][contender.name] = {name: _count(c, heap) for name, c in calls.items()}
    print(json.dumps(peaks))


if __name__ == "__main__":
    main()
