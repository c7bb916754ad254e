"""The benchmarks draw what they say, refuse what is wrong, and say what they leave out."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_workloads_are_made_as_declared_and_the_same_each_time(module):
    for name, workload in module("workloads").WORKLOADS.items():
        inputs, grad = workload.make("cpu")
        again, _ = workload.make("cpu")
        assert inputs["segments"].shape == (workload.batch, workload.count, 4), name
        assert grad.shape[-2:] == (workload.rows, workload.columns), name
        assert all(torch.equal(x, again[key]) for key, x in inputs.items()), name
        middle = (inputs["segments"][..., :2] + inputs["segments"][..., 2:]) / 2
        on_canvas = (middle >= 0) & (middle <= torch.tensor([workload.columns, workload.rows]))
        assert on_canvas.float().mean() > 0.9, name


def test_short_segments_have_their_length(module):
    workload = module("workloads").WORKLOADS["W3"]
    x1, y1, x2, y2 = workload.make("cpu")[0]["segments"].unbind(-1)
    lengths = torch.hypot(x2 - x1, y2 - y1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, workload.length))


def test_a_contender_that_needs_too_much_memory_is_reported_and_not_run(module, monkeypatch):
    # All are imported first: one that takes the limit over from another would keep this one.
    for changed in [module(name) for name in ("contenders", "validation")]:
        monkeypatch.setattr(changed, "MEMORY_LIMIT", 100.0)
    effort = module("timing").Effort(rounds=2, seconds=0.01)
    only = ["reference, eager", "one window, eager"]
    rows = module("bench_draw").bench("call", effort, "cpu", only, with_memory=False)
    ours = [row for row in rows if row["contender"] == "softraster"]
    others = [row for row in rows if row["contender"] != "softraster"]
    assert len(ours) == 2 and all(row["median_ms"] > 0 for row in ours)
    assert all(row["validated_against"].startswith("softraster, CPU") for row in ours)
    assert len(others) == 4 and all("needs" in row["not_run"] for row in others)


@pytest.mark.parametrize("script", ["bench_draw", "bench_scaling", "bench_train"])
def test_without_a_gpu_the_device_cuda_is_an_error(script, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), "--device", "cuda"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--device cuda needs a GPU" in done.stderr.splitlines()[-1]


def test_rounds_are_interleaved_and_a_slow_call_gets_as_many_as_the_patience_allows(module):
    timing = module("timing")
    order = []

    def slow():
        order.append("slow")
        time.sleep(0.05)

    calls = {"quick": lambda: order.append("quick"), "slow": slow}
    times = timing.interleave(calls, timing.Effort(rounds=4, seconds=1e-9, patience=0.12))
    assert len(times["quick"]) == 4 and 1 <= len(times["slow"]) <= 2
    assert order[-5:] in (
        ["slow", "quick", "slow", "quick", "quick"],
        ["quick", "slow", "quick", "quick", "quick"],
    )
    assert min(t.elapsed for t in times["slow"]) >= 50
    assert max(t.cpu for t in times["slow"]) < 50  # asleep, it takes no processor time


@pytest.mark.slow
def test_the_heap_is_counted_to_the_canvas_and_planes_are_what_it_shows(module):
    memory, contenders = module("memory"), module("contenders")
    workload = module("workloads").WORKLOADS["W1"]
    names = ("softraster", "reference, eager", "one window, eager", "distance field, eager")
    (peaks,) = memory.cpu_peaks([workload], names, threads=1)
    canvas, segments = 64 * 28 * 28 * 4, 64 * 19 * 4 * 4
    ours = peaks["softraster"]
    assert ours["forward"]["returned_bytes"] == canvas
    assert ours["forward + backward"]["returned_bytes"] == canvas + segments + segments // 4
    for passed in ours.values():  # the promise: outputs, and at most one canvas more
        assert passed["returned_bytes"] <= passed["peak_bytes"] < passed["returned_bytes"] + canvas
    for contender in contenders.contenders("cpu"):
        if contender.planes and contender.name in names:
            used = peaks[contender.name]["forward + backward"]["peak_bytes"]
            assert 0.9 < used / contender.needs(workload) <= 1, contender.name


def test_growth_is_told_with_and_without_what_an_empty_canvas_takes(module):
    figures = {64: {"forward": {"median_ms": 2.0}}, 128: {"forward": {"median_ms": 5.0}}}
    first, second = module("bench_scaling").growth(figures, {64: 1.0, 128: 4.0})
    assert "growth" not in first
    assert (second["growth"], second["growth_without_clearing"]) == (2.5, 1.0)


def test_the_bare_operators_take_and_return_what_softrasters_do():
    names = {"draw": "draw_segments", "draw_backward": "draw_segments_backward"}
    for source in ("bare_op.cpp", "bare_op_stable.cpp"):
        text = re.sub(r'"\s*"', "", (BENCHMARKS / source).read_text())
        schemas = [torch._C.parse_schema(found) for found in re.findall(r'"(draw.*\(.*)"\)', text)]
        assert {schema.name for schema in schemas} == set(names), source
        for schema in schemas:
            ours = getattr(torch.ops.softraster, names[schema.name]).default._schema
            assert [str(x.type) for x in schema.arguments] == [str(x.type) for x in ours.arguments]
            assert [str(x.type) for x in schema.returns] == [str(x.type) for x in ours.returns]


def test_a_training_step_is_timed_with_its_canvas(module, monkeypatch, tmp_path):
    bench_train, train = module("bench_train"), module("handwriting.train")
    random = torch.Generator().manual_seed(0)
    images = (torch.rand(128, 28, 28, generator=random) < 0.1).to(torch.uint8)
    digits = module("handwriting.data").Digits(images, torch.arange(128) % 10, "noise")
    monkeypatch.setattr(train, "load_thinned", lambda split, folder: digits)
    effort = module("timing").Effort(rounds=2, seconds=0.01)
    row = bench_train.bench("ensemble", "own", 8, effort, "cpu")
    assert row["digits_per_second"] == pytest.approx(8e3 / row["step"]["median_ms"])
    assert 0 < row["canvas_share"] < 1


def test_figures_are_the_same_for_the_same_results_and_others_for_others(module, tmp_path):
    plot = module("plot")
    machine = {"gpu": None, "cpu": "x", "threads": 1, "torch": "2"}
    row = {"workload": "W1", "pass": plot.BOTH, "contender": "softraster", "median_ms": 2.0}
    rows = [
        {**row, "ratio_to_softraster": 1.0},
        {**row, "contender": "reference, eager", "ratio_to_softraster": 30.0, "median_ms": 60.0},
        {"workload": "W1", "pass": plot.BOTH, "contender": "dsketch", "not_run": "not installed"},
        {"workload": "W1", "pass": plot.BOTH, "contender": "pydiffvg", "not_run": "needs 99 GB"},
    ]
    grown = {"sweep": "side", "value": 64, "pass": plot.BOTH, "median_ms": 1.0, "clearing_ms": 0.1}
    sweeps = [grown, {**grown, "value": 128, "median_ms": 1.5, "peak_bytes": 70_000}]
    sweeps += [{**grown, "sweep": "threads", "workload": "W2", "value": 1, "speedup": 1.0}]

    def images(ratio: float) -> dict[str, bytes]:
        rows[1]["ratio_to_softraster"] = ratio
        for name, kept in (("draw-cpu", rows), ("scaling-cpu", sweeps)):
            text = json.dumps({"environment": machine, "rows": kept})
            (tmp_path / f"{name}.json").write_text(text)
        return {path.name: path.read_bytes() for path in plot.draw(tmp_path, tmp_path)}

    first = images(30.0)
    assert set(first) == {"speed-draw-cpu.png", "speed-scaling-cpu.png"}
    assert images(30.0) == first
    changed = images(20.0)
    assert changed["speed-draw-cpu.png"] != first["speed-draw-cpu.png"]
    assert changed["speed-scaling-cpu.png"] == first["speed-scaling-cpu.png"]


def support_by_looking(workload) -> tuple[int, int, int]:
    """Pixels, rows and columns in reach, pixel by pixel, by the words of docs/math.md."""
    inputs, _ = workload.make("cpu")
    inputs = {name: x.detach().double()[..., None, None] for name, x in inputs.items()}
    side = workload.side
    x1, y1, x2, y2 = (inputs["segments"] * side).unbind(2)
    reach = -torch.tensor(1e-6).double().log() / inputs["softness"] * side
    x = torch.arange(workload.columns) + 0.5
    y = torch.arange(workload.rows)[:, None] + 0.5
    dx, dy = x2 - x1, y2 - y1
    if workload.coverage == "capsule":
        reach = reach + 0.5 * inputs["width"] * side
        nearest = (((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
        near = torch.hypot(x - x1 - nearest * dx, y - y1 - nearest * dy) <= reach
    else:
        reach = reach + 0.5
        upright = (y1 + dy / dx * (x - x1) - y).abs()
        level = (x1 + dx / dy * (y - y1) - x).abs()
        near = torch.minimum(upright, level) <= reach
    in_x = (x >= torch.minimum(x1, x2) - reach) & (x <= torch.maximum(x1, x2) + reach)
    in_y = (y >= torch.minimum(y1, y2) - reach) & (y <= torch.maximum(y1, y2) + reach)
    rows, columns = in_y.sum(-2), in_x.sum(-1)
    both = (rows > 0).squeeze(-1) & (columns > 0).squeeze(-1)
    rows, columns = rows.squeeze(-1), columns.squeeze(-1)
    return tuple(
        int(n) for n in ((near & in_x & in_y).sum(), rows[both].sum(), columns[both].sum())
    )


@pytest.mark.parametrize("coverage", ["grid", "capsule"])
def test_the_floor_counts_the_pixels_that_are_in_reach(module, coverage):
    limits, workloads = module("limits"), module("workloads")
    for length in (None, 0.1, 1.0):
        workload = workloads.Workload(3, 40, 30, 50, length=length, coverage=coverage)
        assert dataclasses.astuple(limits.support(workload)) == support_by_looking(workload)


def test_the_floor_is_what_the_machine_needs_for_its_operations_or_its_memory(module):
    limits, workload = module("limits"), module("workloads").WORKLOADS["W1"]
    rates = ("fma", "exp", "divide", "estimate", "sqrt", "sqrt_estimate", "read", "write")
    machine = dict.fromkeys(rates, 1e9)
    needed = limits.operations(workload)
    floors = limits.floors(workload, machine)
    for timed, floor in floors.items():
        assert floor["arithmetic_ms"] == pytest.approx(sum(needed[timed].values()) / 1e6)
        assert floor["floor_ms"] == pytest.approx(floor["arithmetic_ms"])
    slow = limits.floors(workload, {**machine, "read": 1e6, "write": 1e6})
    moved = limits.traffic(workload)["forward"]
    assert slow["forward"]["floor_ms"] == pytest.approx(sum(moved.values()) / 1e3)
    drawn = [{"workload": "W1", "pass": "forward", "contender": "softraster", "median_ms": 7.0}]
    row = limits.table(machine, drawn)[0]
    assert row["over_floor"] == pytest.approx(7.0 / floors["forward"]["floor_ms"])


def test_the_machine_is_measured(module):
    machine = module("limits").measure_machine(repetitions=1)
    assert machine["fma"] > machine["exp"] > 1e7
    assert max(machine["divide"], machine["estimate"]) > machine["exp"] / 10
    assert machine["read"] > 1e8 and machine["write"] > 1e8
