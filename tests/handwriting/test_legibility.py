"""Legibility: digits are cut out whole, and what is wrong, missing or copied is counted so."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from handwriting import metrics
from handwriting.donors import load_styles
from handwriting.layout import Writing
from handwriting.legibility import (
    COPY,
    LONGEST,
    METRICS,
    LegibilityConfig,
    cut_digits,
    measure,
    random_strings,
)
from handwriting.samples import Samples, load_samples
from handwriting.synthesis import LostError, compose

for module in ("cv2", "tqdm"):
    pytest.importorskip(module)

TEXTS = random_strings(40, seed=5)


def collage(text, seed):
    return compose(text, method="collage", seed=seed)


class Nearest(nn.Module):
    """Reads an image as the style digits' image that it is most like, both a little blurred."""

    def __init__(self):
        super().__init__()
        images, labels = [], []
        for style in range(int(load_styles().places[-1]) + 1):
            digits = cut_digits(compose("0123456789", method="collage", style=style))
            for label, drawing in digits.items():
                images.append(metrics.render(drawing[None])[0])
                labels.append(label)
        self.known = self.blurred(torch.from_numpy(np.array(images))[:, None].float())
        self.labels = torch.tensor(labels)

    def blurred(self, images):
        return nn.functional.avg_pool2d(images, 5, 1, 2).flatten(1)

    def forward(self, images):
        nearest = torch.cdist(self.blurred(images), self.known).argmin(1)
        return nn.functional.one_hot(self.labels[nearest], 10)


@pytest.fixture(scope="module")
def reader():
    return Nearest()


@pytest.fixture(scope="module")
def people():
    own = load_samples("own")
    return Samples(own.strokes, own.labels, "own")


@pytest.fixture(scope="module")
def figures(reader, people):
    return measure(collage, TEXTS, reader, people)


def test_the_collage_is_read_and_every_figure_is_there(figures):
    assert figures.keys() == METRICS.keys()
    assert figures["digits"] == sum(map(len, TEXTS))
    assert figures["read"] > 0.9 and figures["lost"] == 0
    assert 0 < figures["strings"] < figures["read"]
    assert figures["dtw"] < 0.15 and figures["forward"] > 0.5


def test_another_text_than_asked_for_is_not_read(reader, people):
    def wrong(text, seed):
        other = "".join(str((int(digit) + 5) % 10) for digit in text)
        return dataclasses.replace(collage(other, seed), text=text)

    figures = measure(wrong, TEXTS, reader, people)
    assert figures["read"] < 0.1 and figures["strings"] < 0.1


def test_lost_strings_and_missing_digits_count_as_not_read(reader, people, figures):
    lost = set(TEXTS[::4])

    def sometimes(text, seed):
        if text in lost:
            raise LostError("lost")
        return collage(text, seed)

    got = measure(sometimes, TEXTS, reader, people)
    share = sum(len(text) for text in TEXTS if text in lost) / figures["digits"]
    assert got["lost"] == sum(text in lost for text in TEXTS)
    assert got["read"] == pytest.approx(figures["read"] * (1 - share), abs=0.05)

    def without_the_first(text, seed):
        whole = collage(text, seed)
        rest = whole.characters > 0
        return Writing(text, whole.strokes[rest], whole.characters[rest])

    longer = [text for text in TEXTS if len(text) > 1]
    got = measure(without_the_first, longer, reader, people)
    assert got["strings"] == 0
    assert got["read"] <= 1 - len(longer) / sum(map(len, longer))


def test_where_nothing_is_written_there_are_no_figures(reader, people):
    def never(text, _seed):
        raise LostError("lost")

    with pytest.raises(LostError, match="all 40 strings were given up"):
        measure(never, TEXTS, reader, people)


def test_copies_and_writings_that_do_not_vary_are_seen(reader, people, figures):
    def stencil(text, _seed):
        each = [compose(digit, method="collage", style=2, neatness=50.0) for digit in text]
        right = 1.5 * np.arange(len(text))
        strokes = [one.strokes + np.array([x, 0, 0]) for one, x in zip(each, right, strict=True)]
        characters = np.repeat(np.arange(len(text)), [len(one) for one in strokes])
        return Writing(text, np.concatenate(strokes), characters)

    got = measure(stencil, TEXTS, reader, people)
    assert got["copies"] == 1 and got["repeat"] < COPY and got["variety"] < 1e-6
    assert figures["copies"] < 0.5 and figures["variety"] > 0.02


def test_digits_are_cut_out_whole_and_have_the_size_of_mnists():
    writing = collage("4 0.7", 1)
    digits = cut_digits(writing)
    assert sorted(digits) == [0, 2, 4]
    for place, drawing in digits.items():
        own = writing.strokes[writing.characters == place]
        assert drawing[:, 2].sum() == own[:, 2].sum()
        assert np.ptp(drawing[:, :2], axis=0).max() * 28 == pytest.approx(17)
        middle = metrics.sample(drawing[None])[0][0].mean(axis=0)
        np.testing.assert_allclose(middle, 0.5, atol=1e-6)


def test_strings_have_all_lengths_and_digits_and_are_the_seeds():
    texts = random_strings(3000, seed=1)
    assert texts == random_strings(3000, seed=1) != random_strings(3000, seed=2)
    lengths = np.bincount([len(text) for text in texts])
    assert len(lengths) == LONGEST + 1 and lengths[1:].min() > 180
    digits = np.bincount([int(digit) for text in texts for digit in text])
    assert digits.min() / digits.max() > 0.9


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("seed", -1), ("count", 1.5)])
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        LegibilityConfig(**{name: value})
