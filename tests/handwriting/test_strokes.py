"""Where the pen is up."""

import math

import pytest
import torch

from handwriting.strokes import LIFTED_LOG_SOFTNESS, pen_lifted
from softraster import draw_segments


def test_a_segment_is_lifted_by_the_softness_of_its_first_point():
    strokes = torch.full((2, 4, 3), 0.5)
    strokes[..., 2] = 1000
    strokes[0, 1, 2] = 1
    strokes[1, 3, 2] = 1  # the last point starts no segment
    assert pen_lifted(strokes).tolist() == [[False, True, False], [False, False, False]]


def test_the_threshold_is_on_the_logarithm_of_the_softness_and_is_lifted_itself():
    shifts = (-0.1, 0, 0.1, 0.1)
    softness = [math.exp(LIFTED_LOG_SOFTNESS + shift) for shift in shifts]
    stroke = torch.zeros(len(shifts), 3, dtype=torch.float64)
    stroke[:, 2] = torch.tensor(softness, dtype=torch.float64)
    assert pen_lifted(stroke).tolist() == [True, True, False]


def test_what_is_just_lifted_inks_a_third_of_a_pixel_at_most():
    softness = math.exp(LIFTED_LOG_SOFTNESS)
    diagonal = torch.tensor([[0.1, 0.1, 0.9, 0.9]])
    assert draw_segments(diagonal, softness, 28).max().item() == pytest.approx(0.35, abs=0.01)


def test_a_stroke_of_one_point_has_no_segments():
    assert pen_lifted(torch.ones(3, 1, 3)).shape == (3, 0)
