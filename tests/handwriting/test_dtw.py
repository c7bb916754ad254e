"""Warping distances against a slow table, and paths whose points are known."""

import numpy as np
import pytest

from handwriting.dtw import dtw, path_points, resample, unit_box


def slow_dtw(a, b):
    """Mean over the steps of the best warping; of equal sums, the one with the fewest steps."""
    table = {(-1, -1): (0.0, 0)}
    for i in range(len(a)):
        for j in range(len(b)):
            before = [table.get(k, (np.inf, 0)) for k in ((i - 1, j - 1), (i - 1, j), (i, j - 1))]
            total, steps = min(before)
            table[i, j] = total + np.hypot(*(a[i] - b[j])), steps + 1
    total, steps = table[len(a) - 1, len(b) - 1]
    return total / steps


def drawing(*points):
    return np.array([points], float)


def test_dtw_equals_a_slow_table_for_all_pairs():
    random = np.random.default_rng(0)
    paths, others = random.random((7, 24, 2)), random.random((5, 24, 2))
    expected = [[slow_dtw(path, other) for other in others] for path in paths]
    np.testing.assert_allclose(dtw(paths[:, None], others[None]), expected, atol=5e-6)
    np.testing.assert_allclose(dtw(paths[:5], others), np.diag(expected[:5]), atol=5e-6)


def test_more_pairs_than_a_chunk_has_are_each_compared():
    random = np.random.default_rng(1)
    paths, others = random.random((40, 1, 3, 2)), random.random((1, 500, 3, 2))
    result = dtw(paths, others)
    for row, column in ((0, 0), (13, 77), (39, 499)):
        alone = dtw(paths[row], others[:, column])
        np.testing.assert_array_equal(result[row, column], alone[0])


def test_parallel_lines_are_their_distance_apart_and_a_path_is_none_from_itself():
    line = np.stack((np.linspace(0, 1, 20), np.full(20, 0.25)), axis=1)[None]
    assert dtw(line, line)[0] == 0
    np.testing.assert_allclose(dtw(line, line + np.array([0, 0.01])), 0.01, atol=4e-6)


def test_a_path_that_lingers_is_near_to_one_that_does_not():
    even = np.linspace(0, 1, 21)
    late = np.concatenate((np.zeros(10), np.linspace(0, 1, 11)))
    paths = np.stack((even, late))[..., None] * [1, 0]
    warped = dtw(paths[:1], paths[1:])[0]
    assert warped < 0.1 * np.abs(even - late).mean()


def test_a_path_without_points_is_at_no_distance():
    paths = np.zeros((3, 4, 2))
    paths[1] = np.nan
    assert np.isnan(dtw(paths, paths)).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("paths", "others", "says"),
    [
        (np.zeros((2, 5, 2)), np.zeros((2, 6, 2)), "cannot be compared"),
        (np.zeros((2, 5, 2)), np.zeros((5, 2)), "cannot be compared"),
        (np.zeros((1, 33, 2)), np.zeros((1, 33, 2)), "at most 32 points, got 33"),
        (np.zeros((1, 5, 2)), np.full((1, 5, 2), 3.0), "within a square of 1.414, theirs is 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(paths, others, says):
    with pytest.raises(ValueError, match=says):
        dtw(paths, others)


def test_points_are_even_along_the_way_and_keep_the_ends():
    corner = np.array([[[0, 0], [0, 0], [2, 0], [2, 1], [2, 1]]], float)
    expected = [[0, 0], [0.5, 0], [1, 0], [1.5, 0], [2, 0], [2, 0.5], [2, 1]]
    np.testing.assert_allclose(resample(corner, 7)[0], expected, atol=1e-12)
    np.testing.assert_array_equal(resample(np.ones((1, 3, 2)), 4), np.ones((1, 4, 2)))


def test_lines_are_joined_in_drawing_order_and_the_air_before_and_after_is_not_walked():
    flight = drawing([9, 9, 1], [0, 0, 0], [1, 0, 1], [5, 5, 1], [1, 1, 0], [0, 1, 1], [7, 7, 1])
    straight = drawing([0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1])
    np.testing.assert_allclose(path_points(flight, 10), path_points(straight, 10), atol=1e-12)


def test_a_drawing_that_is_lifted_throughout_has_no_path():
    assert np.isnan(path_points(drawing([0, 0, 1], [1, 1, 1]))).all()


def test_a_unit_box_is_filled_on_both_axes_and_a_line_keeps_to_one():
    paths = np.array([[[2, 3], [4, 3.5], [3, 4]], [[1, 1], [1, 3], [1, 2]]], float)
    expected = [[[0, 0], [1, 0.5], [0.5, 1]], [[0, 0], [0, 1], [0, 0.5]]]
    np.testing.assert_allclose(unit_box(paths), expected)
