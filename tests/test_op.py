"""What the op promises beyond numbers: dtypes, layouts, compilers, threads, NaN, errors."""

import os
import subprocess
import sys

import pytest
import torch
from cases import random_case
from torch._subclasses.fake_tensor import FakeTensorMode

import softraster

COMPOSITES = ("sum", "max")


def small(shape=(2, 5), dtype=torch.float32, intensity=True):
    case = random_case(0, shape=shape, size=(12, 16), intensity=intensity).to(dtype)
    return [x.clone().requires_grad_() for x in case.inputs]


def draw(segments, softness, intensity=None, **options):
    return softraster.draw_segments(segments, softness, (12, 16), intensity=intensity, **options)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
def test_any_leading_batch_dimensions_draw_as_one_by_one(batch):
    segments, softness, intensity = small((*batch, 4))
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


def test_softness_and_intensity_broadcast_and_their_gradients_sum():
    segments, _, _ = small((3, 5))
    softness = torch.tensor([80.0], requires_grad=True)
    intensity = torch.rand(3, 1, requires_grad=True)
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


def test_one_set_of_segments_broadcasts_over_batched_softness():
    segments, softness, _ = small((3, 5))
    canvas = draw(segments[0], softness)
    for b in range(3):
        assert torch.equal(canvas[b], draw(segments[0], softness[b]))


def test_numbers_serve_as_softness_and_intensity():
    segments, _, _ = small()
    expected = draw(segments, torch.full((2, 5), 90.0), torch.full((2, 5), 0.5))
    assert torch.equal(draw(segments, 90, 0.5), expected)
    assert torch.equal(draw(segments, torch.tensor(90.0), torch.tensor(0.5)), expected)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_layout_does_not_matter(composite):
    segments, softness, intensity = (x.detach() for x in small((4, 6)))
    expected = draw(segments, softness, intensity, composite=composite)
    layouts = {
        "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        "sliced": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
        "offset": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    }
    for name, layout in layouts.items():
        got = draw(layout(segments), layout(softness), layout(intensity), composite=composite)
        assert torch.equal(got, expected), name
    repeated = draw(segments[:1].expand(4, 6, 4), softness[:1].expand(4, 6), composite=composite)
    assert torch.equal(repeated[3], draw(segments[0], softness[0], composite=composite))


def test_a_gradient_that_is_expanded_or_strided_is_read_right():
    segments, softness, _ = small()
    for grad in (torch.ones(()).expand(2, 12, 16), torch.rand(2, 16, 12).transpose(1, 2)):
        got = torch.autograd.grad(draw(segments, softness), segments, grad)
        expected = torch.autograd.grad(draw(segments, softness), segments, grad.contiguous())
        assert torch.equal(got[0], expected[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    inputs = [x.detach().to(dtype).requires_grad_() for x in small()]
    wide = [x.detach().float().requires_grad_() for x in inputs]
    canvas, expected = draw(*inputs), draw(*wide)
    assert canvas.dtype == dtype
    assert torch.equal(canvas, expected.to(dtype))
    grads = torch.autograd.grad(canvas.float().sum(), inputs)
    assert all(g.dtype == dtype and g.isfinite().all() for g in grads)


def test_autocast_gives_a_float32_canvas_from_mixed_types():
    segments, softness, _ = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = segments.bfloat16()
        canvas = draw(low, softness)
        assert canvas.dtype == torch.float32
        assert torch.equal(canvas, draw(low.float(), softness))
        torch.autograd.grad(canvas.sum(), (segments, softness))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert draw(segments.double(), softness.double()).dtype == torch.float64


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("intensity", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(composite, intensity, dtype):
    given = [x.detach() for x in small(dtype=dtype, intensity=intensity)]
    if not intensity:
        given.append(torch.empty(0, dtype=dtype))
    options = (12, 16, COMPOSITES.index(composite), 1e-6)
    torch.library.opcheck(torch.ops.softraster.draw_segments.default, (*given, *options))
    grad = torch.rand(2, 12, 16, dtype=dtype)
    backward = torch.ops.softraster.draw_segments_backward.default
    torch.library.opcheck(backward, (grad, *given, *options))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_whole_with_the_same_bits(composite, dynamic):
    torch._dynamo.reset()

    def loss(segments, softness, intensity):
        return draw(segments, softness, intensity, composite=composite).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in [(2, 5), (3, 4)]:
        inputs = small(shape)
        got = torch.autograd.grad(compiled(*inputs), inputs)
        expected = torch.autograd.grad(loss(*inputs), inputs)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_strokes_compile_with_inductor():
    torch._dynamo.reset()
    points = (torch.rand(3, 6, 3) * torch.tensor([1, 1, 100.0])).requires_grad_()
    compiled = torch.compile(
        lambda p: softraster.draw_strokes(p * 1.0, 16).square().mean(), fullgraph=True
    )
    got = torch.autograd.grad(compiled(points), points)[0]
    expected = torch.autograd.grad(softraster.draw_strokes(points, 16).square().mean(), points)[0]
    torch.testing.assert_close(got, expected)


def test_exports():
    class Draw(torch.nn.Module):
        def forward(self, points):
            return softraster.draw_strokes(points, 16)

    points = torch.rand(3, 6, 3) * torch.tensor([1, 1, 100.0])
    program = torch.export.export(Draw(), (points,))
    assert torch.equal(program.module()(points), Draw()(points))


def test_fake_and_meta_tensors_give_shapes_without_drawing():
    with FakeTensorMode():
        canvas = draw(torch.rand(2, 5, 4, requires_grad=True), torch.rand(2, 5))
        assert canvas.shape == (2, 12, 16)
        canvas.sum().backward()
    meta = draw(torch.rand(2, 5, 4, device="meta"), torch.rand(2, 5, device="meta"))
    assert meta.device.type == "meta" and meta.shape == (2, 12, 16)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_vmap_draws_as_a_batch(composite):
    segments, softness, intensity = (x.detach() for x in small((4, 5)))

    def one(s, k, c):
        return draw(s, k, c, composite=composite)

    expected = one(segments, softness, intensity)
    assert torch.equal(torch.vmap(one)(segments, softness, intensity), expected)
    shared = torch.vmap(one, (0, None, None))(segments, softness[0], intensity[0])
    assert torch.equal(shared[2], one(segments[2], softness[0], intensity[0]))
    moved = torch.vmap(one, (1, 0, 0))(segments.transpose(0, 1), softness, intensity)
    assert torch.equal(moved, expected)
    no_intensity = torch.vmap(draw)(segments, softness)
    assert torch.equal(no_intensity, draw(segments, softness))


@pytest.mark.parametrize("intensity", [True, False])
def test_func_grad_vmap_of_grad_and_jacobian_agree_with_autograd(intensity):
    inputs = [x.detach() for x in small((4, 5), intensity=intensity)]

    def loss(*one):
        return draw(*one).square().sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    expected = torch.autograd.grad(draw(*leaves).square().sum(), leaves)
    every = tuple(range(len(inputs)))
    got = torch.vmap(torch.func.grad(loss, argnums=every))(*inputs)
    assert all(
        torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(got, expected, strict=True)
    )
    alone = torch.func.grad(loss, argnums=every)(*(x[1] for x in inputs))
    assert all(
        torch.allclose(a, b[1], rtol=1e-5, atol=1e-5) for a, b in zip(alone, expected, strict=True)
    )
    jacobian = torch.func.jacrev(lambda s: draw(s, *(x[0] for x in inputs[1:])))(inputs[0][0])
    assert jacobian.shape == (12, 16, 5, 4)


THREADS = """
import sys, torch, softraster
sys.path.insert(0, {tests!r})
from cases import random_case
torch.set_num_threads(int(sys.argv[1]))
for shape, size in [((16, 30), (28, 28)), ((1, 300), (200, 300)), ((3, 70), (64, 48))]:
    case = random_case(1, shape=shape, size=size).to(torch.float32)
    for composite in ("sum", "max"):
        inputs = [x.clone().requires_grad_() for x in case.inputs]
        options = {{"intensity": inputs[2], "composite": composite}}
        canvas = softraster.draw_segments(*inputs[:2], size, **options)
        canvas.square().sum().backward()
        for x in (canvas, *(x.grad for x in inputs)):
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
    assert len(outputs) == 1 and len(outputs.pop().split()) == 24


def test_the_same_bits_in_every_run():
    inputs = small((16, 20))
    first = draw(*inputs)
    grads = torch.autograd.grad(first.square().sum(), inputs)
    for _ in range(20):
        canvas = draw(*inputs)
        assert torch.equal(canvas, first)
        again = torch.autograd.grad(canvas.square().sum(), inputs)
        assert all(torch.equal(a, b) for a, b in zip(again, grads, strict=True))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["segments", "softness", "intensity"])
def test_nan_and_infinity_stay_in_their_own_canvas(where, bad, composite):
    clean = small((3, 5))
    dirty = [x.detach().clone() for x in clean]
    index = ["segments", "softness", "intensity"].index(where)
    dirty[index].view(3, 5, -1)[1, 2, 0] = bad
    dirty = [x.requires_grad_() for x in dirty]
    canvas, expected = (draw(*x, composite=composite) for x in (dirty, clean))
    assert canvas[1].isnan().all()
    reference = softraster.reference.draw_segments(
        *dirty[:2], (12, 16), intensity=dirty[2], composite=composite
    )
    assert reference[1].isnan().all() and reference[[0, 2]].isfinite().all()
    grads, expected_grads = (
        torch.autograd.grad(c.square().sum(), x) for c, x in ((canvas, dirty), (expected, clean))
    )
    assert grads[0][1].isnan().all()
    for item in (0, 2):
        assert torch.equal(canvas[item], expected[item])
        for a, b in zip(grads, expected_grads, strict=True):
            assert torch.equal(a[item], b[item])


def test_negative_softness_gives_nan_and_not_a_wrong_picture():
    segments, softness, _ = small((2, 5))
    softness = softness.detach().clone()
    softness[1, 3] = -1
    for function in (softraster.draw_segments, softraster.reference.draw_segments):
        canvas = function(segments, softness, (12, 16))
        assert canvas[1].isnan().all() and canvas[0].isfinite().all()


S = torch.zeros(3, 4)
BAD_ARGUMENTS = {
    "segments is a list": (lambda: draw([[0, 0, 1, 1]], 1.0), TypeError, "segments .* got list"),
    "segments of ints": (lambda: draw(S.long(), 1.0), TypeError, "segments .* got torch.int64"),
    "segments of shape (3, 5)": (
        lambda: draw(torch.zeros(3, 5), 1.0),
        ValueError,
        r"segments .* got \(3, 5\)",
    ),
    "segments of shape (4,)": (lambda: draw(S[0], 1.0), ValueError, r"segments .* got \(4,\)"),
    "softness missing": (lambda: draw(S, None), TypeError, "softness .* got NoneType"),
    "softness negative": (lambda: draw(S, -1.0), ValueError, "softness .* got -1.0"),
    "softness NaN": (lambda: draw(S, float("nan")), ValueError, "softness .* got nan"),
    "softness infinite": (lambda: draw(S, float("inf")), ValueError, "softness .* got inf"),
    "softness of another dtype": (
        lambda: draw(S, torch.ones(3).double()),
        TypeError,
        "softness .* got torch.float64",
    ),
    "softness of another shape": (
        lambda: draw(S, torch.ones(2)),
        ValueError,
        r"softness .* N = 3 .* got \(2,\)",
    ),
    "one segment, many softnesses": (
        lambda: draw(S[:1], torch.ones(2)),
        ValueError,
        r"softness .* N = 1 .* got \(2,\)",
    ),
    "softness on another device": (
        lambda: draw(S, torch.ones(3, device="meta")),
        ValueError,
        "softness .* got meta",
    ),
    "intensity above 1": (lambda: draw(S, 1.0, 1.5), ValueError, "intensity .* got 1.5"),
    "intensity of another shape": (
        lambda: draw(S, 1.0, torch.ones(4)),
        ValueError,
        r"intensity .* got \(4,\)",
    ),
    "intensity a string": (lambda: draw(S, 1.0, "dark"), TypeError, "intensity .* got str"),
    "unknown composite": (
        lambda: draw(S, 1.0, composite="mean"),
        ValueError,
        "composite .* got 'mean'",
    ),
    "tolerance 1": (lambda: draw(S, 1.0, tolerance=1), ValueError, "tolerance .* got 1"),
    "tolerance NaN": (
        lambda: draw(S, 1.0, tolerance=float("nan")),
        ValueError,
        "tolerance .* got nan",
    ),
    "tolerance None": (
        lambda: draw(S, 1.0, tolerance=None),
        TypeError,
        "tolerance .* got NoneType",
    ),
    "size 0": (lambda: softraster.draw_segments(S, 1.0, 0), ValueError, "size .* got 0"),
    "size of floats": (
        lambda: softraster.draw_segments(S, 1.0, (2.0, 3)),
        TypeError,
        r"size .* got \(2.0, 3\)",
    ),
    "size of three": (
        lambda: softraster.draw_segments(S, 1.0, (1, 2, 3)),
        TypeError,
        r"size .* got \(1, 2, 3\)",
    ),
    "points of shape (3, 4)": (
        lambda: softraster.draw_strokes(S, 8),
        ValueError,
        r"points .* got \(3, 4\)",
    ),
    "points a list": (lambda: softraster.draw_strokes([], 8), TypeError, "points .* got list"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_what_names_them(name):
    call, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()


def test_a_missing_extension_is_an_error_with_its_remedy(tmp_path):
    script = (
        "import sys; sys.modules['softraster._C'] = None\n"
        "try:\n import softraster\nexcept ImportError as error:\n print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert "pip install ." in out.stdout
