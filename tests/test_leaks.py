"""Calls leave nothing behind: neither memory nor Python's objects."""

import ctypes
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33, which counts its bytes"
)

# Prints by how many bytes and by how many objects a process grows. Each round makes the same calls:
# what is only kept for later use is there after the first of them. The bytes are those in use, by
# the allocator's own count: memory that is resident grows by fragments too, a megabyte by chance.
ROUNDS = """
import ctypes, gc, sys
sys.path.insert(0, {tests!r})
import torch
from fuzz_calls import random_call
import softraster

calls = [random_call(seed) for seed in range(200)]
hoard = []

class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2

def in_use():
    info = mallinfo2()
    return info.uordblks + info.hblkhd  # of its heaps, and mapped for single large blocks

def play(rounds, keep):
    for _ in range(rounds):
        for call in calls:
            given = dict(call.arguments)
            leaves = [given[name].detach().requires_grad_() for name in call.leaves]
            given |= zip(call.leaves, leaves)
            try:
                canvas = softraster.draw_segments(**given)
            except (TypeError, ValueError):
                assert call.wrong
                continue
            if leaves:
                torch.autograd.grad(canvas.sum(), leaves, materialize_grads=True)
            if keep and canvas.numel():
                hoard.append(canvas.detach()[..., 0, 0].clone())

torch.set_num_threads(1)
rounds, keep = int(sys.argv[1]), sys.argv[2] == "keep"
play(max(5, rounds // 5), False)
gc.collect()
before = in_use(), len(gc.get_objects())
play(rounds, keep)
gc.collect()
print(in_use() - before[0], len(gc.get_objects()) - before[1])
"""

LEAST = 64  # bytes that a leaked tensor, object or block of memory takes at least


def growth(request, calls, keep="drop"):
    """Bytes and objects by which a process grows over so many calls."""
    script = ROUNDS.format(tests=str(request.path.parent))
    command = [sys.executable, "-c", script, str(calls // 200), keep]
    # Python's small objects are counted where they too are the allocator's.
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [int(word) for word in done.stdout.split()]


def test_ten_thousand_calls_good_and_bad_leave_nothing_behind(request):
    memory, objects = growth(request, 10_000)
    assert memory < 10_000 / 10 * LEAST
    assert objects < 100


@pytest.mark.long
def test_a_hundred_thousand_calls_leave_nothing_behind(request):
    memory, objects = growth(request, 100_000)
    assert memory < 100_000 / 100 * LEAST
    assert objects < 100


def test_a_canvas_that_is_kept_in_each_call_shows(request):
    memory, _ = growth(request, 2000, "keep")
    assert memory > 2000 * LEAST
