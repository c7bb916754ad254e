"""The reader learns to read, does so the same way each time, and is trained once."""

import numpy as np
import pytest
import torch

from handwriting import reader as reader_module
from handwriting.data import Digits
from handwriting.reader import Reader, load_reader, read, train_reader

pytest.importorskip("safetensors")


def bars(count, seed):
    """Digit k is a bar at height 4 + 2k, of a random place and length."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        start, end = random.integers(3, 10), random.integers(14, 24)
        image[4 + 2 * label, start:end] = 1
    return Digits(torch.from_numpy(images), torch.from_numpy(labels), "bars")


@pytest.fixture(scope="module")
def digits():
    return bars(3000, seed=0)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTRASTER_CACHE", str(tmp_path))
    return tmp_path


def weights(reader):
    return torch.cat([weight.flatten() for weight in reader.state_dict().values()])


def test_it_reads_what_it_has_not_seen(digits, cache):
    others = bars(200, seed=1)
    answers = read(load_reader(digits), others.images.numpy())
    assert answers.dtype == np.int64 and (answers == others.labels.numpy()).mean() > 0.95
    untrained = read(Reader(), others.images.numpy())
    assert (untrained == others.labels.numpy()).mean() < 0.5


def test_training_is_the_same_each_time_and_leaves_the_random_state_alone(digits):
    some = Digits(digits.images[:300], digits.labels[:300], "some")
    torch.manual_seed(5)
    first = weights(train_reader(some))
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == after
    assert torch.equal(first, weights(train_reader(some)))


def test_it_is_trained_once_for_each_set_of_digits(digits, cache, monkeypatch, capsys):
    some = Digits(digits.images[:300], digits.labels[:300], "some")
    first = weights(load_reader(some))
    assert str(cache) in capsys.readouterr().err

    def forbidden(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(reader_module, "train_reader", forbidden)
    assert torch.equal(weights(load_reader(some)), first)
    with pytest.raises(AssertionError, match="trained again"):
        load_reader(Digits(digits.images[1:301], digits.labels[1:301], "others"))


def test_a_damaged_cache_is_warned_of_and_replaced(digits, cache):
    some = Digits(digits.images[:300], digits.labels[:300], "some")
    first = weights(load_reader(some))
    (file,) = cache.glob("reader-*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.warns(UserWarning, match=r"cannot be used .*, training again"):
        assert torch.equal(weights(load_reader(some)), first)
    assert file.read_bytes() == whole


def test_no_images_are_read_as_nothing():
    assert read(Reader(), np.zeros((0, 28, 28), np.uint8)).shape == (0,)
