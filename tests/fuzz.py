"""Makes many random calls of draw_segments(): `python tests/fuzz.py --calls N --seed S`.

Call number n has the seed S + n, so that `--calls 1 --seed S+n` makes it again. What a call may
give is fuzz_check.py's to say. Calls are made in processes of their own: if one dies, that is a
failure too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import secrets
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from cases import COMPOSITES, COVERAGES
from fuzz_calls import random_call
from fuzz_check import Draw, check, scene_of
from torch import Tensor
from tqdm import tqdm

import softraster

STUCK = 600  # seconds without a result: then a call is taken not to end
REPORTED = 50  # calls between two reports of a process


@dataclass(frozen=True)
class Result:
    """What came of the calls: counts by outcome, and the failure that ended them."""

    counts: Counter[str]
    seconds: float
    seed: int | None = None  # of the call that failed
    failure: str = ""


class _Emulated(torch.autograd.Function):
    """The emulated CUDA kernels as an operator of torch."""

    @staticmethod
    def forward(ctx: Any, emulator: ModuleType, options: tuple[Any, ...], *tensors: Any) -> Tensor:
        ctx.emulator, ctx.options = emulator, options
        ctx.arrays = [None if x is None else x.detach().contiguous().numpy() for x in tensors]
        return torch.from_numpy(emulator.draw_segments(*ctx.arrays, *options))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        grads = ctx.emulator.draw_segments_backward(
            grad.contiguous().numpy(), *ctx.arrays, *ctx.options
        )
        return None, None, *(None if g is None else torch.from_numpy(g) for g in grads)


def on_emulator(sanitize: bool) -> Draw:
    """Return draw_segments() by the emulated CUDA kernels, which are compiled if need be."""
    from cuda_emulator.build import build, load

    emulator = load(build(sanitize))

    def draw(**arguments: Any) -> Tensor:
        scene = scene_of(arguments)
        modes = COVERAGES.index(scene.coverage), COMPOSITES.index(scene.composite)
        options = (scene.rows, scene.columns, *modes, scene.tolerance)
        return _Emulated.apply(emulator, options, *scene[:6])

    return draw


def on_cpu() -> Draw:
    """Return draw_segments()."""
    return softraster.draw_segments


def on_cuda() -> Draw:
    """Return draw_segments() on the GPU."""

    def draw(**arguments: Any) -> Tensor:
        moved = {
            name: x.cuda() if isinstance(x, Tensor) and x.device.type == "cpu" else x
            for name, x in arguments.items()
        }
        return softraster.draw_segments(**moved).cpu()

    return draw


def _work(
    make_draw: Callable[[], Draw], threads: int, seeds: range, current: Any, results: Any
) -> None:
    """Make the calls of some seeds; report counts, and a failure as the call's seed and a text."""
    torch.set_num_threads(threads)
    draw, counts = make_draw(), Counter()
    parent = multiprocessing.parent_process()
    for at, seed in enumerate(seeds, 1):
        if parent is not None and not parent.is_alive():
            return  # killed, so that nobody reads on
        current.value = seed
        try:
            counts[check(random_call(seed), draw, make_draw is not on_cpu)] += 1
        except Exception:
            results.put((counts, seed, traceback.format_exc()))
            return
        if at % REPORTED == 0 or at == len(seeds):
            results.put((counts, None, ""))
            counts = Counter()


def run(
    calls: int,
    seed: int,
    make_draw: Callable[[], Draw] = on_cpu,
    processes: int = 1,
    threads: int = 1,
    quiet: bool = False,
) -> Result:
    """Make calls until one fails.

    Args:
        calls: how many.
        seed: of the first; the others follow.
        make_draw: what is called, made in each process.
        processes: that share the calls.
        threads: of torch, in each process.
        quiet: show no progress.
    """
    context = multiprocessing.get_context("spawn")
    results, counts, start = context.Queue(), Counter(), time.perf_counter()
    workers = []
    for first in range(min(processes, calls)):
        seeds = range(seed + first, seed + calls, processes)
        current = context.Value("q", seeds[0])
        work = partial(_work, make_draw, threads, seeds, current, results)
        workers.append((context.Process(target=work, daemon=True), current))
    bar = tqdm(total=calls, unit=" calls", disable=quiet, mininterval=1)
    for process, _ in workers:
        process.start()
    failed, failure, heard = None, "", time.monotonic()
    try:
        while counts.total() < calls and not failure:
            try:
                more, failed, failure = results.get(timeout=1)
            except queue.Empty:
                failed, failure = _silence(workers, time.monotonic() - heard)
            else:
                heard = time.monotonic()
                counts += more
                bar.update(more.total())
    finally:
        bar.close()
        for process, _ in workers:
            process.terminate()
            process.join()
    return Result(counts, time.perf_counter() - start, failed, failure)


def _silence(workers: list[tuple[Any, Any]], seconds: float) -> tuple[int | None, str]:
    """Return the call in which a process died or got stuck, if one did."""
    for process, current in workers:
        if process.exitcode:
            signalled = process.exitcode < 0
            how = signal.Signals(-process.exitcode).name if signalled else process.exitcode
            return current.value, f"The process ended with {how}."
        if process.is_alive() and seconds > STUCK:
            return current.value, f"No call ended within {STUCK} seconds."
    return None, ""


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="of the first call; by default a new one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cuda", action="store_const", const=on_cuda, dest="draw")
    where.add_argument(
        "--emulator", action="store_const", const=partial(on_emulator, False), dest="draw"
    )
    where.add_argument(
        "--sanitized-emulator", action="store_const", const=partial(on_emulator, True), dest="draw"
    )
    parser.set_defaults(draw=on_cpu)
    given = parser.parse_args(argv)
    if given.calls < 1 or given.processes < 1:
        parser.error(f"--calls and --processes must be at least 1, got {argv or sys.argv[1:]}")
    seed = secrets.randbelow(2**40) if given.seed is None else given.seed
    print(f"{given.calls} calls from seed {seed} on", flush=True)
    result = run(given.calls, seed, given.draw, given.processes, given.threads)
    done = result.counts.total()
    print(f"{done} calls agree, {done / result.seconds:.0f} a second: {dict(result.counts)}")
    if not result.failure:
        return 0
    print(f"\nCall with seed {result.seed} failed:\n{random_call(result.seed)}\n{result.failure}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
