"""Donors: digits of one size with points where the pen turns, found by their writer."""

import dataclasses

import numpy as np
import pytest

from handwriting import donors as donors_module
from handwriting.donors import CLASS_LEAN, SPACING, Donors, load_styles, prepare, resample, usable
from handwriting.formats import StrokeSet
from handwriting.own_samples import POINTS
from handwriting.samples import load_samples


def line(*points, lifted=()):
    """A drawing (P, 3) through points, the pen lifted after those numbers."""
    drawing = np.zeros((len(points), 3))
    drawing[:, :2] = points
    drawing[[*lifted, -1], 2] = 1
    return drawing


def own():
    """Drawings and labels of the project's own samples."""
    samples = load_samples("own", points=POINTS)
    return samples.strokes.numpy(), samples.labels.numpy()


def some_places(count, seed=0):
    random = np.random.default_rng(seed)
    return np.sort(random.choice(1000, count, replace=False))


def test_digits_stand_on_the_baseline_and_are_as_high_as_all():
    drawings, labels = own()
    donors = prepare(drawings, labels, np.arange(len(labels)))
    for number in range(len(labels)):
        points, lifted = donors.digit(number)
        high = points[:, 1].min()
        assert points[:, 0].min() == pytest.approx(0, abs=SPACING / 2)
        assert points[:, 1].max() == pytest.approx(0, abs=SPACING / 2)
        assert high == pytest.approx(-1, abs=SPACING / 2) or np.ptp(points[:, 0]) > 1.6 * -high
        assert lifted[-1] and lifted.sum() <= 3


def test_points_are_even_on_a_straight_line_and_the_ends_stay():
    got = resample(np.array([(0, 0), (0.1, 0.2), (0.5, 1.0), (1.0, 2.0)]))
    steps = np.hypot(*np.diff(got, axis=0).T)
    assert np.ptp(steps) < 1e-12 and abs(steps[0] - SPACING) < SPACING / 8
    np.testing.assert_allclose(got[[0, -1]], [(0, 0), (1, 2)])


def test_a_corner_keeps_a_point_where_even_points_would_cut_it():
    away = []
    for side in np.linspace(0.5, 1.0, 40):
        got = resample(np.array([(0, 0), (side, 0), (side, 0.8)]))
        away.append(np.hypot(*(got - (side, 0)).T).min())
    assert max(away) < SPACING / 4  # even points: up to SPACING / 2


def test_a_gap_in_a_line_is_drawn_and_a_new_line_is_not():
    points = (0.3, 0.2), (0.3, 0.5), (0.35, 0.55), (0.35, 0.9)
    donors = prepare(line(*points, lifted=[1])[None], np.array([1]), np.array([0]))
    assert donors.digit(0)[1].sum() == 1
    points = (0.3, 0.2), (0.3, 0.5), (0.6, 0.5), (0.6, 0.9)
    apart = np.repeat(line(*points, lifted=[1])[None], 2, axis=0)
    donors = prepare(apart, np.array([4, 8]), np.arange(2))
    assert [donors.digit(number)[1].sum() for number in range(2)] == [2, 1]


def test_slant_is_what_a_digit_leans_more_than_its_class():
    upright = line((0.5, 0.9), (0.5, 0.5), (0.5, 0.1))
    leaning = upright.copy()
    leaning[:, 0] += 0.3 * (0.5 - upright[:, 1])
    donors = prepare(np.stack((upright, leaning)), np.array([1, 1]), np.arange(2))
    np.testing.assert_allclose(donors.slants, np.array([0, 0.3]) - CLASS_LEAN[1], atol=1e-6)


def test_a_neighbour_is_near_and_at_an_even_distance_or_else_the_nearest():
    drawings, labels = own()
    places = some_places(len(labels))
    donors = prepare(drawings, labels, places)
    random = np.random.default_rng(1)
    for centre in range(0, len(labels), 7):
        for label in range(10):
            away = np.abs(places - places[centre])
            away[(labels != label) | (away % 2 == 1)] = 10_000
            allowed = away <= 60 if (away <= 60).any() else away == away.min()
            chosen = {donors.neighbour(centre, label, random) for _ in range(60)}
            assert chosen == set(np.flatnonzero(allowed))


def test_the_slant_of_a_hand_is_the_mean_of_the_neighbours():
    drawings, labels = own()
    places = some_places(len(labels))
    donors = prepare(drawings, labels, places)
    for number, place in enumerate(places):
        away = np.abs(places - place)
        wanted = donors.slants[(away <= 60) & (away % 2 == 0)].mean()
        assert donors.hand_slants[number] == pytest.approx(wanted, abs=1e-9)


def test_badly_drawn_test_digits_and_sixes_without_a_loop_are_not_used():
    turn = np.linspace(0, 1.7 * np.pi, 18)
    loop = line(*np.column_stack((0.5 - 0.2 * np.sin(turn), 0.5 - 0.2 * np.cos(turn))))
    hook = line(
        *[(0.5, 0.2)] * 12, (0.4, 0.5), (0.4, 0.6), (0.4, 0.7), (0.5, 0.8), (0.6, 0.8), (0.7, 0.8)
    )
    strokes = np.stack((loop, hook, hook, hook, hook)).astype(np.float32)
    label = np.array([6, 6, 0, 0, 0])
    split, failed = np.array([0, 0, 0, 1, 0]), np.array([False, False, False, False, True])
    drawn = StrokeSet(strokes, label, np.arange(5), split, failed, {}, {})
    assert usable(drawn).tolist() == [True, False, True, False, False]


def test_an_empty_drawing_and_unequal_lengths_are_refused_by_name():
    empty = line((0.5, 0.5), (0.6, 0.6), lifted=[0])
    with pytest.raises(ValueError, match="drawing 0: nothing is drawn"):
        prepare(empty[None], np.array([1]), np.array([0]))
    with pytest.raises(ValueError, match="1 drawings, 2 labels"):
        prepare(empty[None], np.array([1, 2]), np.array([0]))


def test_the_shipped_styles_have_every_digit_and_differ():
    styles = load_styles()
    numbers = np.unique(styles.places)
    assert numbers.tolist() == list(range(len(numbers))) and len(numbers) >= 10
    counts = np.zeros((len(numbers), 10), int)
    np.add.at(counts, (styles.places, styles.labels), 1)
    assert counts.min() >= 2
    slants = np.array([styles.slants[styles.places == number].mean() for number in numbers])
    assert np.ptp(slants) > 0.2
    assert donors_module.STYLES_FILE.stat().st_size < 200_000


def test_a_selection_keeps_the_arrays_together():
    styles = load_styles()
    chosen = styles.select(styles.labels == 3)
    assert (chosen.labels == 3).all() and isinstance(chosen, Donors)
    for field in dataclasses.fields(Donors):
        assert len(getattr(chosen, field.name)) == len(chosen.labels)
