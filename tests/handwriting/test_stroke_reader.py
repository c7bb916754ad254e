"""The reader of strokes: it learns, place and size do not count, and a seed gives the same bits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from strokesets import make_set

from handwriting.samples import load_samples
from handwriting.stroke_reader import (
    StrokeReader,
    StrokeReaderConfig,
    common_form,
    read_strokes,
    set_of,
    train_stroke_reader,
)


def test_it_learns_to_read_drawings_that_it_has_not_seen():
    own = load_samples("own")
    drawn = set_of(own, "train")
    seen = np.arange(len(drawn)) % 4 > 0
    reader = train_stroke_reader(drawn.select(seen), StrokeReaderConfig(epochs=40))
    unseen = drawn.select(~seen)
    right = (read_strokes(reader, unseen.strokes) == unseen.label).mean()
    assert len(unseen) == 40 and right > 0.85
    shuffled = np.random.default_rng(0).permuted(unseen.strokes, axis=1)
    assert (read_strokes(reader, shuffled) == unseen.label).mean() < right - 0.2


def test_place_and_size_do_not_count_but_direction_and_lifts_do():
    torch.manual_seed(0)
    reader = StrokeReader().eval()
    drawings = torch.from_numpy(make_set().strokes)
    moved = drawings * torch.tensor([0.5, 0.5, 1]) + torch.tensor([0.2, -0.1, 0])
    scores = reader(drawings)
    torch.testing.assert_close(reader(moved), scores, atol=1e-4, rtol=0)
    lifted = drawings * torch.tensor([1, 1, 0])
    for other in (drawings.flip(1), lifted, drawings * torch.tensor([-1, 1, 1])):
        assert ((reader(other) - scores).abs().amax(dim=1) > 1e-3).all()


def test_the_common_form_is_even_square_and_has_no_lifts():
    drawing = np.zeros((1, 5, 3), np.float32)
    # Down, lifted, and along the bottom: 0.4 in ink, 0.1 in the air, 0.3 in ink.
    drawing[0, :, :2] = (0.3, 0.2), (0.3, 0.6), (0.4, 0.6), (0.5, 0.6), (0.7, 0.6)
    drawing[0, [1, 4], 2] = 1
    drawn = replace(make_set(1, 0), strokes=drawing)
    got = common_form(drawn).strokes[0]
    even = [(0.3, 0.2), (0.3, 0.4), (0.3, 0.6), (0.5, 0.6), (0.7, 0.6)]
    wanted = [((x - 0.3) / 0.4, (y - 0.2) / 0.4, i == 4) for i, (x, y) in enumerate(even)]
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert common_form(drawn).label == drawn.label and drawn.strokes is drawing


def test_a_dot_is_read_without_harm():
    drawings = np.full((2, 5, 3), 0.5, np.float32)
    assert read_strokes(StrokeReader().eval(), drawings).shape == (2,)


def test_the_same_seed_gives_the_same_bits_for_any_workers():
    drawn = make_set(140, 4)

    def weights(**options):
        return train_stroke_reader(drawn, StrokeReaderConfig(1, **options)).state_dict()

    first = weights(seed=3)
    torch.manual_seed(9)
    again, shared, other = weights(seed=3), weights(seed=3, workers=2), weights(seed=4)
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]) and torch.equal(tensor, shared[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_a_set_without_train_digits_is_refused():
    with pytest.raises(ValueError, match="must have digits of the split train"):
        train_stroke_reader(make_set(0, 5))
