"""Where the pen is up."""

import math

import torch

from handwriting.strokes import LIFTED_LOG_SOFTNESS, pen_lifted


def test_a_segment_is_lifted_by_the_softness_of_its_first_point():
    strokes = torch.full((2, 4, 3), 0.5)
    strokes[..., 2] = 1000
    strokes[0, 1, 2] = 1
    strokes[1, 3, 2] = 1  # the last point starts no segment
    assert pen_lifted(strokes).tolist() == [[False, True, False], [False, False, False]]


def test_the_threshold_is_on_the_logarithm_of_the_softness():
    softness = torch.tensor([math.exp(LIFTED_LOG_SOFTNESS + shift) for shift in (-0.1, 0.1, 0)])
    stroke = torch.stack((torch.zeros(3), torch.zeros(3), softness), dim=1)
    assert pen_lifted(stroke).tolist() == [True, False]


def test_a_stroke_of_one_point_has_no_segments():
    assert pen_lifted(torch.ones(3, 1, 3)).shape == (3, 0)
