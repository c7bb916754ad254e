"""The benchmarks draw what they say, refuse what is wrong, and say what they leave out."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def bench_draw(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bench_draw")


def test_workloads_are_made_as_declared_and_the_same_each_time(bench_draw):
    for name, workload in bench_draw.WORKLOADS.items():
        inputs, grad = workload.make("cpu")
        again, _ = workload.make("cpu")
        assert inputs["segments"].shape == (workload.batch, workload.count, 4), name
        assert grad.shape[-2:] == (workload.rows, workload.columns), name
        assert all(torch.equal(x, again[key]) for key, x in inputs.items()), name
        middle = (inputs["segments"][..., :2] + inputs["segments"][..., 2:]) / 2
        on_canvas = (middle >= 0) & (middle <= torch.tensor([workload.columns, workload.rows]))
        assert on_canvas.float().mean() > 0.9, name


def test_short_segments_have_their_length(bench_draw):
    workload = bench_draw.WORKLOADS["W3"]
    x1, y1, x2, y2 = workload.make("cpu")[0]["segments"].unbind(-1)
    lengths = torch.hypot(x2 - x1, y2 - y1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, workload.length))


def test_a_contender_that_draws_something_else_is_found_out(bench_draw):
    workload = bench_draw.WORKLOADS["call"]
    exact, judge = bench_draw.exact_passes(workload, "cpu")
    assert judge.startswith("reference")
    good = bench_draw.contenders("cpu")[0]
    bench_draw.validate(good, workload, "cpu", exact)

    def brighter(*args, **options):
        return 1.01 * good.function(*args, **options)

    def steeper(*args, **options):  # the right canvas, with the gradient of another
        canvas = good.function(*args, **options)
        return canvas + 0.01 * (canvas - canvas.detach())

    for wrong in (brighter, steeper):
        with pytest.raises(AssertionError):
            bench_draw.validate(bench_draw.Contender("wrong", wrong), workload, "cpu", exact)


def test_a_contender_that_needs_too_much_memory_is_reported_and_not_run(bench_draw, monkeypatch):
    monkeypatch.setattr(bench_draw, "MEMORY_LIMIT", 100.0)
    rows = bench_draw.bench("call", rounds=2, seconds=0.01, device="cpu")
    ours = [row for row in rows if row["contender"] == "softraster"]
    others = [row for row in rows if row["contender"] != "softraster"]
    assert len(ours) == 2 and all(row["median_ms"] > 0 for row in ours)
    assert all(row["validated_against"].startswith("softraster, CPU") for row in ours)
    assert len(others) == 4 and all("needs" in row["not_run"] for row in others)


def test_without_a_gpu_the_device_cuda_is_an_error(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "bench_draw.py"), "--device", "cuda"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--device cuda needs a GPU" in done.stderr.splitlines()[-1]
