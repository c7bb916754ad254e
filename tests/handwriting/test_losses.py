"""Losses against loops over their formulas, hand-made strokes, and SciPy's blur."""

import itertools
import math

import pytest
import torch

from handwriting.losses import (
    blurred_loss,
    length_loss,
    pixel_loss,
    stroke_loss,
    turning_loss,
)


def stroke(*points):
    return torch.tensor([points], dtype=torch.float64)


def test_pixel_loss_is_the_mean_square():
    canvas, target = torch.tensor([[[0.5, 2.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert pixel_loss(canvas, target) == (0.25 + 1) / 2


def test_length_is_the_mean_length_of_the_segments():
    points = stroke((0, 0, 9), (0.3, 0.4, -9), (0.3, 0.4, 0), (0.3, 0.9, 0))
    assert length_loss(points).item() == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert length_loss(points.repeat(4, 1, 1)).item() == pytest.approx(1 / 3)


def test_length_of_points_that_coincide_has_a_gradient_without_nan():
    points = stroke((0.5, 0.5), (0.5, 0.5), (0.5, 0.7)).requires_grad_()
    length_loss(points).backward()
    torch.testing.assert_close(points.grad[0, :, 1], torch.tensor([0, -0.5, 0.5]).double())


@pytest.mark.parametrize("angle", [0, 30, 90, 135, 180])
def test_turning_is_one_minus_the_cosine_of_the_turn(angle):
    turn = math.radians(angle)
    points = stroke((0, 0), (1, 0), (1 + math.cos(turn), math.sin(turn)))
    assert turning_loss(points).item() == pytest.approx(1 - math.cos(turn), abs=1e-6)


def test_turning_counts_segments_the_less_the_shorter_they_are():
    for length, counts in ((1, 1), (1e-7**0.5, 0.5**0.5), (0, 0)):
        points = stroke((0, 0), (1, 0), (1 + length, 0)).requires_grad_()
        loss = turning_loss(points)
        assert loss.item() == pytest.approx(1 - counts, abs=1e-6)
        loss.backward()
        assert points.grad.isfinite().all()


def test_turning_is_the_formula_of_the_post():
    torch.manual_seed(0)
    points = torch.rand(3, 6, 3, dtype=torch.float64)
    cosines = []
    for one in points.tolist():
        units = []
        for (x1, y1, _), (x2, y2, _) in itertools.pairwise(one):
            length = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2 + 1e-7)
            units.append(((x2 - x1) / length, (y2 - y1) / length))
        cosines += [a * c + b * d for (a, b), (c, d) in itertools.pairwise(units)]
    assert turning_loss(points).item() == pytest.approx(1 - sum(cosines) / len(cosines))


def test_blurs_are_those_of_scipy():
    gaussian_filter = pytest.importorskip("scipy.ndimage").gaussian_filter
    torch.manual_seed(0)
    canvas, target = torch.rand(2, 2, 28, 20, dtype=torch.float64)
    wanted = 0
    for sigma, weight in ((1, 2), (2, 4), (4, 8)):  # pixels, and what the blur counts
        for error in (canvas - target).numpy():
            # Down and across apart: what is kept of the kernel is the canvas's size.
            for axis, size in ((0, 28), (1, 20)):
                error = gaussian_filter(error, sigma, axes=axis, mode="constant", radius=size - 1)
            wanted += weight * (error**2).mean() / 2
    assert blurred_loss(canvas, target).item() == pytest.approx(wanted, rel=1e-12)


def test_blurs_pull_at_ink_that_pixels_do_not_reach():
    place = torch.tensor(8.0, requires_grad=True)
    rows = torch.arange(28.0)
    near = torch.exp(-((rows - place) ** 2))  # a bar around row 8, to be moved to row 20
    canvas = near[:, None].expand(28, 28)[None]
    target = torch.zeros(1, 28, 28)
    target[:, 20] = 1
    pulls = [torch.autograd.grad(loss(canvas, target), place, retain_graph=True)[0]
             for loss in (pixel_loss, blurred_loss)]  # fmt: skip
    assert abs(pulls[0]) < 1e-6 and pulls[1] < -1e-4


def test_strokes_are_compared_by_the_squared_error_of_x_and_y():
    written, collected = stroke((0, 0, 5), (1, 0, 5)), stroke((0, 1, 7), (1, 3, 9))
    assert stroke_loss(written, collected) == (1 + 9) / 4


def test_drawings_far_off_hardly_pull_under_a_scale():
    near = torch.tensor([0.1, 2.0], dtype=torch.float64, requires_grad=True)
    written = torch.stack((near, torch.zeros(2)), 1)[:, None].expand(2, 3, 2)
    collected = torch.zeros(2, 3, 2, dtype=torch.float64)
    loss = stroke_loss(written, collected, scale=0.4)
    bounded = [d**2 / 2 / (1 + (d / 0.4) ** 2) for d in (0.1, 2.0)]
    assert loss.item() == pytest.approx(sum(bounded) / 2)
    loss.backward()
    # The derivative of half of d^2 / (1 + d^2 / s^2), over the two drawings.
    pulls = [d / (1 + (d / 0.4) ** 2) ** 2 / 2 for d in (0.1, 2.0)]
    assert near.grad.tolist() == pytest.approx(pulls) and pulls[1] < pulls[0] / 10


def test_a_way_that_most_write_costs_less_than_the_mean_of_all_ways():
    ways = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])[:, None, None].expand(5, 4, 2)
    losses = {
        scale: [stroke_loss(torch.full_like(ways, at), ways, scale) for at in (0.0, 0.4)]
        for scale in (None, 0.1)
    }
    assert losses[None][1] < losses[None][0] and losses[0.1][0] < losses[0.1][1]
