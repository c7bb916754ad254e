"""The fused op against the reference: values and gradients, both composites, both precisions."""

import pytest
import torch
from cases import NAMED, Case, random_case

import softraster

COMPOSITES = ("sum", "max")
RANDOM = {
    f"random {seed}, {size}": random_case(seed, size=size)
    for seed, size in enumerate([(20, 28), (28, 20), (33, 33), (7, 50), (64, 64), (3, 3)])
}
ALL = {**NAMED, **RANDOM}


def draw(function, case: Case, **options):
    """Canvas, and the gradients of a fixed random projection of it."""
    inputs = [x.clone().requires_grad_() for x in case.inputs]
    intensity = inputs[2] if len(inputs) == 3 else None
    canvas = function(inputs[0], inputs[1], case.size, intensity=intensity, **options)
    make = torch.Generator().manual_seed(7)
    grad = torch.randn(canvas.shape, dtype=torch.float64, generator=make).to(canvas.dtype)
    return canvas, torch.autograd.grad(canvas, inputs, grad)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", ALL)
def test_float64_agrees_to_rounding(name, composite):
    case = ALL[name]
    canvas, grads = draw(softraster.draw_segments, case, composite=composite, tolerance=0)
    expected, expected_grads = draw(softraster.reference.draw_segments, case, composite=composite)
    torch.testing.assert_close(canvas, expected, rtol=0, atol=1e-12)
    if case.smooth:
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            scale = expected_grad.abs().max().item() if expected_grad.numel() else 0
            torch.testing.assert_close(grad, expected_grad, rtol=0, atol=1e-9 * scale + 1e-14)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", ALL)
def test_float32_agrees_with_the_float64_reference(name, composite):
    # The same float32 numbers for both: what is measured is the op, not the rounding of its inputs.
    case = ALL[name].to(torch.float32)
    canvas, grads = draw(softraster.draw_segments, case, composite=composite)
    expected, expected_grads = draw(
        softraster.reference.draw_segments, case.to(torch.float64), composite=composite
    )
    torch.testing.assert_close(canvas.double(), expected, rtol=0, atol=1e-5)
    if case.smooth:
        for grad, expected_grad in zip(grads, expected_grads, strict=True):
            scale = expected_grad.abs().max().item() if expected_grad.numel() else 0
            atol = 2e-5 * scale + 1e-7
            torch.testing.assert_close(grad.double(), expected_grad, rtol=0, atol=atol)


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_tolerance_bounds_what_is_left_out(tolerance, composite):
    case = random_case(11, shape=(3, 9), size=(40, 56))
    exact, _ = draw(softraster.draw_segments, case, composite=composite, tolerance=0)
    canvas, _ = draw(softraster.draw_segments, case, composite=composite, tolerance=tolerance)
    left_out = exact - canvas
    assert left_out.min() >= -1e-12
    assert left_out.max() <= tolerance * (9 if composite == "sum" else 1)


def test_tolerance_saves_pixels():
    case = NAMED["slanted"]
    canvas = softraster.draw_segments(case.segments, case.softness, case.size, tolerance=1e-3)
    exact = softraster.draw_segments(case.segments, case.softness, case.size, tolerance=0)
    assert (canvas == 0).sum() > 0.5 * canvas.numel()
    assert (exact == 0).sum() == 0


@pytest.mark.parametrize("softness", [1e5, 1e8, 1e30])
def test_huge_softness_draws_a_hard_line_with_finite_gradients(softness):
    # Away from the edges of pixels the logistic function is 0 or 1 to the last bit.
    segments = torch.tensor([[0.125, 0.53, 0.875, 0.53]], dtype=torch.float32)
    for dtype in (torch.float32, torch.float64):
        inputs = segments.to(dtype).requires_grad_()
        canvas = softraster.draw_segments(inputs, softness, 8)
        expected = torch.zeros(8, 8, dtype=dtype)
        expected[4, 1:7] = 1
        columns = [1, 2, 3, 4, 5, 6]  # the ends lie on pixel edges: columns 0 and 7 get s(0) = 1/2
        torch.testing.assert_close(canvas[:, columns], expected[:, columns], rtol=0, atol=1e-6)
        (grad,) = torch.autograd.grad(canvas.sum(), inputs)
        assert grad.isfinite().all()


def test_float32_gradients_hold_on_a_canvas_of_a_million_pixels():
    # A faint segment reaches every pixel, so each gradient sums 2^20 terms.
    case = Case(
        torch.tensor([[0.31, 0.22, 0.71, 0.83]], dtype=torch.float32),
        torch.tensor([3.0], dtype=torch.float32),
        (1024, 1024),
        torch.tensor([0.7], dtype=torch.float32),
    )
    inputs = [x.clone().requires_grad_() for x in case.inputs]
    exact = [x.double().requires_grad_() for x in case.inputs]
    for at, x in (
        (inputs, softraster.draw_segments),
        (exact, softraster.reference.draw_segments),
    ):
        x(at[0], at[1], case.size, intensity=at[2]).sum().backward()
    for x, y in zip(inputs, exact, strict=True):
        torch.testing.assert_close(
            x.grad.double(), y.grad, rtol=2e-6, atol=1e-6 * y.grad.abs().max().item()
        )


def test_draw_strokes_joins_consecutive_points_with_the_first_points_softness():
    make = torch.Generator().manual_seed(0)
    points = torch.rand(3, 5, 3, dtype=torch.float64, generator=make) * torch.tensor([1, 1, 200.0])
    points.requires_grad_()
    segments = torch.stack(
        [torch.cat([points[:, p, :2], points[:, p + 1, :2]], -1) for p in range(4)], 1
    )
    expected = softraster.reference.draw_segments(segments, points[:, :4, 2], (24, 28))
    canvas = softraster.draw_strokes(points, (24, 28), tolerance=0)
    torch.testing.assert_close(canvas, expected, rtol=0, atol=1e-12)
    grad = torch.randn(canvas.shape, dtype=torch.float64, generator=make)
    torch.testing.assert_close(
        torch.autograd.grad(canvas, points, grad)[0], torch.autograd.grad(expected, points, grad)[0]
    )


@pytest.mark.parametrize("points", [0, 1])
def test_draw_strokes_of_fewer_than_two_points_draws_nothing(points):
    assert softraster.draw_strokes(torch.rand(2, points, 3), 8).eq(0).all()
