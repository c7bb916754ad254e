"""What the op promises beyond numbers: dtypes, layouts, compilers, threads, NaN."""

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from cases import COMPOSITES, COVERAGES, MODES, Scene, random_case
from torch._subclasses.fake_tensor import FakeTensorMode

import softraster

modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode)))


def small(device, shape=(2, 5)):
    """Segments, softness and intensity, which require gradients."""
    case = random_case(0, shape=shape, size=(12, 16)).to(torch.float32).to(device)
    return [x.clone().requires_grad_() for x in case.tensors.values()]


def draw(segments, softness, intensity=None, **options):
    return softraster.draw_segments(segments, softness, (12, 16), intensity=intensity, **options)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
def test_any_leading_batch_dimensions_draw_as_one_by_one(batch, device):
    segments, softness, intensity = small(device, (*batch, 4))
    canvas = draw(segments, softness, intensity)
    assert canvas.shape == (*batch, 12, 16)
    items = zip(
        canvas.reshape(-1, 12, 16),
        segments.reshape(-1, 4, 4),
        softness.reshape(-1, 4),
        intensity.reshape(-1, 4),
        strict=True,
    )
    for item, s, k, c in items:
        assert torch.equal(item, draw(s, k, c))


def test_draw_strokes_draws_one_chain_as_a_batch_of_one(device):
    points = torch.rand(6, 3, device=device) * torch.tensor([1, 1, 100.0], device=device)
    canvas = softraster.draw_strokes(points, 16)
    assert canvas.max() > 0.1 and torch.equal(canvas, softraster.draw_strokes(points[None], 16)[0])


def test_softness_and_intensity_broadcast_and_their_gradients_sum(device):
    segments, _, _ = small(device, (3, 5))
    softness = torch.tensor([80.0], device=device, requires_grad=True)
    intensity = torch.rand(3, 1, device=device, requires_grad=True)
    grads = torch.autograd.grad(
        draw(segments, softness, intensity).square().sum(), (softness, intensity)
    )
    full = [
        softness.expand(3, 5).detach().requires_grad_(),
        intensity.expand(3, 5).detach().requires_grad_(),
    ]
    expected = torch.autograd.grad(draw(segments, *full).square().sum(), full)
    torch.testing.assert_close(grads[0], expected[0].sum().reshape(1))
    torch.testing.assert_close(grads[1], expected[1].sum(1, keepdim=True))


def test_one_set_of_segments_broadcasts_over_batched_softness(device):
    segments, softness, _ = small(device, (3, 5))
    canvas = draw(segments[0], softness)
    for b in range(3):
        assert torch.equal(canvas[b], draw(segments[0], softness[b]))


def test_one_color_serves_all_segments_and_its_gradient_sums(device):
    segments, softness, _ = small(device, (3, 5))
    color = torch.tensor([0.2, 0.5, 0.9], device=device, requires_grad=True)
    full = color.detach().expand(3, 5, 3).clone().requires_grad_()
    canvas, expected = draw(segments, softness, color=color), draw(segments, softness, color=full)
    assert canvas.shape == (3, 3, 12, 16) and torch.equal(canvas, expected)
    (grad,) = torch.autograd.grad(canvas.square().sum(), color)
    (full_grad,) = torch.autograd.grad(expected.square().sum(), full)
    torch.testing.assert_close(grad, full_grad.sum((0, 1)))


def test_numbers_serve_as_softness_and_intensity(device):
    segments, _, _ = small(device)
    full = torch.full((2, 5), 90.0, device=device)
    expected = draw(segments, full, torch.full_like(full, 0.5))
    assert torch.equal(draw(segments, 90, 0.5), expected)
    one = torch.tensor(90.0, device=device)
    assert torch.equal(draw(segments, one, torch.full_like(one, 0.5)), expected)


@modes
def test_layout_does_not_matter(mode, device):
    scene = Scene(mode, (4, 6), device)
    tensors = [x.detach() for x in scene.tensors]
    expected = scene.draw(*tensors)
    layouts = {
        "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
        "sliced": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
        "offset": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    }
    for name, layout in layouts.items():
        assert torch.equal(scene.draw(*map(layout, tensors)), expected), name
    repeated = scene.draw(*(x[:1].expand(x.shape) for x in tensors))
    assert torch.equal(repeated[3], scene.draw(*(x[0] for x in tensors)))


def test_a_gradient_that_is_expanded_or_strided_is_read_right(device):
    segments, softness, _ = small(device)
    expanded = torch.ones((), device=device).expand(2, 12, 16)
    for grad in (expanded, torch.rand(2, 16, 12, device=device).transpose(1, 2)):
        got = torch.autograd.grad(draw(segments, softness), segments, grad)
        expected = torch.autograd.grad(draw(segments, softness), segments, grad.contiguous())
        assert torch.equal(got[0], expected[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype, device):
    inputs = [x.detach().to(dtype).requires_grad_() for x in small(device)]
    wide = [x.detach().float().requires_grad_() for x in inputs]
    canvas, expected = draw(*inputs), draw(*wide)
    assert canvas.dtype == dtype
    assert torch.equal(canvas, expected.to(dtype))
    grads = torch.autograd.grad(canvas.float().sum(), inputs)
    assert all(g.dtype == dtype and g.isfinite().all() for g in grads)


def test_autocast_gives_a_float32_canvas_from_mixed_types(device):
    segments, softness, _ = small(device)
    with torch.autocast(device, dtype=torch.bfloat16):
        low = segments.bfloat16()
        canvas = draw(low, softness)
        assert canvas.dtype == torch.float32
        assert torch.equal(canvas, draw(low.float(), softness))
        torch.autograd.grad(canvas.sum(), (segments, softness))
    with torch.autocast(device, dtype=torch.bfloat16):
        assert draw(segments.double(), softness.double()).dtype == torch.float64


@modes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(mode, dtype, device):
    scene = Scene(mode, device=device, dtype=dtype)
    given = {n: x.detach() for n, x in zip(scene.names, scene.tensors, strict=True)}
    order = ("segments", "softness", "width", "intensity", "color", "background")
    tensors = [given.get(name, torch.empty(0, dtype=dtype, device=device)) for name in order]
    indices = COVERAGES.index(scene.coverage), COMPOSITES.index(scene.composite)
    args = (*tensors, 12, 16, *indices, 1e-6)
    torch.library.opcheck(torch.ops.softraster.draw_segments.default, args)
    grad = torch.rand_like(scene.draw(*given.values()))
    torch.library.opcheck(torch.ops.softraster.draw_segments_backward.default, (grad, *args))


@modes
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_whole_with_the_same_bits(mode, dynamic, device):
    torch._dynamo.reset()
    scenes = [Scene(mode, shape, device) for shape in [(2, 5), (3, 4)]]
    compiled = torch.compile(scenes[0].loss, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for scene in scenes:
        got = torch.autograd.grad(compiled(*scene.tensors), scene.tensors)
        expected = torch.autograd.grad(scene.loss(*scene.tensors), scene.tensors)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_strokes_compile_with_inductor(device):
    torch._dynamo.reset()
    points = torch.rand(3, 6, 3) * torch.tensor([1, 1, 100.0])
    points = points.to(device).requires_grad_()
    compiled = torch.compile(
        lambda p: softraster.draw_strokes(p * 1.0, 16).square().mean(), fullgraph=True
    )
    got = torch.autograd.grad(compiled(points), points)[0]
    expected = torch.autograd.grad(softraster.draw_strokes(points, 16).square().mean(), points)[0]
    torch.testing.assert_close(got, expected)


def test_exports(device):
    class Draw(torch.nn.Module):
        def forward(self, points):
            return softraster.draw_strokes(points, 16)

    points = (torch.rand(3, 6, 3) * torch.tensor([1, 1, 100.0])).to(device)
    program = torch.export.export(Draw(), (points,))
    assert torch.equal(program.module()(points), Draw()(points))


def test_fake_and_meta_tensors_give_shapes_without_drawing():
    with FakeTensorMode():
        canvas = draw(torch.rand(2, 5, 4, requires_grad=True), torch.rand(2, 5))
        assert canvas.shape == (2, 12, 16)
        canvas.sum().backward()
    meta = draw(torch.rand(2, 5, 4, device="meta"), torch.rand(2, 5, device="meta"))
    assert meta.device.type == "meta" and meta.shape == (2, 12, 16)


def test_a_device_without_kernels_is_an_error_with_its_remedy(monkeypatch):
    def draw_on(device):
        with FakeTensorMode():
            return draw(torch.rand(2, 5, 4, device=device), 90.0)

    with pytest.raises(RuntimeError, match=r"no kernels for mps.*\.cpu\(\)"):
        draw_on("mps")
    monkeypatch.setattr(softraster._ops, "CUDA_ARCHS", "")
    with pytest.raises(RuntimeError, match=r"without CUDA kernels.*SOFTRASTER_CUDA=1"):
        draw_on("cuda")
    assert draw_on("cpu").shape == (2, 12, 16)
    monkeypatch.setattr(softraster._ops, "CUDA_ARCHS", "90")
    assert draw_on("cuda").device.type == "cuda"


@modes
def test_vmap_draws_as_a_batch(mode, device):
    scene = Scene(mode, (4, 5), device)
    tensors = [x.detach() for x in scene.tensors]
    expected = scene.draw(*tensors)
    assert torch.equal(torch.vmap(scene.draw)(*tensors), expected)
    moved = torch.vmap(scene.draw, -1)(*(x.movedim(0, -1) for x in tensors))
    assert torch.equal(moved, expected)
    dims = (0, *(None for _ in tensors[1:]))
    shared = torch.vmap(scene.draw, dims)(tensors[0], *(x[0] for x in tensors[1:]))
    assert torch.equal(shared[2], scene.draw(tensors[0][2], *(x[0] for x in tensors[1:])))


@modes
def test_func_grad_vmap_of_grad_and_jacobian_agree_with_autograd(mode, device):
    scene = Scene(mode, (4, 5), device)
    expected = torch.autograd.grad(scene.loss(*scene.tensors), scene.tensors)
    tensors = [x.detach() for x in scene.tensors]
    every = tuple(range(len(tensors)))
    gradient = torch.func.grad(scene.loss, argnums=every)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    for got, want in zip(torch.vmap(gradient)(*tensors), expected, strict=True):
        close(got, want)
    for got, want in zip(gradient(*(x[1] for x in tensors)), expected, strict=True):
        close(got, want[1])
    jacobian = torch.func.jacrev(lambda s: scene.draw(s, *(x[0] for x in tensors[1:])))
    assert jacobian(tensors[0][0]).shape == (*scene.draw(*tensors).shape[1:], 5, 4)


THREADS = """
import sys, torch
sys.path.insert(0, {tests!r})
from cases import MODES, Scene
torch.set_num_threads(int(sys.argv[1]))
for shape, size in [((16, 30), (28, 28)), ((1, 300), (200, 300)), ((3, 70), (64, 48))]:
    for mode in MODES:
        scene = Scene(mode, shape, size=size)
        scene.loss(*scene.tensors).backward()
        for x in (scene.draw(*scene.tensors), *(x.grad for x in scene.tensors)):
            print(hash(x.detach().numpy().tobytes()))
"""


def test_the_same_bits_for_every_number_of_threads(request):
    script = THREADS.format(tests=str(request.path.parent))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, str(threads)],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        ).stdout
        for threads in (1, 2, 3, 8)
    }
    assert len(outputs) == 1 and len(outputs.pop().split()) > 3 * 4 * len(MODES)


@modes
def test_the_same_bits_in_every_run(mode, device):
    scene = Scene(mode, (16, 20), device)
    first = scene.passes()
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(scene.passes(), first, strict=True))


@modes
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_stay_in_their_own_canvas(mode, bad, device):
    clean = Scene(mode, (3, 5), device)
    expected = clean.draw(*clean.tensors)
    expected_grads = torch.autograd.grad(expected.square().sum(), clean.tensors)
    for index, name in enumerate(clean.names):
        if name in ("color", "background"):  # these mark only the pixels that they reach
            continue
        dirty = [x.detach().clone() for x in clean.tensors]
        dirty[index].view(3, 5, -1)[1, 2, 0] = bad
        dirty = [x.requires_grad_() for x in dirty]
        canvas = clean.draw(*dirty)
        assert canvas[1].isnan().all(), name
        grads = torch.autograd.grad(canvas.square().sum(), dirty)
        assert grads[0][1].isnan().all(), name
        for item in (0, 2):
            assert torch.equal(canvas[item], expected[item]), name
            for a, b in zip(grads, expected_grads, strict=True):
                assert torch.equal(a[item], b[item]), name


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_too_small_to_be_normal_are_made_zero_nowhere_else(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        segments, softness, intensity = small("cpu", (64, 40))
        draw(segments, softness, intensity).sum().backward()
        # More than one thread's share, and on the threads that the op has used.
        small_numbers = torch.full((1 << 20,), 2e-38)
        assert (small_numbers * 0.25 > 0).all()
    finally:
        torch.set_num_threads(before)


@modes
@pytest.mark.parametrize("name", ["segments", "intensity"])
def test_nan_fills_a_canvas_that_several_threads_draw(mode, name):
    scene = Scene(mode, (1, 5), size=(64, 40))
    dirty = [x.detach().clone() for x in scene.tensors]
    dirty[0][0, 2] = torch.tensor([0.3, 0.1, 0.5, 0.2])  # in the first of the bands
    dirty[scene.names.index(name)].view(1, 5, -1)[0, 2, 0] = torch.nan
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert scene.draw(*dirty).isnan().all()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("composite", ["max", "softor"])
def test_a_nan_intensity_learns_as_under_sum_at_the_right_edge_too(composite, device):
    segments = torch.tensor([[0.2, 0.3, 0.7, 0.5], [0.1, 0.8, 0.9, 0.7]], device=device)

    def grad(composite):
        intensity = torch.tensor([0.5, torch.nan], device=device, requires_grad=True)
        canvas = softraster.draw_segments(
            segments, 100.0, (6, 5), intensity=intensity, composite=composite
        )
        return torch.autograd.grad(canvas.sum(), intensity)[0]

    torch.testing.assert_close(grad(composite), grad("sum"))


@pytest.mark.parametrize("composite", ["max", "softor"])
def test_in_a_canvas_of_nan_the_other_segments_learn_as_under_sum(composite, device):
    segments, softness, _ = small(device)
    with torch.no_grad():
        softness[1, 2] = torch.nan
    got, expected = (
        torch.autograd.grad(draw(segments, softness, composite=c).sum(), segments)[0]
        for c in (composite, "sum")
    )
    assert expected[1, 2].isnan().all() and expected[1, 3].abs().min() > 0
    assert torch.equal(got[1].nan_to_num(), expected[1].nan_to_num())


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_the_reference_keeps_nan_in_its_own_canvas_too(coverage, composite):
    case = random_case(0, shape=(3, 5), size=(12, 16)).dressed(coverage, composite, None)
    case.segments[1, 2, 0] = float("nan")
    tensors = dict(case.tensors)
    canvas = softraster.reference.draw_segments(
        tensors.pop("segments"),
        tensors.pop("softness"),
        case.size,
        **tensors,
        coverage=coverage,
        composite=composite,
    )
    assert canvas[1].isnan().all() and canvas[[0, 2]].isfinite().all()


def test_negative_softness_gives_nan_and_not_a_wrong_picture(device):
    segments, softness, _ = small(device, (2, 5))
    softness = softness.detach().clone()
    softness[1, 3] = -1
    for function in (softraster.draw_segments, softraster.reference.draw_segments):
        canvas = function(segments, softness, (12, 16))
        assert canvas[1].isnan().all() and canvas[0].isfinite().all()


def test_a_missing_extension_is_an_error_with_its_remedy(tmp_path):
    script = (
        "import sys; sys.modules['softraster._C'] = None\n"
        "try:\n import softraster\nexcept ImportError as error:\n print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert "pip install ." in out.stdout
