"""What only a GPU shows: streams, graphs, devices, waiting, memory, sizes. And errors without one.

Values and gradients on a GPU are tested beside those on the CPU, in the other files.
"""

import pytest
import torch
from cases import COMPOSITES, MODES, Scene
from torch._subclasses.fake_tensor import FakeTensorMode

import softraster

modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode)))
needs_gpu = pytest.mark.cuda

# Half a second or so at a GPU's clock: longer than the CPU takes to launch a few kernels.
LONG = 1_000_000_000


def same(got, expected):
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def short_segments(count, side, seed=0, length=10.0):
    """(count, 4) on the CPU, about `length` pixels long, anywhere on a canvas of `side` pixels."""
    make = torch.Generator().manual_seed(seed)
    first = torch.rand(count, 2, generator=make)
    away = (torch.rand(count, 2, generator=make) - 0.5) * 2 * length / side
    return torch.cat([first, first + away], dim=-1)


@needs_gpu
@modes
def test_both_passes_run_in_the_current_stream(mode):
    scene = Scene(mode, (4, 6), "cuda")
    expected = scene.passes()
    late = [torch.zeros_like(x, requires_grad=False) for x in scene.tensors]
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(LONG)
        for x, given in zip(late, scene.tensors, strict=True):
            x.copy_(given.detach())  # what ran before this, in any other stream, would see zeros
        got = scene.passes(*(x.requires_grad_() for x in late))
    stream.synchronize()
    assert same(got, expected)


@needs_gpu
@modes
def test_neither_pass_waits_for_the_device(mode):
    scene = Scene(mode, (4, 6), "cuda")
    scene.passes()
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(LONG)
        slept.record()
        scene.passes()
        waited = slept.query()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not waited


@needs_gpu
@modes
def test_a_graph_captures_both_passes_and_replays_them_on_other_inputs(mode):
    scene, other = (Scene(mode, (4, 60), "cuda", size=(70, 45), seed=seed) for seed in (0, 1))
    expected = other.passes()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        scene.passes()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = scene.passes()
    with torch.no_grad():
        for x, replacement in zip(scene.tensors, other.tensors, strict=True):
            x.copy_(replacement)
    for _ in range(3):
        graph.replay()
        assert same(captured, expected)


@needs_gpu
@modes
def test_crowded_canvases_have_the_same_bits_in_every_run(mode):
    scene = Scene(mode, (3, 700), "cuda", size=(130, 210))
    first = scene.passes()
    for _ in range(20):
        assert same(scene.passes(), first)


@needs_gpu
@modes
def test_tensors_may_be_on_another_device_than_the_current_one(mode):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    with torch.cuda.device(0):
        got = Scene(mode, (4, 6), "cuda:1").passes()
        assert torch.cuda.current_device() == 0
        expected = Scene(mode, (4, 6), "cuda:0").passes()
    assert all(x.device == torch.device("cuda:1") for x in got)
    for x, want in zip(got, expected, strict=True):
        torch.testing.assert_close(x.cpu(), want.cpu())


@needs_gpu
def test_strokes_and_curves_are_drawn_as_on_the_cpu():
    make = torch.Generator().manual_seed(0)
    points = torch.rand(3, 6, 3, generator=make) * torch.tensor([1, 1, 200.0])
    control = torch.rand(3, 5, 4, 2, generator=make)
    for draw in (
        lambda d: softraster.draw_strokes(points.to(d), 28, composite="max"),
        lambda d: softraster.draw_curves(control.to(d), 150.0, 28, composite="softor"),
        lambda d: softraster.draw_polyline(points[..., :2].to(d), 150.0, 28, closed=True),
    ):
        torch.testing.assert_close(draw("cuda").cpu(), draw("cpu"), rtol=0, atol=1e-5)


def assert_drawn_as_on_the_cpu(segments, softness, size, composite):
    """Canvas and gradients in float64, in which no two segments are nearly equal under max."""
    results = {}
    for device in ("cpu", "cuda"):
        given = [x.double().to(device).requires_grad_() for x in (segments, softness)]
        canvas = softraster.draw_segments(*given, size, composite=composite, tolerance=1e-13)
        grads = torch.autograd.grad(canvas.square().sum(), given)
        results[device] = [x.cpu() for x in (canvas, *grads)]
    for got, want in zip(results["cuda"], results["cpu"], strict=True):
        scale = max(1.0, want.abs().max().item())
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9 * scale)


@needs_gpu
@pytest.mark.parametrize("composite", COMPOSITES)
def test_seventy_thousand_canvases_are_drawn_at_once(composite):
    make = torch.Generator().manual_seed(0)
    segments = torch.rand(70_000, 3, 4, generator=make)
    assert_drawn_as_on_the_cpu(segments, torch.full((70_000, 3), 48.0), 8, composite)


@needs_gpu
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_large_canvas_is_that_of_the_cpu(composite):
    side = 4096
    segments = short_segments(3000, side, length=60.0)
    segments[0] = torch.tensor([0.03, 0.9, 0.95, 0.1])  # one that crosses many tiles
    assert_drawn_as_on_the_cpu(segments, torch.full((3000,), 3.0 * side), side, composite)


def need_memory(count):
    """Skip the test where the GPU has fewer than `count` bytes free."""
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < count:
        pytest.skip(f"needs {count / 1e9:.0f} GB of GPU memory")


@needs_gpu
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batch_of_more_than_2_to_the_31_pixels_is_drawn_to_its_last_canvas(composite):
    batch, side = 2**31 // 1024**2 + 1, 1024
    need_memory(5 * 4 * batch * side**2)  # canvas, its gradient, what max and softor find out
    segments = short_segments(batch * 2, side, length=40.0).view(batch, 2, 4).cuda()
    segments.requires_grad_()
    canvas = softraster.draw_segments(segments, 6.0 * side, side, composite=composite)
    assert canvas.numel() > 2**31
    (grad,) = torch.autograd.grad(canvas, segments, torch.ones((), device="cuda").expand_as(canvas))
    for item in (0, batch // 2, batch - 1):
        one = segments[item].detach().requires_grad_()
        alone = softraster.draw_segments(one, 6.0 * side, side, composite=composite)
        assert alone.max() > 0.1
        assert torch.equal(canvas[item], alone)
        (grad_alone,) = torch.autograd.grad(alone.sum(), one)
        assert torch.equal(grad[item], grad_alone)


@needs_gpu
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_canvas_of_more_than_2_to_the_31_pixels_is_drawn_to_its_last_corner(composite):
    side, crop = 46_400, 256
    assert side**2 > 2**31
    need_memory(1.1 * 8 * side**2)
    pixels = torch.tensor([[40.2, 60.7, 200.1, 130.4], [200.0, 30.0, 220.0, 240.0]])
    pixels = pixels.double().cuda()

    def draw(segments, side):
        return softraster.draw_segments(segments / side, 4.0 * side, side, composite=composite)

    large = draw(pixels + (side - crop), side)[-crop:, -crop:]
    torch.testing.assert_close(large, draw(pixels, crop), rtol=0, atol=1e-6)
    assert large.max() > 0.5


def peak_memory(call):
    """What call returns, and how many bytes more the GPU held meanwhile than before."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    return result, torch.cuda.max_memory_allocated() - before


@needs_gpu
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("side", [2048, 4096])
def test_memory_is_that_of_inputs_and_outputs_and_a_little(composite, side):
    count = 20_000
    segments = short_segments(count, side).cuda().requires_grad_()
    canvas, draw_bytes = peak_memory(
        lambda: softraster.draw_segments(segments, 6.0 * side, side, composite=composite)
    )
    grad = torch.ones_like(canvas)
    _, backward_bytes = peak_memory(lambda: torch.autograd.grad(canvas, segments, grad))
    a_little, canvas_bytes = 1024 * count, 4 * side**2
    assert canvas_bytes <= draw_bytes < canvas_bytes + a_little
    # Who won under max; how many factors are 0, and the product of the others, under softor.
    found_out = {"max": 1, "softor": 2}.get(composite, 0)
    assert backward_bytes < found_out * canvas_bytes + a_little


@pytest.mark.parametrize("name", ["softness", "width", "intensity", "color", "background"])
def test_a_tensor_on_the_cpu_beside_segments_on_a_gpu_is_an_error_that_names_it(name):
    shapes = dict.fromkeys(("softness", "width", "intensity", "background"), (3,))
    shapes["color"] = (3, 3)
    with FakeTensorMode():  # tensors that say that they are on a GPU
        tensors = {n: torch.empty(shape, device="cuda") for n, shape in shapes.items()}
        tensors[name] = torch.empty(shapes[name])
        with pytest.raises(ValueError, match=f"^{name} must be on the device .*cuda:0, got cpu"):
            softraster.draw_segments(
                torch.empty(3, 4, device="cuda"),
                tensors.pop("softness"),
                8,
                coverage="capsule",
                composite="over",
                **tensors,
            )


def test_without_cuda_kernels_tensors_on_a_gpu_are_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setattr(softraster._ops, "CUDA_ARCHS", "")
    with (
        FakeTensorMode(),
        pytest.raises(RuntimeError, match="SOFTRASTER_CUDA=1 pip install"),
    ):
        softraster.draw_segments(torch.empty(3, 4, device="cuda"), 9.0, 8)
