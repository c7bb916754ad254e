"""The fused op against the reference: values and gradients, in every mode and precision."""

import math

import pytest
import torch
from cases import COMPOSITES, COVERAGES, NAMED, Case, random_case

import softraster

RANDOM = {
    f"random {seed}, {size}": random_case(seed, size=size)
    for seed, size in enumerate([(20, 28), (28, 20), (33, 33), (7, 50), (64, 64), (3, 3)])
}
# More chunks than two full lists hold, in a row or one in each; and midpoints far from the pixels,
# where an offset is the small difference of large numbers.
FAR = {
    "a row of 138 chunks": Case(
        torch.tensor(
            [[0.05, 4.1e-4, 0.95, 1.23e-3], [0.9, 1.5e-3, 0.02, 1e-4]], dtype=torch.float64
        ),
        torch.tensor([0.02, 0.5], dtype=torch.float64) * 1100,
        (2, 1100),
    ),
    "140 rows of a chunk": Case(
        torch.tensor([[0.01, 0.03, 0.031, 0.96], [0.02, 1.02, 0.015, 0.3]], dtype=torch.float64),
        torch.tensor([0.3, 2.0], dtype=torch.float64) * 140,
        (140, 6),
    ),
    "ends far away": Case(
        torch.tensor(
            [[-100.3, -94.9, 70.9, 66.6], [-94.6, -100.3, 66.9, 70.9]], dtype=torch.float64
        ),
        torch.tensor([6.0, 2.0], dtype=torch.float64) * 28,
        (28, 28),
    ),
}
ALL = {**NAMED, **RANDOM, **FAR}

modes = pytest.mark.parametrize(
    ("coverage", "composite", "channels"),
    [
        (coverage, composite, channels)
        for coverage in COVERAGES
        for composite in COMPOSITES
        for channels in (None, 3)
    ],
)


def draw(function, case: Case, device="cpu", **options):
    """Canvas, and the gradients of a fixed random projection of it, by argument; on the CPU."""
    tensors = {n: x.clone().requires_grad_() for n, x in case.to(device).tensors.items()}
    rest = {n: x for n, x in tensors.items() if n not in ("segments", "softness")}
    canvas = function(tensors["segments"], tensors["softness"], case.size, **rest, **options)
    make = torch.Generator().manual_seed(7)
    grad = torch.randn(canvas.shape, dtype=torch.float64, generator=make).to(canvas)
    grads = torch.autograd.grad(canvas, list(tensors.values()), grad, materialize_grads=True)
    return canvas.cpu(), {n: g.cpu() for n, g in zip(tensors, grads, strict=True)}


def assert_grads_close(got, expected, relative, absolute):
    for name, want in expected.items():
        scale = want.abs().max().item() if want.numel() else 0
        torch.testing.assert_close(
            got[name].double(),
            want,
            rtol=0,
            atol=relative * scale + absolute,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@modes
@pytest.mark.parametrize("name", ALL)
def test_float64_agrees_to_rounding(name, coverage, composite, channels, device):
    case = ALL[name].dressed(coverage, composite, channels)
    mode = {"coverage": coverage, "composite": composite}
    canvas, grads = draw(softraster.draw_segments, case, device, **mode, tolerance=0)
    expected, expected_grads = draw(softraster.reference.draw_segments, case, **mode)
    torch.testing.assert_close(canvas, expected, rtol=0, atol=1e-12)
    if case.smooth or coverage == "capsule":
        assert_grads_close(grads, expected_grads, 1e-9, 1e-13)


@modes
@pytest.mark.parametrize("name", ALL)
def test_float32_agrees_with_the_float64_reference(name, coverage, composite, channels, device):
    # The same float32 numbers for both: what is measured is the op, not the rounding of its inputs.
    case = ALL[name].dressed(coverage, composite, channels).to(torch.float32)
    mode = {"coverage": coverage, "composite": composite}
    canvas, grads = draw(softraster.draw_segments, case, device, **mode)
    expected, expected_grads = draw(
        softraster.reference.draw_segments, case.to(torch.float64), **mode
    )
    torch.testing.assert_close(canvas.double(), expected, rtol=0, atol=1e-5)
    if case.smooth or coverage == "capsule":
        # What is left out of a pixel's gradient is below softness * tolerance.
        steepest = case.softness.max().item() if case.softness.numel() else 0
        assert_grads_close(grads, expected_grads, 1e-4, 2e-6 * (1 + steepest))


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("composite", ["sum", "max", "softor"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_tolerance_bounds_what_is_left_out(tolerance, composite, coverage, device):
    case = random_case(11, shape=(3, 9), size=(40, 56)).dressed(coverage, composite, None)
    mode = {"coverage": coverage, "composite": composite}
    exact, _ = draw(softraster.draw_segments, case, device, **mode, tolerance=0)
    canvas, _ = draw(softraster.draw_segments, case, device, **mode, tolerance=tolerance)
    left_out = exact - canvas
    assert left_out.min() >= -1e-12
    assert left_out.max() <= tolerance * (1 if composite == "max" else 9)


def test_tolerance_saves_pixels(device):
    case = NAMED["slanted"].to(device)
    canvas = softraster.draw_segments(case.segments, case.softness, case.size, tolerance=1e-3)
    exact = softraster.draw_segments(case.segments, case.softness, case.size, tolerance=0)
    assert (canvas == 0).sum() > 0.5 * canvas.numel()
    assert (exact == 0).sum() == 0


@pytest.mark.parametrize("softness", [1e5, 1e8, 1e30])
def test_huge_softness_draws_a_hard_line_with_finite_gradients(softness, device):
    # Away from the edges of pixels the logistic function is 0 or 1 to the last bit.
    segments = torch.tensor([[0.125, 0.53, 0.875, 0.53]], dtype=torch.float32)
    for dtype in (torch.float32, torch.float64):
        inputs = segments.to(device, dtype).requires_grad_()
        canvas = softraster.draw_segments(inputs, softness, 8)
        expected = torch.zeros(8, 8, dtype=dtype)
        expected[4, 1:7] = 1
        columns = [1, 2, 3, 4, 5, 6]  # the ends lie on pixel edges: columns 0 and 7 get s(0) = 1/2
        torch.testing.assert_close(
            canvas.cpu()[:, columns], expected[:, columns], rtol=0, atol=1e-6
        )
        (grad,) = torch.autograd.grad(canvas.sum(), inputs)
        assert grad.isfinite().all()


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("composite", ["sum", "over"])
def test_float32_gradients_hold_on_a_canvas_of_a_million_pixels(coverage, composite, device):
    # A faint segment reaches every pixel, so each gradient sums 2^20 terms.
    case = Case(
        torch.tensor([[0.31, 0.22, 0.71, 0.83]], dtype=torch.float32),
        torch.tensor([3.0], dtype=torch.float32),
        (1024, 1024),
        torch.tensor([0.7], dtype=torch.float32),
        torch.tensor([0.2], dtype=torch.float32) if coverage == "capsule" else None,
    )
    mode = {"coverage": coverage, "composite": composite}

    def grads(case, function):
        tensors = {n: x.clone().requires_grad_() for n, x in case.tensors.items()}
        rest = {n: x for n, x in tensors.items() if n not in ("segments", "softness")}
        canvas = function(tensors["segments"], tensors["softness"], case.size, **rest, **mode)
        return torch.autograd.grad(canvas.sum(), list(tensors.values()))

    got = grads(case.to(device), softraster.draw_segments)
    expected = grads(case.to(torch.float64), softraster.reference.draw_segments)
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x.cpu().double(), y, rtol=2e-6, atol=1e-6 * y.abs().max().item())


@pytest.mark.parametrize("composite", ["sum", "max", "over"])
def test_float32_sums_over_many_pixels_lose_no_bit_that_the_result_has(composite):
    # Of softness 0, coverage is 1/2 everywhere. Added up in float32, the 2^-17 would be lost.
    intensity = torch.ones(1, requires_grad=True)
    canvas = softraster.draw_segments(
        torch.tensor([[0.2, 0.3, 0.7, 0.6]]),
        torch.zeros(1),
        1024,
        coverage="capsule",
        width=torch.tensor([0.1]),
        intensity=intensity,
        composite=composite,
    )
    (grad,) = torch.autograd.grad(canvas, intensity, torch.full_like(canvas, 1 + 2.0**-17))
    assert grad.item() == 2.0**19 * (1 + 2.0**-17)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-6), (torch.float64, 2e-14)])
@pytest.mark.parametrize("steps", [0.37, 0.0711])
def test_a_dots_coverage_falls_off_as_the_logistic_function_to_its_last_digits(
    dtype, relative, steps, device
):
    # Centres of pixels lie whole pixels away from the dot: nothing but exp() is rounded.
    pixels = 12
    width = torch.tensor([2 / pixels], dtype=dtype, device=device)
    dot = torch.tensor([[0.5, 0.5, 0.5, 0.5]], dtype=dtype, device=device) / pixels
    softness = torch.tensor([steps * pixels], dtype=dtype, device=device)
    canvas = softraster.draw_segments(
        dot, softness, (1, pixels), coverage="capsule", width=width, tolerance=0
    )
    k = softness.item() / pixels
    expected = [1 / (1 + math.exp(k * (pixel - 1))) for pixel in range(pixels)]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(canvas[0].double().cpu(), expected, rtol=relative, atol=0)


def test_draw_strokes_joins_consecutive_points_with_the_first_points_softness(device):
    make = torch.Generator().manual_seed(0)
    points = torch.rand(3, 5, 3, dtype=torch.float64, generator=make) * torch.tensor([1, 1, 200.0])
    points.requires_grad_()
    segments = torch.stack(
        [torch.cat([points[:, p, :2], points[:, p + 1, :2]], -1) for p in range(4)], 1
    )
    expected = softraster.reference.draw_segments(segments, points[:, :4, 2], (24, 28))
    canvas = softraster.draw_strokes(points.to(device), (24, 28), tolerance=0).cpu()
    torch.testing.assert_close(canvas, expected, rtol=0, atol=1e-12)
    grad = torch.randn(canvas.shape, dtype=torch.float64, generator=make)
    torch.testing.assert_close(
        torch.autograd.grad(canvas, points, grad)[0], torch.autograd.grad(expected, points, grad)[0]
    )


@pytest.mark.parametrize("points", [0, 1])
def test_draw_strokes_of_fewer_than_two_points_draws_nothing(points, device):
    assert softraster.draw_strokes(torch.rand(2, points, 3, device=device), 8).eq(0).all()
