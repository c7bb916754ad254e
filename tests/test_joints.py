"""Gradients where segments end and meet, each pixel of a canvas by itself."""

import pytest
import torch
from cases import COMPOSITES, COVERAGES

import softraster

SIDE = 12
# A bend, a straight joint, a turn back on itself, and free ends inside the canvas.
POINTS = [(2.3, 2.6), (6.1, 3.9), (9.9, 5.2), (4.2, 9.7), (7.05, 7.451)]


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("coverage", COVERAGES)
def test_every_pixel_around_caps_and_joints_passes_gradcheck(coverage, composite):
    points = (torch.tensor(POINTS, dtype=torch.float64) / SIDE).requires_grad_()
    softness = torch.tensor([3.0, 5.0, 2.0, 6.0], dtype=torch.float64) * SIDE
    width = torch.tensor([1.5, 0.4, 3.0, 2.0], dtype=torch.float64) / SIDE
    tensors = [points, softness.requires_grad_()]
    if coverage == "capsule":
        tensors.append(width.requires_grad_())

    def draw(points, softness, width=None):
        segments = torch.cat([points[:-1], points[1:]], -1)
        options = {"width": width, "coverage": coverage, "composite": composite}
        return softraster.draw_segments(segments, softness, SIDE, tolerance=0, **options)

    assert torch.autograd.gradcheck(draw, tensors, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("composite", ["max", "softor"])
def test_a_straight_line_cut_in_two_is_seamless_under_max_alone(composite):
    whole = torch.tensor([[0.2, 0.3, 0.8, 0.6]], dtype=torch.float64)
    middle = 0.5 * (whole[:, :2] + whole[:, 2:])
    halves = torch.cat([torch.cat([whole[:, :2], middle], 1), torch.cat([middle, whole[:, 2:]], 1)])
    options = {"width": 0.1, "coverage": "capsule", "composite": composite, "tolerance": 0}

    def draw(segments):
        return softraster.draw_segments(segments, 200.0, 32, **options)

    difference = (draw(whole) - draw(halves)).abs()
    assert (difference.max() < 1e-12) == (composite == "max")
