"""Sets that need not fit in memory: what is read, kept and refused, and how a run learns them."""

import dataclasses
import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import small

from handwriting import checkpoint as checkpoints
from handwriting import mapped
from handwriting.data import DataError, load_mnist
from handwriting.mapped import emnist_files, load_mapped
from handwriting.thinning import thin
from handwriting.train import TrainConfig, train

for module in ("cv2", "filelock", "safetensors", "tensorboard", "tqdm"):
    pytest.importorskip(module)

KINDS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache folder of the test's own, and no data folder from outside."""
    monkeypatch.setenv("SOFTRASTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOFTRASTER_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def digits(data_dir):
    """40 images as MNIST has them, and labels."""
    loaded = load_mnist("train", data_dir)
    return loaded.images.numpy(), loaded.labels.numpy().astype(np.uint8)


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    content = bytes((0, 0, 8, array.ndim)) + sizes + np.ascontiguousarray(array).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_set(folder, prefix, images, labels, suffix=""):
    """Write the two files of a set; return their paths."""
    arrays = {"images": images, "labels": labels}
    return [write_idx(folder / f"{prefix}{KINDS[kind]}{suffix}", x) for kind, x in arrays.items()]


def everything(digits):
    return digits.take(torch.arange(len(digits)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("chunk", [7, 10_000])
def test_digits_are_read_thinned_and_in_their_order(tmp_path, digits, suffix, chunk, monkeypatch):
    monkeypatch.setattr(mapped, "_CHUNK", chunk)
    loaded = load_mapped(*write_set(tmp_path, "train-", *digits, suffix))
    images, labels = everything(loaded)
    np.testing.assert_array_equal(images.numpy(), thin(digits[0]))
    np.testing.assert_array_equal(labels.numpy(), digits[1])
    assert (images.dtype, labels.dtype, len(loaded)) == (torch.uint8, torch.int64, 40)
    places = torch.tensor([39, 0, 7, 7])
    some, numbers = loaded.take(places)
    assert torch.equal(some, images[places]) and torch.equal(numbers, labels[places])


def test_emnists_images_are_turned_and_its_letters_left_out(tmp_path, digits):
    images, labels = digits
    classes = np.where(np.arange(40) % 3 == 0, labels + 10, labels).astype(np.uint8)
    classes[5] = 61
    files = write_set(tmp_path, "emnist-byclass-train-", images.transpose(0, 2, 1), classes, ".gz")
    got, numbers = everything(load_mapped(*files))
    kept = classes < 10
    assert 20 < kept.sum() < 30
    np.testing.assert_array_equal(got.numpy(), thin(images[kept]))
    np.testing.assert_array_equal(numbers.numpy(), labels[kept])


def test_a_run_on_mapped_digits_is_that_on_the_same_digits_in_memory(tmp_path, data_dir, digits):
    config = dataclasses.replace(small(tmp_path, data_dir), limit=30, epochs=2)
    wanted = checkpoints.load(train(config).path)
    folder = tmp_path / "folder"
    test = load_mnist("test", data_dir)
    for split, (images, labels) in (
        ("train", digits),
        ("test", (test.images.numpy(), test.labels.numpy().astype(np.uint8))),
    ):
        write_set(folder / "emnist", f"emnist-digits-{split}-", images.transpose(0, 2, 1), labels)
    images, labels = write_set(folder, "own-", *digits)
    own = {"images": images, "labels": labels}
    for number, options in enumerate((own, {"emnist": "digits", "data_dir": folder})):
        config = dataclasses.replace(config, out=tmp_path / f"{number}", **options)
        result = train(config)
        for name, weight in checkpoints.load(result.path).weights.items():
            assert torch.equal(weight, wanted.weights[name])


def test_digits_are_thinned_once(tmp_path, digits, monkeypatch, capsys):
    files = write_set(tmp_path, "train-", *digits)
    first = load_mapped(*files)
    assert "Thinning" in capsys.readouterr().err
    monkeypatch.setattr(mapped, "thin", None)
    second = load_mapped(*files)
    assert capsys.readouterr().err == "" and second.checksum == first.checksum
    np.testing.assert_array_equal(second.records, first.records)
    monkeypatch.undo()
    monkeypatch.setenv("SOFTRASTER_CACHE", str(tmp_path / "cache"))
    write_idx(files[0], digits[0][::-1])
    os.utime(files[0], (0, 0))
    third = load_mapped(*files)
    assert third.checksum != first.checksum
    np.testing.assert_array_equal(everything(third)[0].numpy(), thin(digits[0][::-1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[:32],
        lambda content: b"",
        lambda content: content[:90] + bytes([content[90] ^ 1]) + content[91:],
    ],
)
def test_a_damaged_cache_is_named_and_remade(tmp_path, digits, cache, change):
    files = write_set(tmp_path, "train-", *digits)
    load_mapped(*files)
    (path,) = cache.glob("*.records")
    sound = path.read_bytes()
    path.write_bytes(change(sound))
    with pytest.warns(UserWarning, match=rf"{path.name}: damaged, thinning again"):
        load_mapped(*files)
    assert path.read_bytes() == sound


def test_thinning_that_is_interrupted_leaves_nothing_behind(tmp_path, digits, cache, monkeypatch):
    files = write_set(tmp_path, "train-", *digits)
    monkeypatch.setattr(mapped, "_CHUNK", 15)
    calls = []

    def interrupted(chunk):
        calls.append(len(chunk))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return thin(chunk)

    monkeypatch.setattr(mapped, "thin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_mapped(*files)
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_set_is_found_in_a_folder_under_emnists_names(tmp_path, digits, monkeypatch):
    plain = write_set(tmp_path, "emnist-digits-train-", *digits)
    packed = write_set(tmp_path / "emnist", "emnist-mnist-test-", *digits, ".gz")
    assert emnist_files("digits", "train", tmp_path) == tuple(plain)
    monkeypatch.setenv("SOFTRASTER_DATA", str(tmp_path))
    assert emnist_files("mnist", "test", None) == tuple(packed)
    with pytest.raises(FileNotFoundError, match="emnist-digits-test-images-idx3-ubyte"):
        emnist_files("digits", "test", None)
    monkeypatch.delenv("SOFTRASTER_DATA")
    with pytest.raises(FileNotFoundError, match="EMNIST needs a data folder"):
        emnist_files("digits", "train", None)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("images", lambda content: content[:-1], "shorter than its header says"),
        ("images", lambda content: content[:9], "shorter than its header says|images are"),
        ("images", lambda content: content + b"\0", "longer than its header says"),
        ("images", lambda content: b"\0\0\x08\1" + content[4:], "00000803"),
        ("labels", lambda content: content[:-1], "shorter than its header says"),
        ("labels", lambda content: content[:-1] + b"\x0b", "the label 11, not of 0 to 9"),
        ("labels", lambda content: content[:7] + b"\x27" + content[8:], "39 labels, but 40 images"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_damaged_file_is_named(tmp_path, digits, cache, kind, change, says, packed):
    files = dict(zip(KINDS, write_set(tmp_path, "train-", *digits), strict=True))
    content = change(files[kind].read_bytes())
    if packed:
        files[kind] = files[kind].with_name(f"{files[kind].name}.gz")
        content = gzip.compress(content)
    files[kind].write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        load_mapped(**files)
    assert files[kind].name in str(caught.value) and "\n" not in str(caught.value)
    assert list(cache.glob("*.records")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_gzip_file_is_named(tmp_path, digits, kind):
    files = dict(zip(KINDS, write_set(tmp_path, "train-", *digits, ".gz"), strict=True))
    files[kind].write_bytes(files[kind].read_bytes()[:-12])
    with pytest.raises(DataError, match=rf"{files[kind].name}: damaged gzip file"):
        load_mapped(**files)


def test_letters_are_no_digits(tmp_path, digits):
    with pytest.raises(DataError, match=r"EMNIST's letters are no digits"):
        load_mapped(*write_set(tmp_path, "emnist-letters-train-", *digits))
    images, labels = digits
    with pytest.raises(DataError, match=r"emnist-byclass.*: holds no digits"):
        load_mapped(*write_set(tmp_path, "emnist-byclass-train-", images, labels + 10))
    with pytest.raises(ValueError, match=r"emnist must be digits or mnist.*got 'letters'"):
        TrainConfig(emnist="letters")


def test_images_go_with_labels(tmp_path):
    with pytest.raises(ValueError, match="images go with labels, got no labels"):
        TrainConfig(images=tmp_path)
    with pytest.raises(ValueError, match="images go with labels, got no images"):
        TrainConfig(labels=tmp_path)


# Trains for a few steps on the set whose files it is given, and prints the most memory it had, not
# getrusage()'s figure, which begins with that of the process that started it.
PROGRAM = """
import sys, torch
from pathlib import Path
from handwriting.train import TrainConfig, train
torch.set_num_threads(1)
images, labels, data, out = map(Path, sys.argv[1:])
config = TrainConfig(out=out, data_dir=data, images=images, labels=labels, units=8, batch_size=512,
                     minutes=0.05, device="cpu")
train(config)
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.long
def test_the_memory_of_a_run_does_not_grow_with_its_digits(tmp_path, data_dir):
    peaks = {}
    for count in (10_000, 280_000):
        random = np.random.default_rng(count)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 10:18, 10:18] = random.integers(0, 256, (count, 8, 8), np.uint8)
        labels = random.integers(0, 10, count).astype(np.uint8)
        files = write_set(tmp_path / f"{count}", "noise-", images, labels)
        del images
        out = subprocess.run(
            [sys.executable, "-c", PROGRAM, *files, data_dir, tmp_path / f"run{count}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"on {count:,} digits" in out
        peaks[count] = float(out.split()[-1])
    # 206 MB of pixels more; what may grow is the map, 26 MB, and the order of the digits, 2 MB.
    assert peaks[280_000] - peaks[10_000] < 60, peaks
