"""The least time that a core needs for each workload: arithmetic and memory, both measured here.

limits.cpp measures what the machine can do. How often each operation is needed is counted below, by
hand, from the formulas as csrc/segment_math.h has them, for every pixel of the support (M5 of
docs/math.md) and for every row and column of a segment's soft boxes: an exponential for each pixel
of a line, too, where the CPU's kernels take one for eight. Nothing else is counted: no loads, no
stores, no loops, nothing a segment costs before its first pixel. A pass takes at least the longer
of its arithmetic, all vectors full, and of its traffic with memory: what it is given read once,
what it returns written once. What fits the caches may come to less traffic than that.

    python benchmarks/limits.py --drawn benchmarks/results/draw-cpu.json --markdown
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import cpu_name, write_json
from torch import Tensor
from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent
TOLERANCE = 1e-6  # softraster's default
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno")

# Operations on one number, each an instruction on a vector of them: "fma" is a fused multiply-add,
# or an addition, product, comparison or choice by itself. As M3, M7, M9 and M10 need them.
_SOFT_BOX = {"fma": 8, "exp": 1, "reciprocal": 1}
_TAILS = {"fma": 3}
OPERATIONS: dict[str, dict[str, int]] = {
    # |from the middle|, and soft_box: - half, two clamps, * softness, 1 + e, e + decay, product,
    # * inverse.
    "box": {**_SOFT_BOX, "fma": 8 + 2},
    "box, tails": {**_SOFT_BOX, "fma": 8 + 2 + 3},
    # by distance 2, sign 2, by half 1, by softness 4, and each times the column's ink: 4.
    "box, gradient": {"fma": 13},
    # offset, |offset|, soft_box, * box_x * box_y, onto the canvas.
    "grid": {**_SOFT_BOX, "fma": 8 + 2 + 2 + 1},
    # The same but for the canvas; tails; by offset 2, sign 1; by softness 4; ink 1; sums of ink by
    # row and column 2, by offset 2, times the arm 2, by softness 1.
    "grid, gradient": {**_SOFT_BOX, "fma": 8 + 2 + 2 + 3 + 3 + 4 + 1 + 7},
    # along, across, two clamps, beyond, distance^2 2, depth 1, two clamps, * softness, 1 + e.
    "capsule": {"fma": 12, "exp": 1, "reciprocal": 1, "sqrt": 1},
    # e * value, * softness, the scale 2 and a division, * beyond, * across, by softness 1, by width
    # 1, lever 1; ink 1; sums 7 and the products for two of them.
    "capsule, gradient": {"fma": 18, "reciprocal": 1},
    # canvas + a * (color - canvas), of a channel.
    "over": {"fma": 2},
    # The canvas below, repainted, 2; the weight, what it would change, their product 3; sums for
    # the color 1; of a channel. Once: how much light passes 2.
    "over, gradient": {"fma": 6},
    "light": {"fma": 2},
}


@dataclass(frozen=True)
class Support:
    """How much of a workload is within reach: pixels, rows and columns, over all its segments."""

    pixels: int
    rows: int
    columns: int


def support(workload: Workload) -> Support:
    """Count the support of a workload's segments (M5), each clipped to its canvas."""
    inputs, _ = workload.make("cpu")
    inputs = {name: x.detach().double().flatten(0, 1) for name, x in inputs.items()}
    ends = inputs["segments"] * workload.side
    reach = -torch.tensor(TOLERANCE).double().log() / (inputs["softness"] / workload.side)
    half = 0.5 * inputs["width"] * workload.side if "width" in inputs else torch.tensor(0.5)
    reach = (reach + half).expand(len(ends))
    middle, extent = (ends[:, :2] + ends[:, 2:]) / 2, (ends[:, 2:] - ends[:, :2]).abs() / 2
    low, high = middle - extent - reach[:, None], middle + extent + reach[:, None]
    columns = _centres(low[:, 0], high[:, 0], workload.columns)
    rows = _centres(low[:, 1], high[:, 1], workload.rows)
    counts = (rows[1] - rows[0]).clamp(min=0)
    counts = torch.where(columns[1] > columns[0], counts, 0)
    # Every row of every segment, one after the other.
    of = torch.arange(len(ends)).repeat_interleave(counts)
    row = torch.arange(len(of)) - (counts.cumsum(0) - counts)[of] + rows[0][of]
    spans = _capsule_span if workload.coverage == "capsule" else _grid_span
    left, right = spans(ends[of], reach[of], row + 0.5)
    first, last = _centres(
        torch.maximum(left, low[of, 0]), torch.minimum(right, high[of, 0]), workload.columns
    )
    across = torch.where(counts > 0, columns[1] - columns[0], 0)
    return Support(
        int((last - first).clamp(min=0).sum()), int(counts.sum()), int(across.clamp(min=0).sum())
    )


def _centres(low: Tensor, high: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First pixel, and the one after the last, whose centres lie in [low, high]."""
    first, last = (low - 0.5).ceil(), (high - 0.5).floor() + 1
    return first.clamp(0, count).long(), last.clamp(0, count).long()


def _grid_span(ends: Tensor, reach: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where offset <= reach in a row: the offset is measured along the shorter axis."""
    x1, y1, x2, y2 = ends.unbind(-1)
    dx, dy = x2 - x1, y2 - y1
    middle = (x1 + x2) / 2 + dx / dy * (y - (y1 + y2) / 2)
    arm = torch.where(dx.abs() >= dy.abs(), reach * (dx / dy).abs(), reach)
    return middle - arm, middle + arm


def _capsule_span(ends: Tensor, reach: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where the distance to the segment is at most reach in a row: two discs and what joins them.

    Their hull, since the whole is convex.
    """
    x1, y1, x2, y2 = ends.unbind(-1)
    lefts, rights = [], []
    for x, at in ((x1, y1), (x2, y2)):
        arm = (reach**2 - (y - at) ** 2).sqrt()  # NaN where the row misses the disc
        lefts.append(x - arm)
        rights.append(x + arm)
    dx, dy = x2 - x1, y2 - y1
    length = torch.hypot(dx, dy)
    mx, my = (x1 + x2) / 2, (y1 + y2) / 2
    # |across| <= reach and |along| <= length / 2, each an interval of x - mx.
    across = (y - my) * dx / dy, reach * length / dy.abs()
    along = -(y - my) * dy / dx, length**2 / 2 / dx.abs()
    left = torch.maximum(across[0] - across[1], along[0] - along[1])
    right = torch.minimum(across[0] + across[1], along[0] + along[1])
    joined = left <= right
    lefts.append(mx + torch.where(joined, left, torch.nan))
    rights.append(mx + torch.where(joined, right, torch.nan))
    left = torch.stack(lefts).nan_to_num(torch.inf).amin(0)
    right = torch.stack(rights).nan_to_num(-torch.inf).amax(0)
    return left, right


def operations(workload: Workload) -> dict[str, Counter[str]]:
    """Return how often each operation is needed, by pass."""
    reached, total = support(workload), {}
    channels = workload.channels or 1
    forward, backward = Counter(), Counter()

    def need(of: Counter[str], kind: str, times: int) -> None:
        for operation, number in OPERATIONS[kind].items():
            of[operation] += number * times

    pixels, boxes = reached.pixels, reached.rows + reached.columns
    if workload.coverage == "capsule":
        need(forward, "capsule", pixels)
        need(backward, "capsule", pixels)
        need(backward, "capsule, gradient", pixels)
    else:
        need(forward, "grid", pixels)
        need(forward, "box", boxes)
        need(backward, "grid, gradient", pixels)
        need(backward, "box, tails", boxes)
        need(backward, "box, gradient", boxes)
    if workload.composite == "over":
        need(forward, "over", pixels * channels)
        need(backward, "over, gradient", pixels * channels)
        need(backward, "light", pixels)
    total["forward"] = forward
    total["forward + backward"] = forward + backward
    return total


def traffic(workload: Workload) -> dict[str, dict[str, int]]:
    """Return bytes read and written, by pass."""
    inputs, grad = workload.make("cpu")
    given = sum(x.numel() for x in inputs.values()) * 4
    canvas = grad.numel() * 4
    return {
        "forward": {"read": given, "write": canvas},
        "forward + backward": {"read": 2 * given + canvas, "write": canvas + given},
    }


def floors(workload: Workload, machine: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return the least ms of each pass: by arithmetic, by memory, and the longer of both."""
    cost = {
        "fma": 1 / machine["fma"],
        "exp": 1 / machine["exp"],
        "reciprocal": 1 / max(machine["divide"], machine["estimate"]),
        "sqrt": 1 / max(machine["sqrt"], machine["sqrt_estimate"]),
    }
    needed, moved = operations(workload), traffic(workload)
    rows, last = {}, {"arithmetic_ms": 0.0, "memory_ms": 0.0, "floor_ms": 0.0}
    for name in needed:  # forward first: the other pass comes on top of it
        arithmetic = 1e3 * sum(n * cost[operation] for operation, n in needed[name].items())
        memory = 1e3 * sum(n / machine[way] for way, n in moved[name].items())
        more = max(arithmetic - last["arithmetic_ms"], memory - last["memory_ms"])
        last = {
            "arithmetic_ms": arithmetic,
            "memory_ms": memory,
            "floor_ms": last["floor_ms"] + more,
        }
        rows[name] = last
    return rows


def measure_machine(repetitions: int = 3) -> dict[str, float]:
    """Compile and run limits.cpp; the best of some runs, in numbers or bytes a second.

    Raises:
        RuntimeError: there is no C++ compiler, or it fails.
    """
    compiler = shutil.which("c++")
    if compiler is None:
        raise RuntimeError("measuring the machine needs a C++ compiler, c++ on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "limits")
        build = subprocess.run(
            [compiler, *FLAGS, "-o", program, str(HERE / "limits.cpp")],
            capture_output=True,
            text=True,
        )
        if build.returncode != 0:
            raise RuntimeError(f"limits.cpp does not compile: {build.stderr.strip()[:500]}")
        runs = [
            json.loads(subprocess.run([program], capture_output=True, check=True).stdout)
            for _ in range(repetitions)
        ]
    return {key: max(run[key] for run in runs) for key in runs[0]}


def table(machine: dict[str, float], drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each workload and pass: what it needs, its floor, and what was measured."""
    measured = {
        (row["workload"], row["pass"]): row["median_ms"]
        for row in drawn
        if row["contender"] == "softraster" and "median_ms" in row
    }
    rows = []
    for name, workload in WORKLOADS.items():
        reached, needed = support(workload), operations(workload)
        for timed, floor in floors(workload, machine).items():
            row = {
                "workload": name,
                "pass": timed,
                "segments": workload.batch * workload.count,
                "support_pixels": reached.pixels,
                "box_entries": reached.rows + reached.columns,
                "operations": dict(needed[timed]),
                **floor,
            }
            if ms := measured.get((name, timed)):
                row |= {"measured_ms": ms, "over_floor": ms / floor["floor_ms"]}
            rows.append(row)
    return rows


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of LIMITS.md."""
    machine = result["machine"]
    lines = [f"One core of {result['cpu']}, {machine['lanes']:g} floats a vector.", ""]
    lines += ["| | 10^9 a second |", "|---|---|"]
    names = {
        "fma": "fused multiply-adds",
        "exp": "exponentials (csrc/fast_exp.h)",
        "divide": "divisions",
        "estimate": "reciprocals by estimate and Newton step",
        "sqrt": "square roots",
        "sqrt_estimate": "square roots by estimate and Newton step",
        "read": "bytes read from memory",
        "write": "bytes written to memory",
    }
    lines += [f"| {words} | {machine[key] / 1e9:.2f} |" for key, words in names.items()]
    lines += ["", "| what | fma | exp | reciprocal | sqrt |", "|---|---|---|---|---|"]
    for kind, need in OPERATIONS.items():
        counts = (str(need.get(key, 0)) for key in ("fma", "exp", "reciprocal", "sqrt"))
        lines.append(f"| {kind} | {' | '.join(counts)} |")
    lines += [
        "",
        "| workload | pass | segments | pixels in the support | arithmetic ms | memory ms"
        " | floor ms | measured ms | over the floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        measured = row.get("measured_ms")
        lines.append(
            f"| {row['workload']} | {row['pass']} | {row['segments']:,} |"
            f" {row['support_pixels']:,} | {row['arithmetic_ms']:.4f} | {row['memory_ms']:.4f} |"
            f" {row['floor_ms']:.4f} | "
            + (f"{measured:.3f} | {row['over_floor']:.1f} |" if measured else "| |")
        )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--drawn", type=Path, metavar="FILE", help="what bench_draw.py --json wrote, one thread"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables of LIMITS.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    drawn = []
    if options.drawn:
        kept = json.loads(options.drawn.read_text())
        if (kept["environment"]["device"], kept["environment"]["threads"]) != ("cpu", 1):
            parser.error(f"--drawn must be of one thread of the CPU, {options.drawn} is not")
        drawn = kept["rows"]
    machine = measure_machine()
    result = {"cpu": cpu_name(), "machine": machine, "rows": table(machine, drawn)}
    write_json(options.json, result)
    if options.markdown:
        print(markdown(result))
        return
    for key, rate in machine.items():
        print(f"{key:14}{rate:12.4g}")
    for row in result["rows"]:
        line = f"{row['workload']:6}{row['pass']:20}{row['support_pixels']:>12,} pixels"
        line += f"  floor_ms {row['floor_ms']:10.4f} (arithmetic {row['arithmetic_ms']:.4f},"
        line += f" memory {row['memory_ms']:.4f})"
        if "over_floor" in row:
            line += f"  measured {row['measured_ms']:.3f}: {row['over_floor']:.1f} floors"
        print(line)


if __name__ == "__main__":
    main()
