"""Time drawing, and drawing with the gradient of every input, against the reference in PyTorch.

Validates each contender before it times anything, then times all in turn, round by round, so that a
busy moment hits them alike. Reports medians, spread and ratios; --json keeps them with machine,
versions and commit. Read the ratios: times of one machine mean little on another.

    python benchmarks/bench_draw.py --threads 1 --json benchmarks/results/draw-cpu.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import softraster

SOFTNESS_PER_PIXEL = 6.0


@dataclass(frozen=True)
class Workload:
    """Segments with uniformly random ends, on a square canvas."""

    batch: int
    count: int
    side: int

    def make(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return segments and softness, which require gradients, and the gradient of the canvas."""
        random = torch.Generator().manual_seed(0)
        segments = torch.rand(self.batch, self.count, 4, generator=random)
        softness = torch.full((self.batch, self.count), SOFTNESS_PER_PIXEL * self.side)
        grad = torch.randn(self.batch, self.side, self.side, generator=random)
        return segments.requires_grad_(), softness.requires_grad_(), grad


WORKLOADS = {
    "W1": Workload(64, 19, 28),
    "W2": Workload(512, 19, 28),
    "call": Workload(1, 1, 8),
}


def contenders() -> dict[str, Callable[..., Tensor]]:
    """Return every way to draw, by name; softraster first, which the ratios refer to."""
    return {
        "softraster": softraster.draw_segments,
        "reference, eager": softraster.reference.draw_segments,
        "reference, torch.compile": torch.compile(softraster.reference.draw_segments),
    }


def validate(draw: Callable[..., Tensor], workload: Workload) -> None:
    """Raise AssertionError unless canvas and gradients are those of the float64 reference."""
    segments, softness, grad = workload.make()
    canvas = draw(segments, softness, workload.side)
    grads = torch.autograd.grad(canvas, (segments, softness), grad)
    exact = [x.detach().double().requires_grad_() for x in (segments, softness)]
    expected = softraster.reference.draw_segments(*exact, workload.side)
    torch.testing.assert_close(canvas.double(), expected, rtol=0, atol=2e-5)
    for got, want in zip(grads, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-3 * want.abs().max().item())


def passes(draw: Callable[..., Tensor], workload: Workload) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    segments, softness, grad = workload.make()

    @torch.no_grad()
    def forward() -> object:
        return draw(segments, softness, workload.side)

    def both() -> object:
        canvas = draw(segments, softness, workload.side)
        return torch.autograd.grad(canvas, (segments, softness), grad)

    return {"forward": forward, "forward + backward": both}


def time_call(call: Callable[[], object], calls: int) -> float:
    """Milliseconds a call, over `calls` calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) * 1e3 / calls


def bench(name: str, rounds: int, seconds: float) -> list[dict]:
    """Validate and time all contenders on one workload; a row for each contender and pass."""
    workload = WORKLOADS[name]
    draws = contenders()
    for draw in draws.values():
        validate(draw, workload)
    rows = []
    for timed in ("forward", "forward + backward"):
        calls = {key: passes(draw, workload)[timed] for key, draw in draws.items()}
        # Enough calls in a row that a round lasts its share of the time; the first warms up.
        counts = {}
        for key, call in calls.items():
            time_call(call, 2)
            counts[key] = max(1, int(seconds * 1e3 / rounds / time_call(call, 1)))
        times = {key: [] for key in calls}
        for _ in range(rounds):
            for key, call in calls.items():
                times[key].append(time_call(call, counts[key]))
        medians = {key: statistics.median(values) for key, values in times.items()}
        for key, values in times.items():
            rows.append(
                {
                    "workload": name,
                    "pass": timed,
                    "contender": key,
                    "median_ms": medians[key],
                    "min_ms": min(values),
                    "max_ms": max(values),
                    "ratio_to_softraster": medians[key] / medians["softraster"],
                }
            )
    return rows


def environment() -> dict:
    """Return machine, versions and commit."""
    git = partial(subprocess.run, capture_output=True, text=True, cwd=Path(__file__).parent)
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": git(["git", "describe", "--always", "--dirty"]).stdout.strip(),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of a contender (default: 9)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="for each contender and pass (default: 5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    print(
        f"{'workload':9}{'pass':20}{'contender':26}{'median ms':>11}{'min - max':>20}{'ratio':>9}"
    )
    for name in options.workloads:
        for row in bench(name, options.rounds, options.seconds):
            rows.append(row)
            spread = f"{row['min_ms']:.3f} - {row['max_ms']:.3f}"
            print(
                f"{name:9}{row['pass']:20}{row['contender']:26}{row['median_ms']:11.3f}"
                f"{spread:>20}{row['ratio_to_softraster']:9.1f}"
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"environment": environment(), "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
