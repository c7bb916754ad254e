"""The dataset: items, splits and forms, and randomness that workers and order do not change."""

import pickle

import numpy as np
import pytest
import torch
from strokesets import make_set
from torch.utils.data import DataLoader

import handwriting
from handwriting.dataset import HandwrittenDigits
from handwriting.formats import save_strokes
from handwriting.stroke3 import to_stroke3
from handwriting.transforms import Affine, Resample, Slant, Speed


@pytest.fixture
def drawn():
    return make_set()


@pytest.mark.parametrize("form", ["npz", "hdf5"])
def test_items_are_the_drawings_of_a_file_and_their_labels(drawn, tmp_path, form):
    path = tmp_path / ("a.npz" if form == "npz" else "a.h5")
    save_strokes(path, drawn, form)
    digits = handwriting.HandwrittenDigits(path)
    assert len(digits) == 48 and digits.meta == drawn.meta
    for place, (strokes, label) in enumerate(digits):
        np.testing.assert_array_equal(strokes, drawn.strokes[place])
        assert strokes.dtype == torch.float32 and label == drawn.label[place]
        assert type(label) is int
    assert place == 47
    assert digits.labels.dtype == torch.int64 and digits.failed.dtype == torch.bool
    np.testing.assert_array_equal(digits.quality["cnn"], drawn.quality["cnn"][:48])


def test_halves_are_kept_apart_and_bad_drawings_can_be_left_out(drawn):
    assert [len(HandwrittenDigits(drawn, split)) for split in ("train", "test", "all")] == [
        *(48, 6, 54)
    ]
    test = HandwrittenDigits(drawn, "test")
    np.testing.assert_array_equal(test.strokes, drawn.strokes[48:])
    assert test.index.tolist() == list(range(6))
    good = HandwrittenDigits(drawn, "all", failed=False)
    assert len(good) == 46 and not good.failed.any()
    np.testing.assert_array_equal(good.strokes, drawn.strokes[~drawn.failed])


def test_offsets_are_those_of_the_drawing_after_its_transforms(drawn):
    points = HandwrittenDigits(drawn, transform=Affine())
    offsets = HandwrittenDigits(drawn, transform=Affine(), form="stroke3")
    for (strokes, label), (ways, same) in zip(points, offsets, strict=True):
        np.testing.assert_array_equal(ways, to_stroke3(strokes.numpy()))
        assert label == same


def test_a_stroke_3_file_is_read_as_any_other(drawn, tmp_path):
    save_strokes(tmp_path / "a.stroke3.npz", drawn, "stroke3")
    got = HandwrittenDigits(tmp_path / "a.stroke3.npz", "all", form="stroke3")
    wanted = HandwrittenDigits(drawn, "all", form="stroke3")
    assert len(got) == 54 and got.quality == {}
    for (strokes, label), (same, its_label) in zip(got, wanted, strict=True):
        np.testing.assert_allclose(strokes, same, atol=1.01e-3)
        assert label == its_label


def test_transforms_are_applied_in_their_order(drawn):
    def double(drawing, generator):
        return drawing * 2

    def add(drawing, generator):
        return drawing + 1

    first = HandwrittenDigits(drawn, transform=[double, add])[3][0]
    np.testing.assert_allclose(first, drawn.strokes[3] * 2 + 1)
    assert HandwrittenDigits(drawn, transform=Resample(14))[0][0].shape == (14, 3)


@pytest.mark.parametrize("persistent", [False, True])
def test_items_do_not_depend_on_workers_or_order_but_on_the_epoch(drawn, persistent):
    options = {"transform": [Affine(), Slant(), Speed()], "seed": 5}
    alone = HandwrittenDigits(drawn, **options)
    shared = HandwrittenDigits(drawn, **options)
    batches = DataLoader(shared, 8, num_workers=2, persistent_workers=persistent)
    epochs = []
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        got = torch.cat([strokes for strokes, _ in batches])
        backwards = [alone[place][0] for place in reversed(range(len(alone)))]
        assert torch.equal(got, torch.stack(backwards[::-1]))
        epochs.append(got)
    assert (epochs[0] != epochs[1]).flatten(1).any(dim=1).all()
    other = HandwrittenDigits(drawn, **{**options, "seed": 6})
    assert not torch.equal(other[0][0], epochs[0][0])
    assert torch.equal(alone[-1][0], epochs[1][-1])


def test_an_item_can_be_changed_without_harm(drawn):
    digits = HandwrittenDigits(drawn)
    digits[0][0].zero_()
    np.testing.assert_array_equal(digits[0][0], drawn.strokes[0])


def test_it_can_be_sent_to_a_process_that_starts_anew(drawn):
    digits = HandwrittenDigits(drawn, transform=[Affine()], seed=2)
    digits.set_epoch(4)
    copy = pickle.loads(pickle.dumps(digits))
    assert torch.equal(copy[7][0], digits[7][0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "valid"}, "split must be train, test or all, got 'valid'"),
        ({"form": "stroke5"}, "form must be one of points, stroke3, got 'stroke5'"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_options_are_refused_by_name(drawn, options, says):
    with pytest.raises(ValueError, match=says):
        HandwrittenDigits(drawn, **options)


def test_a_place_past_the_end_is_an_index_error(drawn):
    digits = HandwrittenDigits(drawn, transform=Affine())
    with pytest.raises(IndexError):
        digits[48]
