"""Likeness to people, and recovery of known paths, on drawings whose answer is plain."""

import numpy as np
import pytest

from handwriting.dtw import dtw, path_points, unit_box
from handwriting.people import likeness, recovery


def wobbly(count, points=9, seed=0):
    """Drawings (count, points, 3) that start at the left and end at the right."""
    random = np.random.default_rng(seed)
    drawings = np.zeros((count, points, 3))
    drawings[..., 0] = np.linspace(0.2, 0.8, points) + random.uniform(-0.01, 0.01, (count, points))
    drawings[..., 1] = random.uniform(0.3, 0.7, (count, points))
    return drawings


def backwards(drawings):
    turned = drawings[:, ::-1].copy()
    turned[:, :-1, 2] = turned[:, 1:, 2]
    return turned


def test_a_human_drawing_is_like_itself_forward_and_as_likely_backward():
    people, labels = wobbly(12), np.arange(12) % 3
    got = likeness(people, labels, people, labels)
    assert (got["dtw"] == 0).all() and (got["forward"] == 1).all()
    turned = likeness(backwards(people), labels, people, labels)
    assert (turned["dtw"] > 0.1).all() and (turned["forward"] == 0).all()


def test_likeness_is_to_the_nearest_of_the_same_class_in_a_unit_box():
    drawings, people = wobbly(10), wobbly(30, seed=1)
    labels, theirs = np.arange(10) % 3, np.arange(30) % 3
    got = likeness(drawings, labels, people, theirs)
    paths, human = unit_box(path_points(drawings)), unit_box(path_points(people))
    for number, label in enumerate(labels):
        apart = dtw(np.repeat(paths[number][None], 10, axis=0), human[theirs == label])
        assert got["dtw"][number] == apart.min()


def test_likeness_does_not_see_place_or_size():
    people, labels = wobbly(5), np.zeros(5, int)
    moved = people.copy()
    moved[..., :2] = 0.1 + 0.4 * people[..., :2]
    np.testing.assert_allclose(likeness(moved, labels, people, labels)["dtw"], 0, atol=1e-5)


def test_a_known_path_is_recovered_by_itself():
    people = wobbly(5)
    got = recovery(people, people)
    assert (got["recovery_dtw"] == 0).all()
    for name in ("recovery_direction", "recovery_start", "recovery_strokes"):
        assert (got[name] == 1).all()


def test_the_wrong_direction_the_wrong_start_and_a_needless_lift_are_each_seen():
    people = wobbly(5)
    turned = recovery(backwards(people), people)
    assert (turned["recovery_direction"] == 0).all() and (turned["recovery_start"] == 0).all()
    assert (turned["recovery_dtw"] > 3).all() and (turned["recovery_strokes"] == 1).all()
    lifted = people.copy()
    lifted[:, 4, 2] = 1
    got = recovery(lifted, people)
    assert (got["recovery_strokes"] == 0).all() and (got["recovery_direction"] == 1).all()


@pytest.mark.parametrize(("shift", "near"), [(3.9, 1), (4.1, 0)])
def test_a_shifted_copy_is_its_shift_away_at_most_and_starts_so_far_off(shift, near):
    people = wobbly(5)
    moved = people + np.array([0, shift / 28, 0])
    got = recovery(moved, people)
    assert (got["recovery_start"] == near).all()
    assert (got["recovery_dtw"] <= shift + 1e-3).all() and (got["recovery_dtw"] > 1).all()


def test_nothing_drawn_is_as_wrong_as_can_be():
    people, empty = wobbly(2), wobbly(2)
    empty[..., 2] = 1
    likely = likeness(empty, np.zeros(2, int), people, np.zeros(2, int))
    np.testing.assert_allclose(likely["dtw"], 2**0.5)
    assert (likely["forward"] == 0).all()
    got = recovery(empty, people)
    np.testing.assert_allclose(got["recovery_dtw"], 28 * 2**0.5)
    for name in ("recovery_direction", "recovery_start", "recovery_strokes"):
        assert (got[name] == 0).all()


def test_a_class_that_nobody_drew_and_unequal_numbers_are_refused():
    people = wobbly(4)
    with pytest.raises(ValueError, match="people drew no 7, which 2 drawings should be"):
        likeness(people, np.array([1, 7, 7, 1]), people, np.ones(4, int))
    with pytest.raises(ValueError, match="4 drawings cannot be compared with 3"):
        recovery(people, people[:3])
