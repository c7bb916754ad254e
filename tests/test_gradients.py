"""Gradients by finite differences, in float64 and away from kinks, and by hand at the kinks."""

import pytest
import torch
from cases import COMPOSITES, COVERAGES, random_case
from torch.autograd import gradcheck

import softraster

WHAT_RUNS = [
    pytest.param(softraster.draw_segments, "cpu", id="op"),
    pytest.param(softraster.draw_segments, "cuda", id="op, cuda", marks=pytest.mark.cuda),
    pytest.param(softraster.reference.draw_segments, "cpu", id="reference"),
]


def away_from_kinks(case):
    """Leave out segments whose gradient jumps nearby: at 45 degrees, along an axis."""
    dx = (case.segments[..., 2] - case.segments[..., 0]).abs()
    dy = (case.segments[..., 3] - case.segments[..., 1]).abs()
    keep = ((dx - dy).abs() > 1e-3) & (dx > 1e-3) & (dy > 1e-3)
    assert keep.all(), "choose another seed"
    return case


@pytest.mark.parametrize(("function", "device"), WHAT_RUNS)
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("channels", [None, 1, 4])
@pytest.mark.parametrize("size", [(9, 7), (5, 12)], ids=str)
def test_gradcheck_to_every_input(function, device, coverage, composite, channels, size):
    case = away_from_kinks(random_case(sum(size), shape=(2, 3), size=size))
    case = case.dressed(coverage, composite, channels).to(device)
    names, inputs = case.tensors.keys(), [x.clone().requires_grad_() for x in case.tensors.values()]

    def draw(*tensors):
        given = dict(zip(names, tensors, strict=True))
        mode = {"coverage": coverage, "composite": composite, "tolerance": 0}
        return function(given.pop("segments"), given.pop("softness"), size, **given, **mode)

    assert gradcheck(draw, inputs, eps=1e-7, atol=3e-5)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_gradcheck_when_one_input_alone_requires_a_gradient(wanted, device):
    case = away_from_kinks(random_case(5, shape=(3,), size=(8, 8))).to(device)
    inputs = [x.clone().requires_grad_(n == wanted) for n, x in enumerate(case.tensors.values())]
    assert gradcheck(
        lambda s, k, c: softraster.draw_segments(s, k, 8, intensity=c, tolerance=0),
        inputs,
        eps=1e-7,
    )


def test_gradcheck_to_points_of_strokes(device):
    make = torch.Generator().manual_seed(1)
    points = torch.rand(2, 4, 3, dtype=torch.float64, generator=make) * torch.tensor([1, 1, 40.0])
    points = points.to(device).requires_grad_()
    assert gradcheck(
        lambda p: softraster.draw_strokes(p, 8, tolerance=0), points, eps=1e-7, atol=2e-5
    )


def test_a_dots_gradient_is_finite_and_shared_equally_by_its_ends(device):
    options = {"dtype": torch.float64, "device": device}
    segments = torch.tensor([[0.41, 0.63, 0.41, 0.63]], **options, requires_grad=True)
    canvas = softraster.draw_segments(segments, 100.0, 16)
    weights = torch.linspace(0, 1, 256, **options).reshape(16, 16)
    (grad,) = torch.autograd.grad((canvas * weights).sum(), segments)
    assert grad.isfinite().all() and grad.abs().min() > 0
    assert torch.equal(grad[0, :2], grad[0, 2:])
    # Moving both ends moves the dot: their sum is the derivative by finite differences.
    for axis in range(2):
        step = torch.zeros(1, 4, **options)
        step[0, axis::2] = 1e-6
        up, down = (
            (softraster.draw_segments(segments.detach() + s, 100.0, 16) * weights).sum()
            for s in (step, -step)
        )
        assert grad[0, axis::2].sum().item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-5)


@pytest.mark.parametrize(
    "segment", [[0.2, 0.4, 0.9, 0.4], [0.4, 0.9, 0.4, 0.2]], ids=["level", "upright"]
)
def test_along_an_axis_the_gradient_is_the_mean_of_both_sides(segment, device):
    options = {"dtype": torch.float64, "device": device}
    segments = torch.tensor([segment], **options, requires_grad=True)
    weights = torch.linspace(-1, 1, 256, **options).reshape(16, 16) ** 3

    def loss(s):
        return (softraster.draw_segments(s, 60.0, 16, tolerance=0) * weights).sum()

    (grad,) = torch.autograd.grad(loss(segments), segments)
    for end in range(4):
        step = torch.zeros(1, 4, **options)
        step[0, end] = 1e-8
        central = (loss(segments.detach() + step) - loss(segments.detach() - step)) / 2e-8
        assert grad[0, end].item() == pytest.approx(central.item(), rel=1e-5, abs=1e-7)


def test_at_45_degrees_the_gradient_is_that_of_the_flatter_segment(device):
    make = torch.Generator().manual_seed(2)
    weights = torch.randn(16, 16, dtype=torch.float64, generator=make).to(device)

    def grad(y2):
        segments = torch.tensor([[0.25, 0.25, 0.75, y2]], dtype=torch.float64, device=device)
        segments.requires_grad_()
        canvas = softraster.draw_segments(segments, 60.0, 16, tolerance=0)
        return torch.autograd.grad((canvas * weights).sum(), segments)[0]

    torch.testing.assert_close(grad(0.75), grad(0.75 - 1e-9), rtol=1e-6, atol=1e-7)
    assert not torch.allclose(grad(0.75), grad(0.75 + 1e-9), rtol=1e-3)


def test_under_max_the_first_of_equal_segments_has_the_gradient(device):
    segments = torch.tensor([[0.1, 0.3, 0.9, 0.5]] * 3, dtype=torch.float64, device=device)
    segments.requires_grad_()
    canvas = softraster.draw_segments(segments, 100.0, 16, composite="max")
    (grad,) = torch.autograd.grad(canvas.sum(), segments)
    assert grad[0].abs().min() > 0
    assert torch.equal(grad[1:], torch.zeros_like(grad[1:]))


def test_an_absent_segment_draws_nothing_and_still_learns_its_intensity(device):
    options = {"dtype": torch.float64, "device": device, "requires_grad": True}
    segments = torch.tensor([[0.1, 0.3, 0.9, 0.5]], **options)
    intensity = torch.zeros(1, **options)
    canvas = softraster.draw_segments(segments, 100.0, 16, intensity=intensity)
    assert canvas.eq(0).all()
    grads = torch.autograd.grad(canvas.sum(), (segments, intensity))
    assert grads[0].eq(0).all()
    ink = softraster.draw_segments(segments, 100.0, 16).sum()
    torch.testing.assert_close(grads[1][0], ink.detach())


def test_second_derivatives_raise(device):
    segments = torch.rand(2, 4, device=device, requires_grad=True)
    canvas = softraster.draw_segments(segments, 100.0, 16)
    (grad,) = torch.autograd.grad(canvas.square().sum(), segments, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        grad.sum().backward()
    nested = torch.func.jacrev(
        torch.func.grad(lambda s: softraster.draw_segments(s, 9.0, 16).sum())
    )
    with pytest.raises(RuntimeError, match="first derivatives only"):
        nested(segments.detach())
