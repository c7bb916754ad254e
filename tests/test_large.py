"""Canvases that are large, or many: what they cost in memory, and that no index overflows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import softraster

SIDE = 4096


def free_memory() -> int:
    """Bytes that a process may still take."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_segment_looks_the_same_on_a_small_canvas_and_in_the_corner_of_a_large_one():
    pixels = torch.tensor([[4010.31, 3990.77, 4060.13, 4071.4]], dtype=torch.float64)
    color = torch.tensor([[0.3, 0.9]], dtype=torch.float64)

    def draw(segments, side):
        segments = (segments / side).requires_grad_()
        options = {"width": 3 / side, "coverage": "capsule", "color": color, "composite": "over"}
        canvas = softraster.draw_segments(segments, 5.0 * side, side, tolerance=1e-12, **options)
        (canvas[:, -128:, -128:] ** 2).sum().backward()
        return canvas.detach(), segments.grad / side

    large, large_grad = draw(pixels, SIDE)
    small, small_grad = draw(pixels - (SIDE - 128), 128)
    torch.testing.assert_close(large[:, -128:, -128:], small, rtol=0, atol=1e-9)
    torch.testing.assert_close(large_grad, small_grad, rtol=1e-8, atol=1e-9)
    assert large[:, :-128].abs().max() < 1e-6


def lines(rows: int, columns: int) -> torch.Tensor:
    """Enough for tiles, all within the rows: 40 long ones, most of them flat, and short ones."""
    make = torch.Generator().manual_seed(0)
    ends = torch.rand(10_000, 4, generator=make) * torch.tensor([1, rows / columns] * 2)
    ends[40:, 2:] = ends[40:, :2] + 0.01 * ends[40:, 2:]
    return ends * 0.98


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("coverage", ["grid", "capsule"])
@pytest.mark.parametrize("composite", ["sum", "max", "softor", "over"])
def test_the_tiles_of_a_large_canvas_leave_no_bits(composite, coverage, channels, threads):
    columns, rows = 4090, 300 // (channels or 1)  # 5 MB; the double of it, and more, is tiled
    options = {"coverage": coverage, "composite": composite}
    if coverage == "capsule":
        options["width"] = 3 / columns
    if channels:
        options["color"] = torch.rand(10_000, 3, generator=torch.Generator().manual_seed(1))

    def top(size, dtype):
        dtypes = {name: x.to(dtype) for name, x in options.items() if name == "color"}
        segments = lines(rows, columns).to(dtype)
        canvas = softraster.draw_segments(segments, 6.0 * columns, size, **options | dtypes)
        return canvas[..., :rows, :]

    for dtype in (torch.float32, torch.float64):
        assert torch.equal(top((2 * rows + 7, columns), dtype), top((rows, columns), dtype))


def test_nan_fills_all_tiles_of_a_large_canvas():
    segments = torch.full((20_000, 4), 0.1)  # so many that there are tiles
    segments[1, 2] = torch.nan
    assert softraster.draw_segments(segments, 12_000.0, 2048).isnan().all()


@pytest.mark.parametrize("coverage", ["grid", "capsule"])
def test_over_on_a_large_canvas_has_the_gradients_of_a_small_one(coverage, threads):
    columns, rows = 4090, 66  # of three channels: 6.5 MB, the other one's 12 are tiled
    make = torch.Generator().manual_seed(1)
    inputs = {
        "segments": lines(rows, columns).double(),
        "softness": torch.full((10_000,), 6.0 * columns, dtype=torch.float64),
        "intensity": torch.rand(10_000, generator=make, dtype=torch.float64),
        "color": torch.rand(10_000, 3, generator=make, dtype=torch.float64),
        "background": torch.rand(3, generator=make, dtype=torch.float64),
    }
    if coverage == "capsule":
        inputs["width"] = torch.full((10_000,), 3 / columns, dtype=torch.float64)
    weights = torch.randn(3, rows, columns, generator=make, dtype=torch.float64)

    def grads(height):
        given = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        canvas = softraster.draw_segments(
            size=(height, columns), coverage=coverage, composite="over", **given
        )
        loss = (canvas[:, :rows] * weights).sum()
        return torch.autograd.grad(loss, list(given.values()))

    for name, large, small in zip(inputs, grads(2 * rows), grads(rows), strict=True):
        torch.testing.assert_close(large, small, rtol=1e-9, atol=1e-9 * small.abs().max(), msg=name)


@pytest.mark.parametrize("composite", ["sum", "max", "softor", "over"])
def test_thousands_of_small_canvases_are_drawn_as_one_by_one(composite):
    make = torch.Generator().manual_seed(0)
    segments = torch.rand(5000, 7, 4, generator=make).requires_grad_()
    canvas = softraster.draw_segments(segments, 168.0, 28, composite=composite)
    (grad,) = torch.autograd.grad(canvas.square().sum(), segments)
    for item in (0, 1, 2500, 4999):
        one = segments[item].detach().requires_grad_()
        alone = softraster.draw_segments(one, 168.0, 28, composite=composite)
        torch.testing.assert_close(canvas[item], alone, rtol=0, atol=0)
        (grad_alone,) = torch.autograd.grad(alone.square().sum(), one)
        torch.testing.assert_close(grad[item], grad_alone, rtol=0, atol=0)


_MEMORY = """
import torch, softraster
def peak():  # of this program alone: getrusage()'s begins with that of the process that started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
def work(count, side):
    make = torch.Generator().manual_seed(0)
    first = torch.rand(count, 2, generator=make)
    ends = first + (torch.rand(count, 2, generator=make) - 0.5) * 20 / side
    segments = torch.cat([first, ends], 1).requires_grad_()
    canvas = softraster.draw_segments(segments, 6.0 * side, side, {options})
    canvas.backward(torch.ones_like(canvas))
work(100, 64)
before = peak()
work(20000, 2048)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("composite", ["sum", "max", "softor", "over"])
def test_memory_grows_with_inputs_and_canvas_and_not_with_their_product(composite):
    script = _MEMORY.replace("{options}", f"composite={composite!r}")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    canvas, inputs = 4 * 2048 * 2048, 20000 * 5 * 4
    # Canvas and its gradient; marks and rest of softor; over keeps sums for each tile.
    assert int(done.stdout) < 5 * canvas + 60 * inputs


@pytest.mark.skipif(free_memory() < 12e9, reason="needs 12 GB of free memory")
def test_a_batch_of_more_than_2_to_the_31_pixels():
    side, batch = 16384, 9
    segments = torch.tensor([[0.1, 0.1, 0.1007, 0.1004]]).repeat(batch, 1, 1)
    segments[-1] += 0.85
    canvas = softraster.draw_segments(segments, 4.0 * side, side)
    assert canvas.numel() > 2**31
    for item in (0, -1):
        alone = softraster.draw_segments(segments[item], 4.0 * side, side)
        assert alone.sum() > 10
        assert torch.equal(canvas[item], alone)


def test_a_canvas_for_which_there_is_no_memory_is_an_error_that_says_so(device):
    side, batch = 100_000, 100_000
    segments = torch.rand(1, 4, device=device).expand(batch, 1, 4)
    reason = {"cpu": "DefaultCPUAllocator: can't allocate memory", "cuda": "CUDA out of memory"}
    with pytest.raises(RuntimeError, match=rf"{reason[device]}.* 3.72529e\+06 GiB"):
        softraster.draw_segments(segments, 6.0, side)
