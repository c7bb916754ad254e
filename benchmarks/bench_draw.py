"""Time drawing, and drawing with the gradients of its inputs, beside what people use today.

Validates each contender before it times anything, then times all in turn, round by round. Reports
medians, spread, processor time, peak memory and ratios; --json keeps them with machine, versions
and commit. Read the ratios: times of one machine mean little on another.

    python benchmarks/bench_draw.py --json benchmarks/results/draw-cpu.json
    python benchmarks/bench_draw.py --device cuda --json benchmarks/results/draw-cuda.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from contenders import Contender, contenders, passes
from memory import cpu_peaks, gpu_peak
from timing import Effort, environment, interleave, summary, write_json
from validation import exact_passes, validate
from workloads import WORKLOADS, Workload

DEFAULTS = {"cpu": [name for name in WORKLOADS if name != "W8"], "cuda": list(WORKLOADS)}


def able(
    workload: Workload, device: str, only: list[str] | None = None
) -> tuple[dict[Contender, str], dict[str, str]]:
    """Return whom to time and what they were validated against, and why not the others."""
    kept, refused = {}, {}
    exact, judge = exact_passes(workload, device)
    for contender in contenders(device):
        if only and contender.name not in only and contender.name != "softraster":
            continue
        reason = contender.refusal(workload)
        if reason is None:
            try:
                kept[contender] = validate(contender, workload, device, exact, judge)
            except Exception as error:
                if contender.name.startswith("softraster"):
                    raise
                reason = f"fails: {str(error).strip().partition(chr(10))[0]}"
        if reason is not None:
            refused[contender.name] = reason
    return kept, refused


def peak_memory(
    kept: dict[Contender, str], workload: Workload, device: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by contender and pass, what a row says of memory."""
    if device == "cpu":
        peaks = cpu_peaks([workload], [c.name for c in kept], torch.get_num_threads())
        if isinstance(peaks, str):
            print(f"no memory figures: {peaks}", flush=True)
            return {}
        return peaks[0]
    return {
        c.name: {
            name: {"peak_bytes": gpu_peak(call)}
            for name, call in passes(c, workload, device).items()
        }
        for c in kept
        if not c.graph  # a graph's memory was taken when it was captured
    }


def bench(
    name: str,
    effort: Effort,
    device: str,
    only: list[str] | None = None,
    with_memory: bool = True,
) -> list[dict[str, Any]]:
    """Validate and time all contenders on one workload; a row for each contender and pass."""
    workload = WORKLOADS[name]
    kept, refused = able(workload, device, only)
    peaks = peak_memory(kept, workload, device) if with_memory else {}
    calls = {c.name: passes(c, workload, device) for c in kept}
    rows = []
    for timed in ("forward", "forward + backward"):
        times = interleave({key: both[timed] for key, both in calls.items()}, effort, device)
        ours = summary(times["softraster"])
        for contender, judge in kept.items():
            figures = summary(times[contender.name])
            row = {"workload": name, "pass": timed, "contender": contender.name, **figures}
            row["ratio_to_softraster"] = figures["median_ms"] / ours["median_ms"]
            row["cpu_ratio_to_softraster"] = figures["cpu_ms"] / max(ours["cpu_ms"], 1e-9)
            row |= {"peak_bytes": None, **peaks.get(contender.name, {}).get(timed, {})}
            row["estimated_bytes"] = contender.needs(workload) or None
            row["formula"] = contender.formula or "softraster's"
            row["validated_against"] = judge
            rows.append(row)
        rows += [
            {"workload": name, "pass": timed, "contender": key, "not_run": reason}
            for key, reason in refused.items()
        ]
    return rows


HEADER = (
    f"{'workload':9}{'pass':20}{'contender':27}{'median ms':>11}{'min - max':>22}"
    f"{'CPU ms':>11}{'peak MB':>10}{'ratio':>9}"
)


def print_row(row: dict[str, Any]) -> None:
    """Print a row of the table."""
    line = f"{row['workload']:9}{row['pass']:20}{row['contender']:27}"
    if "not_run" in row:
        print(f"{line}  not run: {row['not_run']}", flush=True)
        return
    spread = f"{row['min_ms']:.3f} - {row['max_ms']:.3f}"
    peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:.3f}"
    line += f"{row['median_ms']:11.3f}{spread:>22}{row['cpu_ms']:11.3f}{peak:>10}"
    line += f"{row['ratio_to_softraster']:9.2f}"
    if row["formula"] != "softraster's":
        line += f"  draws {row['formula']}; held against {row['validated_against']}"
    print(f"{line}  ({row['rounds']} rounds)" if row["rounds"] < 5 else line, flush=True)


def main() -> None:
    """Run from the command line."""
    effort = Effort()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        help="default: all but W8 on the CPU, all on a GPU",
    )
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="default: all; softraster is always there"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=effort.rounds, help="of a contender")
    parser.add_argument(
        "--seconds",
        type=float,
        default=effort.seconds,
        help="for all rounds of a contender and pass (default: %(default)g)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=effort.patience,
        help="the same where one call takes long, in fewer rounds (default: %(default)g)",
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and a torch with CUDA")
    known = {c.name for c in contenders("cpu")}
    if unknown := set(options.contenders or ()) - known:
        parser.error(f"--contenders must be of {sorted(known)}, got {sorted(unknown)}")
    torch.set_num_threads(options.threads)
    effort = Effort(options.rounds, options.seconds, options.patience)
    result = {"environment": environment(options.device), "rows": []}
    print(HEADER)
    for name in options.workloads or DEFAULTS[options.device]:
        rows = bench(name, effort, options.device, options.contenders, not options.no_memory)
        for row in rows:
            print_row(row)
        result["rows"] += rows
        write_json(options.json, result)  # whoever stops the rest keeps what there is


if __name__ == "__main__":
    main()
