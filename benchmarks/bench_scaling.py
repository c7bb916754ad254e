"""Time and memory of softraster against segments, canvas side, batch and threads.

Each sweep doubles one number and leaves the rest, and prints how much more the next step takes.
The side grows at the same ink: segments keep their number and their length in pixels, so what
grows is the empty canvas. How long an empty canvas takes is measured too, as torch.zeros, and
reported as part of the growth that no rasterizer is spared.

    python benchmarks/bench_scaling.py --json benchmarks/results/scaling-cpu.json
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from contenders import contenders, passes
from memory import cpu_peaks, gpu_peak
from timing import Effort, environment, interleave, summary, write_json
from workloads import WORKLOADS, Workload

LENGTH = 20  # pixels


def doubled(first: int, count: int) -> list[int]:
    """Return first, 2 * first, 4 * first, and so on."""
    return [first << n for n in range(count)]


# Of what each sweep is made, for each value of what it is named after.
SWEEPS: dict[str, dict[int, Workload]] = {
    "segments": {n: Workload(1, n, 512, 512, length=LENGTH / 512) for n in doubled(512, 6)},
    "side": {s: Workload(1, 1000, s, s, length=LENGTH / s) for s in doubled(256, 5)},
    "batch": {b: Workload(b, 19, 28, 28) for b in doubled(1, 11)},
}
THREADED = ("W2", "W4", "W7")


def measure(
    workloads: dict[int, Workload], effort: Effort, device: str, with_memory: bool
) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the figures of each workload by pass; all are timed in the same rounds."""
    ours = contenders(device)[0]
    calls = {
        (value, name): call
        for value, workload in workloads.items()
        for name, call in passes(ours, workload, device).items()
    }
    times = interleave(calls, effort, device)
    figures = {value: {} for value in workloads}
    for (value, name), rounds in times.items():
        figures[value][name] = summary(rounds)
    if with_memory and device == "cuda":
        for (value, name), call in calls.items():
            figures[value][name]["peak_bytes"] = gpu_peak(call)
    elif with_memory:
        peaks = cpu_peaks(workloads.values(), [ours.name], torch.get_num_threads())
        if isinstance(peaks, str):
            print(f"no memory figures: {peaks}", flush=True)
            return figures
        for value, peak in zip(workloads, peaks, strict=True):
            for name, figure in peak[ours.name].items():
                figures[value][name] |= figure
    return figures


def clearing(workloads: dict[int, Workload], effort: Effort, device: str) -> dict[int, float]:
    """Return how many ms an empty canvas of each workload takes."""

    def clear(workload: Workload) -> Callable[[], torch.Tensor]:
        shape = workload.batch, workload.rows, workload.columns
        return lambda: torch.zeros(shape, device=device)

    times = interleave({value: clear(w) for value, w in workloads.items()}, effort, device)
    return {value: summary(rounds)["median_ms"] for value, rounds in times.items()}


def growth(figures: dict[int, dict[str, Any]], cleared: dict[int, float]) -> list[dict[str, Any]]:
    """Return rows of a sweep: each value's figures, and how they grew from the value before."""
    rows = []
    for value, passed in figures.items():
        for name, row in passed.items():
            row = {"value": value, "pass": name, **row, "clearing_ms": cleared[value]}
            before = figures.get(value // 2, {}).get(name)
            if before:
                row["growth"] = row["median_ms"] / before["median_ms"]
                more = cleared[value] - cleared[value // 2]
                row["growth_without_clearing"] = (row["median_ms"] - more) / before["median_ms"]
            rows.append(row)
    return rows


def sweep(name: str, effort: Effort, device: str, with_memory: bool) -> list[dict[str, Any]]:
    """Return the rows of one sweep of SWEEPS."""
    workloads = SWEEPS[name]
    figures = measure(workloads, effort, device, with_memory)
    rows = growth(figures, clearing(workloads, effort, device))
    return [{"sweep": name, **row} for row in rows]


def sweep_threads(effort: Effort, most: int) -> list[dict[str, Any]]:
    """Return rows for 1, 2, 4, ... threads, and `most`: times, and how many times one's speed.

    One number of threads after the other: changing it between calls would cost time itself.
    """
    rows, alone = [], {}
    for threads in sorted({*(n for n in doubled(1, most.bit_length()) if n < most), most}):
        torch.set_num_threads(threads)
        for workload in THREADED:
            figures = measure({threads: WORKLOADS[workload]}, effort, "cpu", with_memory=False)
            for name, row in figures[threads].items():
                alone.setdefault((workload, name), row["median_ms"])
                speedup = alone[workload, name] / row["median_ms"]
                rows.append(
                    {"sweep": "threads", "workload": workload, "value": threads, "pass": name}
                    | {**row, "speedup": speedup}
                )
    torch.set_num_threads(1)
    return rows


def print_row(row: dict[str, Any]) -> None:
    """Print a row of the table."""
    what = f"{row['sweep']} {row.get('workload', '')}"
    line = f"{what:12}{row['value']:>7}  {row['pass']:20}{row['median_ms']:11.3f}"
    line += f"{row['cpu_ms']:11.3f}"
    if "peak_bytes" in row:
        line += f"{row['peak_bytes'] / 1e6:10.3f} MB"
    if "growth" in row:
        line += f"   x {row['growth']:.2f}, but for clearing x {row['growth_without_clearing']:.2f}"
    if "speedup" in row:
        line += f"   {row['speedup']:.2f} times the speed of one"
    print(line, flush=True)


def main() -> None:
    """Run from the command line."""
    effort = Effort(seconds=2.0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sweeps", nargs="+", choices=[*SWEEPS, "threads"], help="default: all")
    parser.add_argument("--rounds", type=int, default=effort.rounds)
    parser.add_argument(
        "--seconds",
        type=float,
        default=effort.seconds,
        help="for all rounds of a point (default: %(default)g)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--most-threads", type=int, default=os.cpu_count(), help="of the sweep (default: all cores)"
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and a torch with CUDA")
    torch.set_num_threads(options.threads)
    effort = Effort(options.rounds, options.seconds, patience=options.seconds)
    result = {"environment": environment(options.device), "rows": []}
    print(f"{'sweep':12}{'value':>7}  {'pass':20}{'median ms':>11}{'CPU ms':>11}{'peak':>13}")
    # Threads first: after canvases of 64 MB, malloc asks the kernel anew for each smaller one.
    for name in options.sweeps or ["threads", *SWEEPS]:
        if name != "threads":
            rows = sweep(name, effort, options.device, not options.no_memory)
        elif options.device == "cpu":
            rows = sweep_threads(effort, options.most_threads)
        else:
            continue
        for row in rows:
            print_row(row)
        result["rows"] += rows
        write_json(options.json, result)


if __name__ == "__main__":
    main()
