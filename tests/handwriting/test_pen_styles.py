"""Styles are stretches of one stream of writers, with digits of each label, that differ."""

import numpy as np
import pytest

from handwriting import pen_styles
from handwriting.donors import load_styles
from handwriting.formats import StrokeSet
from handwriting.pen_styles import VARIANTS, choose_styles, save_styles
from handwriting.samples import load_samples

COUNT = 3000


@pytest.fixture(scope="module")
def drawn():
    """Digits of two streams of ten writers each, whose slants differ."""
    samples = load_samples("own")
    strokes, labels = samples.strokes.numpy(), samples.labels.numpy()
    random = np.random.default_rng(0)
    places = np.arange(COUNT)
    by_label = [np.flatnonzero(labels == label) for label in range(10)]
    chosen = np.array([random.choice(by_label[place // 2 % 10]) for place in places])
    slants = random.permutation(np.linspace(-0.4, 0.4, 20))[places // 300 * 2 + places % 2]
    leaning = strokes[chosen].copy()
    leaning[..., 0] += slants[:, None] * (0.5 - leaning[..., 1])
    quality = {"f1": random.uniform(0.97, 1, COUNT), "cnn": (random.random(COUNT) < 0.9) * 1.0}
    zeros = np.zeros(COUNT, int)
    return StrokeSet(leaning, labels[chosen], places, zeros, zeros > 0, quality, {})


def test_a_style_has_good_digits_of_each_label_from_one_stretch_of_one_stream(drawn):
    places, styles = choose_styles(drawn, 6)
    for style in range(6):
        here = places[styles == style]
        assert np.ptp(drawn.index[here]) <= 120 and np.ptp(drawn.index[here] % 2) == 0
        assert np.bincount(drawn.label[here]).tolist() == [VARIANTS] * 10
        assert drawn.quality["f1"][here].min() >= 0.975 and drawn.quality["cnn"][here].min() == 1


def test_styles_differ_and_are_ordered_by_slant(drawn):
    places, styles = choose_styles(drawn, 6)
    slants = [_lean(drawn.strokes[places[styles == style]]) for style in range(6)]
    assert (np.diff(slants) > -0.05).all() and slants[-1] - slants[0] > 0.3


def test_what_is_saved_is_what_was_chosen(drawn, tmp_path, monkeypatch):
    path = tmp_path / "styles.npz"
    save_styles(path, drawn, 6)
    monkeypatch.setattr("handwriting.donors.STYLES_FILE", path)
    load_styles.cache_clear()
    donors = load_styles()
    load_styles.cache_clear()
    places, styles = choose_styles(drawn, 6)
    np.testing.assert_array_equal(donors.places, styles)
    np.testing.assert_array_equal(donors.labels, drawn.label[places])
    with np.load(path) as file:
        np.testing.assert_allclose(
            file["strokes"][..., :2] / 65535, drawn.strokes[places][..., :2].clip(0, 1), atol=1e-5
        )
        np.testing.assert_array_equal(file["index"], drawn.index[places])


def test_too_few_writers_are_said_so(drawn):
    with pytest.raises(ValueError, match="24 styles are wanted, but only"):
        choose_styles(drawn.select(np.arange(COUNT) < 400), pen_styles.STYLES)


def _lean(strokes):
    from handwriting.donors import lean

    return lean(strokes.astype(float)).mean()
