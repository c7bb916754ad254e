"""Strings are laid out as asked: what is written, where, and how it leans."""

import itertools

import numpy as np
import pytest

from handwriting.donors import CLASS_LEAN, UPRIGHT, lean, load_styles
from handwriting.layout import ALPHABET, MARKS, Hand, check_text, lay_out, random_text

STRAIGHT = Hand(0.0, 1.0, 0.3, 0.0, (0.0, 1.0, 0.0), variation=0.0)


def write(text, hand=STRAIGHT, seed=0, style=3):
    donors = load_styles()
    donors = donors.select(donors.places == style)
    first = {label: int(np.flatnonzero(donors.labels == label)[0]) for label in range(10)}
    return lay_out(text, donors, first.get, hand, np.random.default_rng(seed)), donors, first


def test_every_character_but_a_space_has_its_points_in_order():
    text = "0 12.3,45:6-7+89"
    writing = write(text)[0]
    assert (np.diff(writing.characters) >= 0).all()
    assert set(writing.characters) == {n for n, character in enumerate(text) if character != " "}
    ends = np.append(np.flatnonzero(np.diff(writing.characters)), len(writing.characters) - 1)
    assert (writing.strokes[ends, 2] == 1).all(), "a line goes on from one character into the next"


def test_without_variation_a_digit_is_its_donor():
    writing, donors, first = write("7")
    points, lifted = donors.digit(first[7])
    sheared = points[:, 0] + donors.slants[first[7]] * points[:, 1]
    np.testing.assert_allclose(writing.strokes[:, 1], points[:, 1], atol=1e-6)
    right = writing.strokes[0, 0] - sheared[0]
    np.testing.assert_allclose(writing.strokes[:, 0], sheared + right, atol=1e-6)
    np.testing.assert_array_equal(writing.strokes[:, 2], lifted)


@pytest.mark.parametrize("slant", [-0.3, 0.0, 0.4])
def test_all_digits_lean_as_the_hand_does(slant):
    hand = Hand(slant, 1.0, 0.3, 0.0, (0.0, 1.0, 0.0), variation=0.0)
    writing = write("0123456789", hand)[0]
    leans = []
    for label in range(10):
        strokes = writing.strokes[writing.characters == label].astype(float)[None]
        leans.append(lean(strokes)[0] - CLASS_LEAN[label])
        # Set upright again: a shear also changes which lines are long, and so how much they count.
        strokes[..., 0] += slant * strokes[..., 1]
        assert lean(strokes)[0] - CLASS_LEAN[label] == pytest.approx(0, abs=0.15)
    assert np.mean(leans) == pytest.approx(slant, abs=0.1)


def test_neighbours_are_the_gap_apart_along_the_slant():
    hand = Hand(0.1, 1.0, 0.37, 0.0, (0.0, 1.0, 0.0), variation=0.0)
    writing = write("4:19-5+", hand)[0]
    upright = writing.strokes[:, 0] + (hand.slant + UPRIGHT) * (writing.strokes[:, 1] + 0.5)
    boxes = [upright[writing.characters == n] for n in range(7)]
    gaps = [after.min() - before.max() for before, after in itertools.pairwise(boxes)]
    np.testing.assert_allclose(gaps, hand.gap, atol=1e-5)


def test_the_baseline_rises_and_waves_as_the_hand_says():
    hand = Hand(0.0, 1.0, 0.3, 0.05, (0.2, 5.0, 1.0), variation=0.0)
    writing, flat = write("1111111", hand)[0], write("1111111")[0]
    for place in range(7):
        strokes = writing.strokes[writing.characters == place]
        offset = strokes[:, 1] - flat.strokes[flat.characters == place, 1]
        assert np.ptp(offset) < 1e-6
        x = float(strokes[:, 0].mean())
        wave = 0.2 * (np.sin(2 * np.pi * x / 5 + 1) - np.sin(1)) - 0.05 * x
        assert offset[0] == pytest.approx(wave, abs=0.04)


def test_marks_are_where_they_belong():
    boxes = {}
    for mark in MARKS:
        writing = write(f"1{mark}1")[0]
        strokes = writing.strokes[writing.characters == 1]
        boxes[mark] = strokes[:, 1].min(), strokes[:, 1].max(), strokes[:, 2].sum()
    assert boxes["."][0] > -0.1 and boxes["."][1] < 0.02
    assert boxes[","][0] > -0.15 and boxes[","][1] > 0.15
    assert boxes[":"][0] < -0.5 and boxes[":"][1] > -0.05 and boxes[":"][2] == 2
    assert boxes["-"][0] > -0.6 and boxes["-"][1] < -0.3 and boxes["-"][2] == 1
    assert boxes["+"][0] < -0.6 and boxes["+"][1] > -0.3 and boxes["+"][2] == 2


def test_a_space_makes_room():
    wide, close = (write(text)[0].strokes[:, 0].max() for text in ("3 5", "35"))
    assert 0.5 < wide - close < 0.8


def test_hands_vary_with_the_seed_and_only_with_it():
    def text(seed):
        random = np.random.default_rng(seed)
        return write("4711", Hand.draw(random, 0.1), seed)[0].strokes

    np.testing.assert_array_equal(text(1), text(1))
    assert text(1).shape == text(2).shape and np.abs(text(1) - text(2)).max() > 0.02


def test_a_character_that_cannot_be_written_is_named():
    assert check_text(" 1 2 ") == "1 2"
    for text, named in (("12a", "'a'"), ("1\n2", "'\\\\n'"), ("½", "'½'")):
        with pytest.raises(ValueError, match=f"text has {named}, which cannot be written"):
            check_text(text)
    for text in ("", "  "):
        with pytest.raises(ValueError, match="at least one digit or mark"):
            check_text(text)
    with pytest.raises(TypeError, match="text must be a string, got int"):
        check_text(12)


def test_random_strings_can_be_written_and_have_every_character():
    random = np.random.default_rng(0)
    seen = set()
    for number in range(2000):
        length = 1 + number % 12
        text = random_text(random, length)
        assert check_text(text) == text and len(text) <= length
        seen |= set(text)
    assert seen == set(ALPHABET)
