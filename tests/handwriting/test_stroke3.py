"""Stroke-3: known answers, and drawings that come back."""

import numpy as np
from strokesets import ink_of, make_set

from handwriting.metrics import lifts
from handwriting.stroke3 import from_stroke3, join_air, to_stroke3

# Two lines, a point in the air before each and two after the last.
DRAWING = np.array(
    [
        *[(9, 9, 1), (1, 2, 0), (3, 2, 1)],
        *[(8, 8, 1), (5, 5, 0), (5, 7, 0), (4, 7, 1), (0, 0, 1), (6, 6, 1)],
    ],
    np.float32,
)


def test_each_row_is_the_way_to_a_point_and_points_in_the_air_are_none():
    offsets = to_stroke3(DRAWING)
    wanted = [
        *[(1, 2, 0), (0, 0, 0), (2, 0, 0), (0, 0, 1)],
        *[(2, 3, 0), (0, 2, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 1)],
    ]
    assert offsets.tolist() == [list(map(float, row)) for row in wanted]


def test_the_same_ink_is_drawn_in_the_same_order_with_as_many_lifts():
    drawings = make_set(200).strokes
    joined = from_stroke3(to_stroke3(drawings))
    for drawing, back in zip(drawings, joined, strict=True):
        assert ink_of(drawing) == ink_of(back)
    np.testing.assert_array_equal(lifts(joined)[0], lifts(drawings)[0])
    # A lift ends a line that has begun and another line follows: one less than there are lines.
    lines = joined[..., 2].sum(axis=1)
    inked = (drawings[:, :-1, 2] == 0).any(axis=1)
    np.testing.assert_array_equal(lines[inked] - 1, lifts(drawings)[0][inked])


def test_a_drawing_without_air_is_left_as_it_is_and_one_without_ink_too():
    plain = np.array([[(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 1)]])
    empty = np.array([[(0, 0, 1), (1, 0, 1), (2, 0, 1)]])
    for drawings in (plain, empty):
        np.testing.assert_array_equal(join_air(drawings), drawings)
        np.testing.assert_array_equal(from_stroke3(to_stroke3(drawings)), drawings)
    assert join_air(DRAWING) is not DRAWING and DRAWING[0, 0] == 9
