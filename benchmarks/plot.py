"""Draws the README's figures of speed from the results that are kept: python benchmarks/plot.py.

Only what a JSON file holds is drawn: nothing is measured here, and the same files give the same
figures, bit for bit, with the same matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
BOTH = "forward + backward"

# Of each contender, wherever it stands. Colours that the colour-blind can tell apart.
COLORS = {
    "softraster": "#000000",
    "softraster, CUDA graph": "#666666",
    "reference, eager": "#0072b2",
    "reference, torch.compile": "#56b4e9",
    "one window, eager": "#009e73",
    "one window, torch.compile": "#7fcfb8",
    "distance field, eager": "#e69f00",
    "neural line model": "#d55e00",
    "dsketch": "#cc79a7",
    "pydiffvg": "#994f88",
    "easydiffvg": "#f0e442",
}


def draw_ratios(result: dict[str, Any], path: Path) -> None:
    """Bars: how many times softraster's time each contender takes, by workload."""
    rows = [row for row in result["rows"] if row["pass"] == BOTH and row["workload"] != "call"]
    absent = {row["contender"] for row in rows if row.get("not_run") == "not installed"}
    rows = [row for row in rows if row["contender"] not in absent]
    panels = {row["workload"]: [] for row in rows}
    for row in rows:
        panels[row["workload"]].append(row)
    figure = Figure(figsize=(8, 1.0 + 0.2 * (len(rows) + 2 * len(panels))), layout="constrained")
    heights = [len(panel) + 1 for panel in panels.values()]
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=heights)
    for axes, (name, panel) in zip(grid[:, 0], panels.items(), strict=True):
        _bars(axes, panel)
        axes.set_title(name, loc="left", fontsize=9)
    most = max(row.get("ratio_to_softraster", 1) for row in rows)
    grid[-1, 0].set_xlim(0.5, 10 * most)  # room for the numbers
    missing = f"; not installed: {', '.join(sorted(absent))}" if absent else ""
    grid[-1, 0].set_xlabel(f"time of {BOTH}, softraster = 1{missing}", fontsize=8)
    figure.suptitle(_machine(result["environment"]), fontsize=9)
    _save(figure, path)


def _bars(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        if "not_run" in row:
            axes.text(0.55, place, row["not_run"], va="center", fontsize=7, color="#666666")
            continue
        ratio = row["ratio_to_softraster"]
        axes.barh(place, ratio, color=COLORS.get(row["contender"], "#999999"), height=0.7)
        text = f" {_number(row['median_ms'])} ms"
        if row["contender"] != "softraster":
            text += f", x {_number(ratio)}"
        axes.text(ratio, place, text, va="center", fontsize=7)
    axes.set_xscale("log")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row["contender"] for row in rows], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_scaling(result: dict[str, Any], path: Path) -> None:
    """Lines: time and memory of softraster against segments, canvas side and batch; threads."""
    sweeps = {}
    for row in result["rows"]:
        sweeps.setdefault(row["sweep"], []).append(row)
    figure = Figure(figsize=(2.6 * len(sweeps), 4.4), layout="constrained")
    for (time, memory), (sweep, rows) in zip(
        figure.subplots(2, len(sweeps), squeeze=False).T, sweeps.items(), strict=True
    ):
        if sweep == "threads":
            memory.set_axis_off()
            _draw_threads(time, rows)
            continue
        for timed in ("forward", BOTH):
            kept = [row for row in rows if row["pass"] == timed]
            _line(time, kept, "median_ms", timed)
            _line(memory, kept, "peak_bytes", timed, scale=1e-6)
        _line(time, kept, "clearing_ms", "empty canvas")
        _label(time, "", "ms")
        _label(memory, sweep, "peak MB")
        low, high = memory.get_ylim()
        memory.set_ylim(low / 10, high * 10)
    figure.suptitle(_machine(result["environment"]), fontsize=9)
    _save(figure, path)


def _draw_threads(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for name in dict.fromkeys(row["workload"] for row in rows):
        kept = [row for row in rows if row["workload"] == name and row["pass"] == BOTH]
        axes.plot([r["value"] for r in kept], [r["speedup"] for r in kept], "o-", label=name, ms=3)
    values = sorted({row["value"] for row in rows})
    axes.plot(values, values, ":", color="#999999", label="ideal")
    axes.set_xticks(values)
    _label(axes, "threads", f"times the speed of 1\n{BOTH}")


def _line(axes: Axes, rows: list[dict[str, Any]], key: str, label: str, scale: float = 1) -> None:
    points = [(row["value"], row[key] * scale) for row in rows if key in row]
    if points:
        axes.plot(*zip(*points, strict=True), "o-", label=label, ms=3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6)


def _machine(environment: dict[str, Any]) -> str:
    where = environment["gpu"] or f"{environment['cpu']}, {environment['threads']} thread(s)"
    return f"{where}, float32, torch {environment['torch']}"


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date and the version, which matplotlib would write into the file.
    figure.savefig(path, dpi=120, metadata={"Software": None})


DRAWINGS = {"draw": draw_ratios, "scaling": draw_scaling}


def draw(results: Path, images: Path) -> Iterable[Path]:
    """Draw what `results` holds into `images`: draw-cpu.json as speed-draw-cpu.png, and so on."""
    for name, drawing in DRAWINGS.items():
        for source in sorted(results.glob(f"{name}-*.json")):
            path = images / f"speed-{source.stem}.png"
            drawing(json.loads(source.read_text()), path)
            yield path


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder for the figures")
    options = parser.parse_args()
    drawn = list(draw(options.results, options.images))
    if not drawn:
        parser.error(f"no draw-*.json or scaling-*.json in {options.results}")
    print(*drawn, sep="\n")


if __name__ == "__main__":
    main()
