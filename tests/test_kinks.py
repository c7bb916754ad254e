"""Where the gradient jumps: the side that docs/math.md states, of the op and of the reference.

Each scene lies on its kink to the bit: coordinates are dyadic, so that nothing is rounded.
"""

import math

import pytest
import torch

import softraster

F64 = torch.float64
SIDE = 16  # pixels: their centres are odd multiples of 1/32
LEVEL, UPRIGHT = [0.25, 0.375, 0.875, 0.375], [0.375, 0.875, 0.375, 0.25]
DIAGONAL = [0.25, 0.25, 0.75, 0.75]

what_runs = pytest.mark.parametrize(
    ("function", "device"),
    [
        pytest.param(softraster.draw_segments, "cpu", id="op"),
        pytest.param(softraster.draw_segments, "cuda", id="op, cuda", marks=pytest.mark.cuda),
        pytest.param(softraster.reference.draw_segments, "cpu", id="reference"),
    ],
)
both_coverages = pytest.mark.parametrize(
    "options", [{}, {"coverage": "capsule", "width": 0.15}], ids=["grid", "capsule"]
)


class Loss:
    """A fixed projection of the canvas, as a function of one input."""

    def __init__(self, function, device, softness=60.0, pixels=None, **options):
        make = torch.Generator().manual_seed(2)
        weights = torch.randn(SIDE, SIDE, dtype=F64, generator=make)
        if pixels is not None:  # these alone count
            only = torch.zeros_like(weights)
            for row, column in pixels:
                only[row, column] = weights[row, column]
            weights = only
        self.weights, self.device = weights.to(device), device
        self.function = function
        self.given = {"softness": softness, "tolerance": 0, **options}

    def at(self, **inputs):
        """The loss with some inputs replaced by tensors."""
        given = {**self.given, **inputs}
        canvas = self.function(given.pop("segments"), given.pop("softness"), SIDE, **given)
        return (canvas * self.weights).sum()

    def grad(self, **inputs):
        """Gradients of the loss to all the inputs, given as lists, by name; on the CPU."""
        tensors = {
            n: torch.tensor(x, dtype=F64, device=self.device, requires_grad=True)
            for n, x in inputs.items()
        }
        grads = torch.autograd.grad(self.at(**tensors), list(tensors.values()))
        return {n: g.cpu() for n, g in zip(tensors, grads, strict=True)}

    def to_ends(self, segment):
        """Gradient to x1, y1, x2, y2 of one segment."""
        return self.grad(segments=[segment])["segments"][0]

    def slope(self, segment, direction, step):
        """Difference quotient along a direction of (x1, y1, x2, y2); step < 0 looks backwards."""
        here = torch.tensor([segment], dtype=F64, device=self.device)
        there = here + step * torch.tensor([direction], dtype=F64, device=self.device)
        return ((self.at(segments=there) - self.at(segments=here)) / step).item()


def assert_is_the_mean_of_both_sides(loss, segment, direction):
    """And that the sides differ: otherwise this would not be a kink."""
    left, right = (loss.slope(segment, direction, step) for step in (-1e-8, 1e-8))
    got = loss.to_ends(segment) @ torch.tensor(direction, dtype=F64)
    assert got.item() == pytest.approx((left + right) / 2, rel=1e-5, abs=1e-6)
    assert abs(left - right) > 1e-3 * abs(left + right)


@what_runs
@pytest.mark.parametrize(
    ("segment", "across"), [(LEVEL, (1, 3)), (UPRIGHT, (0, 2))], ids=["level", "upright"]
)
def test_along_an_axis_the_gradient_is_the_mean_of_both_sides(function, device, segment, across):
    for end in across:
        direction = [float(end == n) for n in range(4)]
        assert_is_the_mean_of_both_sides(Loss(function, device), segment, direction)


def grads_beside_45_degrees(loss):
    """Of the flatter segment, of the one at 45 degrees, and of the steeper."""
    x1, y1, x2, y2 = DIAGONAL
    return [loss.to_ends([x1, y1, x2, y2 + away]) for away in (-1e-9, 0.0, 1e-9)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_at_45_degrees_the_ops_gradient_is_that_of_the_flatter_segment(device):
    flatter, between, steeper = grads_beside_45_degrees(Loss(softraster.draw_segments, device))
    torch.testing.assert_close(between, flatter, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(between, steeper, rtol=1e-3)


def test_at_45_degrees_the_references_gradient_is_the_mean_of_both_sides():
    loss = Loss(softraster.reference.draw_segments, "cpu")
    flatter, between, steeper = grads_beside_45_degrees(loss)
    torch.testing.assert_close(between, (flatter + steeper) / 2, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(flatter, steeper, rtol=1e-3)


@what_runs
@both_coverages
@pytest.mark.parametrize("length", [0.0, 2.0**-26], ids=["of no length", "shorter than a dot"])
def test_a_dots_gradient_is_finite_and_shared_equally_by_its_ends(
    function, device, options, length
):
    # 2^-26 of 16 pixels is 2.4e-7 of one.
    dot = [0.40625, 0.65625, 0.40625 + length, 0.65625]
    loss = Loss(function, device, **options)
    grad = loss.to_ends(dot)
    assert grad.isfinite().all() and grad.abs().min() > 0
    torch.testing.assert_close(grad[:2], grad[2:], rtol=1e-12, atol=0)


@what_runs
@both_coverages
def test_a_dots_gradient_is_the_derivative_of_moving_it(function, device, options):
    dot = [0.41, 0.63, 0.41, 0.63]
    loss = Loss(function, device, **options)
    grad = loss.to_ends(dot)
    for axis, direction in enumerate(([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0])):
        moved = [loss.slope(dot, direction, step) for step in (-1e-7, 1e-7)]
        assert grad[axis::2].sum().item() == pytest.approx(sum(moved) / 2, rel=1e-5)


@what_runs
@pytest.mark.parametrize("axis", [0, 1], ids=["x", "y"])
def test_where_a_dots_boxes_are_equal_its_gradient_is_the_mean_of_both_sides(
    function, device, axis
):
    # On the diagonals through a corner of pixels, b_x = b_y.
    dot = [0.25, 0.75, 0.25, 0.75]
    loss = Loss(function, device, pixels=[(12, 4)])
    direction = [float(n % 2 == axis) for n in range(4)]
    assert_is_the_mean_of_both_sides(loss, dot, direction)


@what_runs
@both_coverages
def test_under_max_the_first_of_equal_segments_has_the_gradient(function, device, options):
    segment = [0.1, 0.3, 0.9, 0.5]
    loss = Loss(function, device, composite="max", **options)
    grads = loss.grad(segments=[segment] * 3, intensity=[0.5] * 3)
    alone = loss.grad(segments=[segment], intensity=[0.5])
    for name, grad in grads.items():
        torch.testing.assert_close(grad[:1], alone[name])
        assert grad[0].abs().min() > 0 and grad[1:].eq(0).all()


@what_runs
@both_coverages
def test_under_max_a_segment_of_no_intensity_loses_to_the_blank_canvas(function, device, options):
    loss = Loss(function, device, composite="max", **options)
    grads = loss.grad(
        segments=[[0.1, 0.3, 0.9, 0.5]], intensity=[0.0], color=[[1.0]], softness=[60.0]
    )
    assert all(grad.eq(0).all() for grad in grads.values())


@what_runs
@pytest.mark.parametrize("composite", ["sum", "softor", "over"])
def test_a_segment_of_no_intensity_draws_nothing_and_still_learns_it(function, device, composite):
    segment = [0.1, 0.3, 0.9, 0.5]
    loss = Loss(function, device, composite=composite)
    grads = loss.grad(segments=[segment], intensity=[0.0])
    assert grads["segments"].eq(0).all()
    full = torch.ones(1, dtype=F64, device=device)
    ink = loss.at(segments=torch.tensor([segment], dtype=F64, device=device), intensity=full)
    torch.testing.assert_close(grads["intensity"][0], ink.cpu())


@what_runs
@pytest.mark.parametrize("place", ["inside", "at an end", "a dot"])
def test_on_a_capsules_axis_a_pixel_moves_no_end(function, device, place):
    pixel = (5, 7)  # its centre is at x = 15/32, y = 11/32
    x, y = 15 / 32, 11 / 32
    segment = {
        "inside": [x - 0.25, y - 0.125, x + 0.25, y + 0.125],
        "at an end": [x, y, x + 0.5, y + 0.125],
        "a dot": [x, y, x, y],
    }[place]
    k, w = 30.0, 0.125
    options = {"coverage": "capsule", "pixels": [pixel]}
    loss = Loss(function, device, **options)
    grads = loss.grad(segments=[segment], softness=[k], width=[w])
    assert grads["segments"].eq(0).all()
    # I = s(k w / 2) there, so width and softness still have theirs.
    value = 1 / (1 + math.exp(-k * w / 2))
    weight = loss.weights[pixel].item() * value * (1 - value)
    assert grads["width"].item() == pytest.approx(weight * k / 2, rel=1e-12)
    assert grads["softness"].item() == pytest.approx(weight * w / 2, rel=1e-12)


@what_runs
@pytest.mark.parametrize("column", [4, 11], ids=["first end", "second end"])
def test_where_a_capsules_nearest_point_reaches_an_end_the_gradient_does_not_jump(
    function, device, column
):
    # The centres of columns 4 and 11 project to 0 and 1 exactly; y keeps all centres off the axis.
    segment = [9 / 32, 0.5, 23 / 32, 0.5]
    pixels = [(row, column) for row in range(SIDE)]
    loss = Loss(function, device, pixels=pixels, coverage="capsule", width=0.125)
    at_end = loss.to_ends(segment)
    assert at_end.abs().max() > 1e-3
    for shift in (-1e-9, 1e-9):
        beside = loss.to_ends([segment[0] + shift, 0.5, segment[2] + shift, 0.5])
        torch.testing.assert_close(beside, at_end, rtol=1e-6, atol=1e-6)


@what_runs
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("softness", {}),
        ("softness", {"coverage": "capsule", "width": 0.125}),
        ("width", {"coverage": "capsule"}),
    ],
    ids=["softness, grid", "softness, capsule", "width"],
)
def test_at_0_the_gradient_to_softness_and_width_is_that_from_above(
    function, device, name, options
):
    loss = Loss(function, device, **options)
    segment = torch.tensor([[0.2, 0.3, 0.7, 0.45]], dtype=F64, device=device)
    grad = loss.grad(segments=segment.tolist(), **{name: [0.0]})[name].item()
    at_0, above, below = (
        loss.at(segments=segment, **{name: torch.tensor([x], dtype=F64, device=device)})
        for x in (0.0, 1e-7, -1e-7)
    )
    assert grad != 0
    assert grad == pytest.approx(((above - at_0) / 1e-7).item(), rel=1e-4)
    assert below.isnan()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("coverage", ["grid", "capsule"])
@pytest.mark.parametrize("pixels_away", [2, 3, 5])
@pytest.mark.parametrize("nudge", [-1e-9, 0.0, 1e-9])
def test_a_pixel_on_the_supports_border_is_in_or_out_with_its_gradient(
    device, coverage, pixels_away, nudge
):
    # The reach (M5) is as many pixels, with a softness that the nudge makes harder or softer.
    tolerance, half = 1e-3, 0.5 if coverage == "grid" else 0.75
    softness = SIDE * math.log(1 / tolerance) / (pixels_away - half) * (1 + nudge)
    options = {} if coverage == "grid" else {"coverage": coverage, "width": 2 * half / SIDE}
    segments = torch.tensor([[0.25, 17 / 32, 0.75, 17 / 32]], dtype=F64, device=device)
    segments.requires_grad_()
    canvas, exact = (
        softraster.draw_segments(segments, softness, SIDE, tolerance=t, **options)
        for t in (tolerance, 0)
    )
    border = [(8 - pixels_away, 8), (8 + pixels_away, 8)]
    for row, column in [*border, (8, 8)]:
        pixel, whole = canvas[row, column], exact[row, column]
        grads = [torch.autograd.grad(x, segments, retain_graph=True)[0] for x in (pixel, whole)]
        if pixel == 0:
            assert (row, column) in border and whole <= tolerance
            assert grads[0].eq(0).all()
        else:
            assert pixel == whole and torch.equal(*grads)
