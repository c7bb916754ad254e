"""What one call costs, and where the microseconds go: one segment on a canvas of 8 x 8 pixels.

Beside softraster stands a bare operator, which takes the same arguments and allocates the same
results, and does nothing else: what torch takes of any operator in C++. bare_op.cpp registers it
the usual way, bare_op_stable.cpp through the stable ABI, as softraster does for the sake of one
binary for many versions of torch. They are compiled at the first run, in a minute.

    python benchmarks/bench_calls.py --json benchmarks/results/calls-cpu.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Effort, environment, interleave, summary, write_json
from torch.utils.cpp_extension import load
from workloads import WORKLOADS

import softraster
from softraster import _ops
from softraster._arguments import COMPOSITES, COVERAGES, check_scene

HERE = Path(__file__).parent


def bare_ops() -> dict[str, Any]:
    """Return the bare operators, (forward, backward) by the way they are registered."""
    for name in ("bare_op", "bare_op_stable"):
        load(
            f"softraster_{name}",
            [str(HERE / f"{name}.cpp")],
            extra_cflags=["-O3", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
            if name.endswith("stable")
            else ["-O3"],
            is_python_module=False,
        )
    usual, stable = torch.ops.softraster_bare, torch.ops.softraster_bare_stable
    return {
        "bare op": (usual.draw.default, usual.draw_backward.default),
        "bare op, stable ABI": (stable.draw.default, stable.draw_backward.default),
    }


def differentiable(forward: Any, backward: Any) -> Callable[..., torch.Tensor]:
    """Return an operator with its gradient, as short as torch.autograd.Function allows."""

    class Bare(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> torch.Tensor:
            ctx.save_for_backward(*args[:6])
            ctx.options = args[6:]
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
            grads = backward(grad, *ctx.saved_tensors, *ctx.options)
            return (*grads, *(None for _ in ctx.options))

    return Bare.apply


def calls() -> dict[tuple[str, str], Callable[[], object]]:
    """Return what is timed, by pass and name."""
    inputs, grad = WORKLOADS["call"].make("cpu")
    segments, softness = inputs["segments"], inputs["softness"]
    leaves = [segments, softness]
    plain = [x.detach() for x in leaves]
    absent = segments.new_empty(0)
    modes = COVERAGES.index("grid"), COMPOSITES.index("sum"), 1e-6
    rest = (*[absent] * 4, 8, 8, *modes)
    arguments = (8, None, None, None, None, "grid", "sum", 1e-6)
    scene, leaf_scene = (check_scene(*x, *arguments) for x in (plain, leaves))

    def without_grad(function: Callable[..., object], *args: object) -> Callable[[], object]:
        return torch.no_grad()(lambda: function(*args))

    def both(function: Callable[..., torch.Tensor], *args: object) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(*args), leaves, grad)

    ours = softraster.draw_segments
    timed = {
        ("forward", "softraster.draw_segments"): without_grad(ours, *plain, 8),
        ("forward", "its checks alone"): without_grad(check_scene, *plain, *arguments),
        ("forward", "the same but its checks"): without_grad(_ops.draw_segments, scene),
        ("forward", "its op alone"): without_grad(_ops._forward, *plain, *rest),
        ("forward, autograd", "softraster.draw_segments"): lambda: ours(*leaves, 8),
        ("forward, autograd", "the same but its checks"): lambda: _ops.draw_segments(leaf_scene),
        ("forward + backward", "softraster.draw_segments"): both(ours, *leaves, 8),
        ("forward + backward", "the same but its checks"): both(_ops.draw_segments, leaf_scene),
        ("backward", "its op alone"): without_grad(_ops._backward, grad, *plain, *rest),
    }
    for name, (forward, backward) in bare_ops().items():
        function = differentiable(forward, backward)
        timed |= {
            ("forward", name): without_grad(forward, *plain, *rest),
            ("forward, autograd", name): lambda f=function: f(*leaves, *rest),
            ("forward + backward", name): both(function, *leaves, *rest),
            ("backward", name): without_grad(backward, grad, *plain, *rest),
        }
    timed["forward", "torch.empty of the canvas"] = lambda: torch.empty(1, 8, 8)
    return timed


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for all rounds of a call (default: %(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    effort = Effort(options.rounds, options.seconds)
    times = interleave(calls(), effort)
    rows = []
    print(f"{'pass':20}{'call':27}{'median us':>10}{'min - max':>20}{'CPU us':>9}{'over bare':>11}")
    for (timed, name), rounds in sorted(times.items()):
        row = {"pass": timed, "call": name, **summary(rounds)}
        bare = summary(times[timed, "bare op"])
        row["over_bare_us"] = (row["median_ms"] - bare["median_ms"]) * 1e3
        rows.append(row)
        median, least, most, cpu = (
            1e3 * row[key] for key in ("median_ms", "min_ms", "max_ms", "cpu_ms")
        )
        line = f"{timed:20}{name:27}{median:10.2f}{f'{least:.2f} - {most:.2f}':>20}{cpu:9.2f}"
        print(f"{line}{row['over_bare_us']:11.2f}", flush=True)
    write_json(options.json, {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
