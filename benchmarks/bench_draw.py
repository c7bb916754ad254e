"""Time drawing, and drawing with the gradient of every input, against the reference in PyTorch.

Validates each contender before it times anything, then times all in turn, round by round, so that a
busy moment hits them alike. Reports medians, spread and ratios; --json keeps them with machine,
versions and commit. Read the ratios: times of one machine mean little on another.

    python benchmarks/bench_draw.py --threads 1 --json benchmarks/results/draw-cpu.json
    python benchmarks/bench_draw.py --device cuda --json benchmarks/results/draw-cuda.json
"""

from __future__ import annotations

import argparse
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

import torch
from torch import Tensor
from workloads import WORKLOADS, Workload

import softraster

# A contender that takes more memory than this is reported, and not run.
MEMORY_LIMIT = 16e9

DEFAULTS = {"cpu": ["W1", "W2", "call"], "cuda": list(WORKLOADS)}


@dataclass(frozen=True)
class Contender:
    """A way to draw."""

    name: str
    function: Callable[..., Tensor]
    planes: int = 0  # arrays of segments x pixels that both passes hold at once, as measured
    graph: bool = False  # captured as a CUDA graph, and replayed

    def needs(self, workload: Workload, bytes_each: int = 4) -> float:
        """Return roughly how many bytes both passes take besides inputs and outputs."""
        return float(self.planes * workload.pairs * bytes_each)


REFERENCE = Contender("reference, eager", softraster.reference.draw_segments, planes=17)


def contenders(device: str) -> list[Contender]:
    """Return every way to draw; softraster first, which the ratios refer to."""
    torch._dynamo.reset()  # so that no shape is compiled as a special case of another one's
    compiled = torch.compile(softraster.reference.draw_segments, dynamic=False)
    ours = [Contender("softraster", softraster.draw_segments)]
    if device == "cuda":
        ours.append(Contender("softraster, CUDA graph", softraster.draw_segments, graph=True))
    return [*ours, REFERENCE, Contender("reference, torch.compile", compiled, planes=13)]


def exact_passes(workload: Workload, device: str) -> tuple[list[Tensor], str]:
    """Return canvas and gradients in float64, and whose they are.

    Those of the reference where they fit into memory. Else those of the fused op on the CPU, which
    the tests hold against the reference.
    """
    fits = REFERENCE.needs(workload, bytes_each=8) <= MEMORY_LIMIT
    function = REFERENCE.function if fits else softraster.draw_segments
    inputs, grad = workload.make(device if fits else "cpu")
    inputs = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    canvas = workload.draw(function, inputs)
    grads = torch.autograd.grad(canvas, list(inputs.values()), grad.double())
    return [canvas.detach(), *grads], "reference, float64" if fits else "softraster, CPU, float64"


def passes(
    contender: Contender, workload: Workload, device: str
) -> dict[str, Callable[[], list[Tensor]]]:
    """Return what is timed, by name: calls that return the canvas, and all gradients."""
    inputs, grad = workload.make(device)

    @torch.no_grad()
    def forward() -> list[Tensor]:
        return [workload.draw(contender.function, inputs)]

    def both() -> list[Tensor]:
        canvas = workload.draw(contender.function, inputs)
        return [canvas, *torch.autograd.grad(canvas, list(inputs.values()), grad)]

    calls = {"forward": forward, "forward + backward": both}
    return {name: capture(call) for name, call in calls.items()} if contender.graph else calls


def capture(call: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """Return the replay of a CUDA graph of the call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> list[Tensor]:
        graph.replay()
        return kept

    return replay


def validate(contender: Contender, workload: Workload, device: str, exact: list[Tensor]) -> None:
    """Raise AssertionError unless canvas and gradients are the exact ones."""
    canvas, *grads = passes(contender, workload, device)["forward + backward"]()
    # The reference in float32 is off by 5e-5 on 512 x 512 pixels; softraster by less than 1e-6.
    torch.testing.assert_close(canvas.detach().to(exact[0]), exact[0], rtol=1e-4, atol=1e-4)
    for got, want in zip(grads, exact[1:], strict=True):
        atol = 1e-3 * want.abs().max().item()
        torch.testing.assert_close(got.to(want), want, rtol=0, atol=atol)


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call: by the clock (on a GPU, the GPU's), and of this process on the CPU."""

    elapsed: float
    cpu: float


def time_call(call: Callable[[], object], calls: int, device: str) -> Timing:
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


def peak_memory(call: Callable[[], object], device: str) -> int | None:
    """Return by how many bytes a call raises what the GPU holds, its results included."""
    if device != "cuda":
        return None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() - before


def able(workload: Workload, device: str) -> tuple[list[Contender], dict[str, str], str]:
    """Return whom to time, why not the others, and whom they were validated against."""
    kept, refused = [], {}
    exact, judge = exact_passes(workload, device)
    for contender in contenders(device):
        if contender.needs(workload) > MEMORY_LIMIT:
            refused[contender.name] = f"needs {contender.needs(workload) / 1e9:.0f} GB"
            continue
        try:
            validate(contender, workload, device, exact)
        except Exception as error:
            if contender.planes == 0:
                raise
            refused[contender.name] = f"fails: {str(error).strip().partition(chr(10))[0]}"
        else:
            kept.append(contender)
    return kept, refused, judge


def bench(name: str, rounds: int, seconds: float, device: str) -> list[dict]:
    """Validate and time all contenders on one workload; a row for each contender and pass."""
    workload = WORKLOADS[name]
    kept, refused, judge = able(workload, device)
    rows = []
    for timed in ("forward", "forward + backward"):
        calls = {c.name: passes(c, workload, device)[timed] for c in kept}
        # Enough calls in a row that a round lasts its share of the time; the first warm up.
        counts = {}
        for key, call in calls.items():
            time_call(call, 2, device)
            once = time_call(call, 1, device).elapsed
            counts[key] = max(1, int(seconds * 1e3 / rounds / once))
        times = {key: [] for key in calls}
        for _ in range(rounds):
            for key, call in calls.items():
                times[key].append(time_call(call, counts[key], device))
        medians = {k: statistics.median(t.elapsed for t in ts) for k, ts in times.items()}
        for contender in kept:
            values = times[contender.name]
            rows.append(
                {
                    "workload": name,
                    "pass": timed,
                    "contender": contender.name,
                    "median_ms": medians[contender.name],
                    "min_ms": min(t.elapsed for t in values),
                    "max_ms": max(t.elapsed for t in values),
                    "cpu_ms": statistics.median(t.cpu for t in values),
                    # A graph's memory was taken when it was captured.
                    "peak_bytes": None
                    if contender.graph
                    else peak_memory(calls[contender.name], device),
                    "ratio_to_softraster": medians[contender.name] / medians["softraster"],
                    "validated_against": judge,
                }
            )
        rows += [
            {"workload": name, "pass": timed, "contender": key, "not_run": reason}
            for key, reason in refused.items()
        ]
    return rows


def environment(device: str) -> dict:
    """Return machine, versions and commit."""
    commit = None
    if shutil.which("git"):
        git = ["git", "describe", "--always", "--dirty"]
        run = subprocess.run(git, capture_output=True, text=True, cwd=Path(__file__).parent)
        commit = run.stdout.strip() or None
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": commit,
    }


def print_row(row: dict) -> None:
    """Print a row of the table."""
    line = f"{row['workload']:9}{row['pass']:20}{row['contender']:26}"
    if "not_run" in row:
        print(f"{line}  not run: {row['not_run']}", flush=True)
    else:
        spread = f"{row['min_ms']:.3f} - {row['max_ms']:.3f}"
        ratio = row["ratio_to_softraster"]
        print(f"{line}{row['median_ms']:11.3f}{spread:>20}{ratio:9.2f}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        help=f"default: {' '.join(DEFAULTS['cpu'])} on the CPU, all on a GPU",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of a contender (default: 9)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="for each contender and pass (default: 5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and a torch with CUDA")
    torch.set_num_threads(options.threads)
    result = {"environment": environment(options.device), "rows": []}
    print(
        f"{'workload':9}{'pass':20}{'contender':26}{'median ms':>11}{'min - max':>20}{'ratio':>9}"
    )
    for name in options.workloads or DEFAULTS[options.device]:
        rows = bench(name, options.rounds, options.seconds, options.device)
        for row in rows:
            print_row(row)
        result["rows"] += rows
        if options.json:  # after each workload: whoever stops the rest keeps what there is
            options.json.parent.mkdir(parents=True, exist_ok=True)
            part = options.json.with_suffix(".part")
            part.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(part, options.json)


if __name__ == "__main__":
    main()
